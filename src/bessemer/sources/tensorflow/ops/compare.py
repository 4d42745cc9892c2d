"""Comparisons, logic and choice between two tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bessemer.sources.channels_last.elementwise import chosen, compared, pointwise
from bessemer.sources.channels_last.shaping import expand_dims, transpose
from bessemer.sources.drawing import Canvas, Ordered, Unsupported
from bessemer.sources.tensorflow.node import Node
from bessemer.sources.tensorflow.ops.common import on_parts
from bessemer.sources.tensorflow.registry import op

if TYPE_CHECKING:
    import onnx_ir

COMPARED = {
    "Equal": "Equal", "Greater": "Greater", "GreaterEqual": "GreaterOrEqual", "Less": "Less",
    "LessEqual": "LessOrEqual", "LogicalAnd": "And", "LogicalOr": "Or", "LogicalNot": "Not", "IsNan": "IsNaN",
    "IsInf": "IsInf",
}  # fmt: skip


@op(*COMPARED)
def compare(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Operators that mean the same in ONNX."""
    return compared(canvas, COMPARED[node.op], *inputs)


@op("NotEqual")
def not_equal(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """ONNX has Equal only."""

    def draw(*values: onnx_ir.Value) -> Any:
        return _bool(canvas, "Not", _bool(canvas, "Equal", *values))

    return pointwise(canvas, inputs, draw)


@op("IsFinite")
def is_finite(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Neither infinite nor no number."""

    def draw(x: onnx_ir.Value) -> Any:
        return _bool(canvas, "Not", _bool(canvas, "Or", _bool(canvas, "IsInf", x), _bool(canvas, "IsNaN", x)))

    return pointwise(canvas, inputs, draw)


def _bool(canvas: Canvas, name: str, *values: onnx_ir.Value) -> Any:
    import onnx_ir

    return canvas.emit(name, values, dtype=onnx_ir.DataType.BOOL)


@op("SelectV2")
@on_parts
def select_v2(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Broadcasting choice."""
    return chosen(canvas, *inputs)


@op("Select")
@on_parts
def select(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """As SelectV2, but a condition of rank one chooses rows."""
    condition, yes, no = inputs
    if condition.rank == 1 and yes.rank > 1:
        condition = expand_dims(canvas, condition, range(1, yes.rank))
    return chosen(canvas, condition, yes, no)


@op("Where")
def where(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Coordinates of elements that are not zero, one row each; how many is known only when the model runs."""
    import onnx_ir

    (tensor,) = inputs
    if tensor.rank == 0:
        raise Unsupported("rank", "the places in a scalar have no coordinates", "give the condition an axis")
    found = canvas.emit("NonZero", [canvas.at(tensor)], dtype=onnx_ir.DataType.INT64)
    return transpose(canvas, canvas.result(found, (tensor.rank, None)), (1, 0))
