"""Image geometry: resizing, cropping, space and depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bessemer.ir.types import int64s
from bessemer.sources.channels_last import resize as resizing
from bessemer.sources.channels_last.elementwise import cast
from bessemer.sources.channels_last.windows import order_of
from bessemer.sources.drawing import Canvas, Ordered, Unsupported
from bessemer.sources.tensorflow.node import Node
from bessemer.sources.tensorflow.ops.common import bound, first, ints
from bessemer.sources.tensorflow.registry import op

METHODS = {"ResizeBilinear": "bilinear", "ResizeNearestNeighbor": "nearest", "ResizeBicubic": "bicubic"}


@op(*METHODS)
def resize(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """To a size, constant or computed, with TensorFlow's three ways to place pixels.

    Bicubic's kernel is -0.5 with its border left out where pixels have half-pixel centres, else -0.75.
    """
    import onnx_ir

    source, size = inputs
    method = METHODS[node.op]
    if method != "nearest":
        source = cast(canvas, source, onnx_ir.DataType.FLOAT)
    half = bool(node.attrs.get("half_pixel_centers"))
    corners = bool(node.attrs.get("align_corners"))
    if half and corners and method != "nearest":
        raise Unsupported("resize", "half-pixel centres and aligned corners exclude one another")
    place = "align_corners" if corners else "half_pixel" if half else "asymmetric"
    wanted: Sequence[int] | Ordered = size if size.known is None else ints(size, "size")
    return resizing.resize(
        canvas, source, wanted, method=method, place=place, cubic=-0.5 if half else -0.75, exclude_outside=half
    )


@op("DepthToSpace", "SpaceToDepth")
def blocks(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Channels to pixels (ONNX's DCR) and back."""
    source, by, front = inputs[0], int(node.attrs["block_size"]), first(node)
    order, out = order_of(4, front), node.op == "DepthToSpace"
    made = canvas.emit(
        node.op, [canvas.at(source, order)], blocksize=by, mode="DCR" if out else None
    )
    batch, depth, height, width = (source.shape[axis] for axis in order)
    if not isinstance(depth, int):
        raise Unsupported("dynamic-shape", "an unbound number of channels")
    if out and depth % (by * by):
        raise Unsupported("block-size", f"{depth} channels do not divide into blocks of {by} x {by}")
    sizes = [_scaled(dim, by, out) for dim in (height, width)]
    channels = depth // (by * by) if out else depth * by * by
    shape = (batch, channels, *sizes) if front else (batch, *sizes, channels)
    return canvas.result(made, shape, order)


def _scaled(dim: int | str | None, by: int, out: bool) -> int | None:
    if not isinstance(dim, int):
        return None
    if not out and dim % by:
        raise Unsupported("block-size", f"an axis of {dim} does not divide into blocks of {by}")
    return dim * by if out else dim // by


