"""Einsum as transposes, reshapes and matrix products."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bessemer.passes.expansion import Nodes
from bessemer.targets.tflite.expand.registry import expand

if TYPE_CHECKING:
    import onnx_ir as ir

Operand = tuple["ir.Value", str]
"""A value and the letters of its axes."""


Size = int | None
"""Of a letter; None where it is known when the model runs."""


@expand("Einsum", needs="known ranks, and no letter twice in an operand")
def einsum(nodes: Nodes, node: ir.Node) -> Sequence[ir.Value] | None:
    """Operands are joined from the left; letters that nothing later asks for are summed as soon as possible."""
    values = [v for v in node.inputs if v is not None]
    shapes = [list(v.shape) for v in values if v.shape is not None]
    if len(shapes) != len(node.inputs):
        return None
    terms, result = parse(node.attributes.get_string("equation", ""), [len(shape) for shape in shapes])
    if any(len(set(term)) != len(term) for term in terms):
        return None
    product = Product(nodes, values, terms)
    if product.contradictory:
        return None
    operands = [product.narrowed(value, term) for value, term in zip(values, terms, strict=True)]
    total = operands[0]
    for place, operand in enumerate(operands[1:], start=2):
        later = set(result).union(*(term for _, term in operands[place:]))
        total = product.of(total, operand, later)
    return [_arranged(nodes, _reduced(nodes, total, set(result)), result)]


def parse(equation: str, ranks: list[int]) -> tuple[list[str], str]:
    """Letters of each operand and of the result; an ellipsis becomes letters of its own."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    spare = [letter for letter in string.ascii_letters if letter not in equation]
    widths = [rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True)]
    most = max((width for term, width in zip(terms, widths, strict=True) if "..." in term), default=0)
    dots = "".join(spare[:most])
    terms = [
        term.replace("...", dots[most - width :] if width else "")
        for term, width in zip(terms, widths, strict=True)
    ]
    if arrow:
        return terms, right.replace("...", dots)
    letters = sorted(set("".join(terms)) - set(dots))
    return terms, dots + "".join(letter for letter in letters if "".join(terms).count(letter) == 1)


def _reduced(nodes: Nodes, operand: Operand, keep: set[str]) -> Operand:
    value, term = operand
    axes = [axis for axis, letter in enumerate(term) if letter not in keep]
    if not axes:
        return operand
    summed = nodes("ReduceSum", value, nodes.constant(np.array(axes), "axes"), keepdims=0)
    return summed, "".join(letter for letter in term if letter in keep)


def _arranged(nodes: Nodes, operand: Operand, wanted: str) -> ir.Value:
    value, term = operand
    return value if term == wanted else nodes("Transpose", value, perm=[term.index(x) for x in wanted])


class Product:
    """Matrix products of operands whose letters have these sizes."""

    def __init__(self, nodes: Nodes, values: Sequence[ir.Value], terms: Sequence[str]) -> None:
        self.nodes, self.sizes, self.holders = nodes, dict[str, Size](), dict[str, tuple["ir.Value", int]]()
        self.contradictory = False
        for value, term in zip(values, terms, strict=True):
            for axis, (letter, dim) in enumerate(zip(term, value.shape or (), strict=True)):
                self._learn(letter, dim if isinstance(dim, int) else None, (value, axis))

    def _learn(self, letter: str, size: Size, holder: tuple[ir.Value, int]) -> None:
        """An axis of one is broadcast; unknown ones are taken at the letter's word."""
        known = self.sizes.get(letter, 1)
        if letter not in self.sizes or known == 1 or (known is None and size not in (1, None)):
            self.sizes[letter], self.holders[letter] = size, holder
        self.contradictory = self.contradictory or (size not in (1, None) and known not in (1, None, size))

    def narrowed(self, value: ir.Value, term: str) -> Operand:
        """The operand without axes of one whose letters are longer elsewhere."""
        axes = [axis for axis, dim in enumerate(value.shape or ()) if dim == 1 and self.sizes[term[axis]] != 1]
        if not axes:
            return value, term
        kept = "".join(letter for axis, letter in enumerate(term) if axis not in axes)
        return self.nodes("Squeeze", value, np.array(axes)), kept

    def of(self, a: Operand, b: Operand, later: set[str]) -> Operand:
        """One matrix product: shared letters that stay are batches, shared ones that go are summed."""
        a = _reduced(self.nodes, a, later | set(b[1]))
        b = _reduced(self.nodes, b, later | set(a[1]))
        shared = [letter for letter in a[1] if letter in b[1]]
        batch = "".join(letter for letter in shared if letter in later)
        inner = "".join(letter for letter in shared if letter not in later)
        rows = "".join(letter for letter in a[1] if letter not in b[1])
        columns = "".join(letter for letter in b[1] if letter not in a[1])
        shared_matrix = not batch and len(b[1]) == len(inner + columns)
        left = [*batch, *rows, inner] if shared_matrix and rows else [*batch, rows, inner]
        product = self.nodes("MatMul", self._flat(a, left), self._flat(b, [*batch, inner, columns]))
        made = [*left[:-1], columns]
        term = batch + rows + columns
        return (product if made == list(term) else self._reshaped(product, list(term))), term

    def _flat(self, operand: Operand, groups: Sequence[str]) -> ir.Value:
        """The operand with one axis for each group of letters."""
        arranged = _arranged(self.nodes, operand, "".join(groups))
        return arranged if all(len(group) == 1 for group in groups) else self._reshaped(arranged, groups)

    def _reshaped(self, value: ir.Value, groups: Sequence[str]) -> ir.Value:
        known = [self._known(group) for group in groups]
        if known.count(None) <= 1:
            shape = np.array([-1 if size is None else size for size in known], np.int64)
            return self.nodes("Reshape", value, self.nodes.constant(shape, "shape"), allowzero=int(0 in known))
        parts = [self._computed(group) for group in groups]
        return self.nodes("Reshape", value, self.nodes("Concat", *parts, axis=0))

    def _known(self, group: str) -> Size:
        total = 1
        for letter in group:
            size = self.sizes[letter]
            if size is None:
                return None
            total *= size
        return total

    def _computed(self, group: str) -> ir.Value:
        """The size of a group as a vector of one."""
        known = self._known(group)
        if known is not None:
            return self.nodes.constant(np.array([known]), "size")
        total = None
        for letter in group:
            value, axis = self.holders[letter]
            size = self.nodes("Shape", value, start=axis, end=axis + 1)
            total = size if total is None else self.nodes("Mul", total, size)
        if total is None:
            raise ValueError("a group of no letters has a known size")
        return total
