"""Calibration data: the user's files as single samples, checked before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.errors import UsageError
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
    samples = Samples(data.sets, list(data.notes))
    samples.notes += suspicions(samples, signature)
    return samples


def _single(signature: Signature) -> Signature:
    """Unbound first axes bound to one sample."""
    return replace(signature, inputs=tuple(map(_of_one, signature.inputs)))


def _of_one(spec: TensorSpec) -> TensorSpec:
    if not spec.shape or isinstance(spec.shape[0], int):
        return spec
    return replace(spec, shape=(1, *spec.shape[1:]))


LOOKED_AT = 8
"""Samples that are looked at for mistakes."""


def suspicions(samples: Sequence[Sample], signature: Signature) -> list[str]:
    """Sentences on data that is probably not what the model was trained on. Raises UsageError for NaN."""
    said = []
    for spec in signature.inputs:
        arrays = [np.asarray(samples[at][spec.name]) for at in range(min(LOOKED_AT, len(samples)))]
        if not arrays or arrays[0].dtype.kind != "f":
            continue
        values = np.concatenate([array.reshape(-1) for array in arrays])
        if not np.isfinite(values).all():
            raise UsageError(f"The calibration data for '{spec.name}' holds NaN or infinite numbers")
        if values.size and values.min() == values.max():
            said.append(f"every calibration value of '{spec.name}' is {values[0]:g}")
        elif _raw_pixels(values, len(spec.shape)):
            said.append(
                f"the calibration data for '{spec.name}' looks like raw pixels (whole numbers from {values.min():g} to "
                f"{values.max():g}): a model trained on scaled ones needs the same scaling here (--preprocess)"
            )
    return said


def _raw_pixels(values: Array, rank: int) -> bool:
    whole = bool((values == np.rint(values)).all())
    return rank >= 3 and whole and float(values.min()) >= 0 and 16 < float(values.max()) <= 255
