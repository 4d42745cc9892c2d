"""Einsum as transposes, reshapes and matrix products."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bessemer.passes.expansion import Nodes
from bessemer.passes.rewrite import dims
from bessemer.targets.tflite.expand.registry import expand

if TYPE_CHECKING:
    import onnx_ir as ir

Operand = tuple["ir.Value", str]
"""A value and the letters of its axes."""


@expand("Einsum", needs="known shapes, no letter twice in an operand, and no broadcast letter")
def einsum(nodes: Nodes, node: ir.Node) -> Sequence[ir.Value] | None:
    """Operands are joined from the left; letters that nothing later asks for are summed as soon as possible."""
    values = [v for v in node.inputs if v is not None]
    shapes = [shape for shape in map(dims, values) if shape is not None]
    if len(shapes) != len(values):
        return None
    terms, result = parse(node.attributes.get_string("equation", ""), [len(shape) for shape in shapes])
    if any(len(set(term)) != len(term) for term in terms):
        return None
    sizes = _sizes(shapes, terms)
    if sizes is None:
        return None
    operands = list(zip(values, terms, strict=True))
    total = operands[0]
    for place, operand in enumerate(operands[1:], start=2):
        later = set(result).union(*terms[place:])
        total = _product(nodes, total, operand, later, sizes)
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


def _sizes(shapes: Sequence[Sequence[int]], terms: list[str]) -> dict[str, int] | None:
    """Size of each letter; None where one is broadcast."""
    sizes: dict[str, int] = {}
    for shape, term in zip(shapes, terms, strict=True):
        for letter, dim in zip(term, shape, strict=True):
            if sizes.setdefault(letter, dim) != dim:
                return None
    return sizes


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


def _product(nodes: Nodes, a: Operand, b: Operand, later: set[str], sizes: dict[str, int]) -> Operand:
    """One matrix product: shared letters that stay are batches, shared ones that go are summed."""
    a = _reduced(nodes, a, later | set(b[1]))
    b = _reduced(nodes, b, later | set(a[1]))
    shared = [letter for letter in a[1] if letter in b[1]]
    batch = "".join(letter for letter in shared if letter in later)
    inner = "".join(letter for letter in shared if letter not in later)
    rows = "".join(letter for letter in a[1] if letter not in b[1])
    columns = "".join(letter for letter in b[1] if letter not in a[1])

    def flat(operand: Operand, *groups: str) -> ir.Value:
        arranged = _arranged(nodes, operand, batch + "".join(groups))
        shape = [sizes[x] for x in batch] + [_size(group, sizes) for group in groups]
        return nodes("Reshape", arranged, nodes.constant(np.array(shape), "shape"), allowzero=1)

    product = nodes("MatMul", flat(a, rows, inner), flat(b, inner, columns))
    term = batch + rows + columns
    shape = nodes.constant(np.array([sizes[x] for x in term], np.int64), "shape")
    return nodes("Reshape", product, shape, allowzero=1), term


def _size(letters: str, sizes: dict[str, int]) -> int:
    total = 1
    for letter in letters:
        total *= sizes[letter]
    return total
