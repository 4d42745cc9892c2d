"""How near a quantized model's outputs are to the float model's, and on which samples that is asked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.model import Model
from bessemer.ir.types import Array
from bessemer.quantize.observe import Sample
from bessemer.runners.graph import GraphRunner

if TYPE_CHECKING:
    import onnx_ir

JUDGED, MORE = 16, 64
"""Samples, spread over the data, on whose outputs trials are compared: an eighth of them, within these bounds."""


LOST = -140.0
"""As far below the signal as the nearest output that is told apart is above its noise."""


@dataclass(frozen=True)
class Selected(Sequence[Sample]):
    """Some samples of a sequence, read when asked for."""

    source: Sequence[Sample]
    places: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, place):  # type: ignore[no-untyped-def]  # Sequence's overloads say nothing more here
        if isinstance(place, slice):
            return [self.source[at] for at in self.places[place]]
        return self.source[self.places[place]]


def held_out(samples: Sequence[Sample]) -> tuple[list[Sample], Sequence[Sample]]:
    """Samples on which trials are compared, and those that layer-wise steps may learn from.

    They are apart where there are at least four times JUDGED: a step that fits its own data must not be judged on it.
    """
    if len(samples) < 4 * JUDGED:
        return spread(samples, JUDGED), samples
    count = min(max(len(samples) // 8, JUDGED), MORE)
    judged = {place * len(samples) // count for place in range(count)}
    rest = tuple(place for place in range(len(samples)) if place not in judged)
    return [samples[place] for place in sorted(judged)], Selected(samples, rest)


def spread(samples: Sequence[Sample], count: int) -> list[Sample]:
    """At most `count` samples, evenly spread."""
    if len(samples) <= count:
        return list(samples)
    return [samples[place * len(samples) // count] for place in range(count)]


def clone(model: Model) -> Model:
    """The graph is cloned, tensors are shared."""
    return Model(model.graph.clone(), model.origin, list(model.notes), cut=model.cut)


class Judge:
    """Signal-to-noise ratio of a quantized model's outputs against the float model's, emulated on the same samples."""

    def __init__(self, model: Model, samples: Sequence[Sample]) -> None:
        self.samples = samples
        self.wanted = list(GraphRunner(model.graph, threads=1).each(samples))

    def __call__(self, model: Model) -> float:
        """In dB, over all outputs by their relative noise; LOST where an output is not a number."""
        runner = GraphRunner(emulated(model.graph), optimize=False, threads=1)
        signal, noise = dict[str, float](), dict[str, float]()
        for want, found in zip(self.wanted, runner.each(self.samples), strict=True):
            for (name, right), got in zip(want.items(), found.values(), strict=True):
                if right.dtype.kind != "f":
                    continue
                signal[name] = signal.get(name, 0) + energy(right)
                noise[name] = noise.get(name, 0) + energy(got - right)
        shares = [noise[name] / max(signal[name], 1e-30) for name in signal]
        if any(map(math.isnan, shares)):
            return LOST
        return -10 * math.log10(max(sum(shares) / len(shares), 1e-14)) if shares else 0.0


def energy(array: Array) -> float:
    """Sum of squares, in double precision."""
    wide: Array = np.asarray(array, np.float64)
    return float(np.vdot(wide, wide))


def emulated(graph: onnx_ir.Model, *, by_row: bool = False) -> onnx_ir.Model:
    """A copy in which every encoding acts, as Q/DQ pairs in float arithmetic; activations that are quantized while the
    model runs, as ONNX's integer operators, or row by row (by_row) as TFLite's hybrid kernels."""
    from bessemer.ir.canonical import OPSET
    from bessemer.passes.dynamic import DynamicInt8
    from bessemer.passes.dynamic_rows import DynamicRows
    from bessemer.passes.materialize import MaterializeQdq

    copy = graph.clone()
    (DynamicRows() if by_row else DynamicInt8()).run(copy)
    MaterializeQdq(OPSET).run(copy)
    return copy
