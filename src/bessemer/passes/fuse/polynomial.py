"""Arithmetic between nodes read as a polynomial: all ways to write a formula then look the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from bessemer.passes.fuse.match import maker, near, number, rank_of, sole_user

if TYPE_CHECKING:
    import onnx_ir

Poly = dict[tuple[int, int], float]
"""Coefficients by the powers of x and t."""

ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Neg", "Pow")
NODES = 12
"""Nodes that one expression may have."""
STEPS = 6
"""Nodes from a function's result to the end of the formula, at most."""


def same(found: Poly, wanted: Poly) -> bool:
    """Whether two polynomials have the same terms."""
    return found.keys() == wanted.keys() and all(near(found[power], wanted[power]) for power in wanted)


class Reading:
    """Expressions over x and t; `nodes` are those that were read, what they need before them."""

    def __init__(self, x: onnx_ir.Value, t: onnx_ir.Value | None = None) -> None:
        self.rank = rank_of(x) or 0
        self.known: dict[onnx_ir.Value, Poly] = {x: {(1, 0): 1.0}}
        if t is not None:
            self.known[t] = {(0, 1): 1.0}
        self.nodes: dict[onnx_ir.Node, None] = {}
        self.left = NODES

    def of(self, value: onnx_ir.Value | None) -> Poly | None:
        """The polynomial that `value` is; None when it is none, or not of x and t alone."""
        if value is None:
            return None
        if value in self.known:
            return self.known[value]
        fixed = number(value, self.rank)
        if fixed is not None:
            return {(0, 0): fixed} if fixed else {}
        node = maker(value, *ARITHMETIC)
        self.left -= 1
        if node is None or self.left < 0:
            return None
        found = self._combine(node)
        if found is not None:
            self.known[value] = found
            self.nodes[node] = None
        return found

    def _combine(self, node: onnx_ir.Node) -> Poly | None:
        parts = [self.of(value) for value in node.inputs]
        known = [part for part in parts if part is not None]
        if len(known) != len(parts):
            return None
        if node.op_type == "Neg":
            return _times(known[0], -1.0)
        first, second = known
        if node.op_type == "Add":
            return _sum(first, second)
        if node.op_type == "Sub":
            return _sum(first, _times(second, -1.0))
        if node.op_type == "Mul":
            return _product(first, second)
        if second.keys() != {(0, 0)}:
            return None
        return _times(first, 1 / second[0, 0]) if node.op_type == "Div" else _power(first, second[0, 0])


def _times(poly: Mapping[tuple[int, int], float], factor: float) -> Poly:
    return {power: value * factor for power, value in poly.items()}


def _sum(first: Poly, second: Poly) -> Poly:
    total = {power: first.get(power, 0.0) + second.get(power, 0.0) for power in first | second}
    return {power: value for power, value in total.items() if value}


def _product(first: Poly, second: Poly) -> Poly:
    total: Poly = {}
    for (i, j), a in first.items():
        for (k, m), b in second.items():
            total[i + k, j + m] = total.get((i + k, j + m), 0.0) + a * b
    return total


def _power(base: Poly, exponent: float) -> Poly | None:
    if exponent not in (1.0, 2.0, 3.0):
        return None
    result = base
    for _ in range(int(exponent) - 1):
        result = _product(result, base)
    return result


def variables(argument: onnx_ir.Value) -> Iterator[onnx_ir.Value]:
    """Values that `argument` may be a polynomial of, nearest first."""
    queue, seen = [argument], {argument}
    while queue and len(seen) <= NODES:
        value = queue.pop(0)
        yield value
        node = maker(value, *ARITHMETIC)
        fresh = [v for v in node.inputs if v is not None and v not in seen] if node is not None else []
        fresh = [v for v in fresh if v.const_value is None]
        seen.update(fresh)
        queue += fresh


def results(t: onnx_ir.Value) -> Iterator[onnx_ir.Node]:
    """The arithmetic nodes that follow one after another on `t`, each the only reader of the one before."""
    value = t
    for _ in range(STEPS):
        node = sole_user(value, *ARITHMETIC)
        if node is None:
            return
        yield node
        value = node.outputs[0]
