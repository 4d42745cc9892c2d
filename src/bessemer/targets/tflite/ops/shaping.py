"""Operators that only move data: Reshape and its kin, Transpose, Concat, Split, space and depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.layout import (
    apply,
    compose,
    identity,
    inverse,
    is_identity,
    merged_last,
    through_reshape,
)
from bessemer.ir.types import Perm
from bessemer.passes.dense import dense_after, reorder_rows
from bessemer.targets.tflite.context import Blocked, Context
from bessemer.targets.tflite.ops.common import both_encoded, need_rank, required_const, same_encoding, value
from bessemer.targets.tflite.registry import lower

if TYPE_CHECKING:
    import onnx_ir as ir


MOST_AXES = 6
"""TRANSPOSE has no kernel for more: beyond, a result stands in its logical order."""


def _rescaled(ctx: Context, node: ir.Node) -> bool:
    """LiteRT's QUANTIZE rescales integers of one type, and between INT8 and INT16."""
    source, result = ctx.encoding(node.inputs[0]), ctx.encoding(node.outputs[0])
    if source is None or result is None or both_encoded(ctx, node):
        return both_encoded(ctx, node)
    return source.per_tensor and result.per_tensor and {source.dtype, result.dtype} == {"INT8", "INT16"}


@lower("Identity", integer=_rescaled)
def same(ctx: Context, node: ir.Node) -> None:
    """The value itself; one QUANTIZE where its integers mean something else behind."""
    source = value(node, 0)
    perm = ctx.perm(source)
    ctx.alias(node.outputs[0], ctx.tensor(source, perm), perm)


@lower("Transpose", integer=same_encoding)
def transpose(ctx: Context, node: ir.Node) -> None:
    """Nothing is emitted: the permutation of the value is composed."""
    source = value(node, 0)
    rank = ctx.rank(source)
    order = tuple(node.attributes.get_ints("perm", list(reversed(range(rank)))))
    perm = ctx.perm(source)
    ctx.alias(node.outputs[0], ctx.tensor(source, perm), compose(perm, order))


@lower("Reshape", integer=same_encoding)
def reshape(ctx: Context, node: ir.Node) -> None:
    """RESHAPE of the logical order."""
    source, result = value(node, 0), node.outputs[0]
    dims = ctx.shape(result)
    if sum(dim is None for dim in dims) > 1:
        _reshape_at_run_time(ctx, node)
        return
    if _only_axes(ctx, source, result) or _as_it_lies(ctx, source, result):
        return
    ctx.reshape(ctx.tensor(source), dims, ctx.out(result))


def _as_it_lies(ctx: Context, source: ir.Value, result: ir.Value) -> bool:
    """Reshape the tensor in its own axis order where the result, or the dense layer behind it, can take that."""
    if ctx.is_const(source) or is_identity(ctx.perm(source)):
        return False
    perm, before, after = ctx.perm(source), ctx.shape(source), ctx.shape(result)
    new = through_reshape(perm, before, after)
    if new is not None and len(after) <= MOST_AXES:
        ctx.reshape(ctx.tensor(source, perm), apply(inverse(new), after), ctx.out(result, new))
        return True
    lying, layer = merged_last(perm, before, after), dense_after(result)
    if lying is None or layer is None:
        return False
    sizes = [before[axis] for axis in sorted(lying)]
    dims = [size for size in sizes if size is not None]
    if len(dims) != len(sizes):
        return False
    reorder_rows(layer, dims, [sorted(lying).index(axis) for axis in lying])
    ctx.reshape(ctx.tensor(source, perm), after, ctx.out(result))
    return True


def _only_axes(ctx: Context, source: ir.Value, result: ir.Value) -> bool:
    """A Reshape to the same shape is no Reshape."""
    if not ctx.same_dims(source, result):
        return False
    perm = ctx.perm(source)
    ctx.alias(result, ctx.tensor(source, perm), perm)
    return True


def _reshape_at_run_time(ctx: Context, node: ir.Node) -> None:
    """Several unknown sizes: the shape comes from the graph, or from sizes of the input where it says 0."""
    source, result = value(node, 0), node.outputs[0]
    known = ctx.const(value(node, 1))
    if known is None:
        ctx.emit("RESHAPE", [ctx.tensor(source), ctx.int32(value(node, 1))], [ctx.out(result)])
        return
    if node.attributes.get_int("allowzero", 0):
        raise Blocked(
            "dynamic-reshape",
            "a reshape with allowzero and unknown sizes",
            "bind the dimensions with --shape",
        )
    index = ctx.tensor(source)
    whole = ctx.emit("SHAPE", [index], [ctx.temp("INT32", (ctx.rank(source),), "shape")], out_type=2)
    parts = [_dim(ctx, whole, axis, int(dim)) for axis, dim in enumerate(known)]
    shape = ctx.temp("INT32", (len(parts),), "shape")
    ctx.emit("CONCATENATION", parts, [shape], axis=0)
    ctx.emit("RESHAPE", [index, shape], [ctx.out(result)])


