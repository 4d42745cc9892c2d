"""Arithmetic and activations, element by element."""

from __future__ import annotations

import math
from functools import reduce

import torch
import torch.nn.functional as nn

from bessemer.runners.torch.dtypes import (
    FLOAT8,
    PACKED,
    VIEWED,
    array_of,
    limits,
    onnx_name,
    tensor_of,
    torch_type,
)
from bessemer.runners.torch.registry import Call, Tensor, Unsupported, op

UNARY = {
    "Abs": torch.abs, "Neg": torch.neg, "Exp": torch.exp, "Log": torch.log, "Sqrt": torch.sqrt, "Sin": torch.sin,
    "Cos": torch.cos, "Tan": torch.tan, "Asin": torch.asin, "Acos": torch.acos, "Atan": torch.atan, "Sinh": torch.sinh,
    "Cosh": torch.cosh, "Tanh": torch.tanh, "Asinh": torch.asinh, "Acosh": torch.acosh, "Atanh": torch.atanh,
    "Floor": torch.floor, "Ceil": torch.ceil, "Round": torch.round, "Sign": torch.sign, "Reciprocal": torch.reciprocal,
    "Erf": torch.erf, "Sigmoid": torch.sigmoid, "Relu": torch.relu, "Identity": lambda x: x,
    "Softplus": lambda x: nn.softplus(x, threshold=40.0), "Softsign": nn.softsign, "Mish": nn.mish,
    "HardSwish": nn.hardswish, "IsNaN": torch.isnan, "Not": torch.logical_not, "BitwiseNot": torch.bitwise_not,
}  # fmt: skip

BINARY = {
    "Add": torch.add, "Sub": torch.sub, "Mul": torch.mul,
    "Equal": torch.eq, "Less": torch.lt, "Greater": torch.gt, "LessOrEqual": torch.le, "GreaterOrEqual": torch.ge,
    "And": torch.logical_and, "Or": torch.logical_or, "Xor": torch.logical_xor,
    "BitwiseAnd": torch.bitwise_and, "BitwiseOr": torch.bitwise_or, "BitwiseXor": torch.bitwise_xor,
}  # fmt: skip


@op(*UNARY)
def unary(call: Call, x: Tensor) -> Tensor:
    return UNARY[call.node.op_type](x)


@op(*BINARY)
def binary(call: Call, a: Tensor, b: Tensor) -> Tensor:
    return BINARY[call.node.op_type](a, b)


