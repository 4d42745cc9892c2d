"""Integers that stand for real numbers, where an old opset lacks the type, the axis or the blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.types import int64s
from bessemer.passes.expansion import Nodes
from bessemer.passes.opset.expansions.nodes import expansion, given, numpy_type, rank_of
from bessemer.passes.rewrite import dims

if TYPE_CHECKING:
    import onnx_ir

BYTES = (np.dtype(np.uint8), np.dtype(np.int8))
SHORTS = (np.dtype(np.uint16), np.dtype(np.int16))


@expansion(21, "DequantizeLinear")
def dequantize(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """DequantizeLinear: 'y = (x - x_zero_point) * x_scale', the parameters along `axis` where there are many."""
    source, scale = node.inputs[0], node.inputs[1]
    parameters = None if _says(n, node) else _parameters(n, node)
    if parameters is None or source is None or scale is None or scale.dtype is None:
        return None
    if scale.dtype != node.outputs[0].dtype or numpy_type(source) not in (*BYTES, *SHORTS):
        return None
    wide = n("Cast", source, to=int(scale.dtype))
    if parameters[1] is not None:
        wide = n("Sub", wide, n("Cast", parameters[1], to=int(scale.dtype)))
    return [n("Mul", wide, parameters[0])]


@expansion(21, "QuantizeLinear")
def quantize(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """QuantizeLinear: 'y = saturate((x / y_scale) + y_zero_point)', rounded to even before the zero point."""
    import onnx_ir

    source, scale, result = node.inputs[0], node.inputs[1], node.outputs[0]
    kind = numpy_type(result)
    parameters = None if _says(n, node) else _parameters(n, node)
    if (
        parameters is None
        or kind not in (*BYTES, *SHORTS)
        or result.dtype is None
        or source is None
        or scale is None
    ):
        return None
    if source.dtype != scale.dtype or "precision" in node.attributes:
        return None
    scaled = n("Cast", n("Round", n("Div", source, parameters[0])), to=int(onnx_ir.DataType.FLOAT))
    if parameters[1] is not None:
        scaled = n("Add", scaled, n("Cast", parameters[1], to=int(onnx_ir.DataType.FLOAT)))
    limits = np.iinfo(f"{result.dtype.name.lower()}")
    held = n("Clip", scaled, np.array(limits.min, np.float32), np.array(limits.max, np.float32))
    return [n("Cast", held, to=int(result.dtype))]


def _says(n: Nodes, node: onnx_ir.Node) -> bool:
    """Whether the opset says it itself: bytes with one float32 scale from opset 10 on, many from 13 on."""
    import onnx_ir

    sizes, scale = dims(node.inputs[1]), node.inputs[1]
    kinds = [numpy_type(node.inputs[0] if node.op_type == "DequantizeLinear" else node.outputs[0])]
    if "block_size" in node.attributes or scale is None or kinds[0] in SHORTS:
        return False
    if scale.dtype != onnx_ir.DataType.FLOAT and n.want < 19:
        return False
    return n.want >= 13 or (n.want >= 10 and sizes is not None and all(size == 1 for size in sizes))


def _parameters(n: Nodes, node: onnx_ir.Node) -> tuple[onnx_ir.Value, onnx_ir.Value | None] | None:
    """Scale and zero point as they broadcast against the tensor; None where a shape is unknown."""
    rank, sizes, scale = rank_of(node.inputs[0]), dims(node.inputs[1]), node.inputs[1]
    if rank is None or sizes is None or scale is None:
        return None
    zero, said = given(node, 2), node.attributes.get_int("axis", 1)
    axis = (1 if said is None else said) % max(rank, 1)
    block = node.attributes.get_int("block_size", 0) or 0
    whole = dims(node.inputs[0])
    if block and whole is None:
        return None
    if block and whole is not None:
        places = np.arange(whole[axis]) // block
        return n("Gather", scale, places, axis=axis), None if zero is None else n(
            "Gather", zero, places, axis=axis
        )
    if len(sizes) == 0 or (int(np.prod(sizes)) == 1 and len(sizes) <= 1):
        return scale, zero
    along = int64s(-1 if place == axis else 1 for place in range(rank))
    return n("Reshape", scale, along), None if zero is None else n("Reshape", zero, along)
