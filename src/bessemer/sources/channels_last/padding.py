"""Padding and cropping, along any axes of the original."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bessemer.ir.layout import apply
from bessemer.ir.types import Shape, int64s
from bessemer.sources.drawing import Canvas, Ordered, Unsupported

FAR = np.iinfo(np.int64).max

Pairs = Sequence[tuple[int, int]]
"""(before, after), one per axis of the tensor, in the original's order."""


def _moved(source: Ordered, pairs: Pairs) -> Shape:
    return tuple(
        dim + low + high if isinstance(dim, int) else dim if low + high == 0 else None
        for dim, (low, high) in zip(source.shape, pairs, strict=True)
    )


def spatial_pairs(source: Ordered, pairs: Pairs, first: bool) -> list[tuple[int, int]]:
    """Pairs of every axis from those of the spatial ones."""
    head, tail = ([(0, 0), (0, 0)], []) if first else ([(0, 0)], [(0, 0)])
    return [*head, *((int(low), int(high)) for low, high in pairs), *tail]


def pad(
    canvas: Canvas, source: Ordered, pairs: Pairs, *, mode: str = "constant", value: Any = 0, name: str = ""
) -> Ordered:
    """mode: constant (with `value`), reflect (without the border), symmetric (with it) or edge."""
    if mode == "symmetric":
        return _mirrored(canvas, source, pairs, name)
    if mode not in ("constant", "reflect", "edge"):
        raise Unsupported("pad-mode", f"padding by '{mode}' has no ONNX form")
    order = source.made
    moved = apply(order, list(pairs))
    amounts = int64s([low for low, _ in moved] + [high for _, high in moved])
    inputs = [canvas.at(source, order), canvas.literal(amounts, "pads")]
    if mode == "constant" and np.any(value):
        inputs.append(canvas.literal(np.asarray(value, source.dtype.numpy()), "fill"))
    made = canvas.emit("Pad", inputs, mode=None if mode == "constant" else mode)
    return canvas.result(made, _moved(source, pairs), order, name)


def _mirrored(canvas: Canvas, source: Ordered, pairs: Pairs, name: str) -> Ordered:
    """Borders repeated backwards: slices with a step of -1, joined to the tensor."""
    order, value = source.made, canvas.at(source, source.made)
    for axis, (low, high) in enumerate(pairs):
        place = order.index(axis)
        parts = [value]
        if low:
            parts.insert(0, _slice(canvas, value, low - 1, -FAR, place, -1))
        if high:
            parts.append(_slice(canvas, value, -1, -high - 1, place, -1))
        value = canvas.emit("Concat", parts, axis=place) if len(parts) > 1 else value
    return canvas.result(value, _moved(source, pairs), order, name)


def _slice(canvas: Canvas, value: Any, start: int, end: int, axis: int, step: int = 1) -> Any:
    bounds = [canvas.literal(int64s([item]), "slice") for item in (start, end, axis, step)]
    return canvas.emit("Slice", [value, *bounds])


def crop(canvas: Canvas, source: Ordered, pairs: Pairs, *, name: str = "") -> Ordered:
    """Cut (before, after) off every axis. Raises Unsupported where nothing would be left."""
    shape = _moved(source, [(-low, -high) for low, high in pairs])
    if any(isinstance(dim, int) and dim <= 0 for dim in shape):
        raise Unsupported("crop-size", f"cutting {list(pairs)} off {list(source.shape)} leaves nothing")
    order = source.made
    cut = [(place, *pairs[axis]) for place, axis in enumerate(order) if any(pairs[axis])]
    if not cut:
        return source
    starts, axes = [low for _, low, _ in cut], [place for place, _, _ in cut]
    ends = [-high if high else FAR for _, _, high in cut]
    bounds = [canvas.literal(int64s(items), "slice") for items in (starts, ends, axes)]
    return canvas.result(canvas.emit("Slice", [canvas.at(source, order), *bounds]), shape, order, name)