@op("CropAndResize")
def crop_and_resize(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Boxes (y1, x1, y2, x2; 1 is the last pixel) of images, each resized to one size; pixels outside are a constant."""
    import onnx_ir

    image, boxes, owners, size = inputs
    height, width = ints(size, "crop size")
    nearest = str(node.attrs.get("method", "bilinear")) == "nearest"
    image = cast(canvas, image, onnx_ir.DataType.FLOAT)
    lines = [_lines(canvas, image, boxes, axis, count) for axis, count in ((1, height), (2, width))]
    count = boxes.shape[0]
    batch = canvas.emit("Cast", [canvas.at(owners)], to=7, dtype=onnx_ir.DataType.INT64)
    batch = canvas.emit("Unsqueeze", [batch, canvas.literal(int64s([1, 2]), "axes")])

    def pixels(row: Any, column: Any) -> Any:
        """[boxes, height, width, depth] at whole coordinates [boxes, height, 1] and [boxes, 1, width]."""
        base = canvas.emit("Add", [canvas.emit("Add", [batch, _zero(canvas, row)]), _zero(canvas, column)])
        parts = [canvas.emit("Add", [_zero(canvas, base), part]) for part in (row, column)]
        last = canvas.literal(int64s([-1]), "axes")
        places = canvas.emit("Concat", [canvas.emit("Unsqueeze", [part, last]) for part in (base, *parts)], axis=-1)
        return canvas.emit("GatherND", [canvas.at(image), places])

    (row, inside_rows), (column, inside_columns) = lines
    inside = canvas.emit("And", [inside_rows, inside_columns], dtype=onnx_ir.DataType.BOOL)
    mask = canvas.emit("Unsqueeze", [inside, canvas.literal(int64s([-1]), "axes")])
    if nearest:
        # C's round: halves away from zero; coordinates inside are never below it
        half = canvas.literal(np.float32(0.5), "half")
        whole = [_index(canvas, image, canvas.emit("Floor", [canvas.emit("Add", [line, half])]), axis)
                 for line, axis in ((row, 1), (column, 2))]  # fmt: skip
        made = pixels(*whole)
    else:
        made = _blended(canvas, image, row, column, pixels)
    outside = canvas.literal(np.float32(node.attrs.get("extrapolation_value") or 0.0), "outside")
    made = canvas.emit("Where", [mask, made, outside], dtype=onnx_ir.DataType.FLOAT)
    return canvas.result(made, (count, height, width, image.shape[3]))


def _zero(canvas: Canvas, like: Any) -> Any:
    return canvas.emit("Mul", [like, canvas.literal(np.array(0, np.int64), "zero")])


def _lines(canvas: Canvas, image: Ordered, boxes: Ordered, axis: int, count: int) -> tuple[Any, Any]:
    """Coordinates along one axis of every box, [boxes, count, 1] or [boxes, 1, count], and which are inside."""
    import onnx_ir

    size = bound(image, axis)
    low, high = (
        canvas.emit("Gather", [canvas.at(boxes), canvas.literal(int64s([axis - 1 + edge]), "edge")], axis=1)
        for edge in (0, 2)
    )
    last = np.float32(size - 1)
    if count > 1:
        step = canvas.emit("Mul", [canvas.emit("Sub", [high, low]), canvas.literal(last / np.float32(count - 1), "scale")])
        rise = canvas.emit("Mul", [step, canvas.literal(np.arange(count, dtype=np.float32), "steps")])
        line = canvas.emit("Add", [canvas.emit("Mul", [low, canvas.literal(last, "last")]), rise])
    else:
        line = canvas.emit("Mul", [canvas.emit("Add", [low, high]), canvas.literal(np.float32(0.5) * last, "half")])
    line = canvas.emit("Unsqueeze", [line, canvas.literal(int64s([2 if axis == 1 else 1]), "axes")])
    zero, end = canvas.literal(np.float32(0), "zero"), canvas.literal(last, "last")
    kind = onnx_ir.DataType.BOOL
    above = canvas.emit("GreaterOrEqual", [line, zero], dtype=kind)
    below = canvas.emit("LessOrEqual", [line, end], dtype=kind)
    return line, canvas.emit("And", [above, below], dtype=kind)


def _index(canvas: Canvas, image: Ordered, line: Any, axis: int) -> Any:
    """Whole coordinates, moved inside."""
    import onnx_ir

    bounds = [canvas.literal(np.float32(item), "bound") for item in (0, bound(image, axis) - 1)]
    inside = canvas.emit("Clip", [line, *bounds])
    return canvas.emit("Cast", [inside], to=7, dtype=onnx_ir.DataType.INT64)


def _blended(canvas: Canvas, image: Ordered, row: Any, column: Any, pixels: Any) -> Any:
    """The four neighbours, weighted by how near they are."""
    places, parts = [], []
    for line, axis in ((row, 1), (column, 2)):
        below = canvas.emit("Floor", [line])
        places.append([_index(canvas, image, edge, axis) for edge in (below, canvas.emit("Ceil", [line]))])
        part = canvas.emit("Sub", [line, below])
        parts.append(canvas.emit("Unsqueeze", [part, canvas.literal(int64s([-1]), "axes")]))
    rows = []
    for place in places[0]:
        left, right = (pixels(place, across) for across in places[1])
        slope = canvas.emit("Mul", [canvas.emit("Sub", [right, left]), parts[1]])
        rows.append(canvas.emit("Add", [left, slope]))
    return canvas.emit("Add", [rows[0], canvas.emit("Mul", [canvas.emit("Sub", [rows[1], rows[0]]), parts[0]])])
