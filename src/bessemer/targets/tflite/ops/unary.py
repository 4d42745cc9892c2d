"""Functions of one operand: kernels where LiteRT has them, identities of analysis where it has not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bessemer.targets.tflite.context import Blocked, Context
from bessemer.targets.tflite.ops.common import both_encoded, compute_as, store, value
from bessemer.targets.tflite.registry import lower

if TYPE_CHECKING:
    import onnx_ir as ir

    from bessemer.ir.types import Perm

KERNELS: dict[str, tuple[str, frozenset[str]]] = {
    "Abs": ("ABS", frozenset({"FLOAT32", "INT32"})),
    "Neg": ("NEG", frozenset({"FLOAT32", "INT32", "INT64"})),
    "Exp": ("EXP", frozenset({"FLOAT32"})),
    "Log": ("LOG", frozenset({"FLOAT32"})),
    "Sqrt": ("SQRT", frozenset({"FLOAT32"})),
    "Floor": ("FLOOR", frozenset({"FLOAT32"})),
    "Ceil": ("CEIL", frozenset({"FLOAT32"})),
    "Round": ("ROUND", frozenset({"FLOAT32"})),
    "Sin": ("SIN", frozenset({"FLOAT32"})),
    "Cos": ("COS", frozenset({"FLOAT32"})),
    "Sign": ("SIGN", frozenset({"FLOAT32", "INT32"})),
}
WIDER = {"INT8": "INT32", "UINT8": "INT32", "INT16": "INT32", "UINT16": "INT32"}


class Calculator:
    """Float arithmetic on tensors of one shape, in one axis order."""

    def __init__(self, ctx: Context, v: ir.Value) -> None:
        if ctx.type(v) != "FLOAT32":
            raise Blocked("type", f"this function computes in FLOAT32, '{v.name}' is {ctx.type(v)}")
        self.ctx, self.perm = ctx, ctx.perm(v)
        self.x = ctx.tensor(v, self.perm)
        self.shape = ctx.sub.tensors[self.x].shape

    def one(self, code: str, a: int) -> int:
        """A unary operator."""
        return self.ctx.emit(code, [a], [self.ctx.temp("FLOAT32", self.shape, code.lower())])

    def two(self, code: str, a: int, b: int | float) -> int:
        """A binary operator; numbers become constants."""
        other = b if isinstance(b, int) else self.number(b)
        return self.ctx.emit(code, [a, other], [self.ctx.temp("FLOAT32", self.shape, code.lower())])

    def number(self, value_: float) -> int:
        """A scalar constant."""
        return self.ctx.constant(np.float32(value_), "number")

    def under(self, value_: float, code: str, b: int) -> int:
        """`value code b`."""
        return self.ctx.emit(code, [self.number(value_), b], [self.ctx.temp("FLOAT32", self.shape, code.lower())])

    def finish(self, node: ir.Node, index: int) -> None:
        """Let the node's result stand in tensor `index`."""
        self.ctx.alias(node.outputs[0], index, self.perm)


INTEGERS = {"Abs": ("INT8", "INT16"), "Exp": ("INT8", "INT16"), "Log": ("INT8", "INT16")}
"""Types of encodings between which kernels rescale."""


def _integer(ctx: Context, node: ir.Node) -> bool:
    source = ctx.encoding(node.inputs[0])
    return both_encoded(ctx, node) and source is not None and source.dtype in INTEGERS.get(node.op_type, ())


@lower(*KERNELS, integer=_integer)
def kernel(ctx: Context, node: ir.Node) -> None:
    """One kernel; narrow integers through a wider type."""
    code, types = KERNELS[node.op_type]
    x, y = value(node, 0), node.outputs[0]
    if ctx.integer:
        order = ctx.perm(x)
        ctx.emit(code, [ctx.tensor(x, order)], [ctx.out(y, order)])
        return
    kind, perm = ctx.type(x), ctx.perm(x)
    computing = kind if kind in types else WIDER.get(kind, "")
    if computing not in types:
        raise Blocked("type", f"LiteRT's {code} has no {kind} kernel")
    index = compute_as(ctx, ctx.tensor(x, perm), computing)
    out = ctx.out(y, perm)
    if computing == kind:
        ctx.emit(code, [index], [out])
        return
    store(ctx, ctx.emit(code, [index], [ctx.temp(computing, ctx.sub.tensors[out].shape, "wide")]), out)


@lower("Reciprocal")
def reciprocal(ctx: Context, node: ir.Node) -> None:
    """1 / x."""
    c = Calculator(ctx, value(node, 0))
    c.finish(node, c.under(1.0, "DIV", c.x))


@lower("Tan")
def tan(ctx: Context, node: ir.Node) -> None:
    """sin / cos."""
    c = Calculator(ctx, value(node, 0))
    c.finish(node, c.two("DIV", c.one("SIN", c.x), c.one("COS", c.x)))


