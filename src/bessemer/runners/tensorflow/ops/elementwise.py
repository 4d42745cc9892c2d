"""Arithmetic, comparisons and activations on single elements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bessemer.ir.types import Array
from bessemer.runners.tensorflow.registry import evaluates
from bessemer.wire.savedmodel.node import Node

Function = Callable[..., Any]


def _wide(function: Callable[[Any], Any]) -> Callable[[Array], Array]:
    """A Python function of one float, over arrays."""
    table = np.vectorize(function, otypes=[np.float64])
    return lambda x: np.asarray(table(x.astype(np.float64))) if x.size else x.astype(np.float64)


def _erf(x: Array) -> Array:
    import math

    return _wide(math.erf)(x)


def _erfc(x: Array) -> Array:
    import math

    return _wide(math.erfc)(x)


def _sigmoid(x: Array) -> Array:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))


def _softplus(x: Array) -> Array:
    return np.asarray(np.logaddexp(x, np.zeros_like(x)))


def _selu(x: Array) -> Array:
    return np.asarray(1.0507009873554805 * np.where(x < 0, 1.6732632423543772 * np.expm1(np.minimum(x, 0)), x))


SMOOTH: dict[str, Callable[[Array], Any]] = {
    "Sqrt": np.sqrt, "Exp": np.exp, "Log": np.log, "Sin": np.sin, "Cos": np.cos, "Tan": np.tan, "Asin": np.arcsin,
    "Acos": np.arccos, "Atan": np.arctan, "Sinh": np.sinh, "Cosh": np.cosh, "Tanh": np.tanh, "Asinh": np.arcsinh,
    "Acosh": np.arccosh, "Atanh": np.arctanh, "Expm1": np.expm1, "Log1p": np.log1p, "Erf": _erf, "Erfc": _erfc,
    "Rsqrt": lambda x: 1.0 / np.sqrt(x), "Sigmoid": _sigmoid, "Softplus": _softplus, "Selu": _selu,
    "Elu": lambda x: np.where(x < 0, np.expm1(np.minimum(x, 0)), x), "Softsign": lambda x: x / (1.0 + np.abs(x)),
}  # fmt: skip
"""Functions computed in float64 (or complex128) and rounded to the operand's type."""

PLAIN: dict[str, Function] = {
    "Neg": np.negative, "Sign": np.sign, "Square": np.square, "Ceil": np.ceil, "Floor": np.floor, "Rint": np.rint,
    "Round": np.rint, "Invert": np.invert, "LogicalNot": np.logical_not, "IsNan": np.isnan, "IsInf": np.isinf,
    "IsFinite": np.isfinite, "LogicalAnd": np.logical_and, "LogicalOr": np.logical_or, "Equal": np.equal,
    "NotEqual": np.not_equal, "Less": np.less, "LessEqual": np.less_equal, "Greater": np.greater,
    "GreaterEqual": np.greater_equal, "Add": np.add, "AddV2": np.add, "Sub": np.subtract, "Mul": np.multiply,
    "Maximum": np.maximum, "Minimum": np.minimum, "BitwiseAnd": np.bitwise_and, "BitwiseOr": np.bitwise_or,
    "BitwiseXor": np.bitwise_xor, "SquaredDifference": lambda x, y: (x - y) * (x - y),
    "Relu": lambda x: np.maximum(x, np.zeros((), x.dtype)), "Mod": np.fmod, "TruncateMod": np.fmod, "Conj": np.conj,
    "Real": lambda x: x.real.copy(), "Imag": lambda x: x.imag.copy(), "Cross": np.cross,
    "Atan2": np.arctan2, "Complex": lambda x, y: x + y * np.asarray(1j, np.result_type(x.dtype, np.complex64)),
    "Angle": np.angle, "ComplexAbs": np.abs, "Abs": np.abs,
}  # fmt: skip
"""Functions computed in the operands' own type, which wraps round where it is an integer."""


@evaluates(*SMOOTH)
def smooth(node: Node, inputs: Sequence[Array]) -> Array:
    """Rounded once, from a wider type."""
    (x,) = inputs
    with np.errstate(all="ignore"):
        wide = x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)
        return np.asarray(SMOOTH[node.op](wide)).astype(x.dtype)


@evaluates(*PLAIN)
def plain(node: Node, inputs: Sequence[Array]) -> Array:
    """In the operands' own type."""
    with np.errstate(all="ignore"):
        return np.asarray(PLAIN[node.op](*inputs))


@evaluates("Reciprocal", "Inv")
def reciprocal(node: Node, inputs: Sequence[Array]) -> Array:
    """1 / x."""
    with np.errstate(all="ignore"):
        return np.asarray(np.ones((), inputs[0].dtype) / inputs[0]).astype(inputs[0].dtype)


