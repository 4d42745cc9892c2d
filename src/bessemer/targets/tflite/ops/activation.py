"""Activations: kernels where LiteRT has them, exact compositions of kernels where not."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.layout import identity
from bessemer.ir.types import Array, Perm, integer_limits
from bessemer.targets.tflite.builder import Tensor
from bessemer.targets.tflite.context import Blocked, Context
from bessemer.targets.tflite.dtypes import NUMPY
from bessemer.targets.tflite.ops.common import (
    ACTIVATION,
    activation_of,
    both_encoded,
    compute_as,
    optional,
    sole_consumer,
    store,
    value,
)
from bessemer.targets.tflite.ops.elementwise import computing_type, operand
from bessemer.targets.tflite.registry import lower

if TYPE_CHECKING:
    import onnx_ir as ir


class Chain:
    """Writes `y = f(x)` elementwise: temporaries and constants of x's shape, axis order passed along."""

    def __init__(self, ctx: Context, node: ir.Node) -> None:
        self.ctx, self.node = ctx, node
        source = value(node, 0)
        self.perm: Perm = ctx.perm(source)
        self.kind = ctx.type(source)
        if self.kind != "FLOAT32":
            raise Blocked("type", f"{node.op_type} of {self.kind}")
        self.x = ctx.tensor(source, self.perm)
        self.shape = ctx.sub.tensors[self.x].shape

    def op(self, code: str, *inputs: int | float, **options: Any) -> int:
        """An intermediate result; floats become scalar constants."""
        return self._emit(code, inputs, self.ctx.temp("FLOAT32", self.shape, code.lower()), options)

    def end(self, code: str, *inputs: int | float, **options: Any) -> None:
        """The result."""
        self._emit(code, inputs, self.ctx.out(self.node.outputs[0], self.perm), options)

    def _emit(self, code: str, inputs: tuple[int | float, ...], out: int, options: dict[str, Any]) -> int:
        index = [i if isinstance(i, int) else self.ctx.constant(np.float32(i), "scalar") for i in inputs]
        return self.ctx.emit(code, index, [out], **options)

    def number(self, name: str, default: float) -> float:
        """A float attribute."""
        return float(self.node.attributes.get_float(name, default))


def _fixed(ctx: Context, node: ir.Node) -> bool:
    """Kernels whose output encoding is fixed by the quantization spec."""
    result = ctx.encoding(node.outputs[0])
    if not both_encoded(ctx, node) or result is None:
        return False
    want = FIXED.get((node.op_type, result.dtype))
    return want is not None and (float(result.scale), int(result.zero_point)) == want


FIXED = {
    ("Sigmoid", "INT8"): (1 / 256, -128),
    ("Sigmoid", "UINT8"): (1 / 256, 0),
    ("Sigmoid", "INT16"): (1 / 32768, 0),
    ("Softmax", "INT8"): (1 / 256, -128),
    ("Softmax", "UINT8"): (1 / 256, 0),
    ("Softmax", "INT16"): (1 / 32768, 0),
    ("Tanh", "INT8"): (1 / 128, 0),
    ("Tanh", "UINT8"): (1 / 128, 128),
    ("Tanh", "INT16"): (1 / 32768, 0),
    ("LogSoftmax", "INT8"): (16 / 256, 127),
    ("LogSoftmax", "UINT8"): (16 / 256, 255),
}
SIMPLE = {"Sigmoid": "LOGISTIC", "Tanh": "TANH", "HardSwish": "HARD_SWISH"}


@lower("Sigmoid", "Tanh", integer=_fixed)
def simple(ctx: Context, node: ir.Node) -> None:
    """LOGISTIC, TANH."""
    _one(ctx, node, SIMPLE[node.op_type])


def _eight_bits(ctx: Context, node: ir.Node) -> bool:
    """Kernels that rescale between any two encodings of eight bits, and have none for sixteen."""
    source = ctx.encoding(node.inputs[0])
    return both_encoded(ctx, node) and source is not None and source.dtype in ("INT8", "UINT8")


