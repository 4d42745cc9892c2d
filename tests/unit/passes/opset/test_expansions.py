"""Each expansion on its way down: legal at the old opset, and the standard's evaluator agrees before and after."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from bessemer.ir.canonical import OPSET
from bessemer.passes.opset import ConvertOpset
from bessemer.passes.opset.expansions.nodes import EXPANSIONS
from bessemer.passes.standard import standard_passes

R = np.random.default_rng(7)
IMAGE = R.standard_normal((1, 2, 5, 6)).astype(np.float32)
EDGES = np.array([-np.inf, np.nan, -0.5, 0.5, 1.5, 2.5, -2.5, 3.2, np.inf, 0.0], np.float32)
GRID = R.uniform(-1.3, 1.3, (1, 3, 4, 2)).astype(np.float32)
LARGE = np.array([[2**53 + 1, -(2**53) - 1, 5, -(2**62)], [0, 3, -7, 2**62]], np.int64)

CASES: list[tuple[str, int, str, list[Any], dict[str, Any]]] = [
    # name, opset, operator, inputs (a tuple holds a constant), attributes
    ("expand", 7, "Expand", [IMAGE[:, :, :1], (np.array([2, 1, 5, 6]),)], {}),
    ("expand bool", 7, "Expand", [IMAGE > 0, (np.array([3, 2, 5, 6]),)], {}),
    ("where inf", 7, "Where", [EDGES > 1, EDGES, np.array(-np.inf, np.float32)], {}),
    ("where broadcast", 8, "Where", [IMAGE > 0, IMAGE[:, :1], IMAGE[:, :, :1]], {}),
    ("trilu upper", 13, "Trilu", [IMAGE, (np.array(1),)], {}),
    ("trilu lower", 7, "Trilu", [LARGE], {"upper": 0}),
    ("slice steps", 7, "Slice", [IMAGE, *((np.array(i),) for i in ([4, 0], [-9, 6], [2, 3], [-2, 3]))], {}),
    ("pad wrap", 17, "Pad", [IMAGE, (np.array([2, 3, 1, 0]),), None, (np.array([2, 3]),)], {"mode": "wrap"}),
    ("pad edge int", 7, "Pad", [LARGE, (np.array([1, 2, 0, 1]),)], {"mode": "edge"}),
    ("pad value", 7, "Pad", [IMAGE, (np.array([0, 0, 1, 0, 0, 0, 0, 2]),), np.array(3, np.float32)], {}),
    ("gather elements", 7, "GatherElements", [LARGE, np.array([[0, -1, 1, 0]])], {"axis": 0}),
    ("gather nd", 7, "GatherND", [IMAGE, np.array([[0, 1, -1], [0, 0, 2]])], {}),
    ("gather nd batch", 11, "GatherND", [IMAGE[0], np.array([[[1]], [[-1]]])], {"batch_dims": 1}),
    ("one hot", 7, "OneHot", [np.array([0, -1, 5]), (np.array(4),), np.array([2, 9], np.float32)], {"axis": 0}),
    ("is nan", 7, "IsNaN", [EDGES], {}),
    ("is inf", 7, "IsInf", [EDGES], {"detect_negative": 0}),
    ("equal nan", 7, "Equal", [EDGES, EDGES[::-1].copy()], {}),
    ("equal unsigned", 7, "Equal", [np.array([1, 2**63, 0], np.uint64), np.array([2, 2**63, 2**32], np.uint64)], {}),
    ("less wide", 7, "Less", [LARGE, LARGE[::-1].copy()], {}),
    ("greater wide", 8, "Greater", [LARGE, LARGE - np.array([1, 0, -1, 0])], {}),
    ("max int", 8, "Max", [LARGE, LARGE[::-1].copy(), np.array(4)], {}),
    ("min broadcast", 7, "Min", [IMAGE, IMAGE[:, :1]], {}),
    ("sum broadcast", 7, "Sum", [IMAGE, IMAGE[:, :1]], {}),
    ("mod", 9, "Mod", [np.array([-7, 7, -7, 7, 6]), np.array([3, -3, -3, 3, -3])], {}),
    ("mod fmod", 7, "Mod", [np.array([-7, 7, -7, 7]), np.array([3, -3, -3, 3])], {"fmod": 1}),
    ("round", 7, "Round", [EDGES], {}),
    ("shift left", 7, "BitShift", [np.array([1, 255], np.uint8), (np.array([3, 9], np.uint8),)], {"direction": "LEFT"}),
    ("shift right", 9, "BitShift", [np.array([9, 255], np.uint32), (np.array([3], np.uint32),)], {"direction": "RIGHT"}),
    ("cum sum", 7, "CumSum", [IMAGE, (np.array(3),)], {"reverse": 1, "exclusive": 1}),
    ("cum prod", 21, "CumProd", [IMAGE, (np.array(-1),)], {"exclusive": 1}),
    ("last index", 11, "ArgMax", [np.array([[1, 3, 3, 0]], np.float32)], {"axis": -1, "select_last_index": 1}),
    ("smallest", 10, "TopK", [IMAGE, (np.array([3]),)], {"largest": 0}),
    ("noop", 7, "ReduceSum", [IMAGE], {"noop_with_empty_axes": 1}),
    ("resize cubic", 10, "Resize", [IMAGE, None, (np.array([1, 1, 1.5, 0.6], np.float32),)], {"mode": "cubic"}),
    ("resize half pixel", 7, "Resize", [IMAGE, None, None, (np.array([1, 2, 8, 9]),)], {"mode": "linear"}),
    ("resize antialias", 17, "Resize", [IMAGE, None, None, (np.array([1, 2, 3, 4]),)],
     {"mode": "linear", "antialias": 1}),
    ("resize aspect", 17, "Resize", [IMAGE, None, None, (np.array([7, 8]),)],
     {"mode": "nearest", "axes": [2, 3], "keep_aspect_ratio_policy": "not_larger"}),
    ("grid linear", 15, "GridSample", [IMAGE, GRID], {"mode": "linear"}),
    ("grid reflected", 9, "GridSample", [IMAGE, GRID],
     {"mode": "linear", "padding_mode": "reflection", "align_corners": 1}),
    ("grid nearest", 11, "GridSample", [IMAGE, GRID], {"mode": "nearest", "padding_mode": "border"}),
    ("grid volume", 18, "GridSample", [R.standard_normal((2, 1, 3, 4, 2)).astype(np.float32),
                                       R.uniform(-1.2, 1.2, (2, 2, 2, 3, 3)).astype(np.float32)], {}),
    ("einsum", 11, "Einsum", [IMAGE, R.standard_normal((1, 6, 3)).astype(np.float32)], {"equation": "bchw,bwk->kbh"}),
    ("einsum sum", 7, "Einsum", [IMAGE], {"equation": "bchw->wb"}),
    ("dft", 16, "DFT", [R.standard_normal((2, 5, 2)).astype(np.float32), None, (np.array(1),)], {"inverse": 1}),
    ("group norm", 18, "GroupNormalization", [IMAGE, (np.array([1.0, 2.0], np.float32),),
                                              (np.array([0.5, 0.0], np.float32),)], {"num_groups": 1}),
    ("layer norm", 7, "LayerNormalization", [IMAGE, (np.ones(6, np.float32) * 2,)], {}),
    ("rms norm", 13, "RMSNormalization", [IMAGE, (np.ones(6, np.float32) * 2,)], {}),
    ("gelu", 9, "Gelu", [IMAGE], {}),
    ("gelu tanh", 7, "Gelu", [IMAGE], {"approximate": "tanh"}),
    ("hard swish", 7, "HardSwish", [IMAGE], {}),
    ("mish", 7, "Mish", [IMAGE], {}),
    ("swish default", 7, "Swish", [IMAGE], {}),
    ("clip int", 11, "Clip", [LARGE, (np.array(-4),), (np.array(4),)], {}),
    ("attention", 9, "Attention", [IMAGE, IMAGE[:, :, :4], IMAGE[:, :, :4]], {}),
    ("add narrow", 7, "Add", [np.array([100, -100], np.int8), np.array([100, -100], np.int8)], {}),
    ("max narrow", 11, "Max", [np.array([100, 2], np.uint8), np.array([3, 200], np.uint8)], {}),
    ("sign", 8, "LessOrEqual", [EDGES, EDGES[::-1].copy()], {}),
    ("reshape nothing", 13, "Reshape", [np.zeros((0, 3), np.float32), (np.array([3, 0]),)], {"allowzero": 1}),
    ("depth to space", 10, "DepthToSpace", [R.standard_normal((1, 8, 2, 3)).astype(np.float32)],
     {"blocksize": 2, "mode": "CRD"}),
    ("bitwise not", 17, "BitwiseNot", [np.array([0, 7, -128], np.int8)], {}),
    ("bitwise not unsigned", 7, "BitwiseNot", [np.array([0, 7, 255], np.uint8)], {}),
    ("erf", 8, "Erf", [np.linspace(-4, 4, 41, dtype=np.float32)], {}),
    ("pow exponent", 11, "Pow", [np.abs(IMAGE), (np.array(3),)], {}),
    ("pow integers", 8, "Pow", [np.array([2, -3, 7]), (np.array(3.0, np.float32),)], {}),
    ("upsample", 8, "Resize", [IMAGE, None, (np.array([1, 1, 2, 1.5], np.float32),)],
     {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
    ("upsample linear", 9, "Resize", [IMAGE, None, (np.array([1, 1, 2, 1.5], np.float32),)],
     {"mode": "linear", "coordinate_transformation_mode": "asymmetric"}),
    ("reduce nearest", 9, "Resize", [IMAGE, None, (np.array([1, 1, 0.5, 0.6], np.float32),)],
     {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
    ("dequantize channels", 11, "DequantizeLinear",
     [np.array([[0, 255], [3, 4]], np.uint8), (np.array([0.5, 2], np.float32),), (np.array([7, 1], np.uint8),)],
     {"axis": 0}),
    ("dequantize shorts", 13, "DequantizeLinear",
     [np.array([[0, 65535], [3, 4]], np.uint16), (np.array(0.5, np.float32),), (np.array(7, np.uint16),)], {}),
    ("dequantize blocks", 19, "DequantizeLinear",
     [np.arange(10, dtype=np.uint8).reshape(2, 5), (np.array([[0.5, 1, 2], [3, 4, 5]], np.float32),)],
     {"axis": 1, "block_size": 2}),
    ("quantize channels", 12, "QuantizeLinear",
     [IMAGE, (np.array([0.5, 0.02], np.float32),), (np.array([3, 0], np.uint8),)], {"axis": 1}),
    ("dequantize", 9, "DequantizeLinear",
     [np.array([[0, 255], [3, 4]], np.uint8), (np.array(0.5, np.float32),), (np.array(7, np.uint8),)], {}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "version", "op", "inputs", "attributes"), CASES, ids=[case[0] for case in CASES]
)
def test_the_meaning_is_kept(
    name: str, version: int, op: str, inputs: list[Any], attributes: dict[str, Any]
) -> None:
    proto, fed = _model(op, inputs, attributes)
    want = ReferenceEvaluator(proto).run(None, fed)
    graph = ir.from_proto(proto)
    assert ConvertOpset(version).run(graph).declined == ()
    lowered = ir.to_proto(graph)
    onnx.checker.check_model(lowered, full_check=True)
    assert lowered.opset_import[0].version == version
    got = _run(lowered, fed)
    for one, other in zip(got, want, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def _run(proto: onnx.ModelProto, fed: dict[str, Any]) -> list[Any]:
    """In the standard's evaluator, or ONNX Runtime for what that lacks."""
    if not any(node.op_type == "Upsample" for node in proto.graph.node):
        return list(ReferenceEvaluator(proto).run(None, fed))
    return list(onnxruntime.InferenceSession(proto.SerializeToString()).run(None, fed))


