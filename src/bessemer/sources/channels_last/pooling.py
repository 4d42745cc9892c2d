"""Pooling: windows, whole axes, and averages over a given number of cells."""

from __future__ import annotations

from collections.abc import Sequence

from bessemer.sources.channels_last.reduce import reduced
from bessemer.sources.channels_last.windows import (
    Window,
    channel_axis,
    order_of,
    placed,
    spatial,
    spatial_axes,
)
from bessemer.sources.drawing import Canvas, Ordered


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
