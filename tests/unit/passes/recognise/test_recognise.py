"""Weights of known architectures in graphs of two kinds, ours and torch's: found again to the bit, with their settings."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

pytest.importorskip("transformers")
pytest.importorskip("onnxscript")

from tests.unit.sources.decoder import zoo

from bessemer.architectures.base import find
from bessemer.ir.checkpoint import Checkpoint
from bessemer.ir.errors import Declined, UsageError
from bessemer.ir.model import Model
from bessemer.opening import normalise, open_model
from bessemer.passes.recognise.checkpoint import checkpoint_of
from bessemer.request import ConvertOptions
from bessemer.sources.base import OpenOptions
from bessemer.sources.huggingface.drawn import weights_alone
from bessemer.sources.onnx.checkpoint import checkpoint
from bessemer.targets.onnx.target import TARGET, OnnxOptions
from bessemer.weights.views import stored

CONTEXT = {"max_position_embeddings": 64}
Graph = Literal["table", "torch"]


def exported(path: Path, out: Path, graph: Graph, opset: int | None = None) -> Path:
    model = open_model(path, OpenOptions(graph=graph))
    normalise(model, ConvertOptions())
    prepared = TARGET.prepare(Model(model.graph, model.origin), OnnxOptions(opset=opset))
    return TARGET.write(prepared, out, "model").path


def canonical(path: Path) -> Model:
    model = open_model(path, OpenOptions())
    normalise(model, ConvertOptions())
    return model


def config_of(path: Path) -> dict[str, Any]:
    held: dict[str, Any] = json.loads((path / "config.json").read_text())
    return held


def same_bits(found: Checkpoint, path: Path) -> None:
    original = weights_alone(path, config_of(path)).tensors
    assert set(found.tensors) == set(original)
    for name, tensor in found.tensors.items():
        assert tensor.type == original[name].type and tensor.shape == original[name].shape
        np.testing.assert_array_equal(stored(tensor), stored(original[name]), err_msg=name)


def same_decoder(found: Checkpoint, path: Path) -> None:
    """The recovered settings mean what the original's do."""
    config = {**config_of(path), **CONTEXT}
    assert find(found.config).decoder(found.config) == find(config).decoder(config)


@pytest.mark.parametrize("graph", ["table", pytest.param("torch", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["qwen2", "gpt2", "phi", "qwen3"])
def test_weights_and_settings_come_back(name: str, graph: Graph, tmp_path: Path) -> None:
    path = zoo.made(name, tmp_path)[1]
    found = checkpoint_of(canonical(exported(path, tmp_path, graph)), CONTEXT)
    same_bits(found, path)
    same_decoder(found, path)


@pytest.mark.parametrize(("graph", "opset"), [("table", None), ("table", 17), ("torch", None)])
def test_the_stories_model_comes_back(
    graph: Graph, opset: int | None, real_asset: Callable[[str], Path], tmp_path: Path
) -> None:
    path = real_asset("llm/stories260K/hf")
    file = exported(path, tmp_path, graph, opset)
    same_bits(checkpoint_of(canonical(file), CONTEXT), path)
    (tmp_path / "config.json").write_text(json.dumps(config_of(path)))
    proven = checkpoint(file, OpenOptions())
    same_bits(proven, path)
    assert proven.config == config_of(path)


@pytest.mark.parametrize("name", ["gemma", "gemma2", "olmo2", "granite", "phi3", "stablelm"])
def test_with_its_settings_said_any_dense_decoder_comes_back(name: str, tmp_path: Path) -> None:
    path = zoo.made(name, tmp_path)[1]
    file = exported(path, tmp_path, "table")
    (tmp_path / "config.json").write_text((path / "config.json").read_text())
    found = checkpoint(file, OpenOptions())
    original = weights_alone(path, config_of(path)).tensors
    assert set(found.tensors) == set(original)
    for key, tensor in found.tensors.items():
        near = {"rtol": 0, "atol": 2e-7} if name.startswith("gemma") and "norm" in key else {"rtol": 0, "atol": 0}
        np.testing.assert_allclose(stored(tensor), stored(original[key]), err_msg=key, **near)


def test_halves_stay_halves(tmp_path: Path) -> None:
    import torch

    model = zoo.made("llama", tmp_path)[0]
    narrow = tmp_path / "narrow"
    model.to(torch.bfloat16).save_pretrained(narrow)
    found = checkpoint_of(canonical(exported(narrow, tmp_path, "table")), CONTEXT)
    large = {name: tensor.type for name, tensor in found.tensors.items() if tensor.size >= 64}
    assert set(large.values()) == {"BF16"}
    original = weights_alone(narrow, config_of(narrow)).tensors
    assert all(np.array_equal(stored(found.tensors[name]), stored(original[name])) for name in large)


def test_what_the_graph_does_not_tell_is_asked_for(tmp_path: Path) -> None:
    file = exported(zoo.made("llama", tmp_path)[1], tmp_path, "table")
    with pytest.raises(UsageError, match=r"does not tell max_position_embeddings[\s\S]*--config config.json"):
        checkpoint_of(canonical(file))


def test_settings_that_contradict_the_graph_are_declined(tmp_path: Path) -> None:
    path = zoo.made("llama", tmp_path)[1]
    file = exported(path, tmp_path, "table")
    for key, value, said in (
        ("rope_theta", 500.0, "base of frequencies"), ("num_attention_heads", 8, "heads"), ("rms_norm_eps", 1e-3, "epsilon"),
        ("hidden_act", "gelu", "activation|hidden_act"),
    ):  # fmt: skip
        config = {key: value for key, value in config_of(path).items() if key != "rope_parameters"}
        with pytest.raises(Declined, match=said):
            checkpoint_of(canonical(file), {**config, key: value})


def test_what_only_shows_in_the_answers_is_caught_by_them(tmp_path: Path) -> None:
    """A factor of the states that the settings have and the graph has not."""
    path = zoo.made("granite", tmp_path)[1]
    file = exported(path, tmp_path, "table")
    (tmp_path / "config.json").write_text(json.dumps({**config_of(path), "residual_multiplier": 0.9}))
    with pytest.raises(Declined, match="answers otherwise than the file does"):
        checkpoint(file, OpenOptions())


def test_other_graphs_are_declined(tmp_path: Path) -> None:
    import onnx
    from onnx import helper

    shape = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2, 3])
    out = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2, 3])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "plain", [shape], [out])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "plain.onnx")
    with pytest.raises(Declined, match="no Attention operator, was found"):
        checkpoint(tmp_path / "plain.onnx", OpenOptions())
    file = exported(zoo.made("mixtral", tmp_path)[1], tmp_path, "table")
    with pytest.raises(Declined, match="dense feed-forwards were found for 2 attentions"):
        checkpoint_of(canonical(file), CONTEXT)
