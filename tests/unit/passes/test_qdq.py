"""Quantized models through encodings and back, bit for bit in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from bessemer.ir.encoding import encoding_of, quantize, weight_of
from bessemer.ir.numbers import integer_range
from bessemer.passes.materialize import MaterializeQdq, encoding_blockers, needed_opset
from bessemer.passes.qdq import AbsorbQdq
from bessemer.runners.onnxruntime import OrtRunner

RNG = np.random.default_rng(3)


def q(name: str, source: str, zero: str = "z") -> Any:
    return helper.make_node("QuantizeLinear", [source, "s", zero], [name], name=f"q_{name}")


def dq(name: str, source: str, zero: str = "z") -> Any:
    return helper.make_node("DequantizeLinear", [source, "s", zero], [name], name=f"dq_{name}")


def qdq_model(path: Path, kind: Any = np.uint8, opset: int = 21) -> Path:
    """input Q/DQ, per-channel conv with int32 bias, relu, inner Q/DQ, a value used twice, output Q/DQ."""
    scale = (RNG.random(4) * 0.01 + 0.001).astype(np.float32)
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    held = {
        "s": np.array(0.02, np.float32),
        "z": np.array((low + high) // 2, kind),
        "w": RNG.integers(-127, 127, (4, 3, 3, 3)).astype(np.int8),
        "ws": scale,
        "wz": np.zeros(4, np.int8),
        "b": RNG.integers(-500, 500, 4).astype(np.int32),
        "bs": scale * np.float32(0.02),
    }
    nodes = [
        q("xq", "x"),
        dq("xd", "xq"),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0),
        helper.make_node("DequantizeLinear", ["b", "bs"], ["bd"], axis=0),
        helper.make_node("Conv", ["xd", "wd", "bd"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        q("rq", "r"),
        dq("rd", "rq"),
        dq("rd2", "rq"),
        helper.make_node("MaxPool", ["rd"], ["p"], kernel_shape=[2, 2]),
        helper.make_node("Sigmoid", ["rd2"], ["g"]),
        helper.make_node("ReduceMax", ["g"], ["m"], keepdims=1),
        helper.make_node("Mul", ["p", "m"], ["t"]),
        q("tq", "t"),
        dq("y", "tq"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in held.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10), path)
    return path


def there_and_back(path: Path, out: Path, opset: int) -> onnx_ir.Model:
    graph = onnx_ir.from_proto(onnx.shape_inference.infer_shapes(onnx.load(path)))
    AbsorbQdq().run(graph)
    onnx_ir.save(_materialized(graph, opset), out)
    return graph


def _materialized(graph: onnx_ir.Model, opset: int) -> onnx_ir.Model:
    copy = graph.clone()
    assert not MaterializeQdq(opset).run(copy).declined
    return copy


@pytest.mark.parametrize(("kind", "opset"), [(np.uint8, 13), (np.int8, 13), (np.uint16, 21), (np.int16, 21)])
def test_bit_identical(tmp_path: Path, kind: Any, opset: int) -> None:
    path = qdq_model(tmp_path / "a.onnx", kind, opset)
    graph = there_and_back(path, tmp_path / "b.onnx", opset)
    for scale in (0.1, 1.0, 30.0):
        fed = {"x": (RNG.standard_normal((1, 3, 8, 8)) * scale).astype(np.float32)}
        want, got = OrtRunner(path).run(fed)["y"], OrtRunner(tmp_path / "b.onnx").run(fed)["y"]
        np.testing.assert_array_equal(want, got)
    kept = [node.op_type for node in graph.graph if "quantize" in node.op_type.lower()]
    assert kept == ["QuantizeLinear", "DequantizeLinear"], "only the border pair stays as nodes"


def test_encodings_stand_on_values(tmp_path: Path) -> None:
    graph = onnx_ir.load(qdq_model(tmp_path / "a.onnx"))
    AbsorbQdq().run(graph)
    conv = next(node for node in graph.graph if node.op_type == "Conv")
    weight, bias = weight_of(conv.inputs[1]), weight_of(conv.inputs[2])
    assert weight is not None and weight.encoding.axis == 0 and weight.integers.dtype == np.int8
    assert bias is not None and bias.encoding.dtype == "INT32"
    output = encoding_of(graph.graph.outputs[0])
    assert output is not None and output.dtype == "UINT8"
    assert encoding_of(conv.outputs[0]) is None, "the encoding belongs to what the Relu makes"


def test_an_opset_without_the_type_is_a_blocker(tmp_path: Path) -> None:
    graph = onnx_ir.load(qdq_model(tmp_path / "a.onnx", np.int16))
    AbsorbQdq().run(graph)
    assert needed_opset(graph) == 21
    blockers = encoding_blockers(graph, 17)
    assert blockers and all("opset 21" in blocker.reason for blocker in blockers)


def test_quantize_follows_the_runtime(tmp_path: Path) -> None:
    path = qdq_model(tmp_path / "a.onnx", np.int8)
    graph = onnx_ir.load(path)
    AbsorbQdq().run(graph)
    encoding = encoding_of(graph.graph.outputs[0])
    assert encoding is not None
    values = np.concatenate([RNG.standard_normal(500) * 3, np.arange(-50, 50) * 0.01]).astype(np.float32)
    proto = helper.make_model(
        helper.make_graph(
            [q("y", "x")],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [600])],
            [helper.make_tensor_value_info("y", TensorProto.INT8, [600])],
            [numpy_helper.from_array(encoding.scale, "s"), numpy_helper.from_array(encoding.zero_point, "z")],
        ),
        opset_imports=[helper.make_opsetid("", 13)],
        ir_version=8,
    )
    onnx.save(proto, tmp_path / "q.onnx")
    want = OrtRunner(tmp_path / "q.onnx").run({"x": values})["y"]
    np.testing.assert_array_equal(quantize(values, encoding), want)
    assert integer_range("UINT4") == (0, 15) and integer_range("INT2") == (-2, 1)


def test_blocked_int4_weight(tmp_path: Path) -> None:
    integers = RNG.integers(-8, 8, (8, 6)).astype(np.int8)
    packed = helper.make_tensor("w", TensorProto.INT4, [8, 6], integers.reshape(-1).tolist())
    scale = (RNG.random((2, 6)) + 0.1).astype(np.float32)
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "ws"], ["wd"], axis=0, block_size=4),
        helper.make_node("MatMul", ["x", "wd"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 6])],
        [packed, numpy_helper.from_array(scale, "ws")],
    )
    path = tmp_path / "a.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    made = there_and_back(path, tmp_path / "b.onnx", 21)
    assert [node.op_type for node in made.graph] == ["MatMul"]
    fed = {"x": RNG.standard_normal((2, 8)).astype(np.float32)}
    np.testing.assert_array_equal(OrtRunner(path).run(fed)["y"], OrtRunner(tmp_path / "b.onnx").run(fed)["y"])


def test_qoperator_model_means_the_same(tmp_path: Path, real_asset: Any) -> None:
    """Joined into integer kernels again, the Q/DQ form of a QLinearConv network answers bit for bit the same."""
    path = real_asset("imagenet_classifiers/mobilenet_v2_quant.onnx")
    proto = onnx.version_converter.convert_version(onnx.load(path), 13)
    graph = onnx_ir.from_proto(onnx.shape_inference.infer_shapes(proto))
    assert AbsorbQdq().run(graph).changed
    assert not [node for node in graph.graph if node.op_type.startswith("QLinear")]
    MaterializeQdq(13).run(graph)
    onnx_ir.save(graph, tmp_path / "b.onnx")
    fed = {OrtRunner(path).signature.inputs[0].name: RNG.standard_normal((1, 3, 224, 224)).astype(np.float32)}
    want = OrtRunner(path).run(fed)
    got = OrtRunner(tmp_path / "b.onnx", optimize=True).run(fed)
    for name in want:
        np.testing.assert_array_equal(want[name], got[name])
