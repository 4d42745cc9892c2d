"""TFLite_Detection_PostProcess: anchors decoded and boxes suppressed in ONNX operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bessemer.sources.tflite.context import Context, Unsupported
from bessemer.sources.tflite.flexbuffer import numbers
from bessemer.sources.tflite.ops.quantization import cast
from bessemer.sources.tflite.registry import op

if TYPE_CHECKING:
    import onnx_ir

    from bessemer.wire.tflite.records import Operator


@dataclass(frozen=True)
class Settings:
    """Options of the operator, under its own names. `scales`: y, x, h, w."""

    max_detections: int
    max_classes_per_detection: int
    detections_per_class: int
    use_regular_nms: bool
    nms_score_threshold: float
    nms_iou_threshold: float
    num_classes: int
    scales: tuple[float, float, float, float]


def settings_of(operator: Operator) -> Settings:
    """The options; raises Unsupported where they are broken or one is missing."""
    try:
        held = numbers(bytes(operator.custom_options or b""))
        return Settings(
            int(held["max_detections"]), int(held["max_classes_per_detection"]),
            int(held.get("detections_per_class", 100)), bool(held.get("use_regular_nms", 0)),
            held["nms_score_threshold"], held["nms_iou_threshold"], int(held["num_classes"]),
            (held["y_scale"], held["x_scale"], held["h_scale"], held["w_scale"]),
        )  # fmt: skip
    except (KeyError, ValueError) as error:
        raise Unsupported("custom-options", f"its options are incomplete or broken: {error}") from error


@op("TFLite_Detection_PostProcess")
def detection(context: Context, operator: Operator) -> None:
    """Operands: box encodings [1, n, 4] as (y, x, h, w), scores [1, n, classes], anchors [n, 4].

    Results: boxes [1, k, 4], classes [1, k], scores [1, k], count [1]; k = max_detections. Places past the
    count are zero (the runtime leaves them as they were).
    """
    held = settings_of(operator)
    if held.max_classes_per_detection != 1 and not held.use_regular_nms:
        raise Unsupported("detection-classes", "several classes per box outside of regular suppression")
    if context.static(operator.inputs[0])[0] != 1:
        raise Unsupported("batch", "the operator works on one image")
    boxes = _decode(context, context.value(operator.inputs[0]), context.value(operator.inputs[2]), held)
    background = context.static(operator.inputs[1])[2] - held.num_classes
    scores = context.value(operator.inputs[1])
    if background:
        scores = _slice(context, scores, background, 2**31 - 1, 2)
    chosen = (
        _regular(context, boxes, scores, held)
        if held.use_regular_nms
        else _fast(context, boxes, scores, held)
    )
    count = held.max_detections
    shapes: Sequence[Sequence[int]] = ((1, count, 4), (1, count), (1, count), (1,))
    for index, value, shape in zip(operator.outputs, chosen, shapes, strict=True):
        _result(context, index, context.reshaped(value, shape), shape)


def _result(context: Context, index: int, value: onnx_ir.Value, shape: Sequence[int]) -> None:
    """The file does not know these shapes: the runtime sets them."""
    import onnx_ir

    own = tuple(range(context.rank(index)))
    context.result(index, value, own)
    context.value(index, own).shape = onnx_ir.Shape(list(shape))


def _ints(context: Context, items: Sequence[int] | int) -> onnx_ir.Value:
    return context.literal(np.array(items, np.int64), "const")


def _slice(context: Context, value: onnx_ir.Value, start: int, end: int, axis: int) -> onnx_ir.Value:
    bounds = [_ints(context, [item]) for item in (start, end, axis)]
    made: onnx_ir.Value = context.emit("Slice", [value, *bounds])
    return made


def _decode(
    context: Context, encodings: onnx_ir.Value, anchors: onnx_ir.Value, held: Settings
) -> onnx_ir.Value:
    """Boxes [1, n, 4] as corners (y, x, y, x): centre and size relative to the anchor's."""
    scales = context.literal(np.array(held.scales, np.float32), "scales")
    scaled = context.emit("Div", [encodings, scales])
    centre, size = _slice(context, scaled, 0, 2, 2), _slice(context, scaled, 2, 4, 2)
    anchor_centre, anchor_size = _slice(context, anchors, 0, 2, 1), _slice(context, anchors, 2, 4, 1)
    middle = context.emit("Add", [context.emit("Mul", [centre, anchor_size]), anchor_centre])
    half = context.literal(np.array(0.5, np.float32), "half")
    reach = context.emit("Mul", [context.emit("Mul", [half, context.emit("Exp", [size])]), anchor_size])
    corners = [context.emit("Sub", [middle, reach]), context.emit("Add", [middle, reach])]
    made: onnx_ir.Value = context.emit("Concat", corners, axis=2)
    return made


def _suppress(
    context: Context, boxes: onnx_ir.Value, scores: onnx_ir.Value, most: int, held: Settings
) -> onnx_ir.Value:
    """Rows (0, class, box) kept of scores [1, classes, n]; TFLite keeps scores equal to the threshold."""
    import onnx_ir

    below = np.nextafter(np.float32(held.nms_score_threshold), np.float32(-np.inf))
    limits = [
        context.literal(np.array([item], np.float32), "threshold") for item in (held.nms_iou_threshold, below)
    ]
    made: onnx_ir.Value = context.emit(
        "NonMaxSuppression", [boxes, scores, _ints(context, [most]), *limits], dtype=onnx_ir.DataType.INT64
    )
    return made


