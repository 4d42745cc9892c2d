"""Comparisons, boolean logic and bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.types import Perm
from bessemer.targets.tflite.context import Blocked, Context
from bessemer.targets.tflite.dtypes import NUMPY
from bessemer.targets.tflite.ops.common import store, value
from bessemer.targets.tflite.ops.elementwise import binary_perm, operand, spread
from bessemer.targets.tflite.registry import lower

if TYPE_CHECKING:
    import onnx_ir as ir

COMPARES = {
    "Equal": "EQUAL", "Greater": "GREATER", "GreaterOrEqual": "GREATER_EQUAL", "Less": "LESS",
    "LessOrEqual": "LESS_EQUAL",
}  # fmt: skip
COMPARED = {
    "FLOAT32": "FLOAT32", "INT32": "INT32", "INT64": "INT64", "INT8": "INT32", "UINT8": "INT32", "INT16": "INT32",
    "UINT16": "INT32", "UINT32": "INT64",
}  # fmt: skip
"""Kernels for 8 bits want quantization parameters: plain integers are compared wider."""


def operands(ctx: Context, node: ir.Node) -> tuple[list[int], Perm]:
    """Both inputs in one axis order; the kernels broadcast at most four axes."""
    values = [value(node, 0), value(node, 1)]
    rank = ctx.rank(node.outputs[0])
    perm = binary_perm(ctx, values, rank)
    index = [operand(ctx, v, perm) for v in values]
    return spread(ctx, values, index, node.outputs[0], perm, 4, node.op_type), perm


@lower("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
def compare(ctx: Context, node: ir.Node) -> None:
    """One comparison kernel."""
    kind = ctx.type(value(node, 0))
    if kind == "BOOL" and node.op_type == "Equal":
        wide = "BOOL"
    elif kind in COMPARED:
        wide = COMPARED[kind]
    else:
        raise Blocked("type", f"LiteRT compares no {kind}")
    index, perm = operands(ctx, node)
    index = [ctx.cast(i, wide) for i in index]
    ctx.emit(COMPARES[node.op_type], index, [ctx.out(node.outputs[0], perm)])


LOGIC = {"And": "LOGICAL_AND", "Or": "LOGICAL_OR", "Xor": "NOT_EQUAL"}


@lower("And", "Or", "Xor")
def logic(ctx: Context, node: ir.Node) -> None:
    """LOGICAL_AND, LOGICAL_OR; exclusive or is inequality."""
    index, perm = operands(ctx, node)
    ctx.emit(LOGIC[node.op_type], index, [ctx.out(node.outputs[0], perm)])


@lower("Not")
def negation(ctx: Context, node: ir.Node) -> None:
    """LOGICAL_NOT."""
    source = value(node, 0)
    perm = ctx.perm(source)
    ctx.emit("LOGICAL_NOT", [ctx.tensor(source, perm)], [ctx.out(node.outputs[0], perm)])


XORED = frozenset({"INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32"})


def _bits(ctx: Context, node: ir.Node) -> str:
    kind = ctx.type(value(node, 0))
    if kind not in XORED:
        raise Blocked("type", f"LiteRT has no bitwise kernel for {kind}")
    return kind


@lower("BitwiseXor")
def bitwise_xor(ctx: Context, node: ir.Node) -> None:
    """BITWISE_XOR."""
    _bits(ctx, node)
    index, perm = operands(ctx, node)
    ctx.emit("BITWISE_XOR", index, [ctx.out(node.outputs[0], perm)])


@lower("BitwiseNot")
def bitwise_not(ctx: Context, node: ir.Node) -> None:
    """All bits flipped: exclusive or with ones; INT64 as -1 - x."""
    source = value(node, 0)
    kind, perm = ctx.type(source), ctx.perm(source)
    if kind == "INT64":
        ones = ctx.constant(np.int64(-1), "ones")
        ctx.emit("SUB", [ones, ctx.tensor(source, perm)], [ctx.out(node.outputs[0], perm)])
        return
    if kind not in XORED:
        raise Blocked("type", f"LiteRT has no bitwise kernel for {kind}")
    ones = ctx.constant(np.array(-1).astype(NUMPY[kind]), "ones")
    ctx.emit("BITWISE_XOR", [ctx.tensor(source, perm), ones], [ctx.out(node.outputs[0], perm)])


@lower("BitwiseAnd", "BitwiseOr")
def bitwise_and_or(ctx: Context, node: ir.Node) -> None:
    """From exclusive or, as LiteRT has nothing else: with h = x >> 1, 2 (ha & hb) = ha + hb - (ha ^ hb)."""
    kind = _bits(ctx, node)
    if kind == "UINT32":
        raise Blocked("type", f"LiteRT has no {node.op_type} kernel and no UINT32 arithmetic")
    index, perm = operands(ctx, node)
    out = ctx.out(node.outputs[0], perm)
    shape = ctx.sub.tensors[out].shape
    a, b = (ctx.cast(i, "INT32") for i in index)

    def op(code: str, x: int, y: int) -> int:
        dims = ctx.sub.tensors[x].shape if y == one else shape
        return ctx.emit(code, [x, y], [ctx.temp("INT32", dims, code.lower())])

    one = ctx.constant(np.int32(1), "one")
    high = [op("RIGHT_SHIFT", x, one) for x in (a, b)]
    low = [_low(ctx, x, half) for x, half in zip((a, b), high, strict=True)]
    double = op("SUB", op("ADD", *high), op("BITWISE_XOR", *high))
    both = op("ADD", double, op("MUL", *low))
    result = both if node.op_type == "BitwiseAnd" else op("ADD", a, op("SUB", b, both))
    store(ctx, result, out)


def _low(ctx: Context, x: int, half: int) -> int:
    """The lowest bit: x - 2 h."""
    shape = ctx.sub.tensors[x].shape
    rest = ctx.emit("SUB", [x, half], [ctx.temp("INT32", shape, "rest")])
    return ctx.emit("SUB", [rest, half], [ctx.temp("INT32", shape, "bit")])


@lower("BitShift")
def bit_shift(ctx: Context, node: ir.Node) -> None:
    """RIGHT_SHIFT; to the left a product with a power of two, itself a shifted constant."""
    if not _bits(ctx, node).startswith("U"):
        _need_counts(ctx, node)
    index, perm = operands(ctx, node)
    out = ctx.out(node.outputs[0], perm)
    if node.attributes.get_string("direction", "") == "RIGHT":
        ctx.emit("RIGHT_SHIFT", index, [out])
        return
    by = ctx.cast(index[1], "INT64")
    shape = ctx.sub.tensors[by].shape
    top = ctx.constant(np.int64(31), "top")
    rest = ctx.cast(ctx.emit("SUB", [top, by], [ctx.temp("INT64", shape, "rest")]), "UINT32")
    power = ctx.constant(np.uint32(2**31), "power")
    factor = ctx.emit("RIGHT_SHIFT", [power, rest], [ctx.temp("UINT32", shape, "factor")])
    wide = ctx.temp("INT64", ctx.sub.tensors[out].shape, "wide")
    ctx.emit("MUL", [ctx.cast(index[0], "INT64"), ctx.cast(factor, "INT64")], [wide])
    store(ctx, wide, out)


def _need_counts(ctx: Context, node: ir.Node) -> None:
    """Signed counts outside the width have a meaning in ONNX that no kernel shares."""
    counts, width = ctx.const(value(node, 1)), np.iinfo(NUMPY[ctx.type(value(node, 0))]).bits
    if counts is None or (counts < 0).any() or (counts >= width).any():
        raise Blocked("shift-range", "LiteRT's shifts leave negative counts and counts beyond the width undefined")
