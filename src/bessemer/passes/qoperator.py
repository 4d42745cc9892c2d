"""QOperator nodes (QLinearConv, QGemm, ...) opened up into Dequantize, operator, Quantize.

Integer-only operators that state no encoding (ConvInteger, MatMulInteger, DynamicQuantizeLinear, ...) stay as they
are. Sources: ONNX operator specification; ONNX Runtime's contrib operator documentation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx_ir


@dataclass(frozen=True)
class Opened:
    """A QOperator node: `op` over dequantized inputs, quantized by `result`.

    operands: (integers, scale, zero point, axis of a vector scale); bias: (integers, the operands whose scales
    multiply to its scale); result: (scale, zero point) or None for a float result.
    """

    op: str
    operands: tuple[tuple[int, int, int, int], ...]
    result: tuple[int, int]
    bias: int | None = None
    attributes: tuple[str, ...] = ()


_UNARY = ((0, 1, 2, 1),)
_BINARY = ((0, 1, 2, 1), (3, 4, 5, 1))
_CONV = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
_POOL = ("auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides")

TABLE: dict[tuple[str, str], Opened] = {
    ("", "QLinearConv"): Opened("Conv", ((0, 1, 2, 1), (3, 4, 5, 0)), (6, 7), 8, _CONV),
    ("", "QLinearMatMul"): Opened("MatMul", ((0, 1, 2, -2), (3, 4, 5, -1)), (6, 7)),
    ("com.microsoft", "QLinearConv"): Opened("Conv", ((0, 1, 2, 1), (3, 4, 5, 0)), (6, 7), 8, _CONV),
    ("com.microsoft", "QLinearAdd"): Opened("Add", _BINARY, (6, 7)),
    ("com.microsoft", "QLinearMul"): Opened("Mul", _BINARY, (6, 7)),
    ("com.microsoft", "QGemm"): Opened(
        "Gemm", ((0, 1, 2, 1), (3, 4, 5, 1)), (7, 8), 6, ("alpha", "transA", "transB")
    ),
    ("com.microsoft", "QLinearGlobalAveragePool"): Opened("GlobalAveragePool", _UNARY, (3, 4)),
    ("com.microsoft", "QLinearAveragePool"): Opened("AveragePool", _UNARY, (3, 4), None, _POOL),
    ("com.microsoft", "QLinearSigmoid"): Opened("Sigmoid", _UNARY, (3, 4)),
    ("com.microsoft", "QLinearLeakyRelu"): Opened("LeakyRelu", _UNARY, (3, 4), None, ("alpha",)),
    ("com.microsoft", "QLinearSoftmax"): Opened("Softmax", _UNARY, (3, 4), None, ("axis",)),
}


def expand_qoperators(model: onnx_ir.Model) -> tuple[int, list[str]]:
    """Open every QOperator node that states constant encodings; returns the count and why others stay."""
    count, declined = 0, []
    for graph in model.graphs():
        for node in list(graph):
            domain = "" if node.domain == "ai.onnx" else node.domain
            reason = ""
            if (domain, node.op_type) == ("com.microsoft", "QLinearConcat"):
                _open_concat(graph, node)
            elif (domain, node.op_type) in TABLE:
                reason = _why_not(node)
                if not reason:
                    _open(graph, node, TABLE[domain, node.op_type])
            else:
                continue
            if reason:
                declined.append(f"{node.op_type} '{node.name}' stays: {reason}")
            else:
                count += 1
    return count, declined


def _why_not(node: onnx_ir.Node) -> str:
    if node.attributes.get_int("channels_last", 0):
        return "it is channels-last"
    if node.op_type == "QLinearSoftmax" and node.attributes.get_int("opset", 13) < 13:
        shape = None if node.inputs[0] is None else node.inputs[0].shape
        axis = node.attributes.get_int("axis", 1)
        if shape is None or axis not in (-1, len(shape) - 1):
            return "its softmax flattens axes as before opset 13"
    return ""


def _at(node: onnx_ir.Node, index: int) -> onnx_ir.Value | None:
    return node.inputs[index] if 0 <= index < len(node.inputs) else None


def _open(graph: onnx_ir.Graph, node: onnx_ir.Node, meaning: Opened) -> None:
    reals = []
    for position, (data, scale, zero, axis) in enumerate(meaning.operands):
        reals.append(_dequantize(graph, node, data, (scale, zero), _axis(node, data, axis, position)))
    if meaning.bias is not None and _at(node, meaning.bias) is not None:
        reals.append(_bias(graph, node, meaning))
    attributes = {key: node.attributes[key] for key in meaning.attributes if key in node.attributes}
    _finish(graph, node, meaning.op, reals, attributes, meaning.result)


def _axis(node: onnx_ir.Node, data: int, axis: int, position: int) -> int:
    if node.op_type == "QGemm" and position == 1:
        return 0 if node.attributes.get_int("transB", 0) else 1
    value = _at(node, data)
    if axis < 0 and value is not None and value.shape is not None:
        return axis + len(value.shape)
    return max(axis, 0)


def _dequantize(
    graph: onnx_ir.Graph, node: onnx_ir.Node, data: int, parameters: tuple[int, int], axis: int
) -> onnx_ir.Value:
    value = _at(node, data)
    inputs = [value, *(_at(node, index) for index in parameters)]
    while inputs[-1] is None:
        inputs.pop()
    scale = inputs[1]
    vector = scale is not None and scale.shape is not None and len(scale.shape) == 1 and scale.shape[0] != 1
    attributes = {"axis": axis} if vector else {}
    return _insert(graph, node, "DequantizeLinear", inputs, f"dequantize_{data}", attributes, value)


def _insert(
    graph: onnx_ir.Graph,
    node: onnx_ir.Node,
    op: str,
    inputs: list[onnx_ir.Value | None],
    suffix: str,
    attributes: dict[str, int],
    like: onnx_ir.Value | None,
) -> onnx_ir.Value:
    import onnx_ir

    made = onnx_ir.node(op, inputs, attributes, name=f"{node.name or node.outputs[0].name}_{suffix}")
    kind = None if inputs[1] is None else inputs[1].dtype  # a scale's type is that of the reals
    made.outputs[0].type = onnx_ir.TensorType(kind or onnx_ir.DataType.FLOAT)
    made.outputs[0].shape = None if like is None else like.shape
    made.outputs[0].name = f"{node.outputs[0].name}_{suffix}"
    graph.insert_before(node, made)
    return made.outputs[0]


def _bias(graph: onnx_ir.Graph, node: onnx_ir.Node, meaning: Opened) -> onnx_ir.Value:
    """int32 bias: its scale is the product of the operands' scales."""
    from bessemer.passes.qdq import constant

    index = meaning.bias if meaning.bias is not None else -1
    bias = _at(node, index)
    left, right = (_at(node, operand[1]) for operand in meaning.operands)
    a, b = constant(left), constant(right)
    alpha = node.attributes.get_float("alpha", 1.0) if node.op_type == "QGemm" else 1.0
    if a is not None and b is not None:
        product = np.asarray(np.float32(alpha) * a.reshape(()) * b, np.float32)
        scale = _constant(
            graph, product.reshape(()) if product.size == 1 else product, f"{node.outputs[0].name}_bias_scale"
        )
    else:
        scale = _insert(graph, node, "Mul", [left, right], "bias_scale", {}, None)
    return _insert(
        graph, node, "DequantizeLinear", [bias, scale], "bias", {"axis": 0} if scale.shape else {}, bias
    )


