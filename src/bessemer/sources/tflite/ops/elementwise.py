"""Unary and binary operators: they pass an axis order along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.types import int64s
from bessemer.sources.tflite.context import Context, Unsupported, options
from bessemer.sources.tflite.ops.common import activate, broadcast, clip
from bessemer.sources.tflite.ops.quantization import cast, quantize
from bessemer.sources.tflite.registry import op
from bessemer.sources.tflite.tensors import dtype_of, is_quantized

if TYPE_CHECKING:
    from bessemer.wire.tflite.records import Operator

UNARY = {
    "ABS": "Abs", "CEIL": "Ceil", "COS": "Cos", "EXP": "Exp", "FLOOR": "Floor", "LOG": "Log", "LOGISTIC": "Sigmoid",
    "NEG": "Neg", "RELU": "Relu", "ROUND": "Round", "SIGN": "Sign", "SIN": "Sin", "SQRT": "Sqrt", "TANH": "Tanh",
    "HARD_SWISH": "HardSwish", "LOGICAL_NOT": "Not", "ELU": "Elu",
}  # fmt: skip
BINARY = {
    "ADD": "Add", "SUB": "Sub", "MUL": "Mul", "DIV": "Div", "MAXIMUM": "Max", "MINIMUM": "Min", "POW": "Pow",
    "EQUAL": "Equal", "GREATER": "Greater", "GREATER_EQUAL": "GreaterOrEqual", "LESS": "Less",
    "LESS_EQUAL": "LessOrEqual", "BITWISE_XOR": "BitwiseXor", "LOGICAL_AND": "And", "LOGICAL_OR": "Or", "PRELU": "PRelu",
}  # fmt: skip


def unary(context: Context, operator: Operator, name: str, **attributes: Any) -> None:
    """One operand, any order."""
    order = context.order(operator.inputs[0])
    value = context.value(operator.inputs[0], order)
    context.result(operator.outputs[0], context.emit(name, [value], **attributes), order)


@op(*UNARY)
def read_unary(context: Context, operator: Operator) -> None:
    """Operators that mean the same in ONNX."""
    unary(context, operator, UNARY[_name(context, operator)])


def _name(context: Context, operator: Operator) -> str:
    from bessemer.sources.tflite import operator_name

    return operator_name(context.file, operator)


@op(*BINARY)
def read_binary(context: Context, operator: Operator) -> None:
    """Broadcasting operators with an optional fused activation."""
    values, order = broadcast(context, operator.inputs)
    name = _name(context, operator)
    made = context.emit(BINARY[name], values)
    context.result(
        operator.outputs[0],
        activate(context, made, options(operator).get("fused_activation_function", 0)),
        order,
    )


@op("NOT_EQUAL")
def not_equal(context: Context, operator: Operator) -> None:
    """ONNX has Equal only."""
    import onnx_ir

    values, order = broadcast(context, operator.inputs)
    equal = context.emit("Equal", values, dtype=onnx_ir.DataType.BOOL)
    context.result(operator.outputs[0], context.emit("Not", [equal]), order)


@op("SQUARED_DIFFERENCE")
def squared_difference(context: Context, operator: Operator) -> None:
    """(a - b)^2."""
    values, order = broadcast(context, operator.inputs)
    delta = context.emit("Sub", values)
    context.result(operator.outputs[0], context.emit("Mul", [delta, delta]), order)


@op("FLOOR_DIV")
def floor_div(context: Context, operator: Operator) -> None:
    """Rounds down: exact for floats; for integers through Mod, whose sign follows the divisor."""
    values, order = broadcast(context, operator.inputs)
    if np.dtype(dtype_of(context.tensor(operator.inputs[0])).numpy()).kind == "f":
        made = context.emit("Floor", [context.emit("Div", values)])
    else:
        rest = context.emit("Mod", values)
        made = context.emit("Div", [context.emit("Sub", [values[0], rest]), values[1]])
    context.result(operator.outputs[0], made, order)


@op("FLOOR_MOD")
def floor_mod(context: Context, operator: Operator) -> None:
    """The sign follows the divisor; ONNX's float Mod follows the dividend."""
    values, order = broadcast(context, operator.inputs)
    if np.dtype(dtype_of(context.tensor(operator.inputs[0])).numpy()).kind == "f":
        down = context.emit("Floor", [context.emit("Div", values)])
        made = context.emit("Sub", [values[0], context.emit("Mul", [down, values[1]])])
    else:
        made = context.emit("Mod", values)
    context.result(operator.outputs[0], made, order)


