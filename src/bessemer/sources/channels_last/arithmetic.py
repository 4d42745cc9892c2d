"""Elementwise operators and moves of axes, with the shapes of their results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bessemer.ir.layout import identity
from bessemer.ir.types import Shape, int64s
from bessemer.sources.channels_last.dims import Dim
from bessemer.sources.drawing import Canvas, Ordered, Unsupported


def unary(canvas: Canvas, op: str, tensor: Ordered, *, dtype: Any = None, **attributes: Any) -> Ordered:
    """One operator, element by element."""
    made = canvas.emit(op, [canvas.at(tensor, tensor.made)], dtype=dtype, **attributes)
    return canvas.result(made, tensor.shape, tensor.made)


def binary(canvas: Canvas, op: str, *tensors: Ordered, dtype: Any = None) -> Ordered:
    """An operator over tensors that broadcast against each other as in numpy."""
    shape = broadcast(*(tensor.shape for tensor in tensors))
    values, order = canvas.together(tensors)
    return canvas.result(canvas.emit(op, values, dtype=dtype), shape, order)


def broadcast(*shapes: Shape) -> Shape:
    """The shape that these broadcast to; raises Unsupported where they do not."""
    rank = max(len(shape) for shape in shapes)
    raised = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    return tuple(_common([shape[axis] for shape in raised]) for axis in range(rank))


def _common(dims: Sequence[Dim]) -> Dim:
    sizes = {dim for dim in dims if isinstance(dim, int) and dim != 1}
    if len(sizes) > 1:
        raise Unsupported("broadcast", f"sizes {sorted(sizes)} do not broadcast")
    if sizes:
        return sizes.pop()
    free = [dim for dim in dims if not isinstance(dim, int)]
    return 1 if not free else free[0] if len(set(free)) == 1 else None


def scalar(canvas: Canvas, number: float, like: Ordered) -> Ordered:
    """A constant of the type of `like`."""
    return canvas.constant(np.asarray(number, like.dtype.numpy()))


def cast(canvas: Canvas, tensor: Ordered, dtype: Any) -> Ordered:
    """The tensor in another type (an onnx_ir.DataType); itself where it has it."""
    if tensor.dtype == dtype:
        return tensor
    if tensor.known is not None:
        return canvas.constant(tensor.known.astype(dtype.numpy()), tensor.name)
    return unary(canvas, "Cast", tensor, dtype=dtype, to=int(dtype))


def expanded(canvas: Canvas, tensor: Ordered, axis: int) -> Ordered:
    """A new axis of size one at `axis` of the result."""
    place = axis % (tensor.rank + 1)
    shape = (*tensor.shape[:place], 1, *tensor.shape[place:])
    made = canvas.emit("Unsqueeze", [canvas.at(tensor), canvas.literal(int64s([place]), "axes")])
    return canvas.result(made, shape)


def squeezed(canvas: Canvas, tensor: Ordered, axes: Sequence[int]) -> Ordered:
    """Without axes of size one."""
    gone = sorted({axis % tensor.rank for axis in axes})
    shape = tuple(dim for axis, dim in enumerate(tensor.shape) if axis not in gone)
    made = canvas.emit("Squeeze", [canvas.at(tensor), canvas.literal(int64s(gone), "axes")])
    return canvas.result(made, shape)


def reshaped(canvas: Canvas, tensor: Ordered, shape: Sequence[Dim]) -> Ordered:
    """The same elements in the original's order under another shape; unbound dims are copied where they stand first.

    Raises Unsupported where more than one unbound dim cannot be told.
    """
    if tuple(shape) == tuple(tensor.shape) and None not in shape:
        return tensor
    unbound = sum(not isinstance(dim, int) for dim in shape)
    value = canvas.contiguous(tensor) if unbound < 2 else canvas.at(tensor)
    kept = 0  # leading dims that stay as they are: zeros copy them
    while unbound > 1 and kept < min(tensor.rank, len(shape)) and _stays(tensor.shape[kept], shape[kept]):
        kept += 1
    target = [dim if isinstance(dim, int) else 0 if place < kept else -1 for place, dim in enumerate(shape)]
    if target.count(-1) > 1:
        raise Unsupported("dynamic-shape", f"a reshape to {list(shape)} has more than one unbound dim")
    made = canvas.emit("Reshape", [value, canvas.literal(int64s(target), "shape")])
    return canvas.result(made, tuple(shape))


def _stays(old: Dim, new: Dim) -> bool:
    return old is not None and old == new


def concatenated(canvas: Canvas, tensors: Sequence[Ordered], axis: int) -> Ordered:
    """Side by side along `axis` of the original, in the order that one of them has."""
    rank = tensors[0].rank
    place = axis % rank
    order = next((t.made for t in tensors if t.known is None and t.made != identity(rank)), identity(rank))
    values = [canvas.at(tensor, order) for tensor in tensors]
    made = canvas.emit("Concat", values, axis=order.index(place))
    sizes = [tensor.shape[place] for tensor in tensors]
    total: Dim = sum(s for s in sizes if isinstance(s, int)) if all(isinstance(s, int) for s in sizes) else None
    shape = [
        total if at == place else _agreed([tensor.shape[at] for tensor in tensors]) for at in range(rank)
    ]
    return canvas.result(made, tuple(shape), order)


def _agreed(dims: Sequence[Dim]) -> Dim:
    known = {dim for dim in dims if isinstance(dim, int)}
    if len(known) > 1:
        raise Unsupported("concat-shape", f"sizes {sorted(known)} beside the joined axis differ")
    return known.pop() if known else dims[0] if len(set(dims)) == 1 else None


def sliced(
    canvas: Canvas, tensor: Ordered, axis: int, start: int | None, stop: int | None, step: int = 1
) -> Ordered:
    """tensor[start:stop:step] along one axis."""
    place, far = axis % tensor.rank, np.iinfo(np.int64).max
    size = tensor.shape[place]
    count = len(range(*slice(start, stop, step).indices(size))) if isinstance(size, int) else None
    if count is None and start is None and stop is None and abs(step) == 1:
        low_high: tuple[int, int] = (0, far) if step > 0 else (-1, -far)
        dim: Dim = size
    else:
        low = start if start is not None else (0 if step > 0 else -1)
        low_high, dim = (low, stop if stop is not None else (far if step > 0 else -far)), count
    at = tensor.made.index(place)
    bounds = [canvas.literal(int64s([item]), "slice") for item in (*low_high, at, step)]
    made = canvas.emit("Slice", [canvas.at(tensor, tensor.made), *bounds])
    shape = tuple(dim if other == place else held for other, held in enumerate(tensor.shape))
    return canvas.result(made, shape, tensor.made)


def split(canvas: Canvas, tensor: Ordered, axis: int, sizes: Sequence[int]) -> list[Ordered]:
    """Pieces of these sizes along one axis."""
    place = axis % tensor.rank
    at = tensor.made.index(place)
    made = canvas.emit(
        "Split", [canvas.at(tensor, tensor.made), canvas.literal(int64s(sizes), "sizes")], axis=at, outputs=len(sizes)
    )  # fmt: skip
    pieces = [made] if len(sizes) == 1 else made
    shapes = [tuple(size if a == place else d for a, d in enumerate(tensor.shape)) for size in sizes]
    return [canvas.result(piece, shape, tensor.made) for piece, shape in zip(pieces, shapes, strict=True)]


def matmul(canvas: Canvas, left: Ordered, right: Ordered) -> Ordered:
    """numpy's matmul of tensors of at least two axes each."""
    shape = (*broadcast(left.shape[:-2], right.shape[:-2]), left.shape[-2], right.shape[-1])
    return canvas.result(canvas.emit("MatMul", [canvas.at(left), canvas.at(right)]), shape)


def swapped(canvas: Canvas, tensor: Ordered) -> Ordered:
    """The last two axes exchanged."""
    rank = tensor.rank
    return canvas.renamed(tensor, (*range(rank - 2), rank - 1, rank - 2))


def where(canvas: Canvas, condition: Ordered, yes: Ordered, no: Ordered) -> Ordered:
    """Elements of `yes` where the condition holds, else of `no`."""
    shape = broadcast(condition.shape, yes.shape, no.shape)
    values, order = canvas.together([condition, yes, no])
    return canvas.result(canvas.emit("Where", values, dtype=yes.dtype), shape, order)
