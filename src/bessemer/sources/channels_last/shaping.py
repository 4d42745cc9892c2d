"""Operators that move, cut and join data, in whatever axis order it stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.layout import (
    apply,
    channels_first,
    identity,
    inverse,
    is_identity,
    moves_data,
    through_reshape,
)
from bessemer.ir.types import Perm, Shape, int64s
from bessemer.sources.channels_last import dims
from bessemer.sources.channels_last.dims import Dim
from bessemer.sources.channels_last.elementwise import cast
from bessemer.sources.drawing import Canvas, Ordered, Unsupported

if TYPE_CHECKING:
    import onnx_ir

FAR = int(np.iinfo(np.int64).max)
"""A slice's bound past every end."""


def common_order(tensors: Sequence[Ordered], rank: int) -> Perm:
    """The order most tensors of this rank can meet in: the first that was made in another than its own."""
    orders = [tensor.made for tensor in tensors if tensor.known is None and tensor.rank == rank]
    return next((perm for perm in orders if not is_identity(perm)), identity(rank))


# -- reshapes ----------------------------------------------------------------------------------------------------------


def reshape(
    canvas: Canvas, tensor: Ordered, shape: Sequence[Dim], vector: Ordered | None = None, *, name: str = ""
) -> Ordered:
    """To `shape`, one dim of which may be -1. vector: the same dims as a computed tensor, for those that are unbound.

    A Transpose is drawn only where elements change places. Raises Unsupported for several unbound dims and no vector.
    """
    if tensor.known is not None and all(isinstance(dim, int) for dim in shape):
        return canvas.constant(tensor.known.reshape([int(dim or 0) for dim in shape]), name or tensor.name)
    after = dims.filled(tensor.shape, shape)
    if after == tensor.shape and None not in after:
        return tensor
    kept = _kept_order(tensor, after)
    if kept is not None:
        value, order = tensor.orders[tensor.made], kept
    else:
        value, order = canvas.contiguous(tensor), identity(len(after))
    target = _target(value, apply(order, after))
    if target is None and vector is not None:
        value, order = canvas.contiguous(tensor), identity(len(after))
        wanted = canvas.at(cast(canvas, vector, _int64()))
        return canvas.result(canvas.emit("Reshape", [value, wanted]), after, name=name)
    if target is None:
        raise Unsupported("dynamic-shape", f"a reshape to {list(after)} has more than one unbound dim")
    literal = canvas.literal(int64s(target), "shape")
    made = canvas.emit("Reshape", [value, literal], allowzero=1 if 0 in after else None)
    return canvas.result(made, after, order, name)


def _kept_order(tensor: Ordered, after: Shape) -> Perm | None:
    """The order in which the result stands when the value is reshaped as it is; None for the tensor's own."""
    if tensor.known is not None or is_identity(tensor.made) or not moves_data(tensor.made, tensor.shape):
        return None
    new = through_reshape(inverse(tensor.made), tensor.shape, after)
    return None if new is None else inverse(new)


def _target(value: onnx_ir.Value, after: Shape) -> list[int] | None:
    """Dims as Reshape wants them: 0 where the operand's own dim stays, -1 for one other unbound dim."""
    if all(isinstance(dim, int) for dim in after):
        return [int(dim or 0) for dim in after]
    before = [] if value.shape is None else [_plain(dim) for dim in value.shape]
    found = []
    for place, dim in enumerate(after):
        if isinstance(dim, int):
            found.append(dim)
        else:
            found.append(0 if place < len(before) and isinstance(dim, str) and before[place] == dim else -1)
    return None if found.count(-1) > 1 or 0 in after else found


def _plain(dim: Any) -> Dim:
    return dim if isinstance(dim, int) else dim.value


def expand_dims(canvas: Canvas, tensor: Ordered, axes: Sequence[int], *, name: str = "") -> Ordered:
    """New axes of size one at `axes` of the result; what stands channels-first goes on so."""
    rank = tensor.rank + len(axes)
    places = sorted(axis % rank for axis in axes)
    if tensor.known is not None:
        return canvas.constant(np.expand_dims(tensor.known, tuple(places)), name or tensor.name)
    old = [axis for axis in range(rank) if axis not in places]
    order = [old[axis] for axis in tensor.made]
    shape = tuple(1 if axis in places else tensor.shape[old.index(axis)] for axis in range(rank))
    front = tensor.rank > 2 and tensor.made == channels_first(tensor.rank)
    if front and places[0] > 0 and places[-1] < rank - 1:
        order = list(channels_first(rank))
    else:
        for axis in places:
            order.insert(order.index(axis - 1) + 1 if axis else 0, axis)
    where = canvas.literal(int64s([place for place, axis in enumerate(order) if axis in places]), "axes")
    made = canvas.emit("Unsqueeze", [canvas.at(tensor, tensor.made), where])
    return canvas.result(made, shape, tuple(order), name)