@lower("Sinh", "Cosh")
def hyperbolic(ctx: Context, node: ir.Node) -> None:
    """(e^x -/+ e^-x) / 2."""
    c = Calculator(ctx, value(node, 0))
    up, down = c.one("EXP", c.x), c.one("EXP", c.one("NEG", c.x))
    c.finish(node, c.two("MUL", c.two("SUB" if node.op_type == "Sinh" else "ADD", up, down), 0.5))


@lower("Asin", "Acos", "Atan")
def arc(ctx: Context, node: ir.Node) -> None:
    """Through the angle of a point: asin x = atan2(x, sqrt(1 - x^2))."""
    c = Calculator(ctx, value(node, 0))
    if node.op_type == "Atan":
        one = ctx.constant(np.ones([dim or 0 for dim in c.shape], np.float32), "one")
        if None in c.shape:
            raise Blocked("dynamic-shape", "ATAN2 does not broadcast: the shape must be known")
        c.finish(node, c.two("ATAN2", c.x, one))
        return
    other = c.one("SQRT", c.two("MUL", c.under(1.0, "SUB", c.x), c.two("ADD", c.x, 1.0)))
    a, b = (c.x, other) if node.op_type == "Asin" else (other, c.x)
    c.finish(node, c.two("ATAN2", a, b))


@lower("Asinh")
def asinh(ctx: Context, node: ir.Node) -> None:
    """sign(x) log(|x| + sqrt(x^2 + 1)): no cancellation for negative x."""
    c = Calculator(ctx, value(node, 0))
    size = c.one("ABS", c.x)
    root = c.one("SQRT", c.two("ADD", c.two("MUL", c.x, c.x), 1.0))
    c.finish(node, c.two("MUL", c.one("SIGN", c.x), c.one("LOG", c.two("ADD", size, root))))


@lower("Acosh")
def acosh(ctx: Context, node: ir.Node) -> None:
    """log(x + sqrt((x - 1)(x + 1)))."""
    c = Calculator(ctx, value(node, 0))
    product = c.two("MUL", c.two("SUB", c.x, 1.0), c.two("ADD", c.x, 1.0))
    c.finish(node, c.one("LOG", c.two("ADD", c.x, c.one("SQRT", product))))


@lower("Atanh")
def atanh(ctx: Context, node: ir.Node) -> None:
    """log((1 + x) / (1 - x)) / 2."""
    c = Calculator(ctx, value(node, 0))
    ratio = c.two("DIV", c.two("ADD", c.x, 1.0), c.under(1.0, "SUB", c.x))
    c.finish(node, c.two("MUL", c.one("LOG", ratio), 0.5))


ERF = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
ERF_P = 0.3275911


@lower("Erf")
def erf(ctx: Context, node: ir.Node) -> None:
    """Abramowitz & Stegun 7.1.26: 1 - poly(1 / (1 + p|x|)) e^(-x^2), absolute error at most 1.5e-7."""
    c = Calculator(ctx, value(node, 0))
    size = c.one("ABS", c.x)
    t = c.under(1.0, "DIV", c.two("ADD", c.two("MUL", size, ERF_P), 1.0))
    poly = c.two("MUL", t, ERF[4])
    for factor in reversed(ERF[:4]):
        poly = c.two("MUL", c.two("ADD", poly, factor), t)
    tail = c.two("MUL", poly, c.one("EXP", c.one("NEG", c.two("MUL", c.x, c.x))))
    c.finish(node, c.two("MUL", c.one("SIGN", c.x), c.under(1.0, "SUB", tail)))


@lower("IsNaN")
def is_nan(ctx: Context, node: ir.Node) -> None:
    """Only NaN differs from itself."""
    c = Calculator(ctx, value(node, 0))
    ctx.emit("NOT_EQUAL", [c.x, c.x], [ctx.out(node.outputs[0], c.perm)])


@lower("IsInf")
def is_inf(ctx: Context, node: ir.Node) -> None:
    """Compare with the infinities asked for."""
    c = Calculator(ctx, value(node, 0))
    up, down = (node.attributes.get_int(f"detect_{name}", 1) for name in ("positive", "negative"))
    if not up and not down:
        raise Blocked("attribute", "IsInf that detects neither infinity is constant")
    subject = c.one("ABS", c.x) if up and down else c.x
    bound = c.number(np.inf if up else -np.inf)
    ctx.emit("EQUAL", [subject, bound], [ctx.out(node.outputs[0], c.perm)])


def move_last(ctx: Context, v: ir.Value, axis: int) -> tuple[int, Perm]:
    """The value with logical `axis` physically last, and the permutation back."""
    rank = ctx.rank(v)
    order = [item for item in range(rank) if item != axis % rank] + [axis % rank]
    perm = tuple(order.index(item) for item in range(rank))
    return ctx.tensor(v, perm), perm
