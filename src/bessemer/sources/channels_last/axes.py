"""Reductions over axes of the original, in whatever order a tensor stands."""

from __future__ import annotations

from collections.abc import Sequence

from bessemer.ir.types import Perm, int64s
from bessemer.sources.drawing import Canvas, Ordered


def reduced_order(order: Perm, axes: Sequence[int], keep: bool) -> Perm:
    """Axis order of a reduction's result: the order without the reduced axes, numbered anew."""
    if keep:
        return order
    kept = [axis for axis in order if axis not in axes]
    return tuple(sorted(kept).index(axis) for axis in kept)


def reduced(
    canvas: Canvas, source: Ordered, operator: str, axes: Sequence[int], *, keepdims: bool = False, name: str = ""
) -> Ordered:
    """A reduction over constant axes of the original (ReduceMean, ReduceSum, ...), in whatever order the tensor is."""
    order, rank = source.made, source.rank
    chosen = sorted({axis % rank for axis in axes}) if rank else []
    value = canvas.at(source, order)
    if not chosen:
        return canvas.result(canvas.emit("Identity", [value]), source.shape, order, name)
    moved = canvas.literal(int64s(sorted(order.index(axis) for axis in chosen)), "axes")
    made = canvas.emit(operator, [value, moved], keepdims=int(keepdims))
    kept = [1 if axis in chosen else dim for axis, dim in enumerate(source.shape) if keepdims or axis not in chosen]
    return canvas.result(made, tuple(kept), reduced_order(order, chosen, keepdims), name)
