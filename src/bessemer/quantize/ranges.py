"""From statistics to the real range that integers will span."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bessemer.ir.types import Array
from bessemer.quantize.histogram import Histogram

Range = tuple[float, float]

METHODS = ("minmax", "average", "percentile", "entropy", "mse")


@dataclass(frozen=True)
class RangeMethod:
    """How a range is chosen.

    method: one of METHODS; percentile: share of elements kept, in percent, for 'percentile'; levels: integers
    available (256 for 8 bits); symmetric: the range must be [-r, r]; power_of_two: the step between integers will be
    rounded up to a power of two, which 'mse' reckons with.
    """

    method: str = "mse"
    percentile: float = 99.99
    levels: int = 256
    symmetric: bool = False
    power_of_two: bool = False

    def step(self, width: Array) -> Array:
        """Between integers that span so much."""
        real = width / (self.levels - 1)
        return np.exp2(np.ceil(np.log2(real, where=real > 0, out=np.zeros_like(real)))) if self.power_of_two else real


def choose(seen: Histogram, how: RangeMethod) -> Range:
    """(low, high) with low <= 0 <= high."""
    if not seen.counts.size:
        return 0.0, 0.0
    low, high = _CHOICES[how.method](seen, how)
    if how.symmetric:
        reach = max(-low, high)
        return -reach, reach
    return low, high


def minmax(seen: Histogram, how: RangeMethod) -> Range:
    """Everything that was seen."""
    return seen.lowest, seen.highest


def average(seen: Histogram, how: RangeMethod) -> Range:
    """Extremes averaged over the samples (the moving average of a finite stream)."""
    return seen.mean_low, seen.mean_high


def percentile(seen: Histogram, how: RangeMethod) -> Range:
    """The tails beyond the percentile are cut, on either side; linear inside a bin."""
    cut = 1 - how.percentile / 100
    return quantiles(seen, cut, 1 - cut)


def quantiles(seen: Histogram, below: float, above: float) -> Range:
    """Where these shares of the elements lie below; (low, high) with low <= 0 <= high."""
    if not seen.counts.size:
        return 0.0, 0.0
    counts = seen.counts.astype(np.float64)
    counts[-seen.first if 0 <= -seen.first < counts.size else 0] += seen.zeros
    reached = np.concatenate([[0.0], np.cumsum(counts)]) / seen.total
    low, high = (float(np.interp(share, reached, seen.edges)) for share in (below, above))
    return max(min(low, 0.0), seen.lowest), min(max(high, 0.0), seen.highest)


STEPS = 96
"""Candidate clips on each side that mse and entropy try, from a tenth of the extreme to all of it."""


def mse(seen: Histogram, how: RangeMethod) -> Range:
    """The range with the least expected squared error: s^2/12 inside (Jacob et al.'s uniform noise), distance outside.

    Prefix sums of the histogram make a candidate O(1), so both sides are searched together.
    """
    centres, counts = seen.centres, seen.counts.astype(np.float64)
    mass, first, second = (
        np.concatenate([[0.0], np.cumsum(counts * power)]) for power in (1.0, centres, centres**2)
    )
    lows, highs = _candidates(seen.lowest), _candidates(seen.highest)
    if how.symmetric:
        reach = max(-seen.lowest, seen.highest)
        highs = _candidates(reach)
        lows, pairs = -highs, True
    else:
        pairs = False
    below, above = np.searchsorted(centres, lows), np.searchsorted(centres, highs)
    cut_low = second[below] - 2 * lows * first[below] + lows**2 * mass[below]
    cut_high = (
        second[-1] - second[above] - 2 * highs * (first[-1] - first[above]) + highs**2 * (mass[-1] - mass[above])
    )
    if pairs:
        noise = how.step(highs - lows) ** 2 / 12 * (mass[above] - mass[below])
        best = int(np.argmin(noise + cut_low + cut_high))
        return float(lows[best]), float(highs[best])
    step = how.step(highs[None, :] - lows[:, None])
    inside = np.maximum(mass[above][None, :] - mass[below][:, None], 0)
    loss = step**2 / 12 * inside + cut_low[:, None] + cut_high[None, :]
    row, column = np.unravel_index(int(np.argmin(loss)), loss.shape)
    return float(lows[row]), float(highs[column])


def _candidates(extreme: float) -> Array:
    return np.asarray(extreme * np.linspace(0.1, 1.0, STEPS)) if extreme else np.zeros(1)


KL_BINS = 2048
"""Candidates that entropy tries at most, as in the published procedure."""


TRACE = 1e-4
"""Counts that Q holds where P fills an edge bin with nothing but what lies beyond (the smoothing that ONNX Runtime does)."""


def entropy(seen: Histogram, how: RangeMethod) -> Range:
    """The clip whose quantized histogram diverges least from the clipped one (Kullback-Leibler).

    Migacz, "8-bit Inference with TensorRT", GTC 2017: for every i, P holds the first i bins, its last
    one what lies beyond, too; Q is those bins (without what lies beyond) merged into as many as there are integers and
    spread again over the bins that P fills; the i with the least sum of P log(P / Q) wins. There, x are magnitudes and
    128 integers serve one side. Here both sides are kept and all integers serve what lies between the clips, so that a
    one-sided value has 256 of them; zeros, which are exact under any scale, do not count; merged bins differ by at most
    one in size where their number is no multiple (ONNX Runtime leaves that rest empty in Q, so that such
    candidates hardly ever win there).
    """
    counts, width, first = _coarse(seen)
    last = first + counts.size
    halves = np.arange(1, max(-first, last) + 1)
    left, right = np.maximum(-halves, first) - first, np.minimum(halves, last) - first
    enough = right - left >= how.levels
    if not enough.any():
        return seen.lowest, seen.highest
    losses = divergences(counts, left[enough], right[enough], how.levels)
    bound = float(halves[enough][np.argmin(losses)]) * width
    return max(-bound, seen.lowest), min(bound, seen.highest)


def _coarse(seen: Histogram) -> tuple[Array, float, int]:
    """(counts, width of a bin, place of the first): bins merged in pairs until there are few enough on either side."""
    counts, width, first = seen.counts.astype(np.float64), seen.width, seen.first
    while max(-first, first + counts.size) > KL_BINS:
        padded = np.concatenate([np.zeros(first % 2), counts])
        padded = np.concatenate([padded, np.zeros(padded.size % 2)])
        counts, width, first = padded.reshape(-1, 2).sum(1), 2 * width, first // 2
    return counts, width, first


def divergences(counts: Array, left: Array, right: Array, levels: int) -> Array:
    """KL(P, Q) for the bins left[k]..right[k] of each candidate; infinite where nothing lies between them.

    With prefix sums: sum P log P over bins, less, for every merged bin, its share of P times the log of its height in Q.
    """
    mass, filled, self_log = (
        np.concatenate([[0.0], np.cumsum(part)]) for part in (counts, counts > 0, _xlogx(counts))
    )
    total = mass[-1]
    below, above = mass[left], total - mass[right]
    low, high = counts[left], counts[right - 1]
    self_term = self_log[right] - self_log[left]
    self_term += _xlogx(low + below) - _xlogx(low) + _xlogx(high + above) - _xlogx(high)
    borders = left[:, None] + -(-np.arange(levels + 1) * (right - left)[:, None] // levels)
    sums = np.diff(mass[borders], axis=1)
    bins = np.diff(filled[borders], axis=1)
    bins[:, 0] += (low == 0) & (below > 0)
    bins[:, -1] += (high == 0) & (above > 0)
    shares = sums.copy()
    shares[:, 0] += below
    shares[:, -1] += above
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(shares > 0, shares * np.log(np.maximum(sums, TRACE) / bins), 0.0)
        inside = mass[right] - mass[left]
        found = (self_term - logs.sum(1)) / total - np.log(total) + np.log(inside)
    return np.asarray(np.where(np.isfinite(found), found, np.inf))


def _xlogx(array: Array) -> Array:
    return np.asarray(array * np.log(np.maximum(array, 1e-300)))


_CHOICES: dict[str, Callable[[Histogram, RangeMethod], Range]] = {
    "minmax": minmax,
    "average": average,
    "percentile": percentile,
    "entropy": entropy,
    "mse": mse,
}
