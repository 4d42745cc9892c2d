"""Run the float model over the calibration data and keep statistics, never activations."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.errors import UsageError
from bessemer.ir.types import Array
from bessemer.quantize.histogram import Histogram
from bessemer.runners.graph import GraphRunner

if TYPE_CHECKING:
    import onnx_ir

Sample = Mapping[str, Array]


@dataclass
class Statistics:
    """What was seen. Memory: a histogram per value. limits: ranges that somebody asked for, by the value's name."""

    histograms: dict[str, Histogram] = field(default_factory=dict)
    samples: int = 0
    limits: dict[str, tuple[float, float]] = field(default_factory=dict)


def observe(graph: onnx_ir.Model, names: Sequence[str], samples: Iterable[Sample]) -> Statistics:
    """Statistics of the named values over all samples; graph inputs are read off the samples themselves.

    Raises UsageError when a value is not finite: its range cannot be known.
    """
    seen = Statistics({name: Histogram() for name in names})
    inputs = {value.name for value in graph.graph.inputs}
    inner = [name for name in names if name not in inputs]
    outer = [name for name in names if name in inputs]

    def count(found: Mapping[str, Array]) -> None:
        list(pool.map(lambda item: seen.histograms[item[0]].add(item[1]), found.items()))

    def noted(sample: Sample) -> Sample:
        count({name: sample[name] for name in outer})
        seen.samples += 1
        return sample

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for found in _answers(graph, inner, map(noted, samples)):
            count(found)
    if not seen.samples:
        raise UsageError("The calibration data holds no sample")
    _finite(seen)
    return seen


def _answers(graph: onnx_ir.Model, names: Sequence[str], samples: Iterable[Sample]) -> Iterable[Mapping[str, Array]]:
    """The named values of the graph for each sample; nothing of the graph runs where none is named."""
    return GraphRunner(graph, names, threads=1).each(samples) if names else ({} for _ in samples)


def _finite(seen: Statistics) -> None:
    bad = [name for name, item in seen.histograms.items() if item.unusual]
    if bad:
        raise UsageError(
            f"Calibration met NaN or infinite numbers in '{bad[0]}' and {len(bad) - 1} other values",
            why="a range cannot be chosen from them",
            fix="Check the data and its preprocessing",
        )


def channel_means(arrays: Iterable[Array], axis: int) -> Array:
    """Mean over everything but `axis`, in float64."""
    total, count = None, 0
    for array in arrays:
        moved = np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)
        part = moved.sum(1, dtype=np.float64)
        total, count = part if total is None else total + part, count + moved.shape[1]
    if total is None:
        raise ValueError("no arrays")
    return np.asarray(total / count)