def _constant(
    graph: onnx_ir.Graph, array: np.ndarray[tuple[int, ...], np.dtype[np.float32]], name: str
) -> onnx_ir.Value:
    import onnx_ir

    value = onnx_ir.Value(
        name=name, shape=onnx_ir.Shape(array.shape), type=onnx_ir.TensorType(onnx_ir.DataType.FLOAT)
    )
    value.const_value = onnx_ir.tensor(array, name=name)
    graph.register_initializer(value)
    return value


def _open_concat(graph: onnx_ir.Graph, node: onnx_ir.Node) -> None:
    """Inputs: result scale, result zero point, then (integers, scale, zero point) per part."""
    reals = [_dequantize(graph, node, at, (at + 1, at + 2), 1) for at in range(2, len(node.inputs), 3)]
    _finish(graph, node, "Concat", reals, {"axis": node.attributes["axis"]}, (0, 1))


def _finish(
    graph: onnx_ir.Graph,
    node: onnx_ir.Node,
    op: str,
    reals: list[onnx_ir.Value],
    attributes: dict[str, onnx_ir.Attr],
    result: tuple[int, int],
) -> None:
    """The real operator under the old node's name, and its quantization under the old value's name."""
    import onnx_ir

    old = node.outputs[0]
    real = onnx_ir.node(op, reals, attributes, name=node.name, metadata_props=dict(node.metadata_props))
    graph.insert_before(node, real)
    final = real.outputs[0]
    final.type, final.shape = reals[0].type, old.shape
    parameters = [value for value in (_at(node, index) for index in result) if value is not None]
    if parameters:
        final.name = f"{old.name}_real"
        quantizer = onnx_ir.node(
            "QuantizeLinear", [final, *parameters], name=f"{node.name or old.name}_quantize"
        )
        graph.insert_before(node, quantizer)
        final = quantizer.outputs[0]
        final.type, final.shape = old.type, old.shape
    old.replace_all_uses_with(final, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    name, old.name = old.name, None
    final.name = name
