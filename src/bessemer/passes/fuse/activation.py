"""Gelu, Swish, HardSwish, HardSigmoid, Mish and Softplus, wherever their constants were put.

Every rule is a formula: a function f of a polynomial in x, and a polynomial in x and t = f(...) as the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from bessemer.passes.fuse.match import (
    Fusion,
    fuses,
    is_float32,
    maker,
    near,
    number,
    other,
    rank_of,
    sole_user,
)
from bessemer.passes.fuse.polynomial import Poly, Reading, results, same, variables

if TYPE_CHECKING:
    import onnx_ir

X, T, XT, ONE = (1, 0), (0, 1), (1, 1), (0, 0)
ROOT_HALF = math.sqrt(0.5)
TANH_SLOPE, TANH_CUBIC = math.sqrt(2 / math.pi), 0.044715
"""Hendrycks & Gimpel 2016, section 2: 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))."""

LINEAR = 17.0
"""log(1 + e^x) - x < e^-17, less than half the distance of two float32 numbers there."""

Named = tuple[str, dict[str, Any]] | None
Formula = Callable[[Poly, Poly], Named]
"""From the argument and the result to the operator and its attributes."""


@fuses("Erf")
def gelu(node: onnx_ir.Node) -> Fusion | str | None:
    """x (1 + erf(x / sqrt(2))) / 2."""

    def formula(argument: Poly, result: Poly) -> Named:
        sign = math.copysign(1.0, argument.get(X, 1.0))
        if not same(argument, {X: sign * ROOT_HALF}) or not same(result, {X: 0.5, XT: sign * 0.5}):
            return None
        return "Gelu", {"approximate": "none"}

    return _find([node], node.inputs[0], formula)


@fuses("Tanh")
def gelu_by_tanh(node: onnx_ir.Node) -> Fusion | str | None:
    """x (1 + tanh(c (x + 0.044715 x^3))) / 2."""

    def formula(argument: Poly, result: Poly) -> Named:
        wanted = {X: TANH_SLOPE, (3, 0): TANH_SLOPE * TANH_CUBIC}
        if not same(argument, wanted) or not same(result, {X: 0.5, XT: 0.5}):
            return None
        return "Gelu", {"approximate": "tanh"}

    return _find([node], node.inputs[0], formula)


@fuses("Tanh")
def mish(node: onnx_ir.Node) -> Fusion | str | None:
    """x tanh(softplus(x))."""
    inner = maker(node.inputs[0], "Softplus")
    if inner is None:
        return None

    def formula(argument: Poly, result: Poly) -> Named:
        return ("Mish", {}) if same(argument, {X: 1.0}) and same(result, {XT: 1.0}) else None

    return _find([inner, node], inner.inputs[0], formula)


@fuses("Sigmoid")
def swish(node: onnx_ir.Node) -> Fusion | str | None:
    """x sigmoid(a x); of the cubic argument it is Gelu again, as sigmoid(2 z) = (1 + tanh z) / 2."""

    def formula(argument: Poly, result: Poly) -> Named:
        if not same(result, {XT: 1.0}):
            return None
        if argument.keys() == {X}:
            return "Swish", {"alpha": argument[X]}
        wanted = {X: 2 * TANH_SLOPE, (3, 0): 2 * TANH_SLOPE * TANH_CUBIC}
        return ("Gelu", {"approximate": "tanh"}) if same(argument, wanted) else None

    return _find([node], node.inputs[0], formula)


@fuses("Clip", "Min", "Max")
def hard(node: onnx_ir.Node) -> Fusion | str | None:
    """Pieces of a line: clip(a x + b, 0, h) / h, and x times that."""
    found = _clipped(node)
    if found is None:
        return None
    nodes, source, high = found

    def formula(argument: Poly, result: Poly) -> Named:
        if argument.keys() != {X, ONE} or len(result) != 1:
            return None
        ((power, k),) = result.items()
        if k == argument[X] == 1.0:
            return None  # a sum and a clip are less work than the operator
        alpha, beta = k * argument[X], k * argument[ONE]
        if power == T and near(k * high, 1.0):
            return "HardSigmoid", {"alpha": alpha, "beta": beta}
        if power == XT and near(k * high, 1.0) and near(alpha, 1 / 6) and near(beta, 0.5):
            return "HardSwish", {}
        return None

    return _find(nodes, source, formula)


@fuses("HardSigmoid")
def hard_swish(node: onnx_ir.Node) -> Fusion | str | None:
    """x times HardSigmoid with alpha 1/6 and beta 1/2."""
    alpha = node.attributes.get_float("alpha", 0.2) or 0.0
    beta = node.attributes.get_float("beta", 0.5) or 0.0

    def formula(argument: Poly, result: Poly) -> Named:
        offset = beta + alpha * argument.get(ONE, 0.0)
        line = argument.keys() <= {X, ONE} and near(alpha * argument.get(X, 0.0), 1 / 6) and near(offset, 0.5)
        return ("HardSwish", {}) if line and same(result, {XT: 1.0}) else None

    return _find([node], node.inputs[0], formula)


@fuses("Log")
def softplus(node: onnx_ir.Node) -> Fusion | str | None:
    """log(1 + exp(x)), which the operator computes without overflow."""
    added = maker(node.inputs[0], "Add")
    places = [place for place in (0, 1) if added is not None and maker(added.inputs[place], "Exp")]
    if added is None or len(places) != 1:
        return None
    grown = maker(added.inputs[places[0]], "Exp")
    one = number(added.inputs[1 - places[0]], rank_of(node.outputs[0]) or 0)
    if grown is None or one != 1.0 or not is_float32(grown.inputs[0]):
        return None
    return Fusion("Softplus", node, [grown.inputs[0]], [grown, added])


@fuses("Softplus")
def guarded_softplus(node: onnx_ir.Node) -> Fusion | str | None:
    """torch's x where x > 20, else softplus(x): from LINEAR on both are the same float32."""
    x, chosen = node.inputs[0], sole_user(node.outputs[0], "Where")
    above = maker(chosen.inputs[0], "Greater") if chosen is not None else None
    if x is None or chosen is None or above is None or not is_float32(x):
        return None
    bound = number(above.inputs[1], rank_of(x) or 0)
    if bound is None or bound < LINEAR or above.inputs[0] is not x:
        return None
    if chosen.inputs[1] is not x or chosen.inputs[2] is not node.outputs[0]:
        return None
    return Fusion("Softplus", chosen, [x], [above, node])


