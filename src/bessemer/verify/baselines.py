"""Two baselines of a quantized artifact: what quantization loses, and what its runtime adds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from bessemer.ir.types import Array
from bessemer.runners.base import Runner
from bessemer.targets.base import Border
from bessemer.verify.compare import from_artifact, to_artifact
from bessemer.verify.judge import Reference

SETS = 16
"""Input sets that the emulation is run on, spread over all."""

ADDED = 3.0
"""Decibels that a runtime may add to the loss of its model's encodings: LiteRT and ONNX Runtime round sums otherwise
than floats do, and over depth such differences are as large as one more quantization would be, not larger."""

PLENTY = 35.0
"""Above this ratio between emulation and artifact nothing was lost, however small the emulation's own loss is."""


class Emulation(Protocol):
    """The quantized graph in float arithmetic."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name."""
        ...


@dataclass(frozen=True)
class Baselines:
    """Signal-to-noise ratios in dB, noise averaged over sets and outputs."""

    emulation: float
    artifact: float
    runtime: float

    @property
    def excess(self) -> str:
        """A sentence when the runtime loses more than the encodings account for; '' when it does not."""
        if self.artifact >= self.emulation - ADDED or self.runtime >= PLENTY:
            return ""
        return (
            f"the artifact is at {self.artifact:.1f} dB where its encodings alone lose down to {self.emulation:.1f} dB: "
            f"the runtime computes something else"
        )


def measure_baselines(
    reference: Reference,
    emulation: Emulation,
    artifact: Runner,
    inputs: Mapping[str, Border],
    outputs: Mapping[str, Border],
) -> Baselines:
    """Run emulation and artifact on the sets that the original answered."""
    noise = _Noise(), _Noise(), _Noise()
    pairs = list(zip(reference.sets, reference.answers, strict=True))
    for item, wanted in pairs[:: max(1, len(pairs) // SETS)][:SETS]:
        arrays = item.arrays
        emulated = list(emulation.run(arrays).values())
        answer = artifact.run(to_artifact(arrays, inputs))
        for place, (name, border) in enumerate(outputs.items()):
            want, made, got = wanted[name], emulated[place], from_artifact(answer[border.name], border)
            if not isinstance(want, np.ndarray) or want.dtype.kind != "f":
                continue
            for held, (right, found) in zip(noise, ((want, made), (want, got), (made, got)), strict=True):
                held.add(right, found)
    return Baselines(*(held.decibels for held in noise))


class _Noise:
    def __init__(self) -> None:
        self.shares: list[float] = []

    def add(self, right: Any, found: Any) -> None:
        wide = np.asarray(right, np.float64)
        gap = np.asarray(found, np.float64) - wide
        signal = float(np.vdot(wide, wide))
        if signal:
            self.shares.append(float(np.vdot(gap, gap)) / signal)

    @property
    def decibels(self) -> float:
        if not self.shares:
            return 140.0
        return -10 * math.log10(max(sum(self.shares) / len(self.shares), 1e-14))