@lower("HardSwish", integer=_eight_bits)
def hard_swish(ctx: Context, node: ir.Node) -> None:
    """HARD_SWISH."""
    _one(ctx, node, "HARD_SWISH")


def _one(ctx: Context, node: ir.Node, code: str, **options: Any) -> None:
    if not ctx.integer:
        chain = Chain(ctx, node)
        chain.end(code, chain.x, **options)
        return
    source = value(node, 0)
    perm = ctx.perm(source)
    ctx.emit(code, [ctx.tensor(source, perm)], [ctx.out(node.outputs[0], perm)], **options)


@lower("Relu", integer=both_encoded)
def relu(ctx: Context, node: ir.Node) -> None:
    """RELU; of integers MAXIMUM with zero."""
    source = value(node, 0)
    if ctx.integer or ctx.type(source) == "FLOAT32":
        _one(ctx, node, "RELU")
        return
    perm, kind = ctx.perm(source), computing_type("MAXIMUM", ctx.type(source))
    zero = ctx.constant(np.zeros((), NUMPY[kind]), "zero")
    index = compute_as(ctx, ctx.tensor(source, perm), kind)
    out = ctx.out(node.outputs[0], perm)
    wide = out if kind == ctx.type(source) else ctx.temp(kind, ctx.sub.tensors[out].shape, "wide")
    ctx.emit("MAXIMUM", [index, zero], [wide])
    if wide != out:
        store(ctx, wide, out)


def _clip_integer(ctx: Context, node: ir.Node) -> bool:
    bounds = [optional(node, place) for place in (1, 2)]
    return both_encoded(ctx, node) and all(bound is None or ctx.is_const(bound) for bound in bounds)


@lower("Clip", integer=_clip_integer)
def clip(ctx: Context, node: ir.Node) -> None:
    """RELU6 and its like, else MINIMUM and MAXIMUM (the maximum wins where the bounds cross, as in ONNX)."""
    kind = activation_of(ctx, node)
    source = value(node, 0)
    if kind and (ctx.integer or ctx.type(source) == "FLOAT32"):
        _one(ctx, node, kind)
        return
    if ctx.integer:
        _clip_integers(ctx, node)
        return
    perm, type_ = ctx.perm(source), computing_type("MAXIMUM", ctx.type(source))
    index = compute_as(ctx, ctx.tensor(source, perm), type_)
    shape = ctx.sub.tensors[index].shape
    for position, code in ((1, "MAXIMUM"), (2, "MINIMUM")):
        bound = optional(node, position)
        if bound is not None:
            limit = compute_as(ctx, ctx.tensor(bound), type_)
            index = ctx.emit(code, [index, limit], [ctx.temp(type_, shape, code.lower())])
    if type_ == ctx.type(source):
        ctx.alias(node.outputs[0], index, perm)
    else:
        store(ctx, index, ctx.out(node.outputs[0], perm))


def _clip_integers(ctx: Context, node: ir.Node) -> None:
    """Rescaled to the result's encoding, in which the bounds are integers, too: rounding is monotonic."""
    source, result = value(node, 0), node.outputs[0]
    perm, encoding = ctx.perm(source), ctx.encoding(result)
    if encoding is None:
        raise Blocked("activation-encoding", f"'{result.name}' has no encoding")
    index = ctx.requantized(ctx.tensor(source, perm), encoding)
    low, high = integer_limits(NUMPY[encoding.dtype])
    for position, code, beyond in ((1, "MAXIMUM", low), (2, "MINIMUM", high)):
        bound = ctx.const(optional(node, position))
        limit = None if bound is None else encoding.quantize(np.asarray(bound, np.float32).reshape(()))
        if limit is None or int(limit) == beyond:
            continue
        held = ctx.sub.add(Tensor(f"{result.name}/bound", encoding.dtype, (), _always(limit), encoding))
        out = ctx.temp(encoding.dtype, ctx.sub.tensors[index].shape, code.lower(), encoding)
        index = ctx.emit(code, [index, held], [out])
    ctx.alias(result, index, perm)


