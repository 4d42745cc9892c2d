"""Suppression of overlapping boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bessemer.ir.types import int64s
from bessemer.sources.channels_last.elementwise import cast
from bessemer.sources.channels_last.shaping import reshape
from bessemer.sources.drawing import Canvas, Ordered, Unsupported
from bessemer.sources.tensorflow.node import Node
from bessemer.sources.tensorflow.ops.common import constant, integer
from bessemer.sources.tensorflow.registry import op

LOWEST = float(np.finfo(np.float32).min)


def suppressed(canvas: Canvas, boxes: Any, scores: Any, most: Any, overlap: Any, score: Any) -> Any:
    """Rows (image, class, box) kept of boxes [images, n, 4] and scores [images, classes, n]; limits of shape [1]."""
    import onnx_ir

    return canvas.emit("NonMaxSuppression", [boxes, scores, most, overlap, score], dtype=onnx_ir.DataType.INT64)


def limit(canvas: Canvas, held: Ordered | float, kind: Any) -> Any:
    """One number as NonMaxSuppression wants it: a vector of one."""
    if isinstance(held, Ordered):
        return canvas.at(reshape(canvas, cast(canvas, held, kind), (1,)))
    return canvas.literal(np.array([held], kind.numpy()), "limit")


@op("NonMaxSuppression", "NonMaxSuppressionV2", "NonMaxSuppressionV3", "NonMaxSuppressionV4", "NonMaxSuppressionV5")
def non_max_suppression(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered | Sequence[Ordered]:
    """Boxes [n, 4], scores [n]; the numbers of the boxes kept, by falling score."""
    import onnx_ir

    boxes, scores, most = inputs[:3]
    real, wide = onnx_ir.DataType.FLOAT, onnx_ir.DataType.INT64
    overlap: Ordered | float = inputs[3] if len(inputs) > 3 else float(node.attrs.get("iou_threshold", 0.5))
    score: Ordered | float = inputs[4] if len(inputs) > 4 else LOWEST
    if len(inputs) > 5 and constant(inputs[5], "sigma").any():
        raise Unsupported("soft-nms", "ONNX has no suppression that lowers scores", "set soft_nms_sigma to 0")
    axes = [canvas.literal(int64s(items), "axes") for items in ([0], [0, 1])]
    pair = [canvas.emit("Unsqueeze", [canvas.at(cast(canvas, held, real)), at])
            for held, at in zip((boxes, scores), axes, strict=True)]  # fmt: skip
    limits = [limit(canvas, held, kind) for held, kind in ((most, wide), (overlap, real), (score, real))]
    rows = suppressed(canvas, *pair, *limits)
    kept = canvas.emit("Gather", [rows, canvas.literal(np.array(2, np.int64), "column")], axis=1)
    padded = bool(node.attrs.get("pad_to_max_output_size"))
    results = [kept]
    if node.op.endswith("V5"):
        results.append(canvas.emit("Gather", [canvas.at(scores), kept], axis=0))
    count = integer(most, "number of boxes") if padded else None
    made = [_column(canvas, value, count) for value in results]
    made[0] = cast(canvas, made[0], onnx_ir.DataType.INT32)
    if node.op.endswith(("V4", "V5")):
        found = canvas.emit("Size", [kept], dtype=wide)
        made.append(cast(canvas, canvas.result(found, ()), onnx_ir.DataType.INT32))
    return made[0] if len(made) == 1 else made


def _column(canvas: Canvas, value: Any, count: int | None) -> Ordered:
    """The vector, filled with zeros to `count` where one is given."""
    if count is None:
        return canvas.result(value, (None,))
    tail = canvas.literal(np.zeros(count, value.dtype.numpy()), "tail")
    whole = canvas.emit("Concat", [value, tail], axis=0)
    bounds = [canvas.literal(int64s([item]), "bound") for item in (0, count)]
    return canvas.result(canvas.emit("Slice", [whole, *bounds]), (count,))


@op("CombinedNonMaxSuppression")
def combined(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Sequence[Ordered]:
    """Boxes [images, n, 1, 4] shared by all classes, scores [images, n, classes]: the best of all classes together."""
    import onnx_ir

    boxes, scores, most, total, overlap, score = inputs
    images, count, shared, _ = boxes.static
    classes = scores.static[2]
    if shared != 1:
        raise Unsupported("nms-boxes", f"each of {shared} classes has boxes of its own", "share them between classes")
    real, wide = onnx_ir.DataType.FLOAT, onnx_ir.DataType.INT64
    per_class, kept = integer(most, "boxes per class"), integer(total, "boxes in all")
    if node.attrs.get("pad_per_class"):
        kept = min(kept, per_class * classes)
    corners = canvas.at(reshape(canvas, boxes, (images, count, 4)))
    turned = canvas.at(scores, (0, 2, 1))
    limits = [limit(canvas, float(per_class), wide), limit(canvas, overlap, real), limit(canvas, score, real)]
    rows = suppressed(canvas, corners, turned, *limits)
    held = canvas.emit("GatherND", [turned, rows])
    floor = canvas.literal(np.full((images, classes, count), LOWEST, np.float32), "none")
    table = canvas.emit("ScatterND", [floor, rows, held])
    flat = canvas.reshaped(table, [images, classes * count])
    found = min(kept, classes * count)
    values, places = canvas.emit("TopK", [flat, canvas.literal(int64s([found]), "k")], axis=-1, outputs=2)
    places.type = onnx_ir.TensorType(wide)
    there = canvas.emit("Greater", [values, canvas.literal(np.float32(LOWEST), "none")], dtype=onnx_ir.DataType.BOOL)
    return _best(canvas, node, corners, values, places, there, images, count, found, kept)


def _best(
    canvas: Canvas, node: Node, corners: Any, values: Any, places: Any, there: Any, images: int, count: int,
    found: int, kept: int,
) -> list[Ordered]:  # fmt: skip
    """Boxes, scores, classes and counts of the winners; places that nobody won are zero."""
    import onnx_ir

    real = onnx_ir.DataType.FLOAT
    many = canvas.literal(np.array(count, np.int64), "count")
    chosen = canvas.emit("Mod", [places, many])
    kind = canvas.emit("Cast", [canvas.emit("Div", [places, many])], to=1, dtype=real)
    column = canvas.emit("Unsqueeze", [chosen, canvas.literal(int64s([-1]), "axes")])
    picked = canvas.emit("GatherND", [corners, column], batch_dims=1)
    if node.attrs.get("clip_boxes", True):
        picked = canvas.emit("Clip", [picked, *(canvas.literal(np.float32(bound), "bound") for bound in (0, 1))])
    zero = canvas.literal(np.float32(0), "zero")
    mask = canvas.emit("Unsqueeze", [there, canvas.literal(int64s([-1]), "axes")])
    made = [canvas.emit("Where", [flag, value, zero], dtype=real)
            for flag, value in ((mask, picked), (there, values), (there, kind))]  # fmt: skip
    if kept > found:
        pads = [[0, 0, 0, 0, kept - found, 0], [0, 0, 0, kept - found], [0, 0, 0, kept - found]]
        made = [canvas.emit("Pad", [value, canvas.literal(int64s(pad), "pads")])
                for value, pad in zip(made, pads, strict=True)]  # fmt: skip
    whole = canvas.emit("Cast", [there], to=6, dtype=onnx_ir.DataType.INT32)
    valid = canvas.emit("ReduceSum", [whole, canvas.literal(int64s([1]), "axes")], keepdims=0)
    shapes = ((images, kept, 4), (images, kept), (images, kept), (images,))
    return [canvas.result(value, shape) for value, shape in zip([*made, valid], shapes, strict=True)]
