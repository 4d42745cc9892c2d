"""Pooling: windows, whole axes, and averages over a given number of cells."""

from __future__ import annotations

from collections.abc import Sequence

from bessemer.sources.channels_last.reduce import reduced
from bessemer.sources.channels_last.shaping import concat, cut
from bessemer.sources.channels_last.windows import (
    Window,
    channel_axis,
    order_of,
    placed,
    spatial,
    spatial_axes,
)
from bessemer.sources.drawing import Canvas, Ordered, Unsupported


def pool(
    canvas: Canvas,
    source: Ordered,
    kind: str,
    size: Sequence[int],
    *,
    strides: Sequence[int] | int | None = None,
    dilations: Sequence[int] | int = 1,
    padding: str | Sequence[Sequence[int]] = "valid",
    count_padding: bool = False,
    first: bool = False,
    name: str = "",
) -> Ordered:
    """kind: 'max' or 'average'. strides None: windows side by side. Padding does not count unless it is said to."""
    window = Window.of(size, size if strides is None else strides, dilations, padding)
    sizes, order = spatial(source, first), order_of(source.rank, first)
    counted = 1 if kind == "average" and count_padding else None
    made = canvas.emit(
        "MaxPool" if kind == "max" else "AveragePool", [canvas.at(source, order)], count_include_pad=counted,
        **window.attributes(sizes),
    )  # fmt: skip
    depth = source.shape[channel_axis(source.rank, first)]
    return canvas.result(made, placed(source.shape[0], window.output(sizes), depth, first), order, name)


def global_pool(
    canvas: Canvas, source: Ordered, kind: str, *, keepdims: bool = False, first: bool = False, name: str = ""
) -> Ordered:
    """kind: 'max' or 'average', over all spatial axes."""
    operator = "ReduceMax" if kind == "max" else "ReduceMean"
    return reduced(canvas, source, operator, spatial_axes(source.rank, first), keepdims=keepdims, name=name)


CELLS = 1024
"""Windows of unequal size along an axis, at most."""


def adaptive_pool(
    canvas: Canvas, source: Ordered, kind: str, cells: Sequence[int], *, first: bool = False, name: str = ""
) -> Ordered:
    """`cells` windows per axis that cover it: cell i reaches from floor(i n / cells) to ceil((i + 1) n / cells)."""
    sizes = _bound(source, first)
    if all(have % want == 0 for have, want in zip(sizes, cells, strict=True)):
        window = [have // want for have, want in zip(sizes, cells, strict=True)]
        return pool(canvas, source, kind, window, first=first, name=name)
    if max(cells) > CELLS:
        raise Unsupported("too-large", f"adaptive pooling to {list(cells)} cells is drawn cell by cell, at most {CELLS}")
    operator, made = "ReduceMax" if kind == "max" else "ReduceMean", source
    for axis, have, want in zip(spatial_axes(source.rank, first), sizes, cells, strict=True):
        spans = [(place * have // want, -(-(place + 1) * have // want)) for place in range(want)]
        parts = [
            reduced(canvas, cut(canvas, made, axis, low, high), operator, [axis], keepdims=True)
            for low, high in spans
        ]
        made = concat(canvas, parts, axis)
    return made


def _bound(source: Ordered, first: bool) -> list[int]:
    sizes = [dim for dim in spatial(source, first) if isinstance(dim, int)]
    if len(sizes) != source.rank - 2:
        raise Unsupported("dynamic-shape", "adaptive pooling over an unbound axis")
    return sizes
