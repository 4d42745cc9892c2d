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


def entropy(seen: Histogram, how: RangeMethod) -> Range:
    """The clip whose quantized histogram diverges least from the clipped one (Kullback-Leibler; Migacz, GTC 2017).

    One-sided values are searched on their side, others symmetrically; outliers fall into the last bin kept.
    """
    reach = max(-seen.lowest, seen.highest)
    best, chosen = np.inf, reach
    for bound in _candidates(reach)[::2]:
        loss = _divergence(seen, -bound, bound, how.levels)
        if loss < best:
            best, chosen = loss, float(bound)
    return max(-chosen, seen.lowest), min(chosen, seen.highest)


def _divergence(seen: Histogram, low: float, high: float, levels: int) -> float:
    low, high = max(low, seen.lowest), min(high, seen.highest)
    inside = (seen.centres >= low) & (seen.centres <= high)
    kept = seen.counts[inside].astype(np.float64)
    if kept.size < 2 or not kept.sum():
        return float(np.inf)
    real = kept.copy()
    before = int(np.argmax(inside))
    real[0] += seen.counts[:before].sum()
    real[-1] += seen.counts[before + kept.size :].sum()
    level = np.minimum((np.arange(kept.size) * levels) // kept.size, levels - 1)
    filled = kept > 0
    sums = np.bincount(level, kept, levels)
    sizes = np.bincount(level, filled, levels)
    spread = np.where(filled, (sums / np.maximum(sizes, 1))[level], 0.0)
    p, q = real / real.sum(), spread / spread.sum()
    both = (p > 0) & (q > 0)
    lost = p[(p > 0) & (q == 0)].sum()
    return float((p[both] * np.log(p[both] / q[both])).sum() + lost * 1e3)


_CHOICES: dict[str, Callable[[Histogram, RangeMethod], Range]] = {
    "minmax": minmax,
    "average": average,
    "percentile": percentile,
    "entropy": entropy,
    "mse": mse,
}
