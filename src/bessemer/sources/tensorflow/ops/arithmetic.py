"""Arithmetic on elements: what ONNX has under another name, and TensorFlow's own rules for integers and edges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.sources.channels_last import elementwise
from bessemer.sources.channels_last.elementwise import applied, pointwise, scalar
from bessemer.sources.channels_last.signal import Complex, magnitude, parts
from bessemer.sources.drawing import Canvas, Ordered, Unsupported
from bessemer.sources.tensorflow.node import Node
from bessemer.sources.tensorflow.ops.common import is_complex, is_real, kind_of
from bessemer.sources.tensorflow.registry import op

if TYPE_CHECKING:
    import onnx_ir

UNARY = {
    "Neg": "Neg", "Sign": "Sign", "Sqrt": "Sqrt", "Exp": "Exp", "Log": "Log", "Sin": "Sin", "Cos": "Cos", "Tan": "Tan",
    "Asin": "Asin", "Acos": "Acos", "Atan": "Atan", "Sinh": "Sinh", "Cosh": "Cosh", "Asinh": "Asinh", "Acosh": "Acosh",
    "Atanh": "Atanh", "Ceil": "Ceil", "Floor": "Floor", "Rint": "Round", "Erf": "Erf", "Reciprocal": "Reciprocal",
    "Inv": "Reciprocal", "Invert": "BitwiseNot",
}  # fmt: skip
BINARY = {
    "Add": "Add", "AddV2": "Add", "Sub": "Sub", "Mul": "Mul", "RealDiv": "Div", "Div": "Div", "TruncateDiv": "Div",
    "Maximum": "Max", "Minimum": "Min", "Pow": "Pow", "BitwiseAnd": "BitwiseAnd", "BitwiseOr": "BitwiseOr",
    "BitwiseXor": "BitwiseXor",
}  # fmt: skip


@op(*UNARY)
def unary(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Operators that mean the same in ONNX."""
    (tensor,) = inputs
    if is_complex(tensor) and node.op == "Neg":
        return Complex(*(applied(canvas, "Neg", part) for part in parts(canvas, tensor)))
    return applied(canvas, UNARY[node.op], tensor)


