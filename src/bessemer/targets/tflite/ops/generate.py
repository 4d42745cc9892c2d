"""Making, repeating and masking data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.layout import is_identity
from bessemer.targets.tflite.context import Blocked, Context, refuse_beyond_float32
from bessemer.targets.tflite.dtypes import NUMPY
from bessemer.targets.tflite.ops.common import optional, same_encoding, static_shape, value
from bessemer.targets.tflite.registry import lower

if TYPE_CHECKING:
    import onnx_ir as ir

WIDE = {"UINT16": "INT32", "UINT32": "INT64"}


@lower("Constant")
def constant(ctx: Context, node: ir.Node) -> None:
    """One that a branch gives as its result; all others are initializers by now."""
    held = node.attributes.get("value")
    if held is None:
        raise Blocked("constant", "a constant that is no tensor")
    array, y = held.as_tensor().numpy(), node.outputs[0]
    kind = NUMPY.get(ctx.type(y))
    if kind is None:
        raise Blocked("type", f"LiteRT holds no {ctx.type(y)}")
    if array.dtype == np.float64:
        refuse_beyond_float32(y, array)
    ctx.alias(y, ctx.constant(array.astype(kind), y.name or "constant"))


@lower("Expand", integer=same_encoding)
def expand(ctx: Context, node: ir.Node) -> None:
    """BROADCAST_TO; a computed shape meets the operand's own in BROADCAST_ARGS."""
    x, y = value(node, 0), node.outputs[0]
    if ctx.rank(y) > 8:
        raise Blocked("rank", "LiteRT's BROADCAST_TO takes at most 8 axes")
    index, dims = ctx.tensor(x), ctx.shape(y)
    if ctx.type(x) in ("UINT16", "UINT32", "UINT64", "BOOL") and ctx.type(x) != "BOOL":
        raise Blocked("type", f"LiteRT's BROADCAST_TO has no {ctx.type(x)} kernel")
    if None not in dims:
        shape = ctx.constant(np.array(dims, np.int32), "shape")
    else:
        mine = ctx.emit("SHAPE", [index], [ctx.temp("INT32", (ctx.rank(x),), "mine")], out_type=2)
        wanted = ctx.int32(value(node, 1))
        shape = ctx.emit("BROADCAST_ARGS", [mine, wanted], [ctx.temp("INT32", (len(dims),), "shape")])
    ctx.emit("BROADCAST_TO", [index, shape], [ctx.out(y)])


@lower("Tile", integer=same_encoding)
def tile(ctx: Context, node: ir.Node) -> None:
    """Repeat along axes."""
    x = value(node, 0)
    if ctx.type(x) not in ("FLOAT32", "INT32", "INT64", "INT8", "UINT8", "BOOL", "INT16"):
        raise Blocked("type", f"LiteRT's TILE has no {ctx.type(x)} kernel")
    ctx.emit("TILE", [ctx.tensor(x), ctx.int32(value(node, 1))], [ctx.out(node.outputs[0])])


@lower("Range")
def range_(ctx: Context, node: ir.Node) -> None:
    """Scalars of one type."""
    kind = ctx.type(node.outputs[0])
    if kind not in ("FLOAT32", "INT32", "INT64"):
        raise Blocked("type", f"LiteRT's RANGE has no {kind} kernel")
    scalars = [ctx.reshape(ctx.tensor(v), ()) if ctx.rank(v) else ctx.tensor(v) for v in node.inputs if v is not None]
    ctx.emit("RANGE", scalars, [ctx.out(node.outputs[0])])


@lower("Shape")
def shape_(ctx: Context, node: ir.Node) -> None:
    """Dims in logical order, or a part of them; the data is not moved for that."""
    x, y = value(node, 0), node.outputs[0]
    rank, perm = ctx.rank(x), ctx.perm(x)
    start, end, _ = slice(node.attributes.get_int("start", 0), node.attributes.get_int("end", rank)).indices(rank)
    whole = ctx.emit("SHAPE", [ctx.tensor(x, perm)], [ctx.temp("INT64", (rank,), "shape")], out_type=4)
    if not is_identity(perm) and end > start:
        places = ctx.constant(np.array(perm[start:end], np.int32), "axes")
        ctx.emit("GATHER", [whole, places], [ctx.out(y)], axis=0)
        return
    if (start, end) == (0, rank):
        ctx.alias(y, whole)
        return
    begin, size = ctx.constant(np.array([start], np.int32)), ctx.constant(np.array([max(end - start, 0)], np.int32))
    ctx.emit("SLICE", [whole, begin, size], [ctx.out(y)])


@lower("Size")
def size(ctx: Context, node: ir.Node) -> None:
    """Product of the dims."""
    x = value(node, 0)
    whole = ctx.emit("SHAPE", [ctx.tensor(x)], [ctx.temp("INT64", (ctx.rank(x),), "shape")], out_type=4)
    axis = ctx.constant(np.array([0], np.int32), "axis")
    ctx.emit("REDUCE_PROD", [whole, axis], [ctx.out(node.outputs[0])], keep_dims=False)


