"""Judge an artifact's outputs against the original's, set by set, through the borders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from bessemer.ir.layout import inverse
from bessemer.ir.types import Array, named_dtype
from bessemer.targets.base import Border
from bessemer.verify.closeness import Closeness, Difference, measure
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
    """An artifact's tensor in the original's axis order."""
    return array if border.perm is None else array.transpose(inverse(border.perm))


@dataclass
class Tally:
    """Worst case of one output over all sets."""

    worst: Difference | None = None
    within: bool = True
    step: float | None = None
    agreeing: list[float] = field(default_factory=list)

    def add(self, ref: Array, got: Array, bound: Closeness) -> None:
        """Count one more comparison."""
        found = measure(ref, got)
        self.within &= bound.holds(ref, got, step=self.step)
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


def _finite(value: float) -> float:
    return float(min(value, np.finfo(np.float64).max))


def _worse(a: Difference, b: Difference) -> Difference:
    return Difference(
        max(a.max_abs, b.max_abs), max(a.max_rel, b.max_rel), min(a.snr, b.snr), None, a.special and b.special
    )