def _always(array: Array) -> Callable[[], Array]:
    return lambda: array


@lower("LeakyRelu", integer=both_encoded)
def leaky_relu(ctx: Context, node: ir.Node) -> None:
    """LEAKY_RELU."""
    _one(ctx, node, "LEAKY_RELU", alpha=float(node.attributes.get_float("alpha", 0.01)))


@lower(
    "PRelu", integer=lambda ctx, node: _eight_bits(ctx, node) and ctx.encoding(node.inputs[1]) is not None
)
def prelu(ctx: Context, node: ir.Node) -> None:
    """PRELU; integers (no kernel) as MAXIMUM and MINIMUM parts."""
    source, slope = value(node, 0), value(node, 1)
    perm = ctx.perm(source)
    if ctx.integer or ctx.type(source) == "FLOAT32":
        inputs = [ctx.tensor(source, perm), operand(ctx, slope, perm)]
        ctx.emit("PRELU", inputs, [ctx.out(node.outputs[0], perm)])
        return
    kind = computing_type("MUL", ctx.type(source))
    x, a = compute_as(ctx, ctx.tensor(source, perm), kind), compute_as(ctx, operand(ctx, slope, perm), kind)
    shape, zero = ctx.sub.tensors[x].shape, ctx.constant(np.zeros((), NUMPY[kind]), "zero")
    above = ctx.emit("MAXIMUM", [x, zero], [ctx.temp(kind, shape, "above")])
    below = ctx.emit("MINIMUM", [x, zero], [ctx.temp(kind, shape, "below")])
    scaled = ctx.emit("MUL", [below, a], [ctx.temp(kind, shape, "scaled")])
    total = ctx.emit("ADD", [above, scaled], [ctx.temp(kind, shape, "total")])
    store(ctx, total, ctx.out(node.outputs[0], perm))


def _elu_integer(ctx: Context, node: ir.Node) -> bool:
    source = ctx.encoding(node.inputs[0])
    plain = node.attributes.get_float("alpha", 1.0) == 1.0
    return plain and both_encoded(ctx, node) and source is not None and source.dtype == "INT8"


@lower("Elu", integer=_elu_integer)
def elu(ctx: Context, node: ir.Node) -> None:
    """ELU; other alphas scale its negative part."""
    if ctx.integer:
        _one(ctx, node, "ELU")
        return
    chain = Chain(ctx, node)
    alpha = chain.number("alpha", 1.0)
    if alpha == 1.0:
        chain.end("ELU", chain.x)
        return
    chain.end("ADD", chain.op("RELU", chain.x), chain.op("MUL", negative_elu(chain, chain.x), alpha))


def negative_elu(chain: Chain, x: int) -> int:
    """min(exp(x) - 1, 0) without cancellation."""
    return chain.op("ELU", chain.op("MINIMUM", x, 0.0))


@lower("Celu")
def celu(ctx: Context, node: ir.Node) -> None:
    """max(x, 0) + min(alpha (exp(x / alpha) - 1), 0)."""
    chain = Chain(ctx, node)
    alpha = chain.number("alpha", 1.0)
    lower_part = negative_elu(chain, chain.op("MUL", chain.x, 1 / alpha))
    chain.end("ADD", chain.op("RELU", chain.x), chain.op("MUL", lower_part, alpha))


@lower("Selu")
def selu(ctx: Context, node: ir.Node) -> None:
    """gamma (max(x, 0) + alpha min(exp(x) - 1, 0))."""
    chain = Chain(ctx, node)
    alpha, gamma = chain.number("alpha", 1.6732632423543772), chain.number("gamma", 1.0507009873554805)
    inner = chain.op("ADD", chain.op("RELU", chain.x), chain.op("MUL", negative_elu(chain, chain.x), alpha))
    chain.end("MUL", inner, gamma)


