"""GPTQ: columns are rounded one after another, and those to come make up for the error.

Frantar et al., "GPTQ", arXiv 2210.17323: minimise ||W X - Q X||^2 row by row; H = 2 X X^T (equation 1 and section 2),
error of column j spread by the Cholesky factor of H^-1 (Algorithm 1), in lazy batches of 128 columns; damping: 1 % of
H's mean diagonal. act_order: columns in order of falling diagonal, scales fixed before (the authors' code offers it).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bessemer.ir.encoding import Encoding, QuantizedWeight
from bessemer.ir.types import Array
from bessemer.quantize.encodings.base import Format, Grain

BATCH = 128
"""Columns after which the error reaches all that remain."""


@dataclass(frozen=True)
class Gptq:
    """damping: share of the mean diagonal that is added to it; act_order: columns of much input first."""

    damping: float = 0.01
    act_order: bool = False


class Hessian:
    """H = 2 X X^T / samples, gathered input by input; float64, (inputs, inputs)."""

    def __init__(self, inputs: int) -> None:
        self.sum = np.zeros((inputs, inputs))
        self.count = 0

    def add(self, x: Array) -> None:
        """x: (..., inputs)."""
        flat = np.ascontiguousarray(x.reshape(-1, x.shape[-1]), np.float32)
        self.sum += flat.T @ flat
        self.count += flat.shape[0]

    @property
    def matrix(self) -> Array:
        """H."""
        return np.asarray(2 * self.sum / max(self.count, 1))


@dataclass(frozen=True)
class Reach:
    """How the error of a column reaches the others. order: columns as they are rounded; factor: U with U^T U = H^-1 in
    that order; dead: columns (in that order) that no input reaches.
    """

    order: Array
    factor: Array
    dead: Array

    @classmethod
    def of(cls, hessian: Array, how: Gptq) -> Reach:
        """From H, damped."""
        order = np.argsort(-np.diag(hessian), kind="stable") if how.act_order else np.arange(len(hessian))
        factor, dead = _inverse_factor(hessian[np.ix_(order, order)] if how.act_order else hessian, how.damping)
        return cls(order, factor, dead)


def gptq(rows: Array, reach: Reach, form: Format, block: int) -> QuantizedWeight:
    """Codes of `rows` (outputs, inputs), a scale for `block` inputs in a row (0: for each output)."""
    columns = rows.shape[1]
    grain = Grain(1, block) if block else Grain(0)
    fixed = form.fit(rows, grain)
    state = _State(np.array(rows[:, reach.order], np.float64), reach, form, fixed, block)
    for start in range(0, columns, BATCH):
        state.batch(start, min(start + BATCH, columns))
    codes = np.empty(rows.shape, state.codes.dtype)
    codes[:, reach.order] = state.codes
    return QuantizedWeight(codes, Encoding(form.dtype, state.scale, state.zero, grain.axis, block))


def _inverse_factor(hessian: Array, damping: float) -> tuple[Array, Array]:
    """Upper Cholesky factor of H^-1 (damped), and the columns that no input reaches."""
    matrix = np.array(hessian, np.float64)
    diagonal = np.einsum("ii->i", matrix)
    dead = diagonal <= 0
    diagonal[dead] = 1
    diagonal += damping * diagonal.mean()
    flipped = np.linalg.cholesky(matrix[::-1, ::-1])
    return inverse_upper(flipped[::-1, ::-1]), dead  # H = R R^T with R upper, so (R^-1)^T R^-1 = H^-1


def inverse_upper(matrix: Array) -> Array:
    """Inverse of an upper triangular matrix, by halves: most of the work is products."""
    size = matrix.shape[0]
    if size <= 64:
        return np.triu(np.linalg.inv(matrix))
    half = size // 2
    found = np.zeros_like(matrix, order="C")
    found[:half, :half] = inverse_upper(matrix[:half, :half])
    found[half:, half:] = inverse_upper(matrix[half:, half:])
    found[:half, half:] = -found[:half, :half] @ (matrix[:half, half:] @ found[half:, half:])
    return found


class _State:
    """The weight as it changes, (outputs, inputs in the order of rounding)."""

    def __init__(
        self, work: Array, reach: Reach, form: Format, fixed: Encoding, block: int
    ) -> None:
        self.work, self.factor, self.form, self.block, self.order = work, reach.factor, form, block, reach.order
        self.scale, self.zero = fixed.scale.copy(), fixed.zero_point.copy()
        self.in_order = bool(np.all(self.order == np.arange(self.order.size)))
        self.work[:, reach.dead] = 0
        self.codes = np.zeros(work.shape, fixed.zero_point.dtype)

    def batch(self, start: int, stop: int) -> None:
        """Round columns start..stop; the others change once at the end."""
        errors = np.zeros((self.work.shape[0], stop - start))
        for column in range(start, stop):
            if self.block and self.in_order and column % self.block == 0:
                self._refit(start, stop, column, errors)
            encoding = self._of(column)
            now = self.work[:, column]
            codes = self.form.encode(now.astype(np.float32), encoding)
            self.codes[:, column] = codes
            error = (now - encoding.dequantize(codes)) / self.factor[column, column]
            self.work[:, column + 1 : stop] -= np.outer(error, self.factor[column, column + 1 : stop])
            errors[:, column - start] = error
        self.work[:, stop:] -= errors @ self.factor[start:stop, stop:]

    def _refit(self, start: int, stop: int, column: int, errors: Array) -> None:
        """Scales of the block that starts here, from the weights as they are now."""
        last = min(column + self.block, self.work.shape[1])
        ahead = self.work[:, column:last].copy()
        if last > stop:  # what lies behind the batch has not heard of its errors yet
            ahead[:, stop - column :] -= errors @ self.factor[start:stop, stop:last]
        fitted = self.form.fit(ahead.astype(np.float32), Grain(0))
        self.scale[:, column // self.block] = fitted.scale
        self.zero[:, column // self.block] = fitted.zero_point

    def _of(self, column: int) -> Encoding:
        """The encoding of a column, one scale per output."""
        if not self.block:
            return Encoding(self.form.dtype, self.scale, self.zero, 0)
        place = int(self.order[column]) // self.block
        return Encoding(self.form.dtype, self.scale[:, place], self.zero[:, place], 0)
