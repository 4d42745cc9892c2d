"""Matrix products: FULLY_CONNECTED where one side is a constant matrix, else BATCH_MATMUL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.layout import identity
from bessemer.ir.types import Perm
from bessemer.targets.tflite.context import Blocked, Context
from bessemer.targets.tflite.ops.common import (
    final_value,
    fused,
    optional,
    sole_consumer,
    static_shape,
    value,
)
from bessemer.targets.tflite.ops.weights import (
    accumulator_scale,
    bias_tensor,
    hybrid_options,
    integer_product,
    weight_tensor,
)
from bessemer.targets.tflite.registry import lower

if TYPE_CHECKING:
    import onnx_ir as ir

TURNED: Perm = (1, 0)


def _gemm_integer(ctx: Context, node: ir.Node) -> bool:
    attributes = node.attributes
    if (
        attributes.get_int("transA", 0)
        or attributes.get_float("alpha", 1.0) != 1
        or attributes.get_float("beta", 1.0) != 1
    ):
        return False
    axis = 0 if attributes.get_int("transB", 0) else 1
    return _vector(ctx, node, optional(node, 2)) and integer_product(ctx, node, final_value(ctx, node), axis)


def _vector(ctx: Context, node: ir.Node, bias: ir.Value | None) -> bool:
    """Whether the bias is absent or one number per output column."""
    if bias is None:
        return True
    columns, shape = ctx.shape(node.outputs[0])[-1], ctx.shape(bias)
    return ctx.is_const(bias) and shape[-1:] == (columns,) and all(dim == 1 for dim in shape[:-1])


@lower("Gemm", integer=_gemm_integer)
def gemm(ctx: Context, node: ir.Node) -> None:
    """FULLY_CONNECTED; alpha and beta as products, a bias that is no vector as an addition."""
    if ctx.type(value(node, 0)) != "FLOAT32" and not ctx.integer:
        raise Blocked("type", "LiteRT multiplies matrices of FLOAT32 only", "cast to float32 around it")
    attributes = node.attributes
    alpha, beta = float(attributes.get_float("alpha", 1.0)), float(attributes.get_float("beta", 1.0))
    a = ctx.tensor(value(node, 0), TURNED if attributes.get_int("transA", 0) else identity(2))
    b = weight_tensor(ctx, node, value(node, 1), identity(2) if attributes.get_int("transB", 0) else TURNED)
    bias = optional(node, 2)
    plain = alpha == 1.0 and beta == 1.0 and _vector(ctx, node, bias)
    if plain:
        _connected(ctx, node, node, a, b, bias)
        return
    shape = ctx.shape(node.outputs[0])
    total = ctx.emit("FULLY_CONNECTED", [a, b, -1], [ctx.temp("FLOAT32", shape, "product")], weights_format=0)
    total = _scaled(ctx, total, alpha)
    if bias is None:
        ctx.alias(node.outputs[0], total)
        return
    addend = _scaled(ctx, ctx.tensor(bias), beta)
    result, activation = fused(ctx, node)
    ctx.emit("ADD", [total, addend], [ctx.out(result)], fused_activation_function=activation)


def _scaled(ctx: Context, index: int, factor: float) -> int:
    if factor == 1.0:
        return index
    out = ctx.temp("FLOAT32", ctx.sub.tensors[index].shape, "scaled")
    return ctx.emit(
        "MUL", [index, ctx.constant(np.float32(factor), "factor")], [out], fused_activation_function=0
    )


def _connected(ctx: Context, node: ir.Node, last: ir.Node, a: int, b: int, bias: ir.Value | None) -> None:
    """FULLY_CONNECTED; `last` is a bias addition merged into `node`, or `node` itself."""
    scale = accumulator_scale(ctx, value(node, 0), value(node, 1)) if ctx.integer else None
    addend = bias_tensor(ctx, bias, value(node, 0), scale)
    if addend >= 0 and len(ctx.sub.tensors[addend].shape) > 1:
        addend = ctx.constant(np.asarray(ctx.const(bias)).reshape(-1).astype(np.float32), "bias")
    result, activation = fused(ctx, node, last)
    keep = len(ctx.sub.tensors[a].shape) != 2
    out = ctx.out(result)
    ctx.emit(
        "FULLY_CONNECTED",
        [a, b, addend],
        [out],
        fused_activation_function=activation,
        keep_num_dims=keep,
        weights_format=0,
        **hybrid_options(node),
    )


def bias_after(ctx: Context, node: ir.Node) -> tuple[ir.Node | None, ir.Value | None]:
    """A following addition of a constant vector that may become the bias of `node`."""
    result = node.outputs[0]
    follower = sole_consumer(ctx, result)
    if follower is None or follower.op_type != "Add" or follower.domain not in ("", "ai.onnx"):
        return None, None
    other = follower.inputs[1] if follower.inputs[0] is result else follower.inputs[0]
    if other is None or not ctx.same_dims(follower.outputs[0], result):
        return None, None
    return (follower, other) if _vector(ctx, node, other) else (None, None)


def _batched_integer(ctx: Context, node: ir.Node) -> bool:
    """BATCH_MATMUL of two integer operands of one type, signed, each with one scale."""
    encodings = [ctx.encoding(v) for v in (*node.inputs, node.outputs[0])]
    if any(e is None or not e.per_tensor or e.dtype not in ("INT8", "INT16") for e in encodings):
        return False
    ranks = [ctx.rank(value(node, 0)), ctx.rank(value(node, 1))]
    return len({e.dtype for e in encodings if e is not None}) == 1 and min(ranks) >= 2


def _matmul_integer(ctx: Context, node: ir.Node) -> bool:
    if not ctx.is_const(node.inputs[1]) or ctx.rank(value(node, 1)) != 2 or ctx.rank(value(node, 0)) < 2:
        return _batched_integer(ctx, node)
    last, _ = bias_after(ctx, node)
    return integer_product(ctx, node, final_value(ctx, last or node), 1)


@lower("MatMul", integer=_matmul_integer)
def matmul(ctx: Context, node: ir.Node) -> None:
    """A constant matrix on the right is FULLY_CONNECTED, everything else BATCH_MATMUL."""
    a, b = value(node, 0), value(node, 1)
    if ctx.type(a) != "FLOAT32" and not ctx.integer:
        raise Blocked("type", "LiteRT multiplies matrices of FLOAT32 only", "cast to float32 around it")
    if ctx.is_const(b) and ctx.rank(b) == 2 and ctx.rank(a) >= 2:
        last, bias = bias_after(ctx, node)
        if last is not None:
            ctx.done.add(last)
        _connected(ctx, node, last or node, ctx.tensor(a), weight_tensor(ctx, node, b, TURNED), bias)
        return
    _batched(ctx, node)


def _batched(ctx: Context, node: ir.Node) -> None:
    a, b = value(node, 0), value(node, 1)
    if ctx.shape(a)[-1] == 0:  # a sum of nothing, which XNNPACK refuses to form
        zeros = np.zeros(static_shape(ctx, node.outputs[0]), np.float32)
        ctx.alias(node.outputs[0], ctx.constant(zeros, "zeros"))
        return
    left, turned_a = _side(ctx, a)
    right, turned_b = _side(ctx, b)
    if ctx.rank(a) == 1:
        left = ctx.reshape(left, (1, ctx.shape(a)[0]))
    if ctx.rank(b) == 1:
        right = ctx.reshape(right, (ctx.shape(b)[0], 1))
    if max(ctx.rank(a), ctx.rank(b)) > 5:
        raise Blocked("rank", "LiteRT's BATCH_MATMUL takes at most 5 axes")
    options = {"adj_x": turned_a, "adj_y": turned_b}
    if ctx.rank(a) > 1 and ctx.rank(b) > 1:
        ctx.emit("BATCH_MATMUL", [left, right], [ctx.out(node.outputs[0])], **options)
        return
    shape = list(ctx.shape(node.outputs[0]))
    if ctx.rank(b) == 1:
        shape.append(1)
    if ctx.rank(a) == 1:
        shape.insert(len(shape) - 1, 1)
    inner = ctx.emit("BATCH_MATMUL", [left, right], [ctx.temp("FLOAT32", tuple(shape), "product")], **options)
    ctx.reshape(inner, ctx.shape(node.outputs[0]), ctx.out(node.outputs[0]))


def _side(ctx: Context, v: ir.Value) -> tuple[int, bool]:
    """The operand and whether its last two axes lie swapped: then the kernel turns them."""
    rank = ctx.rank(v)
    if rank >= 2 and not ctx.is_const(v):
        turned = (*range(rank - 2), rank - 1, rank - 2)
        if ctx.perm(v) == turned:
            return ctx.tensor(v, turned), True
    return ctx.tensor(v), False
