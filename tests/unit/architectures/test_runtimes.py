"""What the families say of tiny models, executed: our reference evaluator and libllama beside transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.architectures import zoo

from bessemer.architectures.base import find
from bessemer.ir.errors import Declined
from bessemer.runners.decoder.runner import DecoderRunner
from bessemer.runners.llama import Llama, available
from bessemer.wire.gguf.writer import layout

pytestmark = pytest.mark.slow

_TABLED = {"gemma": 3e-3, "gemma2": 5e-3, "gemma3": 5e-3, "starcoder2": 5e-3}
"""ggml's GELU is a table of half precision: bounds for models that have it, in standard deviations of the logits."""


@pytest.mark.parametrize("name", zoo.MODELS)
def test_our_evaluator_answers_as_transformers_does(name: str, answers: dict[str, tuple[Path, Any]]) -> None:
    folder, wanted = answers[name]
    checkpoint = zoo.checkpoint(folder)
    family = find(checkpoint.config)
    decoder = family.decoder(checkpoint.config)
    assert decoder is not None
    got = DecoderRunner(decoder, family.roles(checkpoint)).logits(zoo.TOKENS)
    assert np.abs(got - wanted).max() < 2e-5 * wanted.std()


@pytest.mark.parametrize("name", zoo.BEYOND)
def test_what_has_no_place_in_gguf_can_be_evaluated(name: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    model = zoo.save(name, tmp_path)
    with torch.no_grad():
        wanted = model(torch.tensor([zoo.TOKENS])).logits[0].numpy()
    checkpoint = zoo.checkpoint(tmp_path)
    family = find(checkpoint.config)
    decoder = family.decoder(checkpoint.config)
    assert decoder is not None
    got = DecoderRunner(decoder, family.roles(checkpoint)).logits(zoo.TOKENS)
    assert np.abs(got - wanted).max() < 2e-5 * wanted.std()
    with pytest.raises(Declined):
        family.to_gguf(checkpoint)


@pytest.mark.skipif(not available(), reason="no libllama is installed")
@pytest.mark.parametrize("name", zoo.MODELS)
def test_libllama_answers_as_transformers_does(name: str, answers: dict[str, tuple[Path, Any]], tmp_path: Path) -> None:
    folder, wanted = answers[name]
    checkpoint = zoo.checkpoint(folder)
    family = find(checkpoint.config)
    window = checkpoint.config.get("sliding_window") if family.notes(family.completed(checkpoint.config)) else None
    assert (window is not None) == (name in ("mistral-window", "qwen2-window"))
    with Llama(_written(tmp_path / "tiny.gguf", *family.to_gguf(checkpoint)), threads=1) as runtime:
        got = np.asarray(runtime.logits(zoo.TOKENS))
    away = np.abs(got - wanted).max(axis=1) / wanted.std()
    assert away[:window].max() < _TABLED.get(name, 2e-5)
    assert window is None or away[window:].max() > 0.01  # the note is true: llama.cpp sees beyond the window


def _written(path: Path, metadata: dict[str, Any], tensors: dict[str, Any]) -> Path:
    arrays = zoo.arrays(tensors)
    held = {**metadata, **_vocabulary(512)}
    header, offsets, total = layout(held, [(name, values.shape, "F32") for name, values in arrays.items()])
    data = bytearray(total)
    data[: len(header)] = header
    for values, offset in zip(arrays.values(), offsets, strict=True):
        data[offset : offset + values.nbytes] = values.tobytes()
    path.write_bytes(data)
    return path


def _vocabulary(count: int) -> dict[str, Any]:
    """Any tokenizer will do: tokens go in as numbers."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    kinds = [2, 3, 3, *[6] * 256, *[1] * (count - len(tokens))]
    tokens += [f"word{at}" for at in range(count - len(tokens))]
    return {
        "tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.scores": [-float(at) for at in range(count)], "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }  # fmt: skip