def _dim(ctx: Context, shape: int, axis: int, dim: int) -> int:
    if dim != 0:
        return ctx.constant(np.array([dim], np.int32), "dim")
    begin, size = (
        ctx.constant(np.array([axis], np.int32), "begin"),
        ctx.constant(np.array([1], np.int32), "size"),
    )
    return ctx.emit("SLICE", [shape, begin, size], [ctx.temp("INT32", (1,), "dim")])


@lower("Flatten", "Squeeze", "Unsqueeze", integer=same_encoding)
def new_axes(ctx: Context, node: ir.Node) -> None:
    """RESHAPE, or EXPAND_DIMS and SQUEEZE where several sizes are unknown."""
    source, result = value(node, 0), node.outputs[0]
    dims = ctx.shape(result)
    if _only_axes(ctx, source, result) or _as_it_lies(ctx, source, result):
        return
    if sum(dim is None for dim in dims) <= 1:
        ctx.reshape(ctx.tensor(source), dims, ctx.out(result))
    elif node.op_type == "Unsqueeze":
        _expand(ctx, node)
    elif node.op_type == "Squeeze":
        axes = _squeezed(ctx, node)
        ctx.emit("SQUEEZE", [ctx.tensor(source)], [ctx.out(result)], squeeze_dims=axes)
    else:
        raise Blocked(
            "dynamic-reshape", "a Flatten with both sizes unknown", "bind the dimensions with --shape"
        )


def _squeezed(ctx: Context, node: ir.Node) -> tuple[int, ...]:
    shape = ctx.shape(value(node, 0))
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        return tuple(int(axis) % len(shape) for axis in required_const(ctx, node, 1).reshape(-1))
    return tuple(axis for axis, dim in enumerate(shape) if dim == 1)


def _expand(ctx: Context, node: ir.Node) -> None:
    source, result = value(node, 0), node.outputs[0]
    rank = ctx.rank(result)
    axes = sorted(int(axis) % rank for axis in required_const(ctx, node, 1).reshape(-1))
    index = ctx.tensor(source)
    for position, axis in enumerate(axes):
        tensor = ctx.sub.tensors[index]
        shape = (*tensor.shape[:axis], 1, *tensor.shape[axis:])
        last = position == len(axes) - 1
        out = ctx.out(result) if last else ctx.temp(tensor.type, shape, "expanded", tensor.encoding)
        index = ctx.emit("EXPAND_DIMS", [index, ctx.constant(np.int32(axis), "axis")], [out])


LAST = (0, 3, 1, 2)


def _concat_integer(ctx: Context, node: ir.Node) -> bool:
    """All of one integer type."""
    found = [ctx.encoding(v) for v in (node.outputs[0], *node.inputs) if v is not None]
    encodings = [e for e in found if e is not None and e.per_tensor]
    return len(encodings) == len(found) and len({e.dtype for e in encodings}) == 1


@lower("Concat", integer=_concat_integer)
def concat(ctx: Context, node: ir.Node) -> None:
    """CONCATENATION along the physical axis. Kernels of signed integers copy, so inputs are rescaled before them."""
    inputs = [v for v in node.inputs if v is not None]
    result = node.outputs[0]
    if len(inputs) == 1:
        perm = ctx.perm(inputs[0])
        ctx.alias(result, ctx.tensor(inputs[0], perm), perm)
        return
    rank = ctx.rank(result)
    perm = common_perm(ctx, inputs)
    axis = perm[node.attributes.get_int("axis") % rank]
    index = [ctx.tensor(v, perm) for v in inputs]
    kind, target = ctx.sub.tensors[index[0]].type, ctx.encoding(result)
    if ctx.integer and target is not None and kind != "UINT8":
        index = [ctx.requantized(item, target) for item in index]
    if kind not in ("FLOAT32", "INT32", "INT64", "INT8", "UINT8", "INT16", "BOOL", "UINT32"):
        raise Blocked("type", f"LiteRT's CONCATENATION has no {kind} kernel")
    ctx.emit("CONCATENATION", index, [ctx.out(result, perm)], axis=axis)


def common_perm(ctx: Context, values: list[ir.Value]) -> Perm:
    """The axis order that most of the data already has."""
    votes: dict[Perm, int] = {}
    for v in values:
        if not ctx.is_const(v):
            votes[ctx.perm(v)] = votes.get(ctx.perm(v), 0) + 1
    if not votes:
        return identity(ctx.rank(values[0]))
    return max(votes, key=lambda perm: (votes[perm], not is_identity(perm)))