@op("ATAN2")
def atan2(context: Context, operator: Operator) -> None:
    """From Atan of the quotient, by quadrants as C99 (annex F.10.1.4) defines them, signed zeros and infinities too."""
    (y, x), order = broadcast(context, operator.inputs)
    kind = dtype_of(context.tensor(operator.inputs[0])).numpy()
    left, below = _negative(context, x), _negative(context, y)
    zero, one, half_turn = (context.literal(np.asarray(c, kind)) for c in (0, 1, np.pi))
    minus = context.emit("Neg", [one])
    signs = [context.emit("Where", [flag, minus, one], dtype=x.dtype) for flag in (below, left)]
    endless = _bool(context, "And", [_bool(context, "IsInf", [y]), _bool(context, "IsInf", [x])])
    origin = _bool(context, "And", [_bool(context, "Equal", [y, zero]), _bool(context, "Equal", [x, zero])])
    # The quotient of two infinities or two zeros is no number; their signs alone say the direction.
    top = context.emit("Where", [endless, signs[0], y], dtype=x.dtype)
    bottom = context.emit("Where", [_bool(context, "Or", [endless, origin]), signs[1], x], dtype=x.dtype)
    angle = context.emit("Atan", [context.emit("Div", [top, bottom])])
    turned = context.emit("Add", [angle, context.emit("Mul", [signs[0], half_turn])])
    context.result(operator.outputs[0], context.emit("Where", [left, turned, angle], dtype=x.dtype), order)


def _bool(context: Context, name: str, values: list[Any]) -> Any:
    import onnx_ir

    return context.emit(name, values, dtype=onnx_ir.DataType.BOOL)


def _negative(context: Context, value: Any) -> Any:
    """Whether the sign is minus; a zero's shows in its reciprocal."""
    zero = context.literal(np.zeros((), value.dtype.numpy()), "zero")
    signed = _bool(context, "Less", [context.emit("Reciprocal", [value]), zero])
    return _bool(context, "Or", [_bool(context, "Less", [value, zero]), signed])


@op("ADD_N")
def add_n(context: Context, operator: Operator) -> None:
    """Sum of all operands."""
    values, order = broadcast(context, operator.inputs)
    context.result(operator.outputs[0], context.emit("Sum", values), order)


@op("SQUARE")
def square(context: Context, operator: Operator) -> None:
    """x * x."""
    order = context.order(operator.inputs[0])
    value = context.value(operator.inputs[0], order)
    context.result(operator.outputs[0], context.emit("Mul", [value, value]), order)


@op("RSQRT")
def rsqrt(context: Context, operator: Operator) -> None:
    """1 / sqrt(x)."""
    order = context.order(operator.inputs[0])
    root = context.emit("Sqrt", [context.value(operator.inputs[0], order)])
    context.result(operator.outputs[0], context.emit("Reciprocal", [root]), order)


@op("RELU6")
def relu6(context: Context, operator: Operator) -> None:
    """Clip to 0..6."""
    _clip(context, operator, 0.0, 6.0)


@op("RELU_N1_TO_1")
def relu_n1_to_1(context: Context, operator: Operator) -> None:
    """Clip to -1..1."""
    _clip(context, operator, -1.0, 1.0)


