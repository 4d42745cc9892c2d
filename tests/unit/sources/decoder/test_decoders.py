"""Decoders of many architectures: the numpy reference and the drawn graph answer as transformers does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers")
pytest.importorskip("onnxruntime")


from tests.unit.sources.decoder import zoo

from bessemer.ir.model import Model
from bessemer.opening import normalise
from bessemer.request import ConvertOptions
from bessemer.runners.decoder.runner import DecoderRunner
from bessemer.runners.decoder.session import DecoderSession
from bessemer.sources.base import OpenOptions
from bessemer.sources.decoder.model import known
from bessemer.sources.huggingface import SOURCE
from bessemer.sources.huggingface.directory import read_json
from bessemer.sources.huggingface.drawn import weights_alone
from bessemer.targets.onnx.target import TARGET

NEAR = {"rtol": 1e-4, "atol": 1e-4}


@pytest.mark.parametrize("name", zoo.CAUSAL)
def test_a_decoder_answers_as_transformers_does(name: str, tmp_path: Path) -> None:
    import torch

    original, path = zoo.made(name, tmp_path)
    checkpoint = weights_alone(path, read_json(path, "config.json"))
    held = known(checkpoint)
    runner = DecoderRunner(held.decoder, held.roles)
    ids = np.random.default_rng(0).integers(3, 99, (2, 13))
    with torch.no_grad():
        wanted = original(torch.from_numpy(ids), use_cache=False).logits.numpy()
    np.testing.assert_allclose(runner.logits(ids), wanted, **NEAR)
    feeds = _feeds(held.decoder, ids)
    whole = DecoderSession(runner, past=True).run(feeds)
    with torch.no_grad():
        wanted = original(**_as_torch(feeds, copies=2 if name == "falcon-40b" else 1)).logits.numpy()
    np.testing.assert_allclose(whole["logits"], wanted, **NEAR)
    artifact = _artifact(path, tmp_path)
    got = artifact.run(feeds)
    assert list(got) == list(whole)
    for key, array in whole.items():
        np.testing.assert_allclose(got[key], array, err_msg=key, **NEAR)


def _feeds(decoder: Any, ids: Any) -> dict[str, Any]:
    """Four tokens behind them, of which one text has only one that is no padding."""
    from bessemer.runners.decoder.border import border

    mask = np.ones((2, 17), np.int64)
    mask[1, :3] = 0
    rng = np.random.default_rng(1)
    found = {"input_ids": ids, "attention_mask": mask}
    for spec in border(decoder, past=True).inputs[2:]:
        if spec.name == "position_ids":
            found[spec.name] = mask.cumsum(1)[:, 4:] - 1
        else:
            found[spec.name] = rng.normal(size=(2, spec.shape[1], 4, spec.shape[3])).astype(np.float32)
    return found


def _as_torch(feeds: dict[str, Any], copies: int) -> dict[str, Any]:
    """copies: how often transformers keeps each key."""
    import torch
    from transformers import DynamicCache

    cache = DynamicCache()
    own = {name: torch.from_numpy(array) for name, array in feeds.items()}
    for place in range(sum(name.endswith(".key") for name in own)):
        pair = (own.pop(f"past_key_values.{place}.{part}").repeat_interleave(copies, 1) for part in ("key", "value"))
        cache.update(*pair, place)
    return {**own, "past_key_values": cache, "use_cache": True}


def _artifact(path: Path, out: Path, opset: int | None = None) -> Any:
    from bessemer.runners.onnxruntime import OrtRunner

    model = SOURCE.open(path, OpenOptions(graph="table"))
    normalise(model, ConvertOptions())
    prepared = TARGET.prepare(Model(model.graph, model.origin), TARGET.options(opset=opset))
    return OrtRunner(TARGET.write(prepared, out, "model").path, optimize=True)


@pytest.mark.parametrize("name", ["mpt", "deepseek-v2", "phi", "gpt-neox", "qwen2"])
def test_older_opsets_say_the_same_in_plain_operators(name: str, tmp_path: Path) -> None:
    """A bias for each head, values of another size than keys, neighbours that turn, heads that turn in part, shared keys."""
    path = zoo.made(name, tmp_path)[1]
    held = known(weights_alone(path, read_json(path, "config.json")))
    feeds = _feeds(held.decoder, np.random.default_rng(0).integers(3, 99, (2, 13)))
    wanted = DecoderSession(DecoderRunner(held.decoder, held.roles), past=True).run(feeds)
    for opset in (13, 22):
        artifact = _artifact(path, tmp_path, opset)
        got = artifact.run(feeds)
        for key, array in wanted.items():
            np.testing.assert_allclose(got[key], array, err_msg=f"{key} at opset {opset}", **NEAR)
