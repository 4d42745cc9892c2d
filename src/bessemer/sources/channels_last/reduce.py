"""Reductions, arg-max, running sums and top-k over axes of the original, in whatever order the tensor stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.types import Perm, Shape, int64s
from bessemer.sources.channels_last.elementwise import cast
from bessemer.sources.drawing import Canvas, Ordered

if TYPE_CHECKING:
    import onnx_ir


def reduced_order(order: Perm, axes: Sequence[int], keep: bool) -> Perm:
    """Axis order of a reduction's result: the order without the reduced axes, numbered anew."""
    if keep:
        return order
    kept = [axis for axis in order if axis not in axes]
    return tuple(sorted(kept).index(axis) for axis in kept)


def reduced_shape(shape: Shape, axes: Sequence[int], keep: bool) -> Shape:
    """The shape without the reduced axes, or with ones in their places."""
    return tuple(1 if axis in axes else dim for axis, dim in enumerate(shape) if keep or axis not in axes)


def normalized(axes: Sequence[int], rank: int) -> list[int]:
    """Axes from 0 on, sorted, each once."""
    return sorted({axis % rank for axis in axes}) if rank else []


def reduced(
    canvas: Canvas, tensor: Ordered, operator: str, axes: Sequence[int], *, keepdims: bool = False, name: str = ""
) -> Ordered:
    """ReduceMean, ReduceSum, ... over constant axes; without axes nothing is reduced."""
    chosen = normalized(axes, tensor.rank)
    if not chosen:
        return tensor if not name else canvas.result(canvas.at(tensor, tensor.made), tensor.shape, tensor.made, name)
    order = tensor.made
    moved = canvas.literal(int64s(sorted(order.index(axis) for axis in chosen)), "axes")
    made = canvas.emit(operator, [canvas.at(tensor, order), moved], keepdims=int(keepdims))
    shape = reduced_shape(tensor.shape, chosen, keepdims)
    return canvas.result(made, shape, reduced_order(order, chosen, keepdims), name)


def logical(
    canvas: Canvas, tensor: Ordered, every: bool, axes: Sequence[int], *, keepdims: bool = False, name: str = ""
) -> Ordered:
    """All (`every`) or any of booleans: the smallest or the largest of them as integers."""
    import onnx_ir

    wide = cast(canvas, tensor, onnx_ir.DataType.INT32)
    made = reduced(canvas, wide, "ReduceMin" if every else "ReduceMax", axes, keepdims=keepdims)
    return cast(canvas, made, onnx_ir.DataType.BOOL, name=name)


def extreme_place(
    canvas: Canvas, tensor: Ordered, largest: bool, axis: int, dtype: Any = None, *, keepdims: bool = False, name: str = ""
) -> Ordered:
    """Index of the first extreme along one axis. dtype: int64 where it is None."""
    import onnx_ir

    axis, order = axis % tensor.rank, tensor.made
    made = canvas.emit(
        "ArgMax" if largest else "ArgMin", [canvas.at(tensor, order)], axis=order.index(axis),
        keepdims=int(keepdims), dtype=onnx_ir.DataType.INT64,
    )  # fmt: skip
    shape = reduced_shape(tensor.shape, [axis], keepdims)
    place = canvas.result(made, shape, reduced_order(order, [axis], keepdims), "" if dtype else name)
    return place if dtype is None else cast(canvas, place, dtype, name=name)


def running_sum(
    canvas: Canvas, tensor: Ordered, axis: int, *, exclusive: bool = False, reverse: bool = False, name: str = ""
) -> Ordered:
    """Sums up to each element along one axis."""
    order = tensor.made
    place = canvas.literal(np.array(order.index(axis % tensor.rank), np.int64), "axis")
    made = canvas.emit(
        "CumSum", [canvas.at(tensor, order), place], exclusive=int(exclusive), reverse=int(reverse)
    )
    return canvas.result(made, tensor.shape, order, name)


def top_k(
    canvas: Canvas, tensor: Ordered, count: int | Ordered, *, largest: bool = True, names: tuple[str, str] = ("", "")
) -> tuple[Ordered, Ordered]:
    """The k extremes of the last axis in order, and their places (int64); of equals the first comes first."""
    import onnx_ir

    if isinstance(count, int):
        most: onnx_ir.Value = canvas.literal(int64s([count]), "k")
    else:
        most = canvas.reshaped(canvas.at(cast(canvas, count, onnx_ir.DataType.INT64)), [1])
    values, places = canvas.emit("TopK", [canvas.at(tensor), most], axis=-1, largest=int(largest), outputs=2)
    places.type = onnx_ir.TensorType(onnx_ir.DataType.INT64)
    shape = (*tensor.shape[:-1], count if isinstance(count, int) else None)
    return canvas.result(values, shape, name=names[0]), canvas.result(places, shape, name=names[1])
