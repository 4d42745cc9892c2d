"""NonMaxSuppression."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.targets.tflite.context import Blocked, Context
from bessemer.targets.tflite.ops.common import optional, static_shape, value
from bessemer.targets.tflite.registry import lower

if TYPE_CHECKING:
    import onnx_ir as ir

RUNS = 256
"""Kernel calls at most: one per image and class."""


@lower("NonMaxSuppression")
def non_max_suppression(ctx: Context, node: ir.Node) -> None:
    """NON_MAX_SUPPRESSION_V4 per image and class, its valid results cut out and joined."""
    batch, classes, count = static_shape(ctx, value(node, 1))
    if batch * classes > RUNS:
        raise Blocked(
            "unrolled", f"{batch} images of {classes} classes would be {batch * classes} kernel calls"
        )
    limits = _limits(ctx, node)
    boxes, scores = _corners(ctx, node, (batch, count)), ctx.tensor(value(node, 1))
    parts = []
    for image in range(batch):
        rectangle = _cut(ctx, boxes, [image, 0, 0], [1, count, 4])
        for group in range(classes):
            marks = _cut(ctx, scores, [image, group, 0], [1, 1, count])
            index = [ctx.reshape(rectangle, (count, 4)), ctx.reshape(marks, (count,)), *limits]
            parts.append(_selected(ctx, index, image, group))
    joined = parts[0]
    if len(parts) > 1:
        joined = ctx.emit("CONCATENATION", parts, [ctx.temp("INT32", (None, 3), "selected")], axis=0)
    ctx.emit("CAST", [joined], [ctx.out(node.outputs[0])])


def _limits(ctx: Context, node: ir.Node) -> list[int]:
    """Most results, overlap and score bounds as scalars."""
    most, overlap, score = (optional(node, place) for place in (2, 3, 4))
    if most is None:
        raise Blocked("empty", "without max_output_boxes_per_class nothing is selected")
    array = ctx.const(most)
    whole = (
        ctx.reshape(ctx.int32(most), ())
        if array is None
        else ctx.constant(np.int32(min(int(array.reshape(-1)[0]), 2**20)), "most")
    )
    return [whole, _above(ctx, overlap), _scalar(ctx, score, float(np.finfo(np.float32).min))]


def _above(ctx: Context, v: ir.Value | None) -> int:
    """The next number above the overlap bound: LiteRT suppresses at the bound, ONNX only beyond it."""
    array, tiny = ctx.const(v), np.finfo(np.float32).tiny
    if v is None or array is not None:
        bound = np.float32(0 if array is None else array.reshape(-1)[0])
        return ctx.constant(np.maximum(np.nextafter(bound, np.float32(np.inf)), tiny), "bound")
    bound_index = ctx.reshape(ctx.tensor(v), ())

    def op(code: str, x: int, y: np.floating[Any]) -> int:
        return ctx.emit(code, [x, ctx.constant(y, "number")], [ctx.temp("FLOAT32", (), "bound")])

    step = op("MAXIMUM", op("MUL", bound_index, np.float32(1.5 * 2.0**-24)), tiny)
    return ctx.emit("ADD", [bound_index, step], [ctx.temp("FLOAT32", (), "bound")])


def _scalar(ctx: Context, v: ir.Value | None, default: float) -> int:
    array = ctx.const(v)
    if v is None or array is not None:
        number = default if array is None else array.reshape(-1)[0]
        return ctx.constant(np.float32(number), "bound")
    return ctx.reshape(ctx.tensor(v), ())


def _cut(ctx: Context, index: int, begin: list[int], size: list[int]) -> int:
    bounds = [ctx.constant(np.array(item, np.int32), "bound") for item in (begin, size)]
    return ctx.emit("SLICE", [index, *bounds], [ctx.temp("FLOAT32", tuple(size), "cut")])


def _corners(ctx: Context, node: ir.Node, sizes: tuple[int, int]) -> int:
    """Boxes as two opposite corners; centres and sizes are turned into them."""
    boxes = ctx.tensor(value(node, 0))
    if not node.attributes.get_int("center_point_box", 0):
        return boxes
    half, shape = ctx.constant(np.float32(0.5), "half"), (*sizes, 2)
    centre = _cut(ctx, boxes, [0, 0, 0], [*sizes, 2])
    size = _cut(ctx, boxes, [0, 0, 2], [*sizes, 2])
    side = ctx.emit("MUL", [size, half], [ctx.temp("FLOAT32", shape, "side")])
    low = ctx.emit("SUB", [centre, side], [ctx.temp("FLOAT32", shape, "low")])
    high = ctx.emit("ADD", [centre, side], [ctx.temp("FLOAT32", shape, "high")])
    return ctx.emit("CONCATENATION", [low, high], [ctx.temp("FLOAT32", (*sizes, 4), "corners")], axis=2)


def _selected(ctx: Context, index: list[int], image: int, group: int) -> int:
    """(n, 3) rows of image, class and box."""
    found, valid = ctx.temp("INT32", (None,), "found"), ctx.temp("INT32", (), "valid")
    ctx.emit("NON_MAX_SUPPRESSION_V4", index, [found, valid])
    begin = ctx.constant(np.zeros(1, np.int32), "begin")
    places = ctx.emit(
        "SLICE", [found, begin, ctx.reshape(valid, (1,))], [ctx.temp("INT32", (None,), "places")]
    )
    column = ctx.reshape(places, (None, 1))
    scale = ctx.constant(np.array([[0, 0, 1]], np.int32), "columns")
    wide = ctx.emit("MUL", [column, scale], [ctx.temp("INT32", (None, 3), "rows")])
    where = ctx.constant(np.array([[image, group, 0]], np.int32), "where")
    return ctx.emit("ADD", [wide, where], [ctx.temp("INT32", (None, 3), "rows")])
