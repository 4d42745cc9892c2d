"""Boxes out of raw detector outputs, non-maximum suppression and COCO average precision, in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

LEAST, OVERLAP, MOST = 0.01, 0.65, 100
"""Scores kept, IoU of suppression, detections per image (COCO's 100)."""


def average_precision(decode: str, outputs: list[Array], truth: list[Array]) -> tuple[float, float]:
    """(AP[.5:.95], AP50) in percent; truth: (class, x1, y1, x2, y2) per image."""
    found = [suppressed(*DECODERS[decode](output)) for output in outputs]
    classes = sorted({int(box[0]) for boxes in truth for box in boxes})
    table = np.array([[_ap(found, truth, kind, bound) for bound in np.arange(0.5, 1, 0.05)] for kind in classes])
    return 100 * float(table.mean()), 100 * float(table[:, 0].mean())


def yolox(raw: Array) -> tuple[Array, Array]:
    """(1, 3549, 85): offsets and log sizes on the grids of strides 8, 16, 32 (Ge et al. 2021); scores are ready."""
    rows, grids, strides = raw.reshape(-1, 85), [], []
    for stride in (8, 16, 32):
        side = 416 // stride
        y, x = np.mgrid[:side, :side]
        grids.append(np.stack([x, y], -1).reshape(-1, 2))
        strides.append(np.full((side * side, 1), stride))
    grid, stride = np.concatenate(grids), np.concatenate(strides)
    centre, half = (rows[:, :2] + grid) * stride, np.exp(rows[:, 2:4]) * stride / 2
    return np.concatenate([centre - half, centre + half], 1), rows[:, 4:5] * rows[:, 5:]


def fastestdet(raw: Array) -> tuple[Array, Array]:
    """(1, 85, 22, 22): objectness, box (tanh offsets, sigmoid sizes), classes; score = obj^0.6 cls^0.4."""
    side = raw.shape[-1]
    rows = raw.reshape(85, -1).T.astype(np.float64)
    y, x = (axis.reshape(-1) for axis in np.mgrid[:side, :side])
    centre = (np.tanh(rows[:, 1:3]) + np.stack([x, y], 1)) / side * 352
    half = 352 / (1 + np.exp(-rows[:, 3:5])) / 2
    scores = np.maximum(rows[:, :1], 0) ** 0.6 * np.maximum(rows[:, 5:], 0) ** 0.4
    return np.concatenate([centre - half, centre + half], 1), scores


DECODERS = {"yolox": yolox, "fastestdet": fastestdet}


def suppressed(boxes: Array, scores: Array) -> Array:
    """Greedy suppression within each class: (class, score, x1, y1, x2, y2), best first."""
    kept = []
    for kind in range(scores.shape[1]):
        order = np.flatnonzero(scores[:, kind] > LEAST)
        order = order[np.argsort(-scores[order, kind], kind="stable")]
        while order.size:
            first, order = order[0], order[1:]
            kept.append([kind, scores[first, kind], *boxes[first]])
            order = order[overlaps(boxes[first], boxes[order]) <= OVERLAP]
    rows = np.array(kept).reshape(-1, 6)
    return rows[np.argsort(-rows[:, 1], kind="stable")][:MOST]


def overlaps(box: Array, others: Array) -> Array:
    """Intersection over union of one box with many."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    common = np.prod(np.maximum(high - low, 0), 1)
    return common / np.maximum(_area(box[None]) + _area(others) - common, 1e-9)


def _area(boxes: Array) -> Array:
    return np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), 1)


def _ap(found: list[Array], truth: list[Array], kind: int, bound: float) -> float:
    """101-point interpolated precision of one class at one IoU."""
    total, hits = 0, []
    for rows, boxes in zip(found, truth, strict=True):
        real = boxes[boxes[:, 0] == kind][:, 1:]
        total += len(real)
        taken = np.zeros(len(real), bool)
        for row in rows[rows[:, 0] == kind]:
            near = np.where(taken, -1.0, overlaps(row[2:], real))
            best = int(near.argmax()) if near.size else -1
            right = best >= 0 and near[best] >= bound
            if right:
                taken[best] = True
            hits.append((row[1], right))
    if not hits:
        return 0.0
    order = sorted(range(len(hits)), key=lambda place: -hits[place][0])
    right_ones = np.cumsum([hits[place][1] for place in order])
    precision = np.maximum.accumulate((right_ones / np.arange(1, len(hits) + 1))[::-1])[::-1]
    places = np.searchsorted(right_ones / total, np.linspace(0, 1, 101) - 1e-12)
    return float(np.append(precision, 0.0)[places].mean())
