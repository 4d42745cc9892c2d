"""Slice and Pad."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.layout import identity
from bessemer.ir.types import Array, Perm
from bessemer.targets.tflite.context import Blocked, Context
from bessemer.targets.tflite.dtypes import NUMPY
from bessemer.targets.tflite.ops.common import optional, required_const, same_encoding, value
from bessemer.targets.tflite.registry import lower

if TYPE_CHECKING:
    import onnx_ir as ir

SLICED = ("FLOAT32", "INT32", "INT64", "INT8", "UINT8", "INT16", "BOOL", "UINT32")
LIMIT = 2**31 - 1


@lower("Slice", integer=same_encoding)
def slice_(ctx: Context, node: ir.Node) -> None:
    """STRIDED_SLICE over the physical axes."""
    source = value(node, 0)
    rank = ctx.rank(source)
    if rank > 5:
        raise Blocked("rank", f"LiteRT slices at most 5 axes, '{source.name}' has {rank}")
    if not ctx.integer and ctx.type(source) not in SLICED:
        raise Blocked("type", f"LiteRT's STRIDED_SLICE has no {ctx.type(source)} kernel")
    if any(v is not None and not ctx.is_const(v) for v in node.inputs[3:]):
        _scattered(ctx, node)
        return
    axes = _axes(ctx, node, rank)
    steps = np.ones(len(axes), np.int64) if optional(node, 4) is None else required_const(ctx, node, 4)
    starts, ends = ctx.const(value(node, 1)), ctx.const(value(node, 2))
    perm = ctx.perm(source)
    if starts is None or ends is None:
        _dynamic(ctx, node, axes, [int(s) for s in steps], perm)
        return
    begin, end, stride = np.zeros(rank, np.int32), np.zeros(rank, np.int32), np.ones(rank, np.int32)
    touched = 0
    for axis, start, stop, step in zip(axes, starts, ends, steps, strict=True):
        at = perm[axis]
        begin[at], end[at], skip = _bounds(ctx.shape(source)[axis], int(start), int(stop), int(step))
        stride[at] = np.clip(step, -LIMIT, LIMIT)
        touched |= 0 if skip else 1 << at
    mask = ((1 << rank) - 1) & ~touched
    _emit(ctx, node, perm, [begin, end, stride], (mask, mask))


def _bounds(size: int | None, start: int, stop: int, step: int) -> tuple[int, int, bool]:
    """Start and stop as the kernel wants them; True when the axis is whole."""
    if step > 0 and start == 0 and stop >= LIMIT and step == 1:
        return 0, 0, True
    if size is None:
        return int(np.clip(start, -LIMIT, LIMIT)), int(np.clip(stop, -LIMIT, LIMIT)), False
    low, high, _ = (
        slice(start, stop if stop >= -size else None, step).indices(size)
        if step < 0
        else slice(start, stop, step).indices(size)
    )
    if step < 0 and high < 0:
        high = -size - 1
    return low, high, False


def _axes(ctx: Context, node: ir.Node, rank: int) -> list[int]:
    if optional(node, 3) is not None:
        return [int(axis) % rank for axis in required_const(ctx, node, 3)]
    count = _count(ctx, node)
    return list(range(count))


def _count(ctx: Context, node: ir.Node) -> int:
    """How many axes are sliced."""
    dims = ctx.shape(value(node, 1))
    if len(dims) != 1 or dims[0] is None:
        raise Blocked("dynamic-argument", "the number of sliced axes must be known")
    return dims[0]


def _emit(ctx: Context, node: ir.Node, perm: Perm, bounds: list[Array], masks: tuple[int, int]) -> None:
    index = [ctx.constant(b, name) for b, name in zip(bounds, ("begin", "end", "strides"), strict=True)]
    out = ctx.out(node.outputs[0], perm)
    ctx.emit(
        "STRIDED_SLICE",
        [ctx.tensor(value(node, 0), perm), *index],
        [out],
        begin_mask=masks[0],
        end_mask=masks[1],
    )


def _dynamic(ctx: Context, node: ir.Node, axes: list[int], steps: list[int], perm: Perm) -> None:
    """Bounds computed by the graph: gathered into vectors over all axes."""
    rank = len(perm)
    by_physical = {perm[axis]: position for position, axis in enumerate(axes)}
    vectors = [_spread(ctx, value(node, place), by_physical, rank) for place in (1, 2)]
    stride = np.ones(rank, np.int32)
    for at, position in by_physical.items():
        stride[at] = steps[position]
    mask = sum(1 << at for at in range(rank) if at not in by_physical)
    index = [ctx.tensor(value(node, 0), perm), *vectors, ctx.constant(stride, "strides")]
    ctx.emit("STRIDED_SLICE", index, [ctx.out(node.outputs[0], perm)], begin_mask=mask, end_mask=mask)


def _scattered(ctx: Context, node: ir.Node) -> None:
    """Axes or steps computed by the graph: bounds scattered over vectors of all axes."""
    source = value(node, 0)
    rank = ctx.rank(source)
    count = _count(ctx, node)
    axes = optional(node, 3)
    if axes is None:
        where = ctx.constant(np.arange(count, dtype=np.int32), "axes")
    else:
        ranked = ctx.constant(np.int32(rank), "rank")
        where = ctx.emit("FLOOR_MOD", [ctx.int32(axes), ranked], [ctx.temp("INT32", (count,), "axes")])
    where = ctx.reshape(where, (count, 1))
    ones = ctx.constant(np.ones(count, np.int32), "ones")
    steps = optional(node, 4)
    touched = ctx.cast(_scatter(ctx, where, ones, rank), "BOOL")
    vectors = []
    for index, untouched in (
        (bounded_int32(ctx, value(node, 1)), 0),
        (bounded_int32(ctx, value(node, 2)), LIMIT),
        (ones if steps is None else bounded_int32(ctx, steps), 1),
    ):
        rest = ctx.constant(np.full(rank, untouched, np.int32), "untouched")
        spread = _scatter(ctx, where, index, rank)
        vectors.append(ctx.emit("SELECT_V2", [touched, spread, rest], [ctx.temp("INT32", (rank,), "bounds")]))
    ctx.emit("STRIDED_SLICE", [ctx.tensor(source), *vectors], [ctx.out(node.outputs[0])])


def _scatter(ctx: Context, where: int, updates: int, rank: int) -> int:
    shape = ctx.constant(np.array([rank], np.int32), "shape")
    return ctx.emit("SCATTER_ND", [where, updates, shape], [ctx.temp("INT32", (rank,), "spread")])


def _spread(ctx: Context, bounds: ir.Value, by_physical: dict[int, int], rank: int) -> int:
    """Vector with bounds[i] at the physical axis it concerns, 0 elsewhere."""
    index = bounded_int32(ctx, bounds)
    if [by_physical.get(at) for at in range(rank)] == list(range(rank)):
        return index
    zero, one = ctx.constant(np.zeros(1, np.int32), "zero"), ctx.constant(np.ones(1, np.int32), "one")
    parts = []
    for at in range(rank):
        if at not in by_physical:
            parts.append(zero)
            continue
        begin = ctx.constant(np.array([by_physical[at]], np.int32), "begin")
        parts.append(ctx.emit("SLICE", [index, begin, one], [ctx.temp("INT32", (1,), "bound")]))
    if rank == 1:
        return parts[0]
    return ctx.emit("CONCATENATION", parts, [ctx.temp("INT32", (rank,), "bounds")], axis=0)


def bounded_int32(ctx: Context, v: ir.Value) -> int:
    """The value as INT32, huge bounds (INT64 'to the end') clamped first."""
    if ctx.is_const(v) or ctx.type(v) != "INT64":
        return ctx.int32(v)
    index = ctx.tensor(v)
    shape = ctx.sub.tensors[index].shape
    low = ctx.emit(
        "MAXIMUM", [index, ctx.constant(np.int64(-LIMIT), "low")], [ctx.temp("INT64", shape, "bound")]
    )
    high = ctx.emit(
        "MINIMUM", [low, ctx.constant(np.int64(LIMIT), "high")], [ctx.temp("INT64", shape, "bound")]
    )
    return ctx.cast(high, "INT32")


PADDED = ("FLOAT32", "INT32", "INT64", "INT8", "UINT8", "INT16", "BOOL")


def _pad_integer(ctx: Context, node: ir.Node) -> bool:
    constant = node.attributes.get_string("mode", "constant") == "constant"
    return same_encoding(ctx, node) and (not constant or _zero_pad(ctx, node))


@lower("Pad", integer=_pad_integer)
def pad(ctx: Context, node: ir.Node) -> None:
    """PAD, PADV2 or MIRROR_PAD over the physical axes; edge and wrap as slices put together."""
    source = value(node, 0)
    kind, perm = ctx.type(source), ctx.perm(source)
    if not ctx.integer and kind not in PADDED:
        raise Blocked("type", f"LiteRT's PADV2 has no {kind} kernel")
    amounts = _amounts(ctx, node)
    mode = node.attributes.get_string("mode", "constant")
    if amounts is None:
        _pad_at_run_time(ctx, node, mode)
        return
    if (amounts < 0).any():
        raise Blocked("negative-pads", "negative pads", "slice the input instead")
    physical = np.zeros_like(amounts)
    for axis, at in enumerate(perm):
        physical[at] = amounts[axis]
    index = ctx.tensor(source, perm)
    if mode == "constant":
        if len(perm) > 5:
            raise Blocked("rank", "LiteRT pads at most 5 axes")
        table = ctx.constant(physical.astype(np.int32), "paddings")
        inputs = (
            [index, table] if ctx.integer or _zero_pad(ctx, node) else [index, table, _fill(ctx, node, kind)]
        )
        ctx.emit("PAD" if len(inputs) == 2 else "PADV2", inputs, [ctx.out(node.outputs[0], perm)])
    elif mode == "reflect" and _mirrors(ctx, source, amounts):
        table = ctx.constant(physical.astype(np.int32), "paddings")
        ctx.emit("MIRROR_PAD", [index, table], [ctx.out(node.outputs[0], perm)], mode=0)
    else:
        _gathered(ctx, node, index, physical, mode, perm)


def _mirrors(ctx: Context, source: ir.Value, amounts: Array) -> bool:
    sizes = ctx.shape(source)
    return all(size is None or max(pair) < size for size, pair in zip(sizes, amounts, strict=True))


def _amounts(ctx: Context, node: ir.Node) -> Array | None:
    """(rank, 2) pads, None when computed by the graph."""
    pads, rank = ctx.const(value(node, 1)), ctx.rank(value(node, 0))
    if pads is None:
        return None
    axes = list(range(rank))
    if optional(node, 3) is not None:
        axes = [int(axis) % rank for axis in required_const(ctx, node, 3)]
    table = np.zeros((rank, 2), np.int64)
    for position, axis in enumerate(axes):
        table[axis] = pads[position], pads[position + len(axes)]
    return table


def _zero_pad(ctx: Context, node: ir.Node) -> bool:
    if node.attributes.get_string("mode", "constant") != "constant":
        return False
    fill = optional(node, 2)
    array = ctx.const(fill)
    return fill is None or (array is not None and not np.any(array))


def _fill(ctx: Context, node: ir.Node, kind: str) -> int:
    fill = value(node, 2)
    array = ctx.const(fill)
    if array is not None:
        return ctx.constant(np.asarray(array).reshape(()).astype(NUMPY[kind]), "fill")
    return ctx.reshape(ctx.tensor(fill), ()) if ctx.rank(fill) else ctx.tensor(fill)


def _gathered(ctx: Context, node: ir.Node, index: int, physical: Array, mode: str, perm: Perm) -> None:
    """One GATHER per padded axis with the source position of each element."""
    for axis in range(len(perm)):
        before, after = (int(n) for n in physical[axis])
        if not before and not after:
            continue
        tensor = ctx.sub.tensors[index]
        size = tensor.shape[axis]
        if size is None:
            raise Blocked(
                "dynamic-shape", f"{mode} padding of an unknown size", "bind the dimension with --shape"
            )
        positions = ctx.constant(_positions(mode, size, before, after), "positions")
        shape = (*tensor.shape[:axis], size + before + after, *tensor.shape[axis + 1 :])
        out = ctx.temp(tensor.type, shape, "padded", tensor.encoding)
        index = ctx.emit("GATHER", [index, positions], [out], axis=axis)
    ctx.alias(node.outputs[0], index, perm)


def _positions(mode: str, size: int, before: int, after: int) -> Array:
    return np.pad(np.arange(size, dtype=np.int32), (before, after), mode=_NUMPY_MODE[mode])


_NUMPY_MODE: dict[str, Any] = {"edge": "edge", "wrap": "wrap", "reflect": "reflect"}


def _pad_at_run_time(ctx: Context, node: ir.Node, mode: str) -> None:
    """Pads computed by the graph: (2, rank) transposed to TFLite's (rank, 2)."""
    source = value(node, 0)
    rank = ctx.rank(source)
    if mode != "constant" or optional(node, 3) is not None:
        raise Blocked(
            "dynamic-argument", "pads that are computed, of some axes or in a mode other than constant"
        )
    table = ctx.move(ctx.reshape(ctx.int32(value(node, 1)), (2, rank)), (1, 0))
    index = ctx.tensor(source)
    kind = ctx.type(source)
    inputs = [index, table] if _zero_pad(ctx, node) else [index, table, _fill(ctx, node, kind)]
    ctx.emit("PAD" if len(inputs) == 2 else "PADV2", inputs, [ctx.out(node.outputs[0], identity(rank))])
