"""Weight-only schemes on both ONNX targets, executed in ONNX Runtime and held against the codes in numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

from bessemer.archive.bsm import save
from bessemer.ir.encoding import encoding_of, weight_of
from bessemer.ir.errors import UsageError
from bessemer.ir.model import Model
from bessemer.pipeline import ConvertOptions, normalise, open_model
from bessemer.quantize.judge import Judge, emulated
from bessemer.quantize.weights import quantize_weights
from bessemer.runners.graph import GraphRunner
from bessemer.targets.registry import find, validate

from .nets import conv_net, images, model_of, tokens, transformer

DENSE = """
net (float[2,5,72] x) => (float[10,24] y) {
  a = MatMul(x, w1)
  b = Relu(a)
  c = Reshape(b, shape)
  d = Gemm<transB=1>(c, w2, b2)
  e = Relu(d)
  y = Gemm(e, w3, b3)
}
"""


def dense(seed: int = 0) -> Model:
    """72 and 40 inputs: the last block of 32 (or 16) is partial."""
    rng = np.random.default_rng(seed)
    shapes = {"w1": (72, 40), "w2": (48, 40), "b2": (48,), "w3": (48, 24), "b3": (24,)}
    weights = {name: (rng.standard_normal(shape) * 0.3 + 0.05).astype(np.float32) for name, shape in shapes.items()}
    return model_of(DENSE, weights | {"shape": np.array([10, 40])})


def data(count: int = 3, seed: int = 1) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [{"x": rng.standard_normal((2, 5, 72)).astype(np.float32)} for _ in range(count)]


def by_hand(model: Model, x: np.ndarray) -> np.ndarray:
    """The net in numpy, with what the codes stand for."""
    real = {}
    for node in model.graph.graph:
        if node.op_type in ("MatMul", "Gemm"):
            held = weight_of(node.inputs[1])
            assert held is not None
            turned = node.op_type == "Gemm" and node.attributes.get_int("transB", 0)
            matrix = held.encoding.dequantize(held.integers)
            real[len(real)] = matrix.T if turned else matrix
    bias = {value.name: value.const_value.numpy() for value in model.graph.graph.initializers.values()}
    a = np.maximum(x @ real[0], 0).reshape(10, 40)
    return np.maximum(a @ real[1] + bias["b2"], 0) @ real[2] + bias["b3"]


def artifact(model: Model, target: str, options: dict[str, str], out: Path, samples=None):
    found = find(target).load()
    validated = validate(target, found, options)
    made, record = quantize_weights(model, validated, samples)
    prepared = found.prepare(Model(made.graph.clone(), made.origin), validated)
    return made, record, found.write(prepared, out, "net").files[0], prepared


def run(path: Path, feed: dict[str, np.ndarray]) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(None, feed)[0]


@pytest.mark.parametrize("block", ["16", "32", "0"])
@pytest.mark.parametrize("symmetric", ["true", "false"])
@pytest.mark.parametrize("precision", ["int4", "int8-weights"])
@pytest.mark.parametrize("target", ["onnx", "ort", "ort-qdq"])
def test_artifacts_compute_with_the_codes(target: str, precision: str, symmetric: str, block: str, tmp_path: Path) -> None:
    options = {"precision": precision, "symmetric": symmetric, "block": block}
    if target == "ort-qdq":
        target, options["blocks"] = "ort", "qdq"
    made, record, path, prepared = artifact(dense(), target, options, tmp_path)
    feed = data(1)[0]
    np.testing.assert_allclose(run(path, feed), by_hand(made, feed["x"]), rtol=2e-5, atol=2e-5)
    assert len(record.layers) == 3 and record.bytes_after < record.bytes_before / (2.5 if precision == "int8-weights" else 4)
    nbits = prepared.operators.get("com.microsoft.MatMulNBits", 0)
    if target == "ort" and "blocks" not in options and block != "0":
        assert nbits == 3
    if target == "onnx":
        assert prepared.operators["DequantizeLinear"] == 3


@pytest.mark.parametrize("algorithm", ["rtn", "gptq"])
@pytest.mark.parametrize(("symmetric", "block"), [("true", "32"), ("true", "0"), ("false", "32")])
@pytest.mark.parametrize("target", ["onnx", "ort"])
def test_searched_reaches_lose_less(target: str, symmetric: str, block: str, algorithm: str, tmp_path: Path) -> None:
    options = {"precision": "int4", "symmetric": symmetric, "block": block, "algorithm": algorithm}
    _, plain, _, _ = artifact(dense(), target, options, tmp_path, data(8))
    made, record, path, _ = artifact(dense(), target, {**options, "clip": "mmse"}, tmp_path, data(8))
    feed = data(1)[0]
    np.testing.assert_allclose(run(path, feed), by_hand(made, feed["x"]), rtol=2e-5, atol=2e-5)
    gains = [mine - theirs for (_, mine), (_, theirs) in zip(record.layers, plain.layers, strict=True)]
    assert sum(gains) > 0
    if algorithm == "rtn":
        assert min(gains) > 0


def test_int8_inside_the_kernel_is_another_result_but_near(tmp_path: Path) -> None:
    made, _, path, _ = artifact(dense(), "ort", {"precision": "int4", "accuracy_level": "4"}, tmp_path)
    node = next(node for node in onnx.load(path).graph.node if node.op_type == "MatMulNBits")
    assert {item.name: item.i for item in node.attribute}["accuracy_level"] == 4
    feed = data(1)[0]
    want = by_hand(made, feed["x"])
    gap = run(path, feed) - want
    assert 10 * np.log10(np.sum(want**2) / np.sum(gap**2)) > 30


def test_blocks_read_back_from_a_file_are_those_written(tmp_path: Path) -> None:
    made, _, path, _ = artifact(dense(), "onnx", {"precision": "int4"}, tmp_path)
    options = ConvertOptions()
    again = normalise(open_model(path, options.opening), options).model
    mine = [weight_of(node.inputs[1]) for node in made.graph.graph if node.op_type in ("MatMul", "Gemm")]
    theirs = [weight_of(node.inputs[1]) for node in again.graph.graph if node.op_type in ("MatMul", "Gemm")]
    for left, right in zip(mine, theirs, strict=True):
        assert left is not None and right is not None
        np.testing.assert_array_equal(left.integers, right.integers.astype(np.uint8))
        np.testing.assert_array_equal(left.encoding.scale, right.encoding.scale)


def test_kept_layers_and_products_of_activations_stay_float() -> None:
    asked = validate("onnx", find("onnx").load(), {"precision": "int4", "keep": "MatMul"})
    made, record = quantize_weights(dense(), asked, None)
    assert [reason for _, reason in record.floats] == ["kept by 'MatMul'"]
    assert sum(encoding_of(value) is not None for value in made.graph.graph.initializers.values()) == 2


def test_a_tied_embedding_keeps_its_floats_for_the_gather(tmp_path: Path) -> None:
    text = """
    net (int64[6] i) => (float[6,40000] y) {
      e = Gather(w, i)
      t = Transpose<perm=[1,0]>(w)
      y = MatMul(e, t)
    }
    """
    model = model_of(text, {"w": np.random.default_rng(0).standard_normal((40000, 64)).astype(np.float32)})
    assert any(node.op_type == "Transpose" for node in model.graph.graph), "too large to be folded"
    made, record, path, _ = artifact(model, "ort", {"precision": "int4"}, tmp_path)
    assert len(record.layers) == 1
    held = next(weight for value in made.graph.graph.initializers.values() if (weight := weight_of(value)))
    table = made.graph.graph.initializers["w"].const_value.numpy()
    index = np.array([3, 1, 4, 1, 5, 9])
    real = held.encoding.dequantize(held.integers)
    np.testing.assert_allclose(run(path, {"i": index}), table[index] @ real, rtol=1e-4, atol=1e-4)


def test_an_algorithm_without_its_data_is_refused() -> None:
    asks = ({"precision": "int4", "algorithm": "gptq"}, {"precision": "fp8"}, {"precision": "int8-dynamic", "smooth": "0.5"})
    for options in asks:
        asked = validate("onnx", find("onnx").load(), options)
        with pytest.raises(UsageError, match="needs calibration data"):
            quantize_weights(dense(), asked, None)


def test_nothing_to_quantize_is_said() -> None:
    model = model_of("net (float[2,2] x) => (float[2,2] y) { y = MatMul(x, x) }", {})
    with pytest.raises(UsageError, match="nothing to quantize"):
        quantize_weights(model, validate("onnx", find("onnx").load(), {"precision": "int4"}), [])


def dynamic_by_hand(x: np.ndarray) -> np.ndarray:
    """An activation as DynamicQuantizeLinear's definition rounds it."""
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    scale = np.float32((high - low) / 255)
    zero = np.clip(np.rint(-low / scale), 0, 255)
    return ((np.clip(np.rint(x / scale) + zero, 0, 255) - zero) * scale).astype(np.float32)


