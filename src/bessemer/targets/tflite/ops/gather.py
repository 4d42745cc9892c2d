"""Reading and writing by index."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bessemer.targets.tflite.context import Blocked, Context
from bessemer.targets.tflite.dtypes import NUMPY
from bessemer.targets.tflite.ops.common import optional, required_const, same_encoding, static_shape, value
from bessemer.targets.tflite.registry import lower

if TYPE_CHECKING:
    import onnx_ir as ir

MOVABLE = {"FLOAT32", "INT8", "UINT8", "INT16", "INT32", "INT64", "BOOL"}


def _need_movable(ctx: Context, v: ir.Value, code: str, types: set[str] = MOVABLE) -> None:
    if ctx.type(v) not in types:
        raise Blocked("type", f"LiteRT's {code} has no {ctx.type(v)} kernel")


def counted(ctx: Context, v: ir.Value, x: ir.Value, axes: int | slice) -> int:
    """Indices into `x` as INT32, negative ones counted from the end; `axes`: the axis, or those of the last column."""
    array, bounds = ctx.const(v), np.array(ctx.shape(x)[axes], object)
    unknown = None in np.atleast_1d(bounds).tolist()
    if array is not None and not ((array < 0).any() and unknown):
        fixed = np.where(array < 0, array + bounds.astype(np.int64), array) if (array < 0).any() else array
        return ctx.constant(fixed.astype(np.int32), v.name or "indices")
    index = ctx.int32(v)
    if never_negative(ctx, v):
        return index
    size = _sizes_of(ctx, x, axes) if unknown else ctx.constant(bounds.astype(np.int32), "size")
    return _from_end(ctx, index, size)


def _sizes_of(ctx: Context, x: ir.Value, axes: int | slice) -> int:
    """Sizes that are known when the model runs."""
    rank = ctx.rank(x)
    dims = ctx.emit("SHAPE", [ctx.tensor(x)], [ctx.temp("INT32", (rank,), "dims")], out_type=2)
    if isinstance(axes, slice):
        count = len(range(rank)[axes])
        begin, size = ctx.constant(np.zeros(1, np.int32), "begin"), ctx.constant(np.array([count], np.int32), "size")
        return ctx.emit("SLICE", [dims, begin, size], [ctx.temp("INT32", (count,), "sizes")])
    return ctx.emit("GATHER", [dims, ctx.constant(np.int32(axes), "axis")], [ctx.temp("INT32", (), "size")], axis=0)


POSITIONS = frozenset({"ArgMax", "ArgMin", "NonZero", "Shape", "Size"})
KEEPING = frozenset({
    "Cast", "Identity", "Unsqueeze", "Squeeze", "Reshape", "Transpose", "Expand", "Tile", "Gather", "Slice",
})  # fmt: skip


def never_negative(ctx: Context, v: ir.Value, depth: int = 8) -> bool:
    """Whether what makes the indices makes none that count from the end: positions, steps of a loop, ranges from 0."""
    node = v.producer()
    if node is None or depth == 0:
        return v in ctx.steps
    if node.op_type in POSITIONS or (node.op_type == "TopK" and v is node.outputs[1]):
        return True
    if node.op_type == "Range":
        bounds = [ctx.const(node.inputs[0]), ctx.const(node.inputs[2])]
        return all(bound is not None and bool(bound >= 0) for bound in bounds)
    source = node.inputs[0] if node.op_type in KEEPING else None
    return source is not None and never_negative(ctx, source, depth - 1)


def _from_end(ctx: Context, index: int, size: int) -> int:
    shape = ctx.sub.tensors[index].shape
    below = ctx.emit("LESS", [index, ctx.constant(np.int32(0))], [ctx.temp("BOOL", shape, "below")])
    raised = ctx.emit("ADD", [index, size], [ctx.temp("INT32", shape, "raised")])
    return ctx.emit("SELECT_V2", [below, raised, index], [ctx.temp("INT32", shape, "counted")])


@lower("Gather", integer=same_encoding)
def gather(ctx: Context, node: ir.Node) -> None:
    """Along one axis, in the axis order of the data."""
    x, indices = value(node, 0), value(node, 1)
    _need_movable(ctx, x, "GATHER")
    axis = (node.attributes.get_int("axis", 0) or 0) % ctx.rank(x)
    places, perm, more = counted(ctx, indices, x, axis), ctx.perm(x), ctx.rank(indices) - 1
    cut = perm[axis]
    moved = [place + more if place > cut else place for place in perm]
    order = (*moved[:axis], *range(cut, cut + more + 1), *moved[axis + 1 :])
    out = ctx.out(node.outputs[0], order)
    ctx.emit("GATHER", [ctx.tensor(x, perm), places], [out], axis=cut, batch_dims=0)


@lower("GatherND")
def gather_nd(ctx: Context, node: ir.Node) -> None:
    """Slices by index tuples."""
    x, indices = value(node, 0), value(node, 1)
    _need_movable(ctx, x, "GATHER_ND")
    depth, batch = ctx.shape(indices)[-1], node.attributes.get_int("batch_dims", 0) or 0
    if depth is None:
        raise Blocked("dynamic-shape", "the length of the index tuples must be known")
    if batch and depth != 1:
        raise Blocked("attribute", "GATHER_ND has no batch_dims, GATHER no tuples of indices")
    if batch:
        places = counted(ctx, indices, x, batch)
        flat = ctx.emit("SQUEEZE", [places], [ctx.temp("INT32", ctx.shape(indices)[:-1], "places")], squeeze_dims=[-1])
        ctx.emit("GATHER", [ctx.tensor(x), flat], [ctx.out(node.outputs[0])], axis=batch, batch_dims=batch)
        return
    places = counted(ctx, indices, x, slice(0, depth))
    ctx.emit("GATHER_ND", [ctx.tensor(x), places], [ctx.out(node.outputs[0])])


def coordinates(ctx: Context, indices: ir.Value, x: ir.Value, axis: int) -> int:
    """Full index tuples, INT32 [..., rank], for element-wise gathering and scattering along `axis` of `x`."""
    if None in ctx.shape(indices):
        return _computed_coordinates(ctx, counted(ctx, indices, x, axis), axis)
    shape, size = static_shape(ctx, indices), ctx.shape(x)[axis]
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1).astype(np.int32)
    array = ctx.const(indices)
    if array is not None and (size is not None or (array >= 0).all()):
        grid[..., axis] = np.where(array < 0, array + (size or 0), array)
        return ctx.constant(grid, "coordinates")
    column = ctx.reshape(counted(ctx, indices, x, axis), (*shape, 1))
    parts = [column if place == axis else ctx.constant(grid[..., place : place + 1]) for place in range(len(shape))]
    if len(parts) == 1:
        return column
    return ctx.emit("CONCATENATION", parts, [ctx.temp("INT32", grid.shape, "coordinates")], axis=len(shape))


def _computed_coordinates(ctx: Context, index: int, axis: int) -> int:
    """The same of indices whose shape is known when the model runs: the other columns are ranges, broadcast."""
    shape = ctx.sub.tensors[index].shape
    rank, column = len(shape), (*shape, 1)
    dims = ctx.emit("SHAPE", [index], [ctx.temp("INT32", (rank,), "dims")], out_type=2)
    one = ctx.constant(np.ones(1, np.int32), "one")
    whole = ctx.emit("CONCATENATION", [dims, one], [ctx.temp("INT32", (rank + 1,), "column")], axis=0)
    parts = []
    for place in range(rank):
        if place == axis:
            parts.append(ctx.emit("RESHAPE", [index, whole], [ctx.temp("INT32", column, "column")]))
            continue
        where = ctx.constant(np.int32(place), "axis")
        size = ctx.emit("GATHER", [dims, where], [ctx.temp("INT32", (), "size")], axis=0)
        bounds = [ctx.constant(np.int32(0), "start"), size, ctx.constant(np.int32(1), "step")]
        count = ctx.emit("RANGE", bounds, [ctx.temp("INT32", (None,), "range")])
        line = ctx.reshape(count, tuple(None if at == place else 1 for at in range(rank + 1)))
        parts.append(ctx.emit("BROADCAST_TO", [line, whole], [ctx.temp("INT32", column, "column")]))
    return ctx.emit("CONCATENATION", parts, [ctx.temp("INT32", (*shape, rank), "coordinates")], axis=rank)


@lower("GatherElements")
def gather_elements(ctx: Context, node: ir.Node) -> None:
    """GATHER_ND with full coordinates."""
    x, indices = value(node, 0), value(node, 1)
    _need_movable(ctx, x, "GATHER_ND")
    axis = (node.attributes.get_int("axis", 0) or 0) % ctx.rank(x)
    places = coordinates(ctx, indices, x, axis)
    ctx.emit("GATHER_ND", [ctx.tensor(x), places], [ctx.out(node.outputs[0])])


SCATTERED = {"FLOAT32", "INT8", "UINT8", "INT32", "INT64"}


@lower("ScatterND")
def scatter_nd(ctx: Context, node: ir.Node) -> None:
    """Scattered updates over a mask of where they are; sums are added."""
    x, indices = value(node, 0), value(node, 1)
    depth = ctx.shape(indices)[-1]
    if depth is None:
        raise Blocked("dynamic-shape", "the length of the index tuples must be known")
    _scatter(ctx, node, counted(ctx, indices, x, slice(0, depth)))


@lower("ScatterElements", "Scatter")
def scatter_elements(ctx: Context, node: ir.Node) -> None:
    """SCATTER_ND with full coordinates."""
    x, indices = value(node, 0), value(node, 1)
    axis = (node.attributes.get_int("axis", 0) or 0) % ctx.rank(x)
    _scatter(ctx, node, coordinates(ctx, indices, x, axis))


def _scatter(ctx: Context, node: ir.Node, places: int) -> None:
    x, updates, y = value(node, 0), value(node, 2), node.outputs[0]
    reduction = node.attributes.get_string("reduction", "none")
    kind, shape = ctx.type(x), static_shape(ctx, x)
    _need_movable(ctx, x, "SCATTER_ND", SCATTERED)
    if reduction not in ("none", "add") or (reduction == "add" and kind not in ("FLOAT32", "INT32", "INT64")):
        raise Blocked("attribute", f"SCATTER_ND has no reduction '{reduction}' for {kind}")
    if 0 in shape or 0 in ctx.sub.tensors[places].shape:
        raise Blocked("empty", "LiteRT's SCATTER_ND does not define empty operands")
    dims = ctx.constant(np.array(shape, np.int32), "shape")
    laid = ctx.emit("SCATTER_ND", [places, ctx.tensor(updates), dims], [ctx.temp(kind, shape, "laid")])
    if reduction == "add":
        ctx.emit("ADD", [ctx.tensor(x), laid], [ctx.out(y)])
        return
    _refuse_duplicates(ctx, places)
    ones = ctx.constant(np.ones(static_shape(ctx, updates), np.int32), "ones")
    count = ctx.emit("SCATTER_ND", [places, ones, dims], [ctx.temp("INT32", shape, "count")])
    mask = ctx.emit("GREATER", [count, ctx.constant(np.int32(0))], [ctx.temp("BOOL", shape, "mask")])
    ctx.emit("SELECT_V2", [mask, laid, ctx.tensor(x)], [ctx.out(y)])


def _refuse_duplicates(ctx: Context, places: int) -> None:
    """SCATTER_ND sums where indices repeat; ONNX leaves that undefined, so only constants are looked at."""
    data = ctx.sub.tensors[places].data
    if data is None:
        return
    rows = data().reshape(-1, ctx.sub.tensors[places].shape[-1] or 1)
    if len(np.unique(rows, axis=0)) != len(rows):
        raise Blocked("duplicate-indices", "SCATTER_ND sums updates whose indices repeat")


@lower("OneHot")
def one_hot(ctx: Context, node: ir.Node) -> None:
    """Negative indices count from the end."""
    indices, y = value(node, 0), node.outputs[0]
    kind = ctx.type(y)
    _need_movable(ctx, y, "ONE_HOT", {"FLOAT32", "INT32", "INT64", "INT8", "UINT8", "BOOL", "INT16"})
    axis = node.attributes.get_int("axis", -1)
    rank = ctx.rank(indices)
    if rank == 0:
        raise Blocked("rank", "LiteRT's ONE_HOT has no scalar index")
    off, on = _pair(ctx, value(node, 2), kind)
    place = -1 if axis is None or axis in (-1, rank) else axis % (rank + 1)
    depth = ctx.int32(value(node, 1))
    depth = ctx.reshape(depth, ()) if ctx.rank(value(node, 1)) else depth
    index = ctx.int32(indices)
    index = index if never_negative(ctx, indices) else _from_end(ctx, index, depth)
    inputs = [index, depth, on, off]
    ctx.emit("ONE_HOT", inputs, [ctx.out(y)], axis=place)


def _pair(ctx: Context, v: ir.Value, kind: str) -> tuple[int, int]:
    """The two elements of a vector as scalars."""
    array = ctx.const(v)
    if array is not None:
        return ctx.constant(array[0].astype(NUMPY[kind]), "off"), ctx.constant(array[1].astype(NUMPY[kind]), "on")
    off, on = ctx.temp(kind, (), "off"), ctx.temp(kind, (), "on")
    ctx.emit("UNPACK", [ctx.tensor(v)], [off, on], num=2, axis=0)
    return off, on


@lower("Compress")
def compress(ctx: Context, node: ir.Node) -> None:
    """A constant condition is a list of indices."""
    x = value(node, 0)
    condition = required_const(ctx, node, 1)
    _need_movable(ctx, x, "GATHER")
    places = ctx.constant(np.flatnonzero(condition).astype(np.int32), "indices")
    axis = node.attributes.get_int("axis", None)
    if axis is None:
        flat = ctx.reshape(ctx.tensor(x), (int(np.prod(static_shape(ctx, x))),))
        ctx.emit("GATHER", [flat, places], [ctx.out(node.outputs[0])], axis=0)
        return
    ctx.emit("GATHER", [ctx.tensor(x), places], [ctx.out(node.outputs[0])], axis=axis % ctx.rank(x))


@lower("TensorScatter")
def tensor_scatter(ctx: Context, node: ir.Node) -> None:
    """DYNAMIC_UPDATE_SLICE, once for each sequence of the batch."""
    x, update, y = value(node, 0), value(node, 1), node.outputs[0]
    axis = node.attributes.get_int("axis", -2) % ctx.rank(x)
    if node.attributes.get_string("mode", "linear") != "linear":
        raise Blocked("attribute", "LiteRT's DYNAMIC_UPDATE_SLICE writes no circular buffer")
    _need_movable(ctx, x, "DYNAMIC_UPDATE_SLICE", {"FLOAT32", "INT8", "INT32", "INT64", "BOOL"})
    count = ctx.shape(x)[0]
    if count is None:
        raise Blocked("dynamic-shape", "TensorScatter needs a known batch", "bind it with --shape")
    where = optional(node, 2)
    places = ctx.constant(np.zeros(count, np.int32), "places") if where is None else ctx.int32(where)
    wholes, updates = _apart(ctx, ctx.tensor(x), count), _apart(ctx, ctx.tensor(update), count)
    parts = []
    for number, (whole, part) in enumerate(zip(wholes, updates, strict=True)):
        start = _start(ctx, places, number, axis, ctx.rank(x))
        tensor = ctx.sub.tensors[whole]
        out = ctx.out(y) if count == 1 else ctx.temp(tensor.type, tensor.shape, "updated")
        parts.append(ctx.emit("DYNAMIC_UPDATE_SLICE", [whole, part, start], [out]))
    if count > 1:
        ctx.emit("CONCATENATION", parts, [ctx.out(y)], axis=0)


def _apart(ctx: Context, index: int, count: int) -> list[int]:
    """The tensor's rows, each with its leading axis."""
    if count == 1:
        return [index]
    tensor = ctx.sub.tensors[index]
    outs = [ctx.temp(tensor.type, (1, *tensor.shape[1:]), "row") for _ in range(count)]
    ctx.emit("SPLIT", [ctx.constant(np.int32(0), "axis"), index], outs, num_splits=count)
    return outs


def _start(ctx: Context, places: int, number: int, axis: int, rank: int) -> int:
    """Where an update begins: at the given place along `axis`, at 0 along the others."""
    begin, size = ctx.constant(np.array([number], np.int32), "begin"), ctx.constant(np.ones(1, np.int32), "size")
    place = ctx.emit("SLICE", [places, begin, size], [ctx.temp("INT32", (1,), "place")])
    around = [ctx.constant(np.zeros(count, np.int32), "zeros") for count in (axis, rank - axis - 1)]
    parts = [around[0], place, around[1]] if axis < rank - 1 else [around[0], place]
    return ctx.emit("CONCATENATION", parts, [ctx.temp("INT32", (rank,), "start")], axis=0)
