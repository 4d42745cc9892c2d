"""Streaming statistics of one value: memory O(bins), whatever flows by.

Bins are half-open intervals [i w, (i+1) w) of a power-of-two width w, anchored at zero. When the range outgrows the
bins, w doubles and pairs of bins merge exactly, so the counts do not depend on the order of the data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from bessemer.ir.types import Array

BINS = 4096
"""Most bins of one histogram; between half of them and all are in use."""

CHUNK = 1 << 15
"""Elements binned at once: small enough that the scratch memory stays in the processor's cache."""


@dataclass
class Histogram:
    """Counts of the finite, non-zero elements seen; zeros, which every affine encoding represents, are apart.

    lowest, highest: extremes seen (0 included). means: (lowest, highest) averaged over updates.
    """

    width: float = 0.0
    first: int = 0
    counts: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    zeros: int = 0
    lowest: float = 0.0
    highest: float = 0.0
    mean_low: float = 0.0
    mean_high: float = 0.0
    updates: int = 0
    unusual: int = 0
    """NaN and infinite elements: counted, never binned."""

    def add(self, array: Array) -> None:
        """Take in one array of floats of any shape."""
        flat = np.ascontiguousarray(array, np.float32).reshape(-1)
        if not flat.size:
            return None
        low, high = float(flat.min()), float(flat.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            kept = flat[np.isfinite(flat)]
            self.unusual += flat.size - kept.size
            return self.add(kept)
        self._moved(low, high)
        self._fit(min(low, 0.0), max(high, 0.0))
        for start in range(0, flat.size, CHUNK):
            self._bin(flat[start : start + CHUNK])
        return None

    def _moved(self, low: float, high: float) -> None:
        self.lowest, self.highest = min(self.lowest, low), max(self.highest, high)
        self.updates += 1
        self.mean_low += (min(low, 0.0) - self.mean_low) / self.updates
        self.mean_high += (max(high, 0.0) - self.mean_high) / self.updates

    def _fit(self, low: float, high: float) -> None:
        """Widen the bins until [low, high] and all that was seen fit."""
        if low == high:
            return
        if not self.width:
            self.width = 2.0 ** (math.floor(math.log2((high - low) / BINS)) + 1)
        while True:
            first, last = math.floor(low / self.width), math.floor(high / self.width)
            if self.counts.size:
                first, last = min(first, self.first), max(last, self.first + self.counts.size - 1)
            if last - first < BINS:
                break
            self._double()
        grown = np.zeros(last - first + 1, np.int64)
        if self.counts.size:
            grown[self.first - first :][: self.counts.size] = self.counts
        self.first, self.counts = first, grown

    def _double(self) -> None:
        self.width *= 2
        if not self.counts.size:
            return
        padded = np.concatenate([np.zeros(self.first % 2, np.int64), self.counts])
        padded = np.concatenate([padded, np.zeros(padded.size % 2, np.int64)])
        self.first, self.counts = self.first // 2, padded.reshape(-1, 2).sum(1)

    def _bin(self, flat: Array) -> None:
        zeros = int(np.count_nonzero(flat == 0))
        self.zeros += zeros
        if zeros == flat.size:
            return
        place = flat * np.float32(1 / self.width)  # exact: the width is a power of two
        np.floor(place, out=place)
        place -= np.float32(self.first)
        self.counts += np.bincount(place.astype(np.intp), minlength=self.counts.size)
        self.counts[-self.first] -= zeros  # [0, w) took them in

    @property
    def total(self) -> int:
        """Elements seen, zeros included."""
        return int(self.counts.sum()) + self.zeros

    @property
    def centres(self) -> Array:
        """Middle of every bin, float64."""
        return np.asarray((np.arange(self.counts.size) + self.first + 0.5) * self.width)

    @property
    def edges(self) -> Array:
        """Borders of the bins, one more than bins, float64."""
        return np.asarray((np.arange(self.counts.size + 1) + self.first) * self.width)


def merged(parts: list[Histogram]) -> Histogram:
    """One histogram of everything that several saw."""
    result = Histogram()
    for part in parts:
        _merge(result, part)
    return result


def _merge(into: Histogram, part: Histogram) -> None:
    into.zeros += part.zeros
    into.unusual += part.unusual
    into.lowest, into.highest = min(into.lowest, part.lowest), max(into.highest, part.highest)
    into.mean_low, into.mean_high = min(into.mean_low, part.mean_low), max(into.mean_high, part.mean_high)
    into.updates = max(into.updates, part.updates)
    if not part.counts.size:
        return
    other = Histogram(part.width, part.first, part.counts.copy())
    into.width = into.width or other.width
    while other.width < into.width:
        other._double()
    while into.width < other.width:
        into._double()
    into._fit(other.first * into.width, (other.first + other.counts.size - 1) * into.width)
    if into.width != other.width:  # the union needed wider bins
        _merge_counts(into, other)
        return
    into.counts[other.first - into.first :][: other.counts.size] += other.counts


def _merge_counts(into: Histogram, other: Histogram) -> None:
    while other.width < into.width:
        other._double()
    into.counts[other.first - into.first :][: other.counts.size] += other.counts