@pytest.mark.parametrize("version", [11, 13, 17])
def test_a_split_of_unknown_size_is_sliced(version: int) -> None:
    proto, _ = _model("Split", [IMAGE], {"axis": 2, "num_outputs": 2})
    proto.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "rows"
    proto.graph.output.append(helper.make_tensor_value_info("out1", TensorProto.FLOAT, [1, 2, None, 6]))
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("out0", TensorProto.FLOAT, [1, 2, None, 6]))
    proto.graph.node[0].output.append("out1")
    graph = ir.from_proto(proto)
    assert ConvertOpset(version).run(graph).declined == ()
    got = ReferenceEvaluator(ir.to_proto(graph)).run(None, {"i0": IMAGE})
    np.testing.assert_array_equal(got[0], IMAGE[:, :, :3])
    np.testing.assert_array_equal(got[1], IMAGE[:, :, 3:])


def test_sums_of_unknown_shapes_are_declined_where_they_do_not_broadcast() -> None:
    proto, _ = _model("Mean", [IMAGE, IMAGE], {})
    for given in proto.graph.input:
        given.type.tensor_type.shape.dim[2].Clear()
    for made in (*proto.graph.output, *proto.graph.value_info):
        made.type.tensor_type.ClearField("shape")
    assert "may broadcast" in ConvertOpset(7).run(ir.from_proto(proto)).declined[0]