@pytest.mark.parametrize("target", ["onnx", "ort"])
def test_dynamic_products_compute_as_their_definition_says(target: str, tmp_path: Path) -> None:
    made, record, path, prepared = artifact(dense(), target, {"precision": "int8-dynamic"}, tmp_path)
    feed = data(1)[0]
    weights = [weight_of(node.inputs[1]) for node in made.graph.graph if node.op_type in ("MatMul", "Gemm")]
    real = [held.encoding.dequantize(held.integers) for held in weights if held is not None]
    bias = {name: made.graph.graph.initializers[name].const_value.numpy() for name in ("b2", "b3")}
    a = np.maximum(dynamic_by_hand(feed["x"]) @ real[0], 0).reshape(10, 40)
    b = np.maximum(dynamic_by_hand(a) @ real[1].T + bias["b2"], 0)
    want = dynamic_by_hand(b) @ real[2] + bias["b3"]
    np.testing.assert_allclose(run(path, feed), want, rtol=1e-4, atol=1e-3)
    assert len(record.layers) == 3
    if target == "onnx":
        assert prepared.operators["MatMulInteger"] == prepared.operators["DynamicQuantizeLinear"] == 3
    else:
        assert prepared.operators["com.microsoft.DynamicQuantizeMatMul"] == 3, "the optimiser did not join them"