@lower("ConstantOfShape")
def constant_of_shape(ctx: Context, node: ir.Node) -> None:
    """FILL."""
    attribute = node.attributes.get("value")
    array = np.zeros(1, np.float32) if attribute is None else attribute.as_tensor().numpy()
    kind = ctx.type(node.outputs[0])
    if kind not in ("FLOAT32", "INT32", "INT64", "INT8", "INT16", "BOOL"):
        raise Blocked("type", f"LiteRT's FILL has no {kind} kernel")
    scalar = ctx.constant(array.reshape(()).astype(NUMPY[kind]), "value")
    ctx.emit("FILL", [ctx.int32(value(node, 0)), scalar], [ctx.out(node.outputs[0])])


@lower("NonZero")
def non_zero(ctx: Context, node: ir.Node) -> None:
    """WHERE gives coordinates by row, ONNX by column."""
    x, y = value(node, 0), node.outputs[0]
    rank = ctx.rank(x)
    if rank == 0:
        raise Blocked("rank", "LiteRT's WHERE has no scalar operand")
    rows = ctx.emit("WHERE", [ctx.cast(ctx.tensor(x), "BOOL")], [ctx.temp("INT64", (None, rank), "rows")])
    ctx.alias(y, rows, (1, 0))


@lower("EyeLike")
def eye_like(ctx: Context, node: ir.Node) -> None:
    """A constant, once the shape is known."""
    y = node.outputs[0]
    rows, columns = static_shape(ctx, value(node, 0))
    array = np.eye(rows, columns, node.attributes.get_int("k", 0) or 0).astype(NUMPY[ctx.type(y)])
    ctx.alias(y, ctx.constant(array, "eye"))


@lower("Trilu")
def trilu(ctx: Context, node: ir.Node) -> None:
    """A mask over the last two axes: constant where their sizes and the diagonal are."""
    x, y = value(node, 0), node.outputs[0]
    kind = ctx.type(x)
    if kind not in ("FLOAT32", "INT32", "INT64", "INT8", "UINT8", "BOOL", "INT16"):
        raise Blocked("type", f"LiteRT's SELECT_V2 has no {kind} kernel")
    dims = ctx.shape(x)
    if len(dims) > 4 or 0 in dims:
        raise Blocked("shape", "Trilu needs elements, and at most 4 axes")
    k = optional(node, 1)
    offset = np.zeros((), np.int64) if k is None else ctx.const(k)
    if None in dims[-2:] or (k is not None and offset is None):
        mask = _computed_mask(ctx, node, ctx.tensor(x))
    else:
        ones, by = np.ones([dim or 0 for dim in dims[-2:]], bool), int(np.asarray(offset).reshape(-1)[0])
        held = np.triu(ones, by) if node.attributes.get_int("upper", 1) else np.tril(ones, by)
        mask = ctx.constant(held, "mask")
    zero = ctx.constant(np.zeros((), NUMPY[kind]), "zero")
    ctx.emit("SELECT_V2", [mask, ctx.tensor(x), zero], [ctx.out(y)])


def _computed_mask(ctx: Context, node: ir.Node, x: int) -> int:
    """Whether column - row is k or more (upper), k or less (lower)."""
    shape = ctx.sub.tensors[x].shape
    rank, k = len(shape), optional(node, 1)
    dims = ctx.emit("SHAPE", [x], [ctx.temp("INT32", (rank,), "dims")], out_type=2)
    lines = []
    for axis in (rank - 2, rank - 1):
        size = ctx.emit("GATHER", [dims, ctx.constant(np.int32(axis), "axis")], [ctx.temp("INT32", (), "size")], axis=0)
        bounds = [ctx.constant(np.int32(0), "start"), size, ctx.constant(np.int32(1), "step")]
        lines.append(ctx.emit("RANGE", bounds, [ctx.temp("INT32", (shape[axis],), "range")]))
    rows = ctx.reshape(lines[0], (shape[-2], 1))
    apart = ctx.emit("SUB", [lines[1], rows], [ctx.temp("INT32", shape[-2:], "apart")], fused_activation_function=0)
    offset = ctx.constant(np.int32(0), "k") if k is None else ctx.reshape(ctx.int32(k), ())
    code = "GREATER_EQUAL" if node.attributes.get_int("upper", 1) else "LESS_EQUAL"
    return ctx.emit(code, [apart, offset], [ctx.temp("BOOL", shape[-2:], "mask")])


@lower("ReverseSequence")
def reverse_sequence(ctx: Context, node: ir.Node) -> None:
    """Each row of a batch as far as it is long."""
    x = value(node, 0)
    batch, time = node.attributes.get_int("batch_axis", 1), node.attributes.get_int("time_axis", 0)
    if ctx.type(x) not in ("FLOAT32", "INT32", "INT64", "UINT8", "INT16"):
        raise Blocked("type", f"LiteRT's REVERSE_SEQUENCE has no {ctx.type(x)} kernel")
    lengths = ctx.int32(value(node, 1))
    ctx.emit(
        "REVERSE_SEQUENCE", [ctx.tensor(x), lengths], [ctx.out(node.outputs[0])], seq_dim=time, batch_dim=batch
    )