@lower("HardSigmoid")
def hard_sigmoid(ctx: Context, node: ir.Node) -> None:
    """max(0, min(1, alpha x + beta)); the usual one is relu6(x + 3) / 6, which is two kernels."""
    chain = Chain(ctx, node)
    if math.isclose(chain.number("alpha", 0.2), 1 / 6, rel_tol=1e-6) and chain.number("beta", 0.5) == 0.5:
        chain.end("MUL", chain.op("ADD", chain.x, 3.0, fused_activation_function=ACTIVATION["RELU6"]), 1 / 6)
        return
    line = chain.op("ADD", chain.op("MUL", chain.x, chain.number("alpha", 0.2)), chain.number("beta", 0.5))
    chain.end("MAXIMUM", chain.op("MINIMUM", line, 1.0), 0.0)


@lower("Softsign")
def softsign(ctx: Context, node: ir.Node) -> None:
    """x / (1 + |x|)."""
    chain = Chain(ctx, node)
    chain.end("DIV", chain.x, chain.op("ADD", chain.op("ABS", chain.x), 1.0))


def softplus_of(chain: Chain, x: int) -> int:
    """log(1 + exp(x)) as max(x, 0) + log1p(exp(-|x|)): no overflow, no cancellation."""
    tail = chain.op("EXP", chain.op("NEG", chain.op("ABS", x)))
    return chain.op("ADD", chain.op("RELU", x), log1p(chain, tail))


def log1p(chain: Chain, x: int) -> int:
    """log(1 + x) for x >= 0 to full precision: x log(w) / (w - 1) with w = fl(1 + x) (Kahan)."""
    ctx, w = chain.ctx, chain.op("ADD", x, 1.0)
    scaled = chain.op("MUL", x, chain.op("DIV", chain.op("LOG", w), chain.op("SUB", w, 1.0)))
    tiny = ctx.emit(
        "EQUAL", [w, ctx.constant(np.float32(1), "scalar")], [ctx.temp("BOOL", chain.shape, "tiny")]
    )
    return chain.op("SELECT_V2", tiny, x, scaled)


@lower("Softplus")
def softplus(ctx: Context, node: ir.Node) -> None:
    """log(1 + exp(x)); as part of x tanh(softplus(x)) all three become Mish: TANH is not exact near 0."""
    product = _mish_pattern(ctx, node)
    if product is not None:
        _mish(Chain(ctx, node), product.outputs[0])
        return
    chain = Chain(ctx, node)
    ctx.alias(node.outputs[0], softplus_of(chain, chain.x), chain.perm)


@lower("Mish")
def mish(ctx: Context, node: ir.Node) -> None:
    """x tanh(log(1 + e^x)) = x n / (n + 2) with n = e^x (e^x + 2); beyond 20 the quotient is 1 in float32."""
    _mish(Chain(ctx, node), node.outputs[0])


def _mish(chain: Chain, result: ir.Value) -> None:
    e = chain.op("EXP", chain.op("MINIMUM", chain.x, 20.0))
    n = chain.op("MUL", e, chain.op("ADD", e, 2.0))
    share = chain.op("DIV", n, chain.op("ADD", n, 2.0))
    chain.ctx.emit("MUL", [chain.x, share], [chain.ctx.out(result, chain.perm)], fused_activation_function=0)


def _mish_pattern(ctx: Context, node: ir.Node) -> ir.Node | None:
    """The product at the end of x tanh(softplus(x)), when nothing else sees what is between; both are
    marked done.
    """
    tanh = sole_consumer(ctx, node.outputs[0])
    product = sole_consumer(ctx, tanh.outputs[0]) if tanh is not None and tanh.op_type == "Tanh" else None
    if tanh is None or product is None or product.op_type != "Mul" or node.inputs[0] not in product.inputs:
        return None
    ctx.done.update((tanh, product))
    return product


