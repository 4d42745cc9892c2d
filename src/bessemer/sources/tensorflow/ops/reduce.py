"""Reductions, arg-max, running sums and top-k."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bessemer.sources.channels_last import elementwise, reduce
from bessemer.sources.channels_last.elementwise import applied
from bessemer.sources.drawing import Canvas, Ordered, Unsupported
from bessemer.sources.tensorflow.node import Node
from bessemer.sources.tensorflow.ops.common import bound, integer, ints, is_real, kind_of
from bessemer.sources.tensorflow.registry import op

NAMES = {
    "Mean": "ReduceMean", "Sum": "ReduceSum", "Max": "ReduceMax", "Min": "ReduceMin", "Prod": "ReduceProd",
}  # fmt: skip


@op(*NAMES)
def reduced(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Axes must be known; integers average towards zero."""
    tensor, axes, keep = inputs[0], ints(inputs[1], "axes"), bool(node.attrs.get("keep_dims"))
    if node.op == "Mean" and not is_real(tensor):
        return _integer_mean(canvas, tensor, axes, keep)
    return reduce.reduced(canvas, tensor, NAMES[node.op], axes, keepdims=keep)


def _integer_mean(canvas: Canvas, tensor: Ordered, axes: Sequence[int], keep: bool) -> Ordered:
    chosen = reduce.normalized(axes, tensor.rank)
    count = int(np.prod([bound(tensor, axis) for axis in chosen], dtype=np.int64))
    summed = reduce.reduced(canvas, tensor, "ReduceSum", chosen, keepdims=keep)
    return elementwise.with_scalar(canvas, "Div", summed, count)


@op("EuclideanNorm")
def norm(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Square root of the sum of squares."""
    axes = ints(inputs[1], "axes")
    if not axes:
        return applied(canvas, "Abs", inputs[0])
    return reduce.reduced(canvas, inputs[0], "ReduceL2", axes, keepdims=bool(node.attrs.get("keep_dims")))


@op("All", "Any")
def logical(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """All is the minimum, any the maximum of booleans."""
    keep = bool(node.attrs.get("keep_dims"))
    return reduce.logical(canvas, inputs[0], node.op == "All", ints(inputs[1], "axes"), keepdims=keep)


@op("ArgMax", "ArgMin")
def extreme_place(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Index of the first extreme along one axis."""
    import onnx_ir

    tensor, axis = inputs[0], integer(inputs[1], "axis")
    if tensor.dtype == onnx_ir.DataType.BOOL:
        tensor = elementwise.cast(canvas, tensor, onnx_ir.DataType.INT32)
    return reduce.extreme_place(canvas, tensor, node.op == "ArgMax", axis, kind_of(node, "output_type", np.int64))


@op("Cumsum")
def running_sum(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Along one known axis."""
    return reduce.running_sum(
        canvas, inputs[0], integer(inputs[1], "axis"), exclusive=bool(node.attrs.get("exclusive")),
        reverse=bool(node.attrs.get("reverse")),
    )  # fmt: skip


@op("Cumprod")
def running_product(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Products of masked copies: ONNX has no operator that multiplies along an axis."""
    tensor = inputs[0]
    axis = integer(inputs[1], "axis") % tensor.rank
    count = tensor.shape[axis]
    if not isinstance(count, int) or count > 256:
        raise Unsupported("cumprod", f"products along an axis of {count}", "take the exponential of a sum of logarithms")
    places = np.arange(count)
    taken = places[:, None] >= places[None, :]  # [result, factor]
    if node.attrs.get("exclusive"):
        taken &= ~np.eye(count, dtype=bool)
    if node.attrs.get("reverse"):
        taken = taken[::-1, ::-1]
    front = (*(held for held in range(tensor.rank) if held != axis), axis)
    row = canvas.emit("Unsqueeze", [canvas.at(tensor, front), _axes(canvas, -2)])
    one = elementwise.scalar(canvas, 1, tensor)
    grid = canvas.emit("Where", [canvas.literal(taken.copy(), "taken"), row, one], dtype=row.dtype)
    made = canvas.emit("ReduceProd", [grid, _axes(canvas, -1)], keepdims=0)
    return canvas.result(made, tensor.shape, front)


def _axes(canvas: Canvas, axis: int) -> Any:
    return canvas.literal(np.array([axis], np.int64), "axes")


@op("TopKV2", "TopK")
def top_k(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Sequence[Ordered]:
    """Largest k of the last axis, in falling order, and their places."""
    if node.op == "TopK":
        count: int | Ordered = int(node.attrs["k"])
    else:
        count = inputs[1] if inputs[1].known is None else integer(inputs[1], "count")
    values, places = reduce.top_k(canvas, inputs[0], count)
    return values, elementwise.cast(canvas, places, kind_of(node, "index_type", np.int32))