@op("RELU_0_TO_1")
def relu_0_to_1(context: Context, operator: Operator) -> None:
    """Clip to 0..1."""
    _clip(context, operator, 0.0, 1.0)


def _clip(context: Context, operator: Operator, low: float, high: float) -> None:
    order = context.order(operator.inputs[0])
    context.result(
        operator.outputs[0], clip(context, context.value(operator.inputs[0], order), low, high), order
    )


@op("LEAKY_RELU")
def leaky_relu(context: Context, operator: Operator) -> None:
    """Slope alpha below zero."""
    unary(context, operator, "LeakyRelu", alpha=float(options(operator)["alpha"]))


@op("GELU")
def gelu(context: Context, operator: Operator) -> None:
    """Exact, or the tanh approximation."""
    unary(context, operator, "Gelu", approximate="tanh" if options(operator).get("approximate") else "none")


@op("CAST")
def read_cast(context: Context, operator: Operator) -> None:
    """Of elements as they are stored: the integers of a quantized tensor, not what they stand for."""
    source, result = operator.inputs[0], operator.outputs[0]
    if is_quantized(context.tensor(result)):
        raise Unsupported("cast", "a cast sets the stored integers of a quantized tensor")
    kind = dtype_of(context.tensor(result))
    if is_quantized(context.tensor(source)):
        context.result(result, cast(context, quantize(context, source, context.value(source)), kind))
        return
    order = context.order(source)
    value = _saturated(
        context, context.value(source, order), dtype_of(context.tensor(source)).numpy(), kind.numpy()
    )
    context.result(result, cast(context, value, kind), order)


def _saturated(context: Context, value: Any, source: np.dtype[Any], target: np.dtype[Any]) -> Any:
    """Reals past the ends of a narrow integer stop there in LiteRT; ONNX leaves them undefined.

    Wider integers are left alone: no float32 is their largest value, and models cast indices and sizes to them.
    """
    if source.kind != "f" or target.kind not in "iu" or target.itemsize > 2:
        return value
    limits = np.iinfo(target)
    return clip(context, value, float(limits.min), float(limits.max))


@op("SOFTMAX")
def softmax(context: Context, operator: Operator) -> None:
    """Over the last axis, with beta."""
    source = operator.inputs[0]
    order, beta = context.order(source), float(options(operator).get("beta", 1.0))
    value = context.value(source, order)
    if beta != 1.0:
        value = context.emit("Mul", [value, context.literal(np.float32(beta), "beta")])
    axis = order.index(context.rank(source) - 1)
    context.result(operator.outputs[0], context.emit("Softmax", [value], axis=axis), order)


@op("LOG_SOFTMAX")
def log_softmax(context: Context, operator: Operator) -> None:
    """Over the last axis."""
    order = context.order(operator.inputs[0])
    unary(context, operator, "LogSoftmax", axis=order.index(len(order) - 1))


@op("L2_NORMALIZATION")
def l2_normalization(context: Context, operator: Operator) -> None:
    """x / max(norm, 1e-6) over the last axis, as TFLite's kernel guards it."""
    source = operator.inputs[0]
    order = context.order(source)
    value = context.value(source, order)
    axes = context.literal(int64s([order.index(context.rank(source) - 1)]), "axes")
    norm = context.emit("ReduceL2", [value, axes], keepdims=1)
    guarded = context.emit("Max", [norm, context.literal(np.float32(1e-6), "epsilon")])
    context.result(operator.outputs[0], context.emit("Div", [value, guarded]), order)


@op(
    "BITCAST",
    "RIGHT_SHIFT",
    "MULTINOMIAL",
    "RANDOM_UNIFORM",
    "RANDOM_STANDARD_NORMAL",
)
def no_meaning(context: Context, operator: Operator) -> None:
    """Operators that are drawn at random, or that ONNX has no type for."""
    raise Unsupported("no-onnx-operator", f"{_name(context, operator)} has no exact counterpart in ONNX")