@pytest.mark.parametrize("target", ["onnx", "ort"])
def test_dynamic_convolutions_run_and_agree_with_the_emulation(target: str, tmp_path: Path) -> None:
    model = conv_net()
    made, record, path, prepared = artifact(model, target, {"precision": "int8-dynamic"}, tmp_path)
    feed = images(1)[0]
    want = next(iter(GraphRunner(emulated(made.graph), optimize=False).run(feed).values()))
    np.testing.assert_allclose(run(path, feed), want, rtol=1e-3, atol=1e-3)
    float_ = next(iter(GraphRunner(model.graph).run(feed).values()))
    assert 10 * np.log10(np.sum(float_**2) / np.sum((want - float_) ** 2)) > 25
    assert len(record.layers) == 5 and prepared.operators["ConvInteger"] == 4


def test_smoothing_raises_what_dynamic_int8_keeps_of_outliers() -> None:
    for seed in range(3):
        model = transformer(seed)
        judge = Judge(model, tokens(16, seed=99))
        plain, _ = quantize_weights(model, validate("ort", find("ort").load(), {"precision": "int8-dynamic"}), None)
        asked = validate("ort", find("ort").load(), {"precision": "int8-dynamic", "smooth": "0.5"})
        better, record = quantize_weights(model, asked, tokens(32))
        assert judge(better) > judge(plain) + 3
        assert "SmoothQuant (0.5) scaled 3 inputs" in record.notes[0]


@pytest.mark.parametrize("kind", ["e4m3fn", "e5m2"])
def test_float8_runs_as_its_encodings_say(kind: str, tmp_path: Path) -> None:
    """The reference evaluator of ONNX and ONNX Runtime, both without our code."""
    made, record, path, prepared = artifact(
        dense(), "onnx", {"precision": "fp8", "float8": kind}, tmp_path, samples=data(8, seed=5)
    )
    feed = data(1)[0]
    got = run(path, feed)
    np.testing.assert_allclose(got, ReferenceEvaluator(str(path)).run(None, feed)[0], rtol=1e-4, atol=1e-3)
    emulation = next(iter(GraphRunner(emulated(made.graph), optimize=False).run(feed).values()))
    np.testing.assert_allclose(got, emulation, rtol=1e-4, atol=1e-3)
    float_ = next(iter(GraphRunner(dense().graph).run(feed).values()))
    assert 10 * np.log10(np.sum(float_**2) / np.sum((got - float_) ** 2)) > (25 if kind == "e4m3fn" else 19)
    assert prepared.operators["QuantizeLinear"] == 3 and prepared.operators["DequantizeLinear"] == 6
    types = {item.data_type for item in onnx.load(path).graph.initializer}
    assert getattr(onnx.TensorProto, f"FLOAT8{kind.upper()}") in types and len(record.layers) == 3


def test_float8_leaves_the_residual_stream_alone() -> None:
    model = transformer()
    made, _ = quantize_weights(model, validate("onnx", find("onnx").load(), {"precision": "fp8"}), tokens(4))
    adds = [node for node in made.graph.graph if node.op_type == "Add"]
    assert adds and all(encoding_of(value) is None for node in adds for value in node.inputs)
    makers = [value.producer() for node in adds for value in node.inputs]
    assert not any(maker is not None and maker.op_type == "DequantizeLinear" for maker in makers)


@pytest.mark.parametrize("precision", ["int4", "int8-weights", "int8-dynamic", "fp8"])
def test_an_archive_keeps_every_encoding(precision: str, tmp_path: Path) -> None:
    """Saved between stages and read back, the model computes the same to the bit."""
    original = tmp_path / "net.onnx"
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [])), original)
    made, _ = quantize_weights(dense(), validate("onnx", find("onnx").load(), {"precision": precision}), data(4))
    place = tmp_path / "net.bsm"
    save(made, "rewrite", place, original=original, home=tmp_path, signature=None, operators={}, passes=[])
    again = open_model(place, ConvertOptions().opening)
    feed = data(1)[0]
    want, got = (GraphRunner(emulated(model.graph), optimize=False).run(feed)["y"] for model in (made, again))
    np.testing.assert_array_equal(got, want)
