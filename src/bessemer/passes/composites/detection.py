"""TFLite_Detection_PostProcess: anchors decoded and boxes suppressed in ONNX operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bessemer.passes.composites import composite
from bessemer.passes.rewrite import dims

if TYPE_CHECKING:
    import onnx_ir

    from bessemer.passes.expansion import Nodes

OP = "DetectionPostProcess"


@dataclass(frozen=True)
class Settings:
    """Options of the operator, under TensorFlow Lite's own names."""

    max_detections: int
    max_classes_per_detection: int
    detections_per_class: int
    use_regular_nms: int
    nms_score_threshold: float
    nms_iou_threshold: float
    num_classes: int
    y_scale: float
    x_scale: float
    h_scale: float
    w_scale: float

    @classmethod
    def of(cls, node: onnx_ir.Node) -> Settings:
        """The attributes of a node, which carry the same names."""
        return cls(**{name: node.attributes[name].value for name in cls.__dataclass_fields__})


@composite(OP)
def detection(nodes: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """Operands: box encodings [1, n, 4] as (y, x, h, w), scores [1, n, classes], anchors [n, 4].

    Results: boxes [1, k, 4], classes [1, k], scores [1, k], count [1]; k = max_detections. Places past the
    count are zero (the runtime leaves them as they were).
    """
    held = Settings.of(node)
    encodings, scores, anchors = node.inputs
    shape = dims(scores)
    if encodings is None or scores is None or anchors is None or shape is None:
        return None
    boxes = _decode(nodes, encodings, anchors, held)
    background = shape[2] - held.num_classes
    if background:
        scores = _slice(nodes, scores, background, 2**31 - 1, 2)
    choose = _regular if held.use_regular_nms else _fast
    most = held.max_detections
    shapes: Sequence[Sequence[int]] = ((1, most, 4), (1, most), (1, most), (1,))
    chosen = choose(nodes, boxes, scores, held)
    return [_reshaped(nodes, value, shape) for value, shape in zip(chosen, shapes, strict=True)]


def _ints(nodes: Nodes, items: Sequence[int] | int) -> onnx_ir.Value:
    return nodes.constant(np.array(items, np.int64))


def _floats(nodes: Nodes, items: Sequence[float] | float) -> onnx_ir.Value:
    return nodes.constant(np.array(items, np.float32))


def _reshaped(nodes: Nodes, value: onnx_ir.Value, shape: Sequence[int]) -> onnx_ir.Value:
    return nodes("Reshape", value, _ints(nodes, shape))


def _real(nodes: Nodes, value: onnx_ir.Value) -> onnx_ir.Value:
    return nodes("Cast", value, to=1)


def _slice(nodes: Nodes, value: onnx_ir.Value, start: int, end: int, axis: int) -> onnx_ir.Value:
    return nodes("Slice", value, *(_ints(nodes, [item]) for item in (start, end, axis)))


def _decode(
    nodes: Nodes, encodings: onnx_ir.Value, anchors: onnx_ir.Value, held: Settings
) -> onnx_ir.Value:
    """Boxes [1, n, 4] as corners (y, x, y, x): centre and size relative to the anchor's."""
    scales = _floats(nodes, (held.y_scale, held.x_scale, held.h_scale, held.w_scale))
    scaled = nodes("Div", encodings, scales)
    centre, size = _slice(nodes, scaled, 0, 2, 2), _slice(nodes, scaled, 2, 4, 2)
    anchor_centre, anchor_size = _slice(nodes, anchors, 0, 2, 1), _slice(nodes, anchors, 2, 4, 1)
    middle = nodes("Add", nodes("Mul", centre, anchor_size), anchor_centre)
    reach = nodes("Mul", nodes("Mul", _floats(nodes, 0.5), nodes("Exp", size)), anchor_size)
    corners = nodes("Sub", middle, reach), nodes("Add", middle, reach)
    return nodes("Concat", *corners, axis=2)


def _suppress(
    nodes: Nodes, boxes: onnx_ir.Value, scores: onnx_ir.Value, most: int, held: Settings
) -> onnx_ir.Value:
    """Rows (0, class, box) kept of scores [1, classes, n]; TFLite keeps scores equal to the threshold."""
    below = float(np.nextafter(np.float32(held.nms_score_threshold), np.float32(-np.inf)))
    limits = [_floats(nodes, [item]) for item in (held.nms_iou_threshold, below)]
    return nodes("NonMaxSuppression", boxes, scores, _ints(nodes, [most]), *limits)


def _column(nodes: Nodes, rows: onnx_ir.Value, column: int) -> onnx_ir.Value:
    return nodes("Gather", rows, _ints(nodes, column), axis=1)


def _fast(
    nodes: Nodes, boxes: onnx_ir.Value, scores: onnx_ir.Value, held: Settings
) -> tuple[onnx_ir.Value, ...]:
    """Every box stands for its best class; suppression ignores classes."""
    most = held.max_detections
    best = nodes("ReduceMax", scores, _ints(nodes, [2]), keepdims=0)
    classes = nodes("ArgMax", scores, axis=2, keepdims=0)
    candidates = nodes("Unsqueeze", best, _ints(nodes, [1]))
    kept = _column(nodes, _suppress(nodes, boxes, candidates, most, held), 2)
    count = _real(nodes, nodes("Shape", kept))
    filler = nodes.constant(np.zeros(most, np.int64), "tail")
    places = _slice(nodes, nodes("Concat", kept, filler, axis=0), 0, most, 0)
    named, scored = _real(nodes, _take(nodes, classes, places)), _take(nodes, best, places)
    return *_picked(nodes, boxes, places, named, scored, _flags(nodes, count, most)), count


def _flags(nodes: Nodes, count: onnx_ir.Value, most: int) -> onnx_ir.Value:
    """1 for places in use, 0 behind them."""
    positions = nodes.constant(np.arange(most, dtype=np.float32), "places")
    return _real(nodes, nodes("Less", positions, count))


def _take(nodes: Nodes, row: onnx_ir.Value, places: onnx_ir.Value) -> onnx_ir.Value:
    """Items of [1, n] as a vector."""
    return nodes("Gather", _reshaped(nodes, row, [-1]), places, axis=0)


def _picked(
    nodes: Nodes, boxes: onnx_ir.Value, places: onnx_ir.Value, classes: onnx_ir.Value, scores: onnx_ir.Value,
    flags: onnx_ir.Value,
) -> tuple[onnx_ir.Value, onnx_ir.Value, onnx_ir.Value]:  # fmt: skip
    corners = nodes("Gather", boxes, places, axis=1)
    column = _reshaped(nodes, flags, [-1, 1])
    return (
        nodes("Mul", corners, column),
        nodes("Mul", classes, flags),
        nodes("Mul", scores, flags),
    )


def _regular(
    nodes: Nodes, boxes: onnx_ir.Value, scores: onnx_ir.Value, held: Settings
) -> tuple[onnx_ir.Value, ...]:
    """Suppression within each class, then the best of all."""
    most = held.max_detections
    by_class = nodes("Transpose", scores, perm=[0, 2, 1])
    rows = _suppress(nodes, boxes, by_class, held.detections_per_class, held)
    found = nodes("GatherND", by_class, rows)
    padded = nodes("Concat", found, nodes.constant(np.full(most, -1.0, np.float32), "tail"), axis=0)
    top, order = nodes.several(2, "TopK", padded, _ints(nodes, [most]), axis=0)
    filler = nodes.constant(np.zeros((most, 3), np.int64), "tail")
    picks = nodes("Gather", nodes("Concat", rows, filler, axis=0), order, axis=0)
    count = _real(nodes, nodes("Min", nodes("Shape", found), _ints(nodes, [most])))
    classes = _real(nodes, _column(nodes, picks, 1))
    flags = _flags(nodes, count, most)
    return *_picked(nodes, boxes, _column(nodes, picks, 2), classes, top, flags), count