@op("Div")
def div(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """Integers are divided towards zero."""
    return torch.true_divide(a, b) if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


@op("Mod")
def mod(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """fmod: the sign of the dividend; else that of the divisor."""
    return torch.fmod(a, b) if call.integer("fmod") else torch.remainder(a, b)


@op("Pow")
def power(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """In the base's type; integers with a float exponent go through double precision."""
    if a.is_floating_point():
        return torch.pow(a, b.to(a.dtype))
    if b.is_floating_point():
        return torch.pow(a.to(torch.float64), b.to(torch.float64)).to(a.dtype)
    return torch.pow(a, b).to(a.dtype)


@op("Sum")
def total(call: Call, *items: Tensor) -> Tensor:
    return reduce(torch.add, items)


@op("Mean")
def mean(call: Call, *items: Tensor) -> Tensor:
    return reduce(torch.add, items) / len(items)


@op("Max")
def largest(call: Call, *items: Tensor) -> Tensor:
    return reduce(torch.maximum, items)


@op("Min")
def smallest(call: Call, *items: Tensor) -> Tensor:
    return reduce(torch.minimum, items)


@op("Clip")
def clip(call: Call, x: Tensor, low: Tensor = None, high: Tensor = None) -> Tensor:
    """The upper bound is applied last."""
    x = x if low is None else torch.maximum(x, low)
    return x if high is None else torch.minimum(x, high)


@op("LeakyRelu")
def leaky_relu(call: Call, x: Tensor) -> Tensor:
    return torch.where(x >= 0, x, x * call.number("alpha", 0.01))


@op("PRelu")
def prelu(call: Call, x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x >= 0, x, x * slope)


@op("Elu")
def elu(call: Call, x: Tensor) -> Tensor:
    return nn.elu(x, call.number("alpha", 1.0))


@op("Celu")
def celu(call: Call, x: Tensor) -> Tensor:
    return nn.celu(x, call.number("alpha", 1.0))


@op("Selu")
def selu(call: Call, x: Tensor) -> Tensor:
    alpha, gamma = call.number("alpha", 1.67326319217681884765625), call.number("gamma", 1.05070102214813232421875)
    return gamma * nn.elu(x, alpha)


@op("ThresholdedRelu")
def thresholded_relu(call: Call, x: Tensor) -> Tensor:
    return torch.where(x > call.number("alpha", 1.0), x, torch.zeros_like(x))


@op("HardSigmoid")
def hard_sigmoid(call: Call, x: Tensor) -> Tensor:
    return torch.clamp(call.number("alpha", 0.2) * x + call.number("beta", 0.5), 0, 1)


@op("Shrink")
def shrink(call: Call, x: Tensor) -> Tensor:
    bias, limit = call.number("bias", 0.0), call.number("lambd", 0.5)
    wide = x.to(torch.float64)
    found = torch.where(wide < -limit, wide + bias, torch.where(wide > limit, wide - bias, torch.zeros_like(wide)))
    return found.to(x.dtype)


@op("Gelu")
def gelu(call: Call, x: Tensor) -> Tensor:
    return nn.gelu(x, approximate=call.string("approximate", "none"))


@op("Swish")
def swish(call: Call, x: Tensor) -> Tensor:
    return x * torch.sigmoid(call.number("alpha", 1.0) * x)


@op("IsInf")
def is_inf(call: Call, x: Tensor) -> Tensor:
    found = torch.zeros(x.shape, dtype=torch.bool)
    if call.integer("detect_positive", 1):
        found = found | (x == math.inf)
    return found | (x == -math.inf) if call.integer("detect_negative", 1) else found


@op("Where")
def where(call: Call, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(condition, a, b)


@op("BitShift")
def bit_shift(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """Of unsigned integers, through 64 bits; there is no unsigned shift of 64 in torch."""
    if a.dtype == torch.uint64:
        import numpy as np

        shift = np.left_shift if call.string("direction") == "LEFT" else np.right_shift
        return tensor_of(shift(array_of(a), array_of(b)))
    wide, by = a.to(torch.int64), b.to(torch.int64)
    left = call.string("direction") == "LEFT"
    found = torch.bitwise_left_shift(wide, by) if left else torch.bitwise_right_shift(wide, by)
    return found.to(a.dtype)


@op("Cast")
def cast(call: Call, x: Tensor) -> Tensor:
    return converted(x, onnx_name(call.integer("to")), call.integer("saturate", 1) == 1)


@op("CastLike")
def cast_like(call: Call, x: Tensor, like: Tensor) -> Tensor:
    name = call.type_in(1)
    if not name:
        raise Unsupported("the type to cast to is not stated")
    return converted(x, name, call.integer("saturate", 1) == 1)


def converted(x: Tensor, name: str, saturate: bool = True) -> Tensor:
    """A tensor in an ONNX type: floats to 8-bit floats saturate, integers to narrow integers keep their low bits."""
    kind = torch_type(name)
    if kind in FLOAT8:
        return _float8(x, kind, saturate)
    if x.dtype in FLOAT8:
        x = x.to(torch.float32)
    if name.lower() in PACKED:
        return _packed(x, name)
    if kind == torch.bool:
        return x != 0
    if x.is_floating_point() and not kind.is_floating_point and not kind.is_complex:
        return x.to(torch.int64).to(kind) if kind != torch.uint64 else x.to(kind)
    return x.to(kind)


def _float8(x: Tensor, kind: Tensor, saturate: bool) -> Tensor:
    from bessemer.ir.types import named_dtype

    name = next(name for name, (_, held) in VIEWED.items() if held == kind)
    wide = x.to(torch.float32)
    if saturate:
        top = float(torch.finfo(kind).max)
        wide = torch.where(torch.isnan(wide), wide, wide.clamp(-top, top))
    return tensor_of(wide.detach().numpy().astype(named_dtype(name)))


def _packed(x: Tensor, name: str) -> Tensor:
    low, high = limits(name)
    if x.is_floating_point():
        x = torch.round(x)  # halves to even, as the reference's conversion
    wide = x.to(torch.int64)
    return ((wide - low) % (high - low + 1) + low).to(torch_type(name))


@op("BitCast")
def bit_cast(call: Call, x: Tensor) -> Tensor:
    kind = torch_type(onnx_name(call.integer("to")))
    if x.dtype == torch.bool or kind == torch.bool:
        return x.view(kind) if x.dtype.itemsize == kind.itemsize else x
    return x.view(kind)
