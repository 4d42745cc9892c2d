"""Judge an artifact's outputs against the original's, set by set, through the borders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bessemer.ir.layout import inverse
from bessemer.ir.types import Array, named_dtype
from bessemer.targets.base import Border
from bessemer.verify.closeness import Closeness, Difference, measure
from bessemer.verify.drawn import same_distribution
from bessemer.verify.evidence import OutputCloseness


def to_artifact(arrays: Mapping[str, Array], borders: Mapping[str, Border]) -> dict[str, Array]:
    """Inputs as the artifact wants them (renamed, transposed, cast, quantized)."""
    fed: dict[str, Array] = {}
    for name, array in arrays.items():
        border = borders.get(name)
        if border is None:
            continue
        if not isinstance(array, np.ndarray):
            fed[border.name] = array  # sequences and optionals cross as they are
            continue
        moved = array if border.perm is None else array.transpose(border.perm)
        if border.encoding is not None:
            fed[border.name] = border.encoding.quantize(moved)
            continue
        fed[border.name] = (
            moved
            if border.dtype in ("", "str", "sequence", "optional")
            else moved.astype(named_dtype(border.dtype))
        )
    return fed


def from_artifact(array: Array, border: Border) -> Array:
    """An artifact's tensor in the original's axis order and in real numbers; sequences and optionals as they are."""
    real = array if border.encoding is None else border.encoding.dequantize(array)
    return real if border.perm is None else real.transpose(inverse(border.perm))


MANY = 16
"""Input sets from which on a signal-to-noise ratio is that of all of them: the user's data speaks as a whole, and one
image among hundreds on which a softmax tips over fails nothing. Fewer sets, as generated ones, are held one by one."""


@dataclass
class Tally:
    """One output over all sets: the worst case; the share of rows that agree, of all rows; the mean share of noise."""

    bound: Closeness
    step: float | None = None
    drawn: bool = False
    """Whether the output is drawn at random: then the same distribution is enough."""
    worst: Difference | None = None
    each: bool = True
    """Whether every set by itself holds the bound."""
    agreeing: list[tuple[float, int]] = field(default_factory=list)
    noise: list[float] = field(default_factory=list)
    """Noise power over signal power of each set."""

    def add(self, ref: Any, got: Any) -> bool:
        """Count one more comparison, of tensors, of sequences item by item, of optionals (None: empty).

        Returns whether it holds the bound by itself.
        """
        if isinstance(ref, (list, tuple)) and isinstance(got, (list, tuple)) and len(ref) == len(got):
            held = [self.add(mine, theirs) for mine, theirs in zip(ref, got, strict=True)]
            return all(held)
        if ref is None and got is None:
            return True
        if ref is None or got is None or isinstance(ref, (list, tuple)) or isinstance(got, (list, tuple)):
            self.each, self.worst = False, Difference(np.inf, np.inf, -np.inf, None, False)
            return False
        reference = np.asarray(ref)
        return self._add(reference, _like(np.asarray(got), reference))

    def _add(self, ref: Array, got: Array) -> bool:
        found = measure(ref, got)
        holds = self.bound.holds(ref, got, step=self.step) or (self.drawn and same_distribution(ref, got))
        self.each &= holds
        if found.top1 is not None:
            self.agreeing.append((found.top1, ref.size // ref.shape[-1]))
        self.noise.append(float(10 ** (-found.snr / 10)))
        self.worst = found if self.worst is None else _worse(self.worst, found)
        return holds

    @property
    def top1(self) -> float | None:
        """Share of all rows whose arg-max agrees; None for what is no scores."""
        if not self.agreeing:
            return None
        shares, rows = zip(*self.agreeing, strict=True)
        return float(np.average(shares, weights=rows))

    @property
    def within(self) -> bool:
        """Whether each set holds the bound, or all together a top1 of it, or many together an snr of it."""
        if self.each or self.worst is None or not self.worst.special:
            return self.each
        wanted, found = self.bound.share, self.top1
        if wanted is not None and found is not None and found >= wanted:
            return True
        ratio = self.bound.decibels
        return ratio is not None and len(self.noise) >= MANY and float(np.mean(self.noise)) <= 10 ** (-ratio / 10)

    def record(self, name: str) -> OutputCloseness:
        """The line of the evidence."""
        worst = self.worst or Difference(0.0, 0.0, np.inf, None, True)
        return OutputCloseness(
            name=name,
            max_abs=_finite(worst.max_abs),
            max_rel=_finite(worst.max_rel),
            snr=worst.snr if np.isfinite(worst.snr) else None,
            top1=self.top1,
            within=self.within,
        )


def _like(got: Array, expected: Array) -> Array:
    """The artifact's answer in the original's type, where the artifact's border type differs."""
    if got.dtype == expected.dtype or got.dtype.kind in "OUS" or expected.dtype.kind in "OUS":
        return got
    return got.astype(expected.dtype)


def _finite(value: float) -> float:
    return float(min(value, np.finfo(np.float64).max))


def _worse(a: Difference, b: Difference) -> Difference:
    return Difference(
        max(a.max_abs, b.max_abs), max(a.max_rel, b.max_rel), min(a.snr, b.snr), None, a.special and b.special
    )