@evaluates("RealDiv", "Div", "TruncateDiv")
def divide(node: Node, inputs: Sequence[Array]) -> Array:
    """Integers are cut towards zero."""
    x, y = inputs
    if x.dtype.kind not in "iu":
        with np.errstate(all="ignore"):
            return np.asarray(x / y).astype(x.dtype)
    rest = np.fmod(x, y)
    return np.asarray((x - rest) // y).astype(x.dtype)


@evaluates("FloorDiv")
def floor_divide(node: Node, inputs: Sequence[Array]) -> Array:
    """Rounded down; of reals the quotient is rounded first."""
    x, y = inputs
    with np.errstate(all="ignore"):
        return np.asarray(x // y if x.dtype.kind in "iu" else np.floor(x / y)).astype(x.dtype)


@evaluates("FloorMod")
def floor_mod(node: Node, inputs: Sequence[Array]) -> Array:
    """The sign follows the divisor."""
    x, y = inputs
    with np.errstate(all="ignore"):
        if x.dtype.kind in "iu":
            return np.asarray(np.mod(x, y))
        rest = np.fmod(x, y)
        return np.asarray(np.where((rest != 0) & ((y < 0) != (rest < 0)), rest + y, rest)).astype(x.dtype)


@evaluates("Pow")
def power(node: Node, inputs: Sequence[Array]) -> Array:
    """Integers wrap round."""
    x, y = inputs
    with np.errstate(all="ignore"):
        if x.dtype.kind in "iu":
            return np.asarray(np.power(x, y)).astype(x.dtype)
        return np.asarray(np.power(x.astype(np.float64), y.astype(np.float64))).astype(x.dtype)


GUARDED: dict[str, Function] = {
    "DivNoNan": np.divide, "Xdivy": np.divide, "MulNoNan": np.multiply, "Xlogy": lambda x, y: x * np.log(y),
    "Xlog1py": lambda x, y: x * np.log1p(y),
}  # fmt: skip


@evaluates(*GUARDED)
def guarded(node: Node, inputs: Sequence[Array]) -> Array:
    """Zero where one operand is."""
    x, y = inputs
    key = x if node.op.startswith("X") else y
    with np.errstate(all="ignore"):
        made = GUARDED[node.op](x, y)
    return np.asarray(np.where(key == 0, np.zeros((), x.dtype), made)).astype(x.dtype)


@evaluates("AddN", "AccumulateNV2")
def add_n(node: Node, inputs: Sequence[Array]) -> Array:
    """Sum of all operands."""
    result = inputs[0]
    for item in inputs[1:]:
        result = result + item
    return result


@evaluates("Relu6", "ReluN1To1", "LeakyRelu")
def bounded(node: Node, inputs: Sequence[Array]) -> Array:
    """Clipped, or with a slope below zero."""
    (x,) = inputs
    if node.op == "LeakyRelu":
        return np.asarray(np.where(x > 0, x, x * np.asarray(node.attrs.get("alpha", 0.2), x.dtype)))
    low, high = (0, 6) if node.op == "Relu6" else (-1, 1)
    return np.asarray(np.minimum(np.maximum(x, np.asarray(low, x.dtype)), np.asarray(high, x.dtype)))


@evaluates("ClipByValue")
def clip(node: Node, inputs: Sequence[Array]) -> Array:
    """The lower bound is applied last."""
    x, low, high = inputs
    return np.asarray(np.maximum(np.minimum(x, high), low))


@evaluates("Softmax", "LogSoftmax")
def softmax(node: Node, inputs: Sequence[Array]) -> Array:
    """Over the last axis."""
    (x,) = inputs
    with np.errstate(all="ignore"):
        wide = x.astype(np.float64)
        moved = wide - wide.max(axis=-1, keepdims=True, initial=-np.inf)
        total = np.exp(moved).sum(axis=-1, keepdims=True)
        made = moved - np.log(total) if node.op == "LogSoftmax" else np.exp(moved) / total
    return np.asarray(made).astype(x.dtype)


@evaluates("BiasAdd", "BiasAddV1")
def bias_add(node: Node, inputs: Sequence[Array]) -> Array:
    """One number per channel."""
    x, bias = inputs
    if str(node.attrs.get("data_format", "NHWC")).startswith("NC"):
        bias = bias.reshape(-1, *[1] * (x.ndim - 2))
    return np.asarray(x + bias)


@evaluates("Cast")
def cast(node: Node, inputs: Sequence[Array]) -> Array:
    """Reals are cut towards zero; complex numbers lose their imaginary part."""
    (x,) = inputs
    kind = np.dtype(node.attrs["DstT"])
    with np.errstate(all="ignore"):
        return (x.real if x.dtype.kind == "c" and kind.kind != "c" else x).astype(kind)


@evaluates("LeftShift", "RightShift")
def shift(node: Node, inputs: Sequence[Array]) -> Array:
    """By a number of bits inside the width."""
    x, bits = inputs
    inside = np.clip(bits, 0, x.dtype.itemsize * 8 - 1).astype(x.dtype)
    return np.asarray(np.left_shift(x, inside) if node.op == "LeftShift" else np.right_shift(x, inside))


@evaluates("ApproximateEqual")
def approximately(node: Node, inputs: Sequence[Array]) -> Array:
    """|a - b| < tolerance."""
    x, y = inputs
    return np.asarray(np.abs(x - y) < np.asarray(node.attrs.get("tolerance", 1e-5), x.dtype))


@evaluates("Bucketize")
def bucketize(node: Node, inputs: Sequence[Array]) -> Array:
    """The number of boundaries that an element reaches."""
    edges = np.array(node.attrs.get("boundaries") or (), np.float32)
    return np.searchsorted(edges, inputs[0].astype(np.float32), side="right").astype(np.int32)


@evaluates("Select")
def select(node: Node, inputs: Sequence[Array]) -> Array:
    """A condition of rank one chooses rows."""
    condition, yes, no = inputs
    if condition.ndim == 1 and yes.ndim > 1:
        condition = condition.reshape(-1, *[1] * (yes.ndim - 1))
    return np.asarray(np.where(condition, yes, no))


@evaluates("SelectV2")
def select_v2(node: Node, inputs: Sequence[Array]) -> Array:
    """Broadcasting choice."""
    return np.asarray(np.where(*inputs))
