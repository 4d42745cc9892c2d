"""Transposes that settle, each graph against itself in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.unit.sources.tflite.single import Builder, scaled

from bessemer.passes.transposes import SettleTransposes

RNG = np.random.default_rng(3)
NHWC, NCHW = [0, 2, 3, 1], [0, 3, 1, 2]


def node(op: str, *names: str, **attributes: Any) -> onnx.NodeProto:
    """`names`: inputs, then the output."""
    return helper.make_node(op, list(names[:-1]), [names[-1]], **attributes)


def ints(name: str, *values: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def matrix(name: str, *shape: int) -> onnx.TensorProto:
    return numpy_helper.from_array(RNG.normal(size=shape).astype(np.float32), name)


def settled(
    nodes: list[Any], constants: list[Any], shape: tuple[int | str, ...], outputs: tuple[str, ...] = ("y",)
) -> dict[str, int]:
    """Operators that are left; the values are as before."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    outs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    proto = helper.make_model(
        helper.make_graph(nodes, "g", [x], outs, constants), opset_imports=[helper.make_opsetid("", 21)], ir_version=10
    )
    proto = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    graph = onnx_ir.from_proto(proto)
    SettleTransposes().run(graph)
    after = onnx_ir.to_proto(graph)
    onnx.checker.check_model(after, full_check=True)
    feeds = {"x": np.abs(RNG.normal(size=[2 if isinstance(d, str) else d for d in shape])).astype(np.float32)}
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    pairs = [ort.InferenceSession(m.SerializeToString(), options).run(None, feeds) for m in (proto, after)]
    for want, got in zip(*pairs, strict=True):
        assert want.shape == got.shape
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    counts: dict[str, int] = {}
    for item in after.graph.node:
        counts[item.op_type] = counts.get(item.op_type, 0) + 1
    return counts


@pytest.mark.parametrize("batch", [3, "n"])
@pytest.mark.parametrize("between", ["Relu", "Neg", "Sqrt"])
def test_two_meet_behind_a_reshape(batch: int | str, between: str) -> None:
    nodes = [
        node("Transpose", "x", "a", perm=NHWC),
        node(between, "a", "b"),
        node("Reshape", "b", "rows", "c"),
        node("Transpose", "c", "y", perm=[0, 2, 1]),
    ]
    assert settled(nodes, [ints("rows", -1, 30, 8)], (batch, 8, 5, 6)) == {between: 1, "Reshape": 1}


def test_axes_of_one_are_reshaped() -> None:
    nodes = [node("Reshape", "x", "image", "a"), node("Transpose", "a", "b", perm=NCHW), node("Abs", "b", "y")]
    assert settled(nodes, [ints("image", -1, 7, 1, 1)], ("n", 7)) == {"Reshape": 1, "Abs": 1}


@pytest.mark.parametrize("layer", ["Gemm", "Gemm turned", "MatMul"])
@pytest.mark.parametrize("batch", [1, 3, "n"])
@pytest.mark.parametrize("flat", ["Reshape", "Flatten"])
def test_a_flatten_goes_into_the_weights(layer: str, batch: int | str, flat: str) -> None:
    turned = layer == "Gemm turned"
    nodes = [
        node("Transpose", "x", "a", perm=NHWC),
        node("Relu", "a", "b"),
        node("Flatten", "b", "c") if flat == "Flatten" else node("Reshape", "b", "rows", "c"),
        node(layer.split()[0], "c", "w", "y", **({"transB": 1} if turned else {})),
    ]
    constants = [ints("rows", -1, 240), matrix("w", *((4, 240) if turned else (240, 4)))]
    left = settled(nodes, constants, (batch, 8, 5, 6))
    assert "Transpose" not in left


def test_no_end_in_sight() -> None:
    """A detection head whose places come before its channels really is in another order."""
    nodes = [node("Transpose", "x", "a", perm=NHWC), node("Reshape", "a", "rows", "b"), node("Softmax", "b", "y")]
    assert settled(nodes, [ints("rows", 1, -1, 4)], (1, 8, 5, 6))["Transpose"] == 1


def test_what_others_see_keeps_its_order() -> None:
    nodes = [
        node("Transpose", "x", "a", perm=NHWC),
        node("Relu", "a", "b"),
        node("Transpose", "b", "y", perm=NCHW),
    ]
    assert settled(nodes, [], (2, 8, 5, 6), ("y", "b"))["Transpose"] == 2
    assert settled(nodes, [], (2, 8, 5, 6)) == {"Relu": 1}


def test_quantized_weights_are_reordered_as_integers(tmp_path: Path) -> None:
    """A flatten between an average pooling and a quantized dense layer of a TFLite file."""
    from tests.unit.sources.tflite.single import both

    from bessemer.opening import normalise, open_model
    from bessemer.request import ConvertOptions
    from bessemer.targets.onnx.target import TARGET

    build = Builder()
    step = scaled(1 / 32, -3)
    x = build.input(RNG.integers(-128, 128, (2, 4, 6, 8)), "int8", quantization=step)
    pooled = build.tensor((2, 2, 3, 8), "int8", quantization=step)
    build.op(
        "MAX_POOL_2D", [x], [pooled], table="Pool2DOptions", padding=1, stride_w=2, stride_h=2, filter_width=2,
        filter_height=2,
    )  # fmt: skip
    table = build.const(RNG.integers(-127, 128, (5, 48)), "int8", quantization=scaled(1 / 100))
    out = build.tensor((2, 5), "int8", quantization=scaled(1 / 8))
    bias = build.const(np.zeros(5), "int32", quantization=scaled(1 / 3200))
    flat = build.tensor((2, 48), "int8", quantization=step)
    build.op("RESHAPE", [pooled, build.const([2, 48], "int32")], [flat], table="ReshapeOptions", new_shape=[2, 48])
    build.op("FULLY_CONNECTED", [flat, table, bias], [out], table="FullyConnectedOptions")
    path = build.save([out], tmp_path / "m.tflite")
    model = open_model(path, ConvertOptions().opening)
    normalise(model, ConvertOptions())
    prepared = TARGET.prepare(model, TARGET.options())
    assert prepared.operators.get("Transpose", 0) == 1  # the image that comes in
    runner = TARGET.runner(TARGET.write(prepared, tmp_path, "m").path)
    ((want, _),) = both(path, build.feeds)
    (got,) = runner.run(build.feeds).values()
    assert np.abs(want.astype(int) - got.astype(int)).max() <= 1