def squeeze(canvas: Canvas, tensor: Ordered, axes: Sequence[int] | None = None, *, name: str = "") -> Ordered:
    """Without the axes of size one named (None: all of them)."""
    rank = tensor.rank
    if axes is None:
        if not all(isinstance(dim, int) for dim in tensor.shape):
            raise Unsupported("dynamic-shape", f"which of the unbound dims {list(tensor.shape)} are one decides the rank")
        axes = [axis for axis, dim in enumerate(tensor.shape) if dim == 1]
    gone = sorted({axis % rank for axis in axes}) if rank else []
    if tensor.known is not None:
        return canvas.constant(tensor.known.squeeze(tuple(gone)), name or tensor.name)
    if not gone:
        return tensor
    kept = [axis for axis in tensor.made if axis not in gone]
    where = canvas.literal(int64s(sorted(tensor.made.index(axis) for axis in gone)), "axes")
    made = canvas.emit("Squeeze", [canvas.at(tensor, tensor.made), where])
    shape = tuple(dim for axis, dim in enumerate(tensor.shape) if axis not in gone)
    return canvas.result(made, shape, tuple(sorted(kept).index(axis) for axis in kept), name)


def transpose(canvas: Canvas, tensor: Ordered, perm: Sequence[int]) -> Ordered:
    """Only renames axes; no data moves."""
    return canvas.renamed(tensor, tuple(axis % tensor.rank for axis in perm))


# -- joining and cutting -----------------------------------------------------------------------------------------------


def concat(canvas: Canvas, tensors: Sequence[Ordered], axis: int, *, name: str = "") -> Ordered:
    """Along one axis; scalars and single operands pass."""
    rank = tensors[0].rank
    if len(tensors) == 1:
        return tensors[0]
    axis %= rank
    order = common_order(tensors, rank)
    made = canvas.emit("Concat", [canvas.at(tensor, order) for tensor in tensors], axis=order.index(axis))
    shape: list[Dim] = []
    for place in range(rank):
        held = [tensor.shape[place] for tensor in tensors]
        bound = next((dim for dim in held if isinstance(dim, int)), held[0])
        shape.append(dims.total(held) if place == axis else bound)
    return canvas.result(made, tuple(shape), order, name)


def stack(canvas: Canvas, tensors: Sequence[Ordered], axis: int, *, name: str = "") -> Ordered:
    """Side by side along a new axis."""
    raised = [expand_dims(canvas, tensor, [axis]) for tensor in tensors]
    return concat(canvas, raised, axis % raised[0].rank, name=name)


def unstack(canvas: Canvas, tensor: Ordered, axis: int, count: int) -> list[Ordered]:
    """The `count` slices along an axis, which goes away."""
    axis %= tensor.rank
    if count == 1:
        return [squeeze(canvas, tensor, [axis])]
    return [squeeze(canvas, part, [axis]) for part in split(canvas, tensor, axis, [1] * count)]


