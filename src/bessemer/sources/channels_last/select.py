"""Gathering, scattering, one-hot rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from bessemer.ir.types import Array, Perm, int64s
from bessemer.sources.channels_last.elementwise import cast
from bessemer.sources.drawing import Canvas, Ordered, Unsupported


def gather(
    canvas: Canvas, tensor: Ordered, places: Ordered, axis: int = 0, *, batch_dims: int = 0, name: str = ""
) -> Ordered:
    """Slices along one axis by index; the first `batch_dims` axes are shared with the indices."""
    axis %= tensor.rank
    if batch_dims:
        return _batched(canvas, tensor, places, axis, batch_dims % (places.rank + 1), name)
    shape = (*tensor.shape[:axis], *places.shape, *tensor.shape[axis + 1 :])
    if (places.rank == 1 and places.known is None) or places.rank > 1:
        made = canvas.emit("Gather", [canvas.at(tensor), canvas.at(places)], axis=axis)
        return canvas.result(made, shape, name=name)
    order = tensor.made
    made = canvas.emit("Gather", [canvas.at(tensor, order), canvas.at(places)], axis=order.index(axis))
    kept = order if places.rank else _without(order, axis)
    return canvas.result(made, shape, kept, name)


def _without(order: Perm, axis: int) -> Perm:
    kept = [held for held in order if held != axis]
    return tuple(sorted(kept).index(held) for held in kept)


def _batched(canvas: Canvas, tensor: Ordered, places: Ordered, axis: int, shared: int, name: str) -> Ordered:
    """GatherND picks along the axis behind the shared ones; the axes between go back in front afterwards."""
    if axis < shared:
        raise Unsupported("gather-batch-dims", f"axis {axis} is one of the {shared} shared axes")
    rank, picked = tensor.rank, places.rank - shared
    front = (*range(shared), axis, *(held for held in range(shared, rank) if held != axis))
    wide = canvas.at(cast(canvas, places, _int64()))
    column = canvas.emit("Unsqueeze", [wide, canvas.literal(int64s([-1]), "axes")])
    made = canvas.emit("GatherND", [canvas.at(tensor, front), column], batch_dims=shared)
    between = axis - shared
    order = (
        *range(shared),
        *(shared + between + place for place in range(picked)),
        *range(shared, axis),
        *range(axis + picked, rank - 1 + picked),
    )
    shape = (*tensor.shape[:axis], *places.shape[shared:], *tensor.shape[axis + 1 :])
    return canvas.result(made, shape, order, name)


def gather_nd(canvas: Canvas, tensor: Ordered, places: Ordered, *, batch_dims: int = 0, name: str = "") -> Ordered:
    """Slices by index tuples, which stand along the last axis of `places`."""
    width = places.shape[-1]
    if not isinstance(width, int):
        raise Unsupported("dynamic-shape", "the length of the index tuples is unbound")
    wide = canvas.at(cast(canvas, places, _int64()))
    made = canvas.emit("GatherND", [canvas.at(tensor), wide], batch_dims=batch_dims or None)
    return canvas.result(made, (*places.shape[:-1], *tensor.shape[batch_dims + width :]), name=name)


def scatter_nd(
    canvas: Canvas, tensor: Ordered, places: Ordered, updates: Ordered, reduction: str = "none", *, name: str = ""
) -> Ordered:
    """`updates` put, or added ('add', 'max', 'min'), at index tuples of `tensor`."""
    wide = canvas.at(cast(canvas, places, _int64()))
    how = None if reduction == "none" else reduction
    made = canvas.emit("ScatterND", [canvas.at(tensor), wide, canvas.at(updates)], reduction=how)
    return canvas.result(made, tensor.shape, name=name)


def one_hot(
    canvas: Canvas, places: Ordered, depth: int, axis: int = -1, *, on: Array | Ordered, off: Array | Ordered,
    name: str = "",
) -> Ordered:  # fmt: skip
    """Rows that are `on` at the index and `off` elsewhere; an index outside the depth gives a row of `off`.

    Not ONNX's OneHot: that one counts negative indices from the back.
    """
    import onnx_ir

    rank = places.rank
    axis %= rank + 1
    classes = np.arange(depth, dtype=places.dtype.numpy())
    classes = classes.reshape([depth if place == axis else 1 for place in range(rank + 1)])
    column = canvas.emit("Unsqueeze", [canvas.at(places), canvas.literal(int64s([axis]), "axes")])
    hit = canvas.emit("Equal", [column, canvas.literal(classes, "classes")], dtype=onnx_ir.DataType.BOOL)
    pair = [
        canvas.at(held) if isinstance(held, Ordered) else canvas.literal(np.asarray(held), what)
        for held, what in ((on, "on"), (off, "off"))
    ]
    made = canvas.emit("Where", [hit, *pair], dtype=pair[0].dtype)
    shape = (*places.shape[:axis], depth, *places.shape[axis:])
    return canvas.result(made, shape, name=name)


def _int64() -> Any:
    import onnx_ir

    return onnx_ir.DataType.INT64
