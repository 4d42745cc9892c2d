"""Find the first value, in execution order, where artifact and original part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bessemer.ir.encoding import Encoding
from bessemer.ir.errors import BessemerError
from bessemer.ir.types import Array, named_dtype
from bessemer.runners.base import Runner
from bessemer.targets.base import Border
from bessemer.verify.closeness import Closeness, measure
from bessemer.verify.compare import from_artifact, to_artifact
from bessemer.verify.evidence import Divergence
from bessemer.verify.inputs import InputSet

CHUNK = 24
"""Values tapped at once: bounds the memory of the search to that many activations on each side."""


@dataclass(frozen=True)
class Landmark:
    """A value that both sides can show.

    original: name and axis order in the original; artifact: where it stands in the artifact; mine, theirs: what
    integers mean on either side, for a value with an encoding.
    """

    original: Border
    artifact: Border
    layer: str
    op: str
    mine: Encoding | None = None
    theirs: Encoding | None = None


def first_divergence(
    original: Runner,
    artifact: Runner,
    inputs: Mapping[str, Border],
    item: InputSet,
    landmarks: Sequence[Landmark],
    bound: Closeness,
) -> Divergence | None:
    """Tap both sides in execution order, a chunk at a time, and stop at the first value out of `bound`."""
    fed = to_artifact(item.arrays, inputs)
    for chunk in _chunks(landmarks):
        try:
            mine = original.tap(item.original, [mark.original.name for mark in chunk])
            theirs = artifact.tap(fed, [mark.artifact.name for mark in chunk])
        except BessemerError:
            return None  # a runtime that cannot be tapped shows no intermediate values: the outputs' line stands alone
        for mark in chunk:
            found = _departs(mark, mine, theirs, bound)
            if found is not None:
                return found
    return None


def _chunks(landmarks: Sequence[Landmark]) -> Iterator[Sequence[Landmark]]:
    for start in range(0, len(landmarks), CHUNK):
        yield landmarks[start : start + CHUNK]


def real_values(array: Array, encoding: Encoding) -> Array:
    """What an array of a quantized value means: integers are dequantized, floats rounded as they would be stored."""
    integers = array if array.dtype == named_dtype(encoding.dtype.lower()) else encoding.quantize(array)
    return encoding.dequantize(integers)


def _departs(
    mark: Landmark, mine: Mapping[str, Array], theirs: Mapping[str, Array], bound: Closeness
) -> Divergence | None:
    ref, got = mine.get(mark.original.name), theirs.get(mark.artifact.name)
    if not isinstance(ref, np.ndarray) or not isinstance(got, np.ndarray):
        return None  # absent, or a sequence
    ref, got = from_artifact(ref, mark.original), from_artifact(got, mark.artifact)
    if mark.mine is not None and mark.theirs is not None:
        ref, got = real_values(ref, mark.mine), real_values(got, mark.theirs)
    if ref.shape != got.shape or ref.dtype.kind in "OUS" or ref.dtype.kind != got.dtype.kind:
        return None  # not the same kind of value: nothing can be said of it
    step = float(mark.mine.scale) if mark.mine is not None and mark.mine.per_tensor else None
    if bound.holds(ref, got.astype(ref.dtype), step=step):
        return None
    found = measure(ref, got)
    snr = found.snr if np.isfinite(found.snr) else None
    return Divergence(
        value=mark.original.name,
        layer=mark.layer,
        op=mark.op,
        max_abs=float(min(found.max_abs, np.finfo(np.float64).max)),
        snr=snr,
    )
