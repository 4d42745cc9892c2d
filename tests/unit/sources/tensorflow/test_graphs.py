"""Frozen graphs of whole models: read, run in ONNX Runtime and in LiteRT, compared with TensorFlow; no stray Transposes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.sources.tensorflow import graphs
from tests.unit.targets.tflite.conversion import execute, prepare

from bessemer.opening import normalise, open_model
from bessemer.request import ConvertOptions

IMAGE = {
    "mobilenet": ((96, 96, 3), 1), "deeplab": ((65, 65, 3), 2), "squeezed": ((16, 16, 3), 1), "unet": ((32, 32, 3), 2),
    "causal": ((64, 6), 1), "detector": ((64, 64, 3), 4), "audio": ((4000,), 0), "attention": ((12, 32), 0),
}  # fmt: skip
"""Shape behind the batch, and how many Transposes there may be: one for each border that is an image, and for heads."""


@pytest.fixture(scope="module")
def keras() -> Iterator[Any]:
    """Keras 2, which writes the graphs that are about."""
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    pytest.importorskip("tensorflow")
    held = pytest.importorskip("tf_keras")
    held.utils.set_random_seed(1)
    yield held


def feeds_of(shape: tuple[int, ...]) -> dict[str, Any]:
    return {"x": np.random.default_rng(5).uniform(-1, 1, shape).astype(np.float32)}


def check(
    path: Path, feeds: dict[str, Any], folder: Path, transposes: int, litert: bool, close: float = 1e-4
) -> Counter[str]:
    """Verified; the optimised graph's operators."""
    import onnx_ir
    import onnxruntime as ort

    model = open_model(path, ConvertOptions().opening)
    raw = folder / "raw.onnx"
    onnx_ir.save(model.graph, raw)
    names = [str(value.name) for value in model.graph.graph.outputs]
    right = graphs.answered(path, names, feeds)
    made = ort.InferenceSession(str(raw), providers=["CPUExecutionProvider"]).run(names, feeds)
    for name, mine, wanted in zip(names, made, right, strict=True):
        np.testing.assert_allclose(mine, wanted, rtol=close, atol=close, err_msg=name)
    normalise(model, ConvertOptions())
    found = Counter(node.op_type for node in model.graph.graph.all_nodes())
    assert found["Transpose"] <= transposes, found
    if litert:
        answer = execute(prepare(path), folder, feeds)
        for name, wanted in zip(names, right, strict=True):
            np.testing.assert_allclose(answer[name], wanted, rtol=close, atol=close, err_msg=name)
    return found


@pytest.mark.parametrize("batch", [1, None])
@pytest.mark.parametrize("name", IMAGE)
def test_models_of_one_input(name: str, batch: int | None, keras: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    shape, transposes = IMAGE[name]
    if name == "detector" and batch is None:
        pytest.skip("suppression of all classes together wants to know how many images there are")
    run = getattr(graphs, name)(tf, keras)
    path = graphs.frozen(tmp_path / "model.pb", run, [tf.TensorSpec((batch, *shape), tf.float32, name="x")])
    litert = batch == 1 and name != "detector"
    found = check(path, feeds_of((batch or 2, *shape)), tmp_path, transposes, litert)
    if name in ("deeplab", "causal"):
        assert not found["Pad"] + found["Slice"] - (name == "causal"), (
            "dilations are attributes of the convolutions"
        )
    if name == "attention" and batch == 1:
        assert found["LayerNormalization"] == 1


@pytest.mark.parametrize("dims", [(1, 12), (None, 12), (None, None)])
def test_an_encoder_of_three_inputs(dims: tuple[int | None, ...], keras: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    path = graphs.frozen(tmp_path / "bert.pb", graphs.encoder(tf, keras), [tf.TensorSpec(dims, tf.int32)] * 3)
    rng, shape = np.random.default_rng(2), (dims[0] or 3, dims[1] or 9)
    feeds = {
        "ids": rng.integers(0, 50, shape),
        "mask": rng.random(shape) < 0.8,
        "types": rng.integers(0, 2, shape),
    }
    held = {name: np.asarray(array, np.int32) for name, array in feeds.items()}
    found = check(path, held, tmp_path, 8, litert=dims[0] == 1)
    assert found["LayerNormalization"] == 5 and found["Gelu"] == 2


def test_what_training_rounded_is_stored_in_integers(keras: Any, tmp_path: Path) -> None:
    """FakeQuant of a weight becomes its encoding: the TFLite file has it in a byte per number, in LiteRT's own order."""
    import tensorflow as tf

    from bessemer.wire.tflite import read
    from bessemer.wire.tflite.schema import TensorType

    run = graphs.trained_for_integers(tf, keras)
    path = graphs.frozen(tmp_path / "qat.pb", run, [tf.TensorSpec((1, 16, 16, 3), tf.float32, name="x")])
    found = check(path, feeds_of((1, 16, 16, 3)), tmp_path, 1, litert=True, close=0.04)
    assert found["Transpose"] == 1
    tensors = read(tmp_path / "model.tflite").subgraphs[0].tensors
    stored = {tuple(item.shape): item for item in tensors if item.type == TensorType.INT8}
    assert {(8, 3, 3, 3), (4, 8)} <= set(stored), sorted(stored)
    scales = stored[8, 3, 3, 3].quantization
    assert scales is not None and len(scales.scale or ()) == 8
