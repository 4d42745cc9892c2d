"""Calibration data: the user's files as single samples (`checks.py` looks at what they hold)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bessemer.ir.signature import Signature, TensorSpec
from bessemer.ir.types import Array
from bessemer.quantize.observe import Sample
from bessemer.verify.data import Request, load
from bessemer.verify.inputs import InputSet

if TYPE_CHECKING:
    from bessemer.verify.preprocess import Preprocess

HELD = 1 << 28
"""Bytes of samples kept in memory; what is beyond is read again each time it is asked for."""


@dataclass
class Samples(Sequence[Sample]):
    """Input sets as a sequence; the first ones are kept, the others are read each time."""

    sets: tuple[InputSet, ...]
    notes: list[str] = field(default_factory=list)
    _kept: dict[int, dict[str, Array]] = field(default_factory=dict)
    _room: int = HELD

    def __len__(self) -> int:
        return len(self.sets)

    def __getitem__(self, place):  # type: ignore[no-untyped-def]  # Sequence's overloads say nothing more here
        if isinstance(place, slice):
            return [self[at] for at in range(*place.indices(len(self)))]
        at = range(len(self))[place]
        if at in self._kept:
            return self._kept[at]
        arrays = self.sets[at].arrays
        size = sum(array.nbytes for array in arrays.values())
        if size <= self._room:
            self._kept[at] = arrays
            self._room -= size
        return arrays


def calibration_samples(
    path: Path, signature: Signature, preprocess: Preprocess | None = None, limit: int = 0
) -> Samples:
    """The data at `path` one sample at a time where the model leaves the batch open.

    Raises UsageError or UnreadableInput for data that does not fit the signature.
    """
    data = load(Request(path, preprocess, limit=limit), _single(signature))
    return Samples(data.sets, list(data.notes))


def _single(signature: Signature) -> Signature:
    """Unbound first axes bound to one sample."""
    return replace(signature, inputs=tuple(map(_of_one, signature.inputs)))


def _of_one(spec: TensorSpec) -> TensorSpec:
    if not spec.shape or isinstance(spec.shape[0], int):
        return spec
    return replace(spec, shape=(1, *spec.shape[1:]))
