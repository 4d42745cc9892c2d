"""Suppression of overlapping boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bessemer.ir.types import Array
from bessemer.runners.tensorflow.registry import evaluates
from bessemer.wire.savedmodel.node import Node


def _overlap(first: Array, second: Array) -> float:
    boxes = [np.sort(box.reshape(2, 2), axis=0) for box in (first, second)]
    areas = [float(np.prod(box[1] - box[0])) for box in boxes]
    if min(areas) <= 0:
        return 0.0
    sides = np.minimum(boxes[0][1], boxes[1][1]) - np.maximum(boxes[0][0], boxes[1][0])
    common = float(np.prod(np.maximum(sides, 0)))
    return common / (sum(areas) - common)


def suppress(
    boxes: Array, scores: Array, most: int, overlap: float, score: float, sigma: float
) -> tuple[list[int], list[float]]:
    """Greedy: the best left is kept, what overlaps it falls away, or (sigma > 0) loses score (Bodla et al. 2017)."""
    held = [(float(value), place, 0) for place, value in enumerate(scores) if value > score]
    kept: list[int] = []
    values: list[float] = []
    while held and len(kept) < most:
        best = max(range(len(held)), key=lambda i: (held[i][0], -held[i][1]))
        value, place, begin = held.pop(best)
        lowered, hard = value, False
        for other in reversed(kept[begin:]):
            shared = _overlap(boxes[place], boxes[other])
            lowered *= float(np.exp(-0.5 / sigma * shared * shared)) if sigma > 0 else 1.0
            lowered *= 1.0 if sigma > 0 else float(shared <= overlap)
            hard = sigma <= 0 and shared > overlap
            if hard or lowered <= score:
                break
        if not hard and lowered == value:
            kept.append(place)
            values.append(value)
        elif not hard and lowered > score:
            held.append((lowered, place, len(kept)))
    return kept, values


@evaluates("NonMaxSuppression", "NonMaxSuppressionV2", "NonMaxSuppressionV3", "NonMaxSuppressionV4", "NonMaxSuppressionV5")
def non_max_suppression(node: Node, inputs: Sequence[Array]) -> Array | Sequence[Array]:
    """The numbers of the boxes kept, by falling score."""
    boxes, scores, most = inputs[0].astype(np.float32), inputs[1], int(inputs[2])
    overlap = float(inputs[3]) if len(inputs) > 3 else float(node.attrs.get("iou_threshold", 0.5))
    score = float(inputs[4]) if len(inputs) > 4 else -np.inf
    sigma = float(inputs[5]) if len(inputs) > 5 else 0.0
    kept, values = suppress(boxes, scores, most, overlap, score, sigma)
    count = np.array(len(kept), np.int32)
    tail = most - len(kept) if node.attrs.get("pad_to_max_output_size") else 0
    places = np.array([*kept, *[0] * tail], np.int32)
    if node.op.endswith("V4"):
        return [places, count]
    if node.op.endswith("V5"):
        return [places, np.array([*values, *[0.0] * tail], scores.dtype), count]
    return places


@evaluates("CombinedNonMaxSuppression")
def combined(node: Node, inputs: Sequence[Array]) -> Sequence[Array]:
    """Per class, then the best of all classes together."""
    boxes, scores = inputs[:2]
    most, total = int(inputs[2]), int(inputs[3])
    overlap, score = float(inputs[4]), float(inputs[5])
    images, _, shared, _ = boxes.shape
    classes = scores.shape[2]
    if node.attrs.get("pad_per_class"):
        total = min(total, most * classes)
    made = [np.zeros((images, total, 4), np.float32), np.zeros((images, total), np.float32),
            np.zeros((images, total), np.float32), np.zeros(images, np.int32)]  # fmt: skip
    for image in range(images):
        found = []
        for kind in range(classes):
            own = boxes[image, :, kind if shared > 1 else 0]
            kept, values = suppress(own, scores[image, :, kind], most, overlap, score, 0.0)
            found += [(value, own[place], kind) for place, value in zip(kept, values, strict=True)]
        found.sort(key=lambda item: -item[0])
        for place, (value, box, kind) in enumerate(found[:total]):
            made[0][image, place] = np.clip(box, 0, 1) if node.attrs.get("clip_boxes", True) else box
            made[1][image, place], made[2][image, place] = value, kind
        made[3][image] = min(len(found), total)
    return made