def _find(nodes: Sequence[onnx_ir.Node], argument: onnx_ir.Value | None, formula: Formula) -> Fusion | None:
    """The longest end of the formula that starts in `nodes`, whose argument is a polynomial in one value."""
    if argument is None or not is_float32(argument):
        return None
    t = nodes[-1].outputs[0]
    for x in variables(argument):
        inside = Reading(x)
        read = inside.of(argument)
        if read is None:
            continue
        found: Fusion | None = None
        whole = Reading(x, t)
        for last in (nodes[-1], *results(t)):
            result = whole.of(last.outputs[0])
            if result is None:
                break
            named = formula(read, result)
            if named is not None:
                found = Fusion(named[0], last, [x], [*inside.nodes, *nodes, *whole.nodes], named[1])
        if found is not None:
            return found
    return None


def _clipped(node: onnx_ir.Node) -> tuple[list[onnx_ir.Node], onnx_ir.Value, float] | None:
    """The nodes, the source and the upper bound of a clip from zero, however it is written."""
    if node.op_type == "Clip":
        low = number(node.inputs[1], 0) if len(node.inputs) > 1 else None
        high = number(node.inputs[2], 0) if len(node.inputs) > 2 else None
        source = node.inputs[0]
        return ([node], source, high) if source is not None and low == 0.0 and high else None
    inner_ops = ("Max", "Relu") if node.op_type == "Min" else ("Min",)
    inner = maker(node.inputs[0], *inner_ops) or maker(node.inputs[-1], *inner_ops)
    if inner is None or len(node.inputs) != 2:
        return None
    bounds = [_bound(item) for item in (inner, node)]
    if node.op_type == "Max":
        bounds.reverse()
    low, high = bounds
    source = inner.inputs[0] if inner.op_type == "Relu" else _data(inner)
    return ([inner, node], source, high) if source is not None and low == 0.0 and high else None


def _bound(node: onnx_ir.Node) -> float | None:
    """The constant operand of Min or Max; zero for Relu."""
    if node.op_type == "Relu":
        return 0.0
    data = _data(node)
    return None if data is None else number(other(node, data), rank_of(data) or 0)


def _data(node: onnx_ir.Node) -> onnx_ir.Value | None:
    """The operand of a binary node that is not constant."""
    given = [value for value in node.inputs if value is not None and value.const_value is None]
    return given[0] if len(given) == 1 and len(node.inputs) == 2 else None
