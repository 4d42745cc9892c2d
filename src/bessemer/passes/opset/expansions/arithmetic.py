"""Numbers: the same values from older operators."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.types import Array, int64s
from bessemer.passes.expansion import Nodes
from bessemer.passes.opset.expansions.nodes import expansion, given, numpy_type, onnx_type
from bessemer.passes.rewrite import constant, dims

if TYPE_CHECKING:
    import onnx_ir


def _kind(value: onnx_ir.Value | None) -> str:
    """numpy's letter; narrow floats that numpy does not know are floats too."""
    kind = numpy_type(value)
    return "" if kind is None else "f" if kind.name == "bfloat16" else kind.kind


@expansion(9, "IsNaN")
def is_nan(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """IsNaN: every number is above zero or under one."""
    return [n("Not", _is_number(n, node.inputs[0]))]


def _is_number(n: Nodes, value: onnx_ir.Value | None) -> onnx_ir.Value:
    kind = numpy_type(value)
    return n("Or", n("Greater", value, np.zeros((), kind)), n("Less", value, np.ones((), kind)))


@expansion(10, "IsInf")
def is_inf(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """IsInf: beyond the largest number of the type."""
    source, kind = node.inputs[0], numpy_type(node.inputs[0])
    if kind is None or kind.kind != "f":
        return None
    far = np.array(np.finfo(kind).max)
    above, below = n("Greater", source, far), n("Less", source, -far)
    wanted = [
        found
        for name, found in (("detect_positive", above), ("detect_negative", below))
        if node.attributes.get_int(name, 1) != 0
    ]
    if not wanted:
        return None
    return [reduce(lambda a, b: n("Or", a, b), wanted)]


@expansion(11, "Equal")
def equal(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """Equal of floats: neither above nor below, and numbers both (NaN equals nothing)."""
    left, right = node.inputs[0], node.inputs[1]
    if left is None or right is None or _kind(left) != "f":
        return None
    differ = n("Or", n("Less", left, right), n("Greater", left, right))
    numbers = [_is_number(n, value) for value in (left, right)]
    return [n("And", n("Not", differ), n("And", *numbers))]


@expansion(11, "Equal")
def equal_unsigned(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """Equal of unsigned integers: nothing lies between them, in arithmetic that wraps."""
    import onnx_ir

    if numpy_type(node.inputs[0]) not in (np.dtype(np.uint32), np.dtype(np.uint64)):
        return None
    apart = n("Cast", n("Sub", *node.inputs), to=int(onnx_ir.DataType.BOOL))
    return [n("Not", apart)]


@expansion(9, "Less", "Greater")
def compare_wide(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """Less and Greater of 64 bits, which no float holds: by the high parts, then by the low ones."""
    import onnx_ir

    kind = numpy_type(node.inputs[0])
    if kind is None or kind not in (np.dtype(np.int64), np.dtype(np.uint64)):
        return None
    half = np.array(1 << 32, kind)
    high = [n("Div", value, half) for value in node.inputs]
    low = [n("Sub", whole, n("Mul", part, half)) for whole, part in zip(node.inputs, high, strict=True)]
    far, near = (
        n(node.op_type, *(n("Cast", part, to=int(onnx_ir.DataType.DOUBLE)) for part in parts))
        for parts in (high, low)
    )
    same = n("Not", n("Cast", n("Sub", *high), to=int(onnx_ir.DataType.BOOL)))
    return [n("Or", far, n("And", same, near))]


@expansion(12, "Max", "Min")
def extremum(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """Max and Min of integers: the one that compares so is chosen, pair by pair."""
    values = [value for value in node.inputs if value is not None]
    if _kind(node.inputs[0]) not in ("i", "u") or len(values) < 2:
        return None
    order = "Greater" if node.op_type == "Max" else "Less"

    def better(left: Any, right: Any) -> onnx_ir.Value:
        return n("Where", n(order, left, right), left, right)

    return [reduce(better, values)]


@expansion(8, "Sum")
def add_up(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """Sum broadcasts from opset 8 on, Add always."""
    values = [value for value in node.inputs if value is not None]
    return None if len(values) < 2 else [reduce(lambda left, right: n("Add", left, right), values)]


@expansion(8, "Max", "Min", "Mean")
def same_shapes(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """They broadcast from opset 8 on: each input is broadcast before."""
    size = dims(node.outputs[0])
    if size is None or all(dims(value) == size for value in node.inputs):
        return None
    return n.copy(
        [value if dims(value) == size else n("Expand", value, int64s(size)) for value in node.inputs]
    )


@expansion(28, "Mod")
def modulo_of_floats(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """Mod of floats with the divisor's sign: C's remainder, moved by one divisor where its sign is the other one.

    Zeros take the divisor's sign (the standard's rule from opset 28 on; before it, floats had C's remainder only).
    """
    dividend, divisor = node.inputs[0], node.inputs[1]
    kind = numpy_type(divisor)
    if kind is None or _kind(divisor) != "f" or node.attributes.get_int("fmod", 0) != 0:
        return None
    zero, minus = np.zeros((), kind), np.negative(np.zeros((), kind))
    rest, negative = n("Mod", dividend, divisor, fmod=1), n("Less", divisor, zero)
    apart = n("Xor", n("Less", rest, zero), negative)
    moved = n("Where", apart, n("Add", rest, divisor), rest)
    return [n("Where", n("Equal", rest, zero), n("Where", negative, minus, zero), moved)]


@expansion(10, "Mod")
def mod(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """Mod of integers: what division leaves, which takes the divisor's sign unless fmod is set."""
    import onnx_ir

    left, right = node.inputs[0], node.inputs[1]
    kind = numpy_type(left)
    if left is None or left.dtype is None or kind is None or kind.kind not in "iu":
        return None
    rest = n("Sub", left, n("Mul", n("Div", left, right), right))
    if kind.kind == "u" or node.attributes.get_int("fmod", 0) == 1:
        return [rest]
    zero = np.zeros((), kind)
    across = n("Xor", n("Less", rest, zero), n("Less", right, zero))
    some = n("Cast", rest, to=int(onnx_ir.DataType.BOOL))
    return [n("Add", rest, n("Mul", right, n("Cast", n("And", across, some), to=int(left.dtype))))]


@expansion(11, "Round")
def round_even(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """Round: 'halfs to the nearest even integer'; the floor, and one more where the rest is more."""
    source, kind = node.inputs[0], numpy_type(node.inputs[0])
    if source is None or source.dtype is None or kind is None:
        return None
    half, two = np.array(0.5).astype(kind), np.array(2).astype(kind)
    floor = n("Floor", source)
    rest = n("Sub", source, floor)
    middle = n("Not", n("Or", n("Less", rest, half), n("Greater", rest, half)))
    halved = n("Div", floor, two)
    odd = n("Greater", halved, n("Floor", halved))
    up = n("Or", n("Greater", rest, half), n("And", middle, odd))
    return [n("Add", floor, n("Cast", up, to=int(source.dtype)))]


@expansion(11, "BitShift")
def bit_shift_unsigned(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """BitShift of unsigned integers by known distances: times or divided by a power of two."""
    return _shift(n, node) if _kind(node.inputs[0]) == "u" else None


@expansion(28, "BitShift")
def bit_shift_signed(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """BitShift of signed integers, which extends the sign to the right, by known distances."""
    return _shift(n, node) if _kind(node.inputs[0]) == "i" else None


def _shift(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """To the right it is the quotient of what the power divides, which is rounded down."""
    kind, places = numpy_type(node.inputs[0]), constant(node.inputs[1])
    if kind is None or places is None:
        return None
    bits = kind.itemsize * 8
    inside = (places >= 0) & (places < bits)
    powers = np.left_shift(np.uint64(1), np.where(inside, places, 0).astype(np.uint64))
    if node.attributes.get_string("direction", "") == "LEFT":
        return [n("Mul", node.inputs[0], np.where(inside, powers, np.uint64(0)).astype(kind))]
    if not inside.all() or (kind.kind == "i" and (places == bits - 1).any()):
        return None
    divisor = powers.astype(kind)
    rest = n("Mod", node.inputs[0], divisor)
    return [n("Div", n("Sub", node.inputs[0], rest), divisor)]


@expansion(11, "CumSum")
def cum_sum(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """CumSum: 'cumulative sum along an axis', by shifts of one, two, four, ..."""
    return _cumulate(n, node, "Add", 0)


@expansion(26, "CumProd")
def cum_prod(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """CumProd: 'cumulative product along an axis', by shifts of one, two, four, ..."""
    return _cumulate(n, node, "Mul", 1)


def _cumulate(n: Nodes, node: onnx_ir.Node, operator: str, neutral: int) -> Sequence[onnx_ir.Value] | None:
    axis, size, kind = constant(node.inputs[1]), dims(node.inputs[0]), numpy_type(node.inputs[0])
    if axis is None or size is None or kind is None or not size:
        return None
    place = int(axis.reshape(-1)[0]) % len(size)
    reverse = bool(node.attributes.get_int("reverse", 0))
    found: Any = node.inputs[0]
    if node.attributes.get_int("exclusive", 0):
        found = _shifted(n, found, 1, place, size, np.array(neutral).astype(kind), reverse)
    step = 1
    while step < size[place]:
        shifted = _shifted(n, found, step, place, size, np.array(neutral).astype(kind), reverse)
        found, step = n(operator, found, shifted), step * 2
    return [found]


def _shifted(
    n: Nodes, value: Any, step: int, axis: int, size: tuple[int, ...], fill: Array, reverse: bool
) -> onnx_ir.Value:
    """All elements `step` places later (earlier in reverse), `fill` in the places that become free."""
    count = size[axis]
    start, end = (step, count) if reverse else (0, count - step)
    kept = n("Slice", value, int64s([start]), int64s([end]), int64s([axis]))
    free = np.full([step if place == axis else dim for place, dim in enumerate(size)], fill)
    return n("Concat", kept, free, axis=axis) if reverse else n("Concat", free, kept, axis=axis)


@expansion(12, "ArgMax", "ArgMin")
def last_index(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """select_last_index: the first of the reversed axis, counted from its end."""
    size, axis = dims(node.inputs[0]), node.attributes.get_int("axis", 0) or 0
    if not node.attributes.get_int("select_last_index", 0) or size is None:
        return None
    turned = n("Gather", node.inputs[0], np.arange(size[axis])[::-1].astype(np.int64), axis=axis)
    (found,) = n.copy([turned], select_last_index=None)
    return [n("Sub", np.array(size[axis] - 1, np.int64), found)]


@expansion(11, "TopK")
def smallest(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """The smallest k of floats are the largest of their negatives, in the same order."""
    if node.attributes.get_int("largest", 1) != 0 or _kind(node.inputs[0]) != "f":
        return None
    values, indices = n.copy([n("Neg", node.inputs[0]), node.inputs[1]], largest=1)
    return [n("Neg", values), indices]


@expansion(13, "ReduceSum")
@expansion(18, "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd")
def reduce_nothing(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """noop_with_empty_axes without axes: the input itself."""
    axes = given(node, 1)
    known = constant(axes)
    empty = axes is None or (known is not None and known.size == 0)
    if not node.attributes.get_int("noop_with_empty_axes", 0) or not empty or node.inputs[0] is None:
        return None
    return [n("Identity", node.inputs[0])]


@expansion(18, "BitwiseNot")
def bitwise_not(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """BitwiseNot in two's complement: what all ones are more than it."""
    kind = numpy_type(node.inputs[0])
    if kind is None or kind.kind not in "iu":
        return None
    ones = np.array(-1, kind) if kind.kind == "i" else np.array(np.iinfo(kind).max, kind)
    return [n("Sub", ones, node.inputs[0])]


@expansion(9, "Erf")
def erf(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """Erf to a step of float32 (Abramowitz and Stegun 7.1.26, off by 1.5e-7 at most); not for wider floats."""
    source, kind = node.inputs[0], numpy_type(node.inputs[0])
    if source is None or kind != np.float32:
        return None

    def number(value: float) -> Array:
        return np.array(value, np.float32)

    size = n("Abs", source)
    turn = n("Reciprocal", n("Add", n("Mul", size, number(0.3275911)), number(1)))
    series: Any = number(1.061405429)
    for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = n("Add", n("Mul", series, turn), number(factor))
    rest = n("Mul", n("Mul", series, turn), n("Exp", n("Neg", n("Mul", size, size))))
    above = n("Cast", n("Greater", source, number(0)), to=int(onnx_type(source)))
    below = n("Cast", n("Less", source, number(0)), to=int(onnx_type(source)))
    return [n("Mul", n("Sub", number(1), rest), n("Sub", above, below))]


@expansion(12, "Pow")
def power(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """Pow of mixed types, for known exponents: as the base's type holds them, or as products of integers."""
    base, kind = node.inputs[0], numpy_type(node.inputs[0])
    exponent = constant(node.inputs[1])
    if base is None or kind is None or exponent is None or kind == exponent.dtype == np.float32:
        return None
    if _kind(base) == "f" and exponent.dtype != kind:
        same = exponent.astype(kind)
        return [n("Pow", base, same)] if (same.astype(exponent.dtype) == exponent).all() else None
    count = float(exponent.reshape(-1)[0]) if exponent.size == 1 else 0.5
    if _kind(base) not in ("i", "u") or count not in range(1, 9) or exponent.ndim > len(base.shape or ()):
        return None
    return [reduce(lambda left, right: n("Mul", left, right), [base] * int(count))]