def _column(context: Context, rows: onnx_ir.Value, column: int) -> onnx_ir.Value:
    made: onnx_ir.Value = context.emit("Gather", [rows, _ints(context, column)], axis=1)
    return made


def _filled(context: Context, value: onnx_ir.Value, count: int, rest: float) -> onnx_ir.Value:
    """The first `count` items of a vector, followed by `rest` where it is shorter."""
    import onnx_ir

    kind = (value.dtype or onnx_ir.DataType.FLOAT).numpy()
    tail = context.literal(np.full(count, rest, kind), "tail")
    return _slice(context, context.emit("Concat", [value, tail], axis=0), 0, count, 0)


def _fast(
    context: Context, boxes: onnx_ir.Value, scores: onnx_ir.Value, held: Settings
) -> tuple[onnx_ir.Value, ...]:
    """Every box stands for its best class; suppression ignores classes."""
    import onnx_ir

    best = context.emit("ReduceMax", [scores, _ints(context, [2])], keepdims=0)
    classes = context.emit("ArgMax", [scores], axis=2, keepdims=0, dtype=onnx_ir.DataType.INT64)
    candidates = context.emit("Unsqueeze", [best, _ints(context, [1])])
    kept = _column(context, _suppress(context, boxes, candidates, held.max_detections, held), 2)
    real = cast(context, context.emit("Shape", [kept], dtype=onnx_ir.DataType.INT64), onnx_ir.DataType.FLOAT)
    places = _filled(context, kept, held.max_detections, 0)
    flags = _flags(context, real, held.max_detections)
    return (
        *_picked(
            context, boxes, places, _classes(context, classes, places), _take(context, best, places), flags
        ),
        real,
    )


def _flags(context: Context, count: onnx_ir.Value, most: int) -> onnx_ir.Value:
    """1 for places in use, 0 behind them."""
    import onnx_ir

    positions = context.literal(np.arange(most, dtype=np.float32), "places")
    used = context.emit("Less", [positions, count], dtype=onnx_ir.DataType.BOOL)
    made: onnx_ir.Value = cast(context, used, onnx_ir.DataType.FLOAT)
    return made


def _take(context: Context, row: onnx_ir.Value, places: onnx_ir.Value) -> onnx_ir.Value:
    """Items of [1, n] as a vector."""
    made: onnx_ir.Value = context.emit("Gather", [context.reshaped(row, (None,)), places], axis=0)
    return made


def _classes(context: Context, classes: onnx_ir.Value, places: onnx_ir.Value) -> onnx_ir.Value:
    """Class numbers of places as floats, as the operator gives them."""
    import onnx_ir

    made: onnx_ir.Value = cast(context, _take(context, classes, places), onnx_ir.DataType.FLOAT)
    return made


def _picked(
    context: Context, boxes: onnx_ir.Value, places: onnx_ir.Value, classes: onnx_ir.Value,
    scores: onnx_ir.Value,
    flags: onnx_ir.Value,
) -> tuple[onnx_ir.Value, onnx_ir.Value, onnx_ir.Value]:  # fmt: skip
    corners = context.emit("Gather", [boxes, places], axis=1)
    column = context.reshaped(flags, (None, 1))
    return (
        context.emit("Mul", [corners, column]),
        context.emit("Mul", [classes, flags]),
        context.emit("Mul", [scores, flags]),
    )


def _regular(
    context: Context, boxes: onnx_ir.Value, scores: onnx_ir.Value, held: Settings
) -> tuple[onnx_ir.Value, ...]:
    """Suppression within each class, then the best of all."""
    import onnx_ir

    by_class = context.emit("Transpose", [scores], perm=[0, 2, 1])
    rows = _suppress(context, boxes, by_class, held.detections_per_class, held)
    found = context.emit("GatherND", [by_class, rows], dtype=by_class.dtype)
    size, most = context.emit("Shape", [found], dtype=onnx_ir.DataType.INT64), held.max_detections
    tail = context.literal(np.full(most, -1.0, np.float32), "tail")
    padded = context.emit("Concat", [found, tail], axis=0)
    top, order = context.emit("TopK", [padded, _ints(context, [most])], outputs=2, axis=0)
    order.type = onnx_ir.TensorType(onnx_ir.DataType.INT64)
    zeros = context.literal(np.zeros((most, 3), np.int64), "tail")
    picks = context.emit("Gather", [context.emit("Concat", [rows, zeros], axis=0), order], axis=0)
    limit = context.emit("Min", [size, _ints(context, [most])])
    real = cast(context, limit, onnx_ir.DataType.FLOAT)
    flags = _flags(context, real, most)
    classes = cast(context, _column(context, picks, 1), onnx_ir.DataType.FLOAT)
    return (*_picked(context, boxes, _column(context, picks, 2), classes, top, flags), real)