def split(canvas: Canvas, tensor: Ordered, axis: int, sizes: Sequence[int] | int) -> list[Ordered]:
    """Parts of given sizes, one of which may be -1, or so many equal ones."""
    axis, order = axis % tensor.rank, tensor.made
    have = tensor.shape[axis]
    if isinstance(sizes, int) and isinstance(have, int):
        if have % sizes:
            raise Unsupported("split", f"an axis of {have} does not split into {sizes} equal parts")
        sizes = [have // sizes] * sizes
    if not isinstance(sizes, int) and -1 in sizes:
        if not isinstance(have, int):
            raise Unsupported("dynamic-shape", "a part takes the rest of an unbound axis")
        rest = have - sum(size for size in sizes if size >= 0)
        sizes = [rest if size == -1 else size for size in sizes]
    count = sizes if isinstance(sizes, int) else len(sizes)
    if count == 1:
        return [tensor]
    value, place = canvas.at(tensor, order), order.index(axis)
    if isinstance(sizes, int):
        made = canvas.emit("Split", [value], axis=place, num_outputs=count, outputs=count)
        lengths: list[Dim] = [None] * count
    else:
        made = canvas.emit("Split", [value, canvas.literal(int64s(sizes), "sizes")], axis=place, outputs=count)
        lengths = list(sizes)
    front, back = tensor.shape[:axis], tensor.shape[axis + 1 :]
    return [
        canvas.result(part, (*front, length, *back), order) for part, length in zip(made, lengths, strict=True)
    ]


def sliced(
    canvas: Canvas, tensor: Ordered, starts: Sequence[int], ends: Sequence[int], axes: Sequence[int],
    steps: Sequence[int] | None = None, *, name: str = "",
) -> Ordered:  # fmt: skip
    """ONNX Slice with constant operands over axes of the original; bounds that leave everything are dropped."""
    asked = zip(axes, starts, ends, steps or [1] * len(axes), strict=True)
    cuts = [cut for cut in asked if not _whole(tensor.shape[cut[0]], *cut[1:])]
    shape: list[Dim] = list(tensor.shape)
    for axis, start, end, step in cuts:
        shape[axis] = dims.sliced(shape[axis], start, end, step)
    if not cuts:
        return tensor
    order = tensor.made
    places = [(order.index(axis), *rest) for axis, *rest in cuts]
    lists = [canvas.literal(int64s([cut[at] for cut in places]), what)
             for at, what in ((1, "starts"), (2, "ends"), (0, "axes"), (3, "steps"))]  # fmt: skip
    return canvas.result(canvas.emit("Slice", [canvas.at(tensor, order), *lists]), tuple(shape), order, name)


def _whole(dim: Dim, start: int, end: int, step: int) -> bool:
    return start == 0 and step == 1 and (end > 2**31 or (isinstance(dim, int) and end >= dim))


def cut(
    canvas: Canvas, tensor: Ordered, axis: int, start: int | None, stop: int | None, step: int = 1, *, name: str = ""
) -> Ordered:
    """tensor[start:stop:step] along one axis, bounds as Python takes them."""
    low = start if start is not None else (0 if step > 0 else -1)
    high = stop if stop is not None else (FAR if step > 0 else -FAR)
    if start is None and stop is None and step == -1:
        return reverse(canvas, tensor, [axis], name=name)
    return sliced(canvas, tensor, [low], [high], [axis % tensor.rank], [step], name=name)


def reverse(canvas: Canvas, tensor: Ordered, axes: Sequence[int], *, name: str = "") -> Ordered:
    """Turned round along constant axes."""
    chosen = sorted({axis % tensor.rank for axis in axes}) if tensor.rank else []
    moving = [axis for axis in chosen if tensor.shape[axis] != 1]
    if not moving:
        return tensor
    order, count = tensor.made, len(moving)
    lists = [canvas.literal(int64s(items), what) for items, what in
             (([-1] * count, "starts"), ([-FAR] * count, "ends"),
              ([order.index(axis) for axis in moving], "axes"), ([-1] * count, "steps"))]  # fmt: skip
    return canvas.result(canvas.emit("Slice", [canvas.at(tensor, order), *lists]), tensor.shape, order, name)


# -- repeating ---------------------------------------------------------------------------------------------------------


def tile(canvas: Canvas, tensor: Ordered, repeats: Sequence[int], *, name: str = "") -> Ordered:
    """Repeated so many times along each axis."""
    if all(count == 1 for count in repeats):
        return tensor
    order = tensor.made
    counts = canvas.literal(int64s(apply(order, list(repeats))), "repeats")
    made = canvas.emit("Tile", [canvas.at(tensor, order), counts])
    shape = tuple(
        dim if count == 1 else dim * count if isinstance(dim, int) else None
        for dim, count in zip(tensor.shape, repeats, strict=True)
    )
    return canvas.result(made, shape, order, name)


def tile_computed(canvas: Canvas, tensor: Ordered, repeats: Ordered, shape: Shape, *, name: str = "") -> Ordered:
    """As `tile`, by a computed vector. shape: what is known of the result."""
    counts = canvas.at(cast(canvas, repeats, _int64()))
    return canvas.result(canvas.emit("Tile", [canvas.at(tensor), counts]), shape, name=name)


def broadcast_to(
    canvas: Canvas, tensor: Ordered, shape: Sequence[Dim], vector: Ordered | None = None, *, name: str = ""
) -> Ordered:
    """To a shape by numpy's rule; vector: the same dims computed, where some are unbound."""
    after = tuple(shape)
    if after == tensor.shape and None not in after:
        return tensor
    bound = [dim for dim in after if isinstance(dim, int)]
    if len(bound) == len(after):
        order = tensor.made if tensor.rank == len(after) else identity(len(after))
        value = canvas.at(tensor, order) if tensor.rank == len(after) else canvas.at(tensor)
        target = canvas.literal(int64s(apply(order, bound)), "shape")
        return canvas.result(canvas.emit("Expand", [value, target]), after, order, name)
    if vector is None:
        raise Unsupported("dynamic-shape", f"a broadcast to the unbound {list(after)}")
    target = canvas.at(cast(canvas, vector, _int64()))
    return canvas.result(canvas.emit("Expand", [canvas.at(tensor), target]), after, name=name)


def shape_vector(canvas: Canvas, tensor: Ordered, dtype: Any = None, *, name: str = "") -> Ordered:
    """The dims in the original's order, int64 or `dtype`: a constant where they are bound, else computed."""
    kind = _int64() if dtype is None else dtype
    if all(isinstance(dim, int) for dim in tensor.shape):
        return canvas.constant(np.array(tensor.static, np.int64).astype(kind.numpy()), name or "shape")
    order = tensor.made
    made = canvas.emit("Shape", [canvas.at(tensor, order)], dtype=_int64())
    if not is_identity(order):
        places = canvas.literal(int64s(inverse(order)), "order")
        made = canvas.emit("Gather", [made, places], axis=0)
    if kind != _int64():
        made = canvas.emit("Cast", [made], to=int(kind), dtype=kind)
    return canvas.result(made, (tensor.rank,), name=name)


def _int64() -> Any:
    import onnx_ir

    return onnx_ir.DataType.INT64