@lower("Swish")
def swish(ctx: Context, node: ir.Node) -> None:
    """x sigmoid(alpha x)."""
    chain = Chain(ctx, node)
    alpha = chain.number("alpha", 1.0)
    inner = chain.x if alpha == 1.0 else chain.op("MUL", chain.x, alpha)
    chain.end("MUL", chain.x, chain.op("LOGISTIC", inner))


@lower("Gelu", integer=_eight_bits)
def gelu(ctx: Context, node: ir.Node) -> None:
    """GELU, exact or by tanh."""
    _one(ctx, node, "GELU", approximate=node.attributes.get_string("approximate", "none") == "tanh")


@lower("ThresholdedRelu")
def thresholded_relu(ctx: Context, node: ir.Node) -> None:
    """x where x > alpha, else 0."""
    chain = Chain(ctx, node)
    above = ctx.temp("BOOL", chain.shape, "above")
    ctx.emit("GREATER", [chain.x, ctx.constant(np.float32(chain.number("alpha", 1.0)), "alpha")], [above])
    chain.end("SELECT_V2", above, chain.x, 0.0)


@lower("Shrink")
def shrink(ctx: Context, node: ir.Node) -> None:
    """x - bias above lambd, x + bias below -lambd, else 0."""
    chain = Chain(ctx, node)
    bound, bias = chain.number("lambd", 0.5), chain.number("bias", 0.0)
    above, below = ctx.temp("BOOL", chain.shape, "above"), ctx.temp("BOOL", chain.shape, "below")
    ctx.emit("GREATER", [chain.x, ctx.constant(np.float32(bound), "bound")], [above])
    ctx.emit("LESS", [chain.x, ctx.constant(np.float32(-bound), "bound")], [below])
    left = chain.op("SELECT_V2", below, chain.op("ADD", chain.x, bias), 0.0)
    chain.end("SELECT_V2", above, chain.op("SUB", chain.x, bias), left)


@lower("Softmax", "LogSoftmax", integer=_fixed)
def softmax(ctx: Context, node: ir.Node) -> None:
    """SOFTMAX along the last physical axis: the axis is brought there only when it is not."""
    source, result = value(node, 0), node.outputs[0]
    rank = ctx.rank(source)
    axis = node.attributes.get_int("axis", -1) % max(rank, 1)
    perm = with_axis_last(ctx.perm(source), axis)
    code = "SOFTMAX" if node.op_type == "Softmax" else "LOG_SOFTMAX"
    options = {"beta": 1.0} if code == "SOFTMAX" else {}
    index = ctx.tensor(source, perm)
    if rank <= 4:
        ctx.emit(code, [index], [ctx.out(result, perm)], **options)
        return
    shape = ctx.sub.tensors[index].shape
    flat = ctx.reshape(index, (None, shape[-1])) if shape[-1] is not None else -1
    if flat < 0:
        raise Blocked(
            "dynamic-shape", f"{node.op_type} of {rank} axes along an unknown one", "bind it with --shape"
        )
    inner = ctx.emit(code, [flat], [ctx.temp("FLOAT32", (None, shape[-1]), code.lower())], **options)
    ctx.reshape(inner, shape, ctx.out(result, perm))


def with_axis_last(perm: Perm, axis: int) -> Perm:
    """`perm` when logical `axis` is already last in the tensor, else logical order with that axis last."""
    rank = len(perm)
    if rank == 0 or perm[axis] == rank - 1:
        return perm
    order = [a for a in range(rank) if a != axis] + [axis]
    result = [0] * rank
    for physical, logical in enumerate(order):
        result[logical] = physical
    return tuple(result) if axis != rank - 1 else identity(rank)
