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
    """Inputs as the artifact wants them (renamed, transposed, cast)."""
    fed: dict[str, Array] = {}
    for name, array in arrays.items():
        border = borders.get(name)
        if border is None:
            continue
        if not isinstance(array, np.ndarray):
            fed[border.name] = array  # sequences and optionals cross as they are
            continue
        moved = array if border.perm is None else array.transpose(border.perm)
        fed[border.name] = (
            moved
            if border.dtype in ("", "str", "sequence", "optional")
            else moved.astype(named_dtype(border.dtype))
        )
    return fed


def from_artifact(array: Array, border: Border) -> Array:
    """An artifact's tensor in the original's axis order; sequences and optionals as they are."""
    return array if border.perm is None else array.transpose(inverse(border.perm))


@dataclass
class Tally:
    """Worst case of one output over all sets."""

    worst: Difference | None = None
    within: bool = True
    step: float | None = None
    drawn: bool = False
    """Whether the output is drawn at random: then the same distribution is enough."""
    agreeing: list[float] = field(default_factory=list)

    def add(self, ref: Any, got: Any, bound: Closeness) -> None:
        """Count one more comparison: of tensors, of sequences item by item, of optionals (None: empty)."""
        if isinstance(ref, (list, tuple)) and isinstance(got, (list, tuple)) and len(ref) == len(got):
            for mine, theirs in zip(ref, got, strict=True):
                self.add(mine, theirs, bound)
        elif ref is None and got is None:
            return
        elif ref is None or got is None or isinstance(ref, (list, tuple)) or isinstance(got, (list, tuple)):
            self.within, self.worst = False, Difference(np.inf, np.inf, -np.inf, None, False)
        else:
            reference = np.asarray(ref)
            self._add(reference, _like(np.asarray(got), reference), bound)

    def _add(self, ref: Array, got: Array, bound: Closeness) -> None:
        found = measure(ref, got)
        self.within &= bound.holds(ref, got, step=self.step) or (self.drawn and same_distribution(ref, got))
        if found.top1 is not None:
            self.agreeing.append(found.top1)
        self.worst = found if self.worst is None else _worse(self.worst, found)

    def record(self, name: str) -> OutputCloseness:
        """The line of the evidence."""
        worst = self.worst or Difference(0.0, 0.0, np.inf, None, True)
        return OutputCloseness(
            name=name,
            max_abs=_finite(worst.max_abs),
            max_rel=_finite(worst.max_rel),
            snr=worst.snr if np.isfinite(worst.snr) else None,
            top1=float(np.mean(self.agreeing)) if self.agreeing else None,
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