def test_every_expansion_stands_below_an_opset_where_its_operator_changed() -> None:
    histories = {(schema.name, schema.since_version) for schema in onnx.defs.get_all_schemas_with_history()}
    stated = {(op, below) for op, entries in EXPANSIONS.items() for below, _ in entries}
    assert stated
    assert stated <= histories


@pytest.mark.parametrize(
    ("version", "op", "inputs", "attributes", "reason"),
    [
        (9, "CumSum", [IMAGE, np.array(1)], {}, "no decomposition"),
        (8, "Mod", [EDGES, EDGES], {"fmod": 1}, "no decomposition"),
        (12, "GridSample", [IMAGE, GRID], {"mode": "cubic"}, "no decomposition"),
        (11, "Einsum", [IMAGE], {"equation": "bchc->bh"}, "no decomposition"),
        (11, "Cast", [IMAGE], {"to": TensorProto.BFLOAT16}, "no bfloat16 for its output"),
        (11, "ReduceMax", [np.zeros((0, 3), np.int8)], {}, "no int8"),
    ],
)
def test_what_cannot_be_said_is_declined(
    version: int, op: str, inputs: list[Any], attributes: dict[str, Any], reason: str
) -> None:
    graph = ir.from_proto(_model(op, inputs, attributes)[0])
    assert reason in ConvertOpset(version).run(graph).declined[0]


def _model(op: str, inputs: list[Any], attributes: dict[str, Any]) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """A graph of one node; an input in a tuple is an initializer, None is left out."""
    names = ["" if item is None else f"i{place}" for place, item in enumerate(inputs)]
    constants = [
        numpy_helper.from_array(np.asarray(item[0]), name)
        for name, item in zip(names, inputs, strict=True)
        if isinstance(item, tuple)
    ]
    fed = {
        name: item
        for name, item in zip(names, inputs, strict=True)
        if item is not None and not isinstance(item, tuple)
    }
    count = 2 if op == "TopK" else 1
    node = helper.make_node(op, names, [f"out{place}" for place in range(count)], name="n", **attributes)
    given = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(item.dtype), item.shape)
        for name, item in fed.items()
    ]
    made = [helper.make_empty_tensor_value_info(f"out{place}") for place in range(count)]
    graph = helper.make_graph([node], "one", given, made, constants)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    model = ir.from_proto(proto)
    for step in standard_passes({}, level=0):
        step.run(model)
    return ir.to_proto(model), fed
