"""Models become graphs that answer as transformers does, at every size that they say they take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers")
pytest.importorskip("onnxscript")

from bessemer.ir.model import Model
from bessemer.ir.types import Array
from bessemer.opening import normalise
from bessemer.request import ConvertOptions
from bessemer.runners.base import Runner
from bessemer.sources.base import OpenOptions
from bessemer.sources.huggingface import SOURCE
from bessemer.targets.onnx.target import TARGET
from bessemer.verify.reference import reference_of

Tiny = Callable[[str], Path]
NAMES = {
    "bert": (
        ["input_ids", "attention_mask", "token_type_ids"],
        ["logits"],
    ),
    "llama": (
        [
            "input_ids", "attention_mask", "position_ids", "past_key_values.0.key", "past_key_values.0.value",
            "past_key_values.1.key", "past_key_values.1.value",
        ],
        ["logits", "present.0.key", "present.0.value", "present.1.key", "present.1.value"],
    ),
    "t5": (
        ["input_ids", "encoder_attention_mask"]
        + [
            f"past_key_values.{n}.{side}.{part}"
            for n in (0, 1) for side in ("decoder", "encoder") for part in ("key", "value")
        ],
        ["logits", "present.0.decoder.key", "present.0.decoder.value", "present.1.decoder.key", "present.1.decoder.value"],
    ),
    "resnet": (["pixel_values"], ["logits"]),
    "whisper": (["input_features", "decoder_input_ids"], ["logits", "encoder_last_hidden_state"]),
    "clip": (
        ["input_ids", "pixel_values", "attention_mask"],
        ["logits_per_image", "logits_per_text", "text_embeds", "image_embeds"],
    ),
}  # fmt: skip
"""Inputs and outputs as Optimum and ONNX Runtime GenAI name them."""
AXES: dict[str, Any] = {
    "bert": dict.fromkeys(("input_ids", "attention_mask"), ("batch_size", "sequence_length")),
    "llama": {
        "attention_mask": ("batch_size", "past_sequence_length + sequence_length"),
        "past_key_values.0.key": ("batch_size", 2, "past_sequence_length", 8),
    },
    "t5": {
        "past_key_values.0.decoder.key": ("batch_size", 4, "past_decoder_sequence_length", 8),
        "past_key_values.0.encoder.key": ("batch_size", 4, "encoder_sequence_length", 8),
    },
    "resnet": {"pixel_values": ("batch_size", 3, "height", "width")},
    "whisper": {"decoder_input_ids": ("batch_size", "decoder_sequence_length")},
    "clip": {"pixel_values": ("image_batch_size", 3, 32, 32)},
}
TASKS = {"t5": "seq2seq-decoder-with-past"}


def converted(path: Path, options: OpenOptions, out: Path) -> tuple[Model, Runner]:
    """The model and its ONNX file, running in ONNX Runtime as it is written."""
    model = SOURCE.open(path, options)
    normalise(model, ConvertOptions(shapes=options.shapes))
    prepared = TARGET.prepare(Model(model.graph.clone(), model.origin), TARGET.options())
    return model, TARGET.runner(TARGET.write(prepared, out, "model").path)


def compared(path: Path, options: OpenOptions, out: Path) -> tuple[Model, list[str]]:
    """Every output of every generated input set is held to transformers; returns what the sets were."""
    model, artifact = converted(path, options, out)
    reference = reference_of(SOURCE.runner(path, options), model, ConvertOptions(shapes=options.shapes, task=options.task))
    assert not reference.refused
    for item, answer in zip(reference.sets, reference.answers, strict=True):
        got = artifact.run(item.arrays)
        assert list(got) == list(answer)
        for name, array in answer.items():
            np.testing.assert_allclose(got[name], array, rtol=1e-4, atol=1e-4, err_msg=f"{name}: {item.title}")
            assert np.abs(array).max() > 1e-2, f"{name} says nothing"
    return model, [item.title for item in reference.sets]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in ("whisper", "clip") else ()) for name in NAMES]
)
def test_a_task_answers_as_transformers_does(name: str, tiny: Tiny, tmp_path: Path) -> None:
    options = OpenOptions(task=TASKS.get(name))
    model, sets = compared(tiny(name), options, tmp_path)
    inputs, outputs = NAMES[name]
    assert [spec.name for spec in model.signature.inputs] == inputs
    assert [spec.name for spec in model.signature.outputs] == outputs
    assert any("a second shape" in title for title in sets)
    assert any("one token" in title for title in sets) == any("past" in name for name in inputs)
    assert model.companions[0].name == "config.json"
    shapes = {spec.name: spec.shape for spec in model.signature.inputs}
    assert all(shapes.get(name, axes) == axes for name, axes in AXES[name].items())


def test_sizes_that_are_said_are_fixed(tiny: Tiny, tmp_path: Path) -> None:
    shapes: Any = {"input_ids": (1, 16), "attention_mask": (1, 16), "token_type_ids": (1, 16)}
    model, _ = compared(tiny("bert"), OpenOptions(shapes=shapes), tmp_path)
    assert not model.signature.dynamic


def test_a_size_that_is_said_holds_wherever_the_axis_has_its_name(tiny: Tiny, tmp_path: Path) -> None:
    model, _ = compared(tiny("llama"), OpenOptions(shapes={"input_ids": (1, 3)}), tmp_path)
    shapes = {spec.name: spec.shape for spec in model.signature.inputs}
    assert shapes["attention_mask"] == (1, "past_sequence_length + 3")
    assert shapes["position_ids"] == (1, 3)
    assert shapes["past_key_values.1.value"] == (1, 2, "past_sequence_length", 8)


def test_halves_are_stored_as_halves_and_computed_wide(tiny: Tiny, tmp_path: Path) -> None:
    import onnx
    import torch
    import transformers

    whole = transformers.LlamaForCausalLM.from_pretrained(tiny("llama"), local_files_only=True)
    narrow = tmp_path / "narrow"
    whole.to(torch.bfloat16).save_pretrained(narrow, max_shard_size="20KB")
    assert len(list(narrow.glob("*.safetensors"))) == 2
    model, artifact = converted(narrow, OpenOptions(), tmp_path)
    kinds = {item.data_type for item in onnx.load(tmp_path / "model.onnx").graph.initializer if np.prod(item.dims) >= 512}
    assert kinds == {onnx.TensorProto.BFLOAT16}
    wide = converted(tiny("llama"), OpenOptions(), tmp_path)[1]
    reference = reference_of(SOURCE.runner(narrow, OpenOptions()), model, ConvertOptions())
    for item, answer in zip(reference.sets, reference.answers, strict=True):
        got, exact = artifact.run(item.arrays)["logits"], wide.run(item.arrays)["logits"]
        assert noise(got, exact) < 1e-3 and noise(answer["logits"], exact) < 1e-3
        assert noise(got, answer["logits"]) < 1e-3


def noise(got: Array, wanted: Array) -> float:
    """Power of the difference as a share of the power."""
    return float(np.square(got - wanted).sum() / np.square(wanted).sum())


def test_generation_with_kept_keys_and_values_is_transformers_generation(
    real_asset: Callable[[str], Path], tmp_path: Path
) -> None:
    """A trained model of 260 K parameters: 200 greedy tokens, one at a time, are the same ones."""
    sentencepiece = pytest.importorskip("sentencepiece")
    import torch
    import transformers

    path = real_asset("llm/stories260K/hf")
    model, artifact = converted(path, OpenOptions(), tmp_path)
    assert [file.name for file in model.companions] == ["config.json", "tokenizer.model"]
    words = sentencepiece.SentencePieceProcessor(model_file=str(path / "tokenizer.model"))
    start = [1, *words.encode("Once upon a time")]
    original = transformers.LlamaForCausalLM.from_pretrained(path, local_files_only=True).eval()
    with torch.no_grad():
        wanted = original.generate(torch.tensor([start]), max_new_tokens=200, do_sample=False, eos_token_id=None)[0].tolist()
    got = generated(artifact, start, 200)
    assert got == wanted
    assert words.decode(got).startswith("Once upon a time, there was a little girl named Lily.")


def generated(artifact: Runner, tokens: list[int], count: int) -> list[int]:
    """Greedy tokens: the prompt first, then each token with what was kept of those before it."""
    kept = [spec for spec in artifact.signature.inputs if spec.name.startswith("past")]
    past: dict[str, Array] = {spec.name: np.zeros((1, spec.shape[1], 0, spec.shape[3]), np.float32) for spec in kept}  # type: ignore[misc]
    held, fed = list(tokens), list(tokens)
    for _ in range(count):
        places = np.arange(len(held) - len(fed), len(held))[None]
        ids = {"input_ids": np.array([fed]), "attention_mask": np.ones((1, len(held)), np.int64), "position_ids": places}
        answer = artifact.run({**ids, **past})
        fed = [int(answer["logits"][0, -1].argmax())]
        held += fed
        past = {name.replace("present", "past_key_values"): array for name, array in answer.items() if "present" in name}
    return held
