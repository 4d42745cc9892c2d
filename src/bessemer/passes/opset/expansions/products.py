"""Sums of products: Einsum and the discrete Fourier transform as products of matrices."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.types import int64s
from bessemer.passes.expansion import Nodes
from bessemer.passes.opset.expansions.nodes import expansion, given, numpy_type
from bessemer.passes.rewrite import constant, dims

if TYPE_CHECKING:
    import onnx_ir


class _Term:
    """A tensor and the letter of each of its axes."""

    def __init__(self, value: Any, letters: str) -> None:
        self.value, self.letters = value, letters


@expansion(12, "Einsum")
def einsum(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """Einsum: 'sum over the letters that the output lacks', operand by operand, for known sizes."""
    equation = (node.attributes.get_string("equation", "") or "").replace(" ", "")
    left, arrow, result = equation.partition("->")
    operands = left.split(",")
    if "." in equation or len(operands) != len(node.inputs):
        return None
    if not arrow:
        result = "".join(
            sorted(letter for letter in set(left) if letter.isalpha() and left.count(letter) == 1)
        )
    sizes: dict[str, int] = {}
    for letters, value in zip(operands, node.inputs, strict=True):
        known = dims(value)
        if known is None or len(known) != len(letters) or len(set(letters)) != len(letters):
            return None
        if any(sizes.setdefault(letter, size) != size for letter, size in zip(letters, known, strict=True)):
            return None  # a size of one is broadcast
    terms = [_Term(value, letters) for value, letters in zip(node.inputs, operands, strict=True)]
    for place in range(len(terms)):
        needed = set(result).union(*(term.letters for other, term in enumerate(terms) if other != place))
        terms[place] = _summed(n, terms[place], needed)
    total = terms[0]
    for place, term in enumerate(terms[1:], 1):
        total = _joined(
            n, total, term, set(result).union(*(later.letters for later in terms[place + 1 :])), sizes
        )
    return [_ordered(n, total, result).value]


def _summed(n: Nodes, term: _Term, needed: set[str]) -> _Term:
    """Without the letters that nobody else needs."""
    gone = [place for place, letter in enumerate(term.letters) if letter not in needed]
    if not gone:
        return term
    kept = "".join(letter for letter in term.letters if letter in needed)
    return _Term(n("ReduceSum", term.value, int64s(gone), keepdims=0), kept)


def _ordered(n: Nodes, term: _Term, letters: str) -> _Term:
    if term.letters == letters:
        return term
    perm = [term.letters.index(letter) for letter in letters]
    return _Term(n("Transpose", term.value, perm=perm), letters)


def _joined(n: Nodes, left: _Term, right: _Term, needed: set[str], sizes: dict[str, int]) -> _Term:
    """One product of matrices: shared letters that are needed count them, the other shared ones are summed."""
    shared = [letter for letter in left.letters if letter in right.letters]
    batch = "".join(letter for letter in shared if letter in needed)
    inner = "".join(letter for letter in shared if letter not in needed)
    rows = "".join(letter for letter in left.letters if letter not in shared)
    columns = "".join(letter for letter in right.letters if letter not in shared)

    def size(letters: str) -> int:
        return prod(sizes[letter] for letter in letters)

    a = n(
        "Reshape",
        _ordered(n, left, batch + rows + inner).value,
        int64s([size(batch), size(rows), size(inner)]),
    )
    b = n(
        "Reshape",
        _ordered(n, right, batch + inner + columns).value,
        int64s([size(batch), size(inner), size(columns)]),
    )
    letters = batch + rows + columns
    return _Term(n("Reshape", n("MatMul", a, b), int64s([sizes[letter] for letter in letters])), letters)


@expansion(17, "DFT")
def dft(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """DFT of a known length: products with the matrices of cosines and sines."""
    import onnx_ir

    size, kind = dims(node.inputs[0]), numpy_type(node.inputs[0])
    axis, length = constant(given(node, 2)), constant(given(node, 1))
    computed = any(
        given(node, place) is not None and known is None for place, known in ((2, axis), (1, length))
    )
    if size is None or kind is None or kind.kind != "f" or computed or length is not None or 0 in size:
        return None
    rank, inverse = len(size), node.attributes.get_int("inverse", 0) == 1
    along = (-2 if axis is None else int(axis.reshape(-1)[0])) % rank
    one_sided = node.attributes.get_int("onesided", 0) == 1
    if along == rank - 1 or (one_sided and inverse):
        return None
    count = size[along]
    turns = np.outer(np.arange(count), np.arange(count // 2 + 1 if one_sided else count)) * (
        2 * np.pi / count
    )
    share = 1 / count if inverse else 1.0
    cosines, sines = np.cos(turns) * share, np.sin(turns) * (share if inverse else -share)
    perm = [place for place in range(rank - 1) if place != along] + [along]
    exact = n(
        "Cast", node.inputs[0], to=int(onnx_ir.DataType.DOUBLE)
    )  # a product of matrices sums in no good order
    parts = [
        n("Transpose", n("Gather", exact, np.array(part, np.int64), axis=rank - 1), perm=perm)
        for part in range(size[-1])
    ]
    real, imaginary = ([n("MatMul", part, matrix) for part in parts] for matrix in (cosines, sines))
    whole = [real[0], imaginary[0]]
    if len(parts) == 2:
        whole = [n("Sub", real[0], imaginary[1]), n("Add", imaginary[0], real[1])]
    back = [perm.index(place) for place in range(rank - 1)]
    turned = [n("Unsqueeze", n("Transpose", part, perm=back), int64s([rank - 1])) for part in whole]
    joined = reduce(lambda a, b: n("Concat", a, b, axis=rank - 1), turned)
    return [n("Cast", joined, to=int(onnx_ir.DataType.from_numpy(kind)))]