@lower("Split", integer=lambda ctx, node: _split_integer(ctx, node))
def split(ctx: Context, node: ir.Node) -> None:
    """SPLIT_V along the physical axis."""
    source = value(node, 0)
    need_rank(ctx, source, 8)
    perm = ctx.perm(source)
    logical_axis = node.attributes.get_int("axis", 0) % ctx.rank(source)
    if len(node.inputs) > 1 and node.inputs[1] is not None and not ctx.is_const(node.inputs[1]):
        _split_at_run_time(ctx, node, perm, logical_axis)
        return
    sizes = _split_sizes(ctx, node, logical_axis)
    kind = ctx.type(source)
    if not ctx.integer and kind not in ("FLOAT32", "INT32", "INT64", "INT8", "UINT8", "INT16"):
        raise Blocked("type", f"LiteRT's SPLIT_V has no {kind} kernel")
    if len(sizes) == 1:
        ctx.alias(node.outputs[0], ctx.tensor(source, perm), perm)
        return
    axis = ctx.constant(np.int32(perm[logical_axis]), "axis")
    index = [ctx.tensor(source, perm), ctx.constant(np.array(sizes, np.int32), "sizes"), axis]
    ctx.emit("SPLIT_V", index, [ctx.out(v, perm) for v in node.outputs], num_splits=len(sizes))


def _split_at_run_time(ctx: Context, node: ir.Node, perm: Perm, logical_axis: int) -> None:
    axis = ctx.constant(np.int32(perm[logical_axis]), "axis")
    index = [ctx.tensor(value(node, 0), perm), ctx.int32(value(node, 1)), axis]
    ctx.emit("SPLIT_V", index, [ctx.out(v, perm) for v in node.outputs], num_splits=len(node.outputs))


def _split_integer(ctx: Context, node: ir.Node) -> bool:
    source = ctx.encoding(node.inputs[0])
    return source is not None and source.per_tensor and all(ctx.encoding(v) == source for v in node.outputs)


def _split_sizes(ctx: Context, node: ir.Node, axis: int) -> list[int]:
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        return [int(size) for size in required_const(ctx, node, 1)]
    total, count = ctx.shape(value(node, 0))[axis], len(node.outputs)
    if total is None:
        raise Blocked(
            "dynamic-split", "the size of the split axis must be known", "bind its dimension with --shape"
        )
    each = -(-total // count)
    return [min(each, total - each * index) for index in range(count)]


def _blocks_integer(ctx: Context, node: ir.Node) -> bool:
    """The kernels move 8-bit integers; what reshapes around a transpose does moves any."""
    encoding, mode = ctx.encoding(node.inputs[0]), node.attributes.get_string("mode", "DCR")
    return same_encoding(ctx, node) and encoding is not None and (mode == "CRD" or encoding.dtype != "INT16")


@lower("DepthToSpace", "SpaceToDepth", integer=_blocks_integer)
def depth_space(ctx: Context, node: ir.Node) -> None:
    """The kernel where the channel order is TFLite's (DCR), else reshapes around a transpose."""
    source, result = value(node, 0), node.outputs[0]
    block = node.attributes.get_int("blocksize")
    mode = node.attributes.get_string("mode", "DCR")
    last = LAST
    if mode == "DCR":
        code = "DEPTH_TO_SPACE" if node.op_type == "DepthToSpace" else "SPACE_TO_DEPTH"
        ctx.emit(code, [ctx.tensor(source, last)], [ctx.out(result, last)], block_size=block)
        return
    if node.op_type == "DepthToSpace":
        _depth_first(ctx, source, result, block)
    else:
        _space_first(ctx, source, result, block)


def _known(dims: tuple[int | None, ...]) -> tuple[int, ...]:
    known = tuple(dim for dim in dims if dim is not None)
    if len(known) != len(dims):
        raise Blocked("dynamic-shape", "channels in CRD order need known sizes", "bind them with --shape")
    return known


def _depth_first(ctx: Context, source: ir.Value, result: ir.Value, block: int) -> None:
    n = ctx.shape(source)[0]
    channels, height, width = _known(ctx.shape(result)[1:])
    split_shape = (n, height // block, width // block, channels, block, block)
    index = ctx.move(ctx.reshape(ctx.tensor(source, LAST), split_shape), (0, 1, 4, 2, 5, 3))
    ctx.reshape(index, (n, height, width, channels), ctx.out(result, LAST))


def _space_first(ctx: Context, source: ir.Value, result: ir.Value, block: int) -> None:
    n = ctx.shape(source)[0]
    channels, height, width = _known(ctx.shape(source)[1:])
    split_shape = (n, height // block, block, width // block, block, channels)
    index = ctx.move(ctx.reshape(ctx.tensor(source, LAST), split_shape), (0, 1, 3, 5, 2, 4))
    ctx.reshape(index, (n, height // block, width // block, channels * block * block), ctx.out(result, LAST))