@op(*BINARY)
def binary(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Broadcasting operators; integers wrap round and divide towards zero in both worlds."""
    if any(is_complex(tensor) for tensor in inputs):
        return _complex(canvas, node.op, inputs)
    return applied(canvas, BINARY[node.op], *inputs)


def _complex(canvas: Canvas, name: str, inputs: Sequence[Ordered]) -> Ordered:
    """Sums, differences and products of pairs."""
    (a, b), (c, d) = (parts(canvas, tensor) for tensor in inputs)
    if name in ("Add", "AddV2", "Sub"):
        kind = "Sub" if name == "Sub" else "Add"
        return Complex(applied(canvas, kind, a, c), applied(canvas, kind, b, d))
    if name != "Mul":
        raise Unsupported("complex", f"{name} of complex numbers", "compute it on real and imaginary parts")

    def mixed(kind: str, first: tuple[Ordered, Ordered], second: tuple[Ordered, Ordered]) -> Ordered:
        return applied(canvas, kind, applied(canvas, "Mul", *first), applied(canvas, "Mul", *second))

    return Complex(mixed("Sub", (a, c), (b, d)), mixed("Add", (a, d), (b, c)))


@op("Abs", "ComplexAbs")
def absolute(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Size without sign; the length of a complex number."""
    return magnitude(canvas, inputs[0]) if is_complex(inputs[0]) else applied(canvas, "Abs", inputs[0])


@op("AddN", "AccumulateNV2")
def add_n(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Sum of all operands, from the first on; ONNX's Sum takes reals only."""
    if len(inputs) > 1 and is_real(inputs[0]):
        return applied(canvas, "Sum", *inputs)
    result = inputs[0]
    for tensor in inputs[1:]:
        result = applied(canvas, "Add", result, tensor)
    return result


@op("Square")
def square(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """x * x."""
    return pointwise(canvas, inputs, lambda x: canvas.emit("Mul", [x, x]))


@op("SquaredDifference")
def squared_difference(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """(a - b)^2."""
    return elementwise.squared_difference(canvas, *inputs)


@op("Rsqrt")
def rsqrt(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """1 / sqrt(x)."""
    return pointwise(canvas, inputs, lambda x: canvas.emit("Reciprocal", [canvas.emit("Sqrt", [x])]))


@op("Round")
def rounded(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """To the nearest, halves to even."""
    if not is_real(inputs[0]):
        raise Unsupported("integer-round", "TensorFlow's kernel answers zeros for integers", "leave it out: they are whole")
    return applied(canvas, "Round", inputs[0])


@op("Log1p")
def log1p(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """log(1 + x), exact near zero: x log(u) / (u - 1) with u = 1 + x (Goldberg 1991, theorem 4)."""

    def draw(x: onnx_ir.Value) -> Any:
        one = scalar(canvas, 1.0, inputs[0])
        u = canvas.emit("Add", [x, one])
        log, past = canvas.emit("Log", [u]), canvas.emit("Sub", [u, one])
        endless = _bool(canvas, "IsInf", u)
        tiny = _bool(canvas, "Equal", past, scalar(canvas, 0.0, inputs[0]))
        safe = canvas.emit("Where", [tiny, one, past], dtype=x.dtype)
        corrected = canvas.emit("Mul", [log, canvas.emit("Div", [x, safe])])
        near = canvas.emit("Where", [tiny, x, corrected], dtype=x.dtype)
        return canvas.emit("Where", [_bool(canvas, "Or", endless, _bool(canvas, "Equal", u, _zero(canvas, u))), log, near],
                           dtype=x.dtype)  # fmt: skip

    return pointwise(canvas, inputs, draw)


def _zero(canvas: Canvas, like: onnx_ir.Value) -> onnx_ir.Value:
    return scalar(canvas, 0.0, like)


@op("Expm1")
def expm1(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """exp(x) - 1, exact near zero: tanh(x / 2) (exp(x) + 1)."""

    def draw(x: onnx_ir.Value) -> Any:
        half, one = scalar(canvas, 0.5, inputs[0]), scalar(canvas, 1.0, inputs[0])
        bent = canvas.emit("Tanh", [canvas.emit("Mul", [x, half])])
        return canvas.emit("Mul", [bent, canvas.emit("Add", [canvas.emit("Exp", [x]), one])])

    return pointwise(canvas, inputs, draw)


@op("Erfc")
def erfc(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """1 - erf(x); beyond 3 or so its own small numbers are lost, so that the error is one of 1, not of the result."""

    def draw(x: onnx_ir.Value) -> Any:
        return canvas.emit("Sub", [scalar(canvas, 1.0, inputs[0]), canvas.emit("Erf", [x])])

    return pointwise(canvas, inputs, draw)


@op("FloorDiv")
def floor_div(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Rounds down: exact for floats; for integers through Mod, whose sign follows the divisor."""

    def draw(x: onnx_ir.Value, y: onnx_ir.Value) -> Any:
        if is_real(inputs[0]):
            return canvas.emit("Floor", [canvas.emit("Div", [x, y])])
        return canvas.emit("Div", [canvas.emit("Sub", [x, canvas.emit("Mod", [x, y])]), y])

    return pointwise(canvas, inputs, draw)


@op("FloorMod")
def floor_mod(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """The sign follows the divisor; ONNX's float Mod follows the dividend."""

    def draw(x: onnx_ir.Value, y: onnx_ir.Value) -> Any:
        if not is_real(inputs[0]):
            return canvas.emit("Mod", [x, y])
        rest, zero = canvas.emit("Mod", [x, y], fmod=1), _zero(canvas, x)
        apart = _bool(canvas, "Xor", _bool(canvas, "Less", rest, zero), _bool(canvas, "Less", y, zero))
        moved = _bool(canvas, "And", apart, _bool(canvas, "Not", _bool(canvas, "Equal", rest, zero)))
        return canvas.emit("Where", [moved, canvas.emit("Add", [rest, y]), rest], dtype=x.dtype)

    return pointwise(canvas, inputs, draw)


@op("Mod", "TruncateMod")
def truncate_mod(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """The sign follows the dividend."""
    return applied(canvas, "Mod", *inputs, fmod=1)


@op("DivNoNan", "MulNoNan", "Xdivy", "Xlogy", "Xlog1py")
def guarded(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Zero where one operand is, whatever the other one is: the divisor, or the factor that is not a logarithm."""

    def draw(x: onnx_ir.Value, y: onnx_ir.Value) -> Any:
        zero, one = _zero(canvas, x), scalar(canvas, 1.0, x)
        key = x if node.op.startswith("X") else y
        none = _bool(canvas, "Equal", key, zero)
        if node.op in ("DivNoNan", "Xdivy"):
            made = canvas.emit("Div", [x, y])
        elif node.op == "MulNoNan":
            made = canvas.emit("Mul", [x, y])
        else:
            inner = y if node.op == "Xlogy" else canvas.emit("Add", [y, one])
            made = canvas.emit("Mul", [x, canvas.emit("Log", [inner])])
        return canvas.emit("Where", [none, zero, made], dtype=x.dtype)

    return pointwise(canvas, inputs, draw)


@op("ClipByValue")
def clip(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Between two bounds, which may have the operand's shape; the upper bound wins over the lower one."""
    tensor, low, high = inputs
    if low.rank == high.rank == 0:
        made = canvas.emit("Clip", [canvas.at(tensor, tensor.made), canvas.at(low), canvas.at(high)])
        return canvas.result(made, tensor.shape, tensor.made)
    return applied(canvas, "Max", applied(canvas, "Min", tensor, high), low)


@op("Cast")
def cast(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Reals are cut towards zero; a complex number loses its imaginary part."""
    import onnx_ir

    tensor, kind = inputs[0], kind_of(node, "DstT")
    wide = (onnx_ir.DataType.COMPLEX64, onnx_ir.DataType.COMPLEX128)
    if kind in wide:
        to = onnx_ir.DataType.FLOAT if kind == wide[0] else onnx_ir.DataType.DOUBLE
        if is_complex(tensor):
            pair = [elementwise.cast(canvas, part, to) for part in parts(canvas, tensor)]
            return Complex(pair[0], pair[1], kind)
        real = elementwise.cast(canvas, tensor, to)
        return Complex(real, elementwise.with_scalar(canvas, "Mul", real, 0.0), kind)
    source = parts(canvas, tensor)[0] if is_complex(tensor) else tensor
    return elementwise.cast(canvas, source, kind)


@op("Atan2")
def atan2(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """From Atan of the quotient, by quadrants as C99 (annex F.10.1.4) defines them, signed zeros and infinities too."""

    def draw(y: onnx_ir.Value, x: onnx_ir.Value) -> Any:
        left, below = _negative(canvas, x), _negative(canvas, y)
        zero, one, half_turn = (scalar(canvas, number, inputs[0]) for number in (0.0, 1.0, np.pi))
        minus = scalar(canvas, -1.0, inputs[0])
        signs = [canvas.emit("Where", [flag, minus, one], dtype=x.dtype) for flag in (below, left)]
        endless = _bool(canvas, "And", _bool(canvas, "IsInf", y), _bool(canvas, "IsInf", x))
        origin = _bool(canvas, "And", _bool(canvas, "Equal", y, zero), _bool(canvas, "Equal", x, zero))
        # The quotient of two infinities or two zeros is no number; their signs alone say the direction.
        top = canvas.emit("Where", [endless, signs[0], y], dtype=x.dtype)
        bottom = canvas.emit("Where", [_bool(canvas, "Or", endless, origin), signs[1], x], dtype=x.dtype)
        angle = canvas.emit("Atan", [canvas.emit("Div", [top, bottom])])
        turned = canvas.emit("Add", [angle, canvas.emit("Mul", [signs[0], half_turn])])
        return canvas.emit("Where", [left, turned, angle], dtype=x.dtype)

    return pointwise(canvas, inputs, draw)


def _negative(canvas: Canvas, value: onnx_ir.Value) -> Any:
    """Whether the sign is minus; a zero's shows in its reciprocal."""
    zero = _zero(canvas, value)
    return _bool(canvas, "Or", _bool(canvas, "Less", value, zero),
                 _bool(canvas, "Less", canvas.emit("Reciprocal", [value]), zero))  # fmt: skip


def _bool(canvas: Canvas, name: str, *values: onnx_ir.Value) -> Any:
    import onnx_ir

    return canvas.emit(name, values, dtype=onnx_ir.DataType.BOOL)


@op("LeftShift", "RightShift")
def shift(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """By 0 to width - 1 bits (other counts go to the nearest of these); a signed number keeps its sign to the right."""
    kind = np.dtype(inputs[0].dtype.numpy())
    most = kind.itemsize * 8 - 1
    left = node.op == "LeftShift"

    def draw(x: onnx_ir.Value, bits: onnx_ir.Value) -> Any:
        bounds = [scalar(canvas, bound, inputs[0]) for bound in (0, most)]
        inside = canvas.emit("Min", [canvas.emit("Max", [bits, bounds[0]]), bounds[1]])
        if kind.kind == "u":
            return canvas.emit("BitShift", [x, inside], direction="LEFT" if left else "RIGHT")
        half = canvas.emit("Div", [inside, scalar(canvas, 2, inputs[0])])
        for part in (half, canvas.emit("Sub", [inside, half])):  # 2^most is no signed number: in two steps
            x = _scaled(canvas, x, part, most, left)
        return x

    return pointwise(canvas, inputs, draw)


def _scaled(canvas: Canvas, x: onnx_ir.Value, bits: onnx_ir.Value, most: int, left: bool) -> Any:
    import onnx_ir

    kind = x.dtype or onnx_ir.DataType.INT32
    table = canvas.literal(np.array([1 << i for i in range(most // 2 + 2)], kind.numpy()), "powers")
    places = canvas.emit("Cast", [bits], to=int(onnx_ir.DataType.INT64), dtype=onnx_ir.DataType.INT64)
    power = canvas.emit("Gather", [table, places], axis=0)
    if left:
        return canvas.emit("Mul", [x, power])
    return canvas.emit("Div", [canvas.emit("Sub", [x, canvas.emit("Mod", [x, power])]), power])


@op("Bucketize")
def bucketize(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """The number of boundaries that an element reaches, int32."""
    import onnx_ir

    edges = np.array(node.attrs.get("boundaries") or (), np.float32)
    real = elementwise.cast(canvas, inputs[0], onnx_ir.DataType.FLOAT)

    def draw(x: onnx_ir.Value) -> Any:
        last = canvas.literal(np.array([-1], np.int64), "axes")
        column = canvas.emit("Unsqueeze", [x, last])
        reached = _bool(canvas, "GreaterOrEqual", column, canvas.literal(edges, "edges"))
        counted = canvas.emit("Cast", [reached], to=int(onnx_ir.DataType.INT32), dtype=onnx_ir.DataType.INT32)
        return canvas.emit("ReduceSum", [counted, last], keepdims=0)

    return pointwise(canvas, [real], draw)


@op("Cross")
def cross(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """a x b of vectors of three along the last axis: products of the two operands rolled against each other."""

    def rolled(tensor: Ordered, by: int) -> Any:
        places = canvas.literal(np.roll(np.arange(3), -by), "places")
        return canvas.emit("Gather", [canvas.at(tensor), places], axis=-1)

    a, b = inputs
    plus = canvas.emit("Mul", [rolled(a, 1), rolled(b, 2)])
    minus = canvas.emit("Mul", [rolled(a, 2), rolled(b, 1)])
    return canvas.result(canvas.emit("Sub", [plus, minus]), a.shape)


@op("ApproximateEqual")
def approximately(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """|a - b| < tolerance."""
    tolerance = float(node.attrs.get("tolerance", 1e-5))

    def draw(x: onnx_ir.Value, y: onnx_ir.Value) -> Any:
        apart = canvas.emit("Abs", [canvas.emit("Sub", [x, y])])
        return _bool(canvas, "Less", apart, scalar(canvas, tolerance, x))

    return pointwise(canvas, inputs, draw)

