"""Chosen ranges against brute force over the data itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnxruntime.quantization.calibrate import HistogramCollector

from bessemer.quantize.histogram import Histogram
from bessemer.quantize.ranges import METHODS, RangeMethod, choose, divergences


def histogram(data: np.ndarray, cuts: int = 4) -> Histogram:
    seen = Histogram()
    for part in np.array_split(data, cuts):
        seen.add(part)
    return seen


def error(data: np.ndarray, low: float, high: float, levels: int = 256) -> float:
    scale = (high - low) / (levels - 1)
    zero = np.rint(-low / scale)
    steps = np.clip(np.rint(data / scale) + zero, 0, levels - 1)
    return float(np.mean(((steps - zero) * scale - data) ** 2))


def samples(name: str) -> np.ndarray:
    rng = np.random.default_rng(3)
    normal = rng.standard_normal(40000)
    data = {
        "normal": normal,
        "one-sided": np.maximum(normal, 0),
        "long tail": rng.standard_t(3, 40000),
        "shifted": normal + 2,
    }[name]
    return data.astype(np.float32)


KINDS = ["normal", "one-sided", "long tail", "shifted"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("levels", [16, 256])
def test_mse_is_near_the_best_of_a_brute_force_search(kind: str, levels: int) -> None:
    data = samples(kind)
    low, high = choose(histogram(data), RangeMethod("mse", levels=levels))
    ends = np.linspace(0.02, 1, 50)
    bottom, top = min(float(data.min()), 0.0), float(data.max())
    least = min(error(data, bottom * a, top * b, levels) for a in ends for b in ends)
    assert error(data, low, high, levels) <= 1.1 * least


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [99.0, 99.9, 100.0])
def test_percentile_is_that_of_numpy(kind: str, share: float) -> None:
    data = samples(kind)
    low, high = choose(histogram(data), RangeMethod("percentile", percentile=share))
    want = np.percentile(data, [100 - share, share])
    width = histogram(data).width
    assert abs(low - min(want[0], 0)) <= 2 * width + 0.05 * abs(want[0])
    assert abs(high - want[1]) <= 2 * width + 0.05 * abs(want[1])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_range_holds_zero_and_nothing_unseen(method: str, kind: str) -> None:
    data = samples(kind)
    low, high = choose(histogram(data), RangeMethod(method))
    assert min(float(data.min()), 0) <= low <= 0 <= high <= float(data.max())


def test_average_is_the_mean_of_the_extremes() -> None:
    seen = Histogram()
    for top in (1.0, 2.0, 6.0):
        seen.add(np.array([-top / 2, top], np.float32))
    assert choose(seen, RangeMethod("average")) == pytest.approx((-1.5, 3.0))


@pytest.mark.parametrize("method", METHODS)
def test_symmetric_ranges_are_symmetric(method: str) -> None:
    low, high = choose(histogram(samples("shifted")), RangeMethod(method, symmetric=True))
    assert low == -high


def test_entropy_cuts_an_outlier_that_minmax_keeps() -> None:
    data = np.concatenate([samples("normal"), [1000.0]]).astype(np.float32)
    assert choose(histogram(data), RangeMethod("minmax"))[1] == 1000
    assert choose(histogram(data), RangeMethod("entropy"))[1] < 500


def test_nothing_seen_is_an_empty_range() -> None:
    assert choose(Histogram(), RangeMethod()) == (0.0, 0.0)


def slides(counts: np.ndarray, left: int, right: int, levels: int) -> float:
    """The published procedure for one candidate, step by step (Migacz, GTC 2017)."""
    total, size = counts.sum(), right - left
    p = counts[left:right].astype(np.float64)
    p[0] += counts[:left].sum()
    p[-1] += counts[right:].sum()
    q = np.zeros(size)
    for level in range(levels):
        bins = [place for place in range(size) if place * levels // size == level]
        filled = [place for place in bins if p[place] > 0]
        for place in filled:
            q[place] = max(counts[left:right][bins].sum(), 1e-4) / len(filled)
    p, q = p / total, q / counts[left:right].sum()
    some = p > 0
    return float(np.sum(p[some] * np.log(p[some] / q[some])))


@settings(max_examples=60, deadline=None)
@given(arrays(np.int64, 40, elements=st.integers(0, 9) | st.just(0)), st.integers(2, 8), st.integers(0, 30))
def test_divergences_are_those_of_the_published_procedure(counts: np.ndarray, levels: int, left: int) -> None:
    right = np.arange(left + levels, 41)
    if not right.size or not all(counts[left:end].sum() for end in right):
        return
    found = divergences(counts.astype(np.float64), np.full_like(right, left), right, levels)
    want = [slides(counts, left, int(end), levels) for end in right]
    np.testing.assert_allclose(found, want, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("half", [60, 240])
@pytest.mark.parametrize("levels", [5, 15, 31])
@pytest.mark.parametrize("kind", ["laplace", "student", "normal", "cauchy"])
def test_entropy_chooses_as_onnx_runtime_where_bins_merge_without_rest(kind: str, levels: int, half: int) -> None:
    """Where a rest stays, ONNX Runtime leaves its bins empty in Q, so that such candidates hardly ever win there."""
    x = np.arange(-half, half + 1) / half * 12
    density = {"laplace": np.exp(-np.abs(x)), "student": (1 + x**2 / 4) ** -2.5, "normal": np.exp(-(x**2) / 8),
               "cauchy": 1 / (1 + x**2)}[kind]  # fmt: skip
    counts = np.maximum(density / density.sum() * 1e12, 1).astype(np.int64)
    theirs = HistogramCollector.__new__(HistogramCollector)
    edges = np.arange(counts.size + 1, dtype=np.float64)
    low, high = theirs.get_entropy_threshold((counts, edges, np.float64(-1), np.float64(1e9), 0), levels)
    reach = np.arange(levels // 2, half + 1)
    left, right = half - reach, half + reach + 1
    whole = (right - left) % levels == 0
    best = int(np.argmin(divergences(counts.astype(np.float64), left[whole], right[whole], levels)))
    assert abs(left[whole][best] - low) <= 1
    assert abs(right[whole][best] - high) <= 1


def test_entropy_is_the_least_of_all_candidates() -> None:
    data = np.random.default_rng(2).laplace(size=20000).astype(np.float32)
    seen = histogram(data)
    low, high = choose(seen, RangeMethod("entropy", levels=128))
    halves = range(64, max(-seen.first, seen.first + seen.counts.size) + 1)
    losses = {}
    for half in halves:
        left, right = max(-half - seen.first, 0), min(half - seen.first, seen.counts.size)
        losses[half] = slides(seen.counts, left, right, 128) if right - left >= 128 else np.inf
    best = min(losses, key=losses.__getitem__) * seen.width
    assert (low, high) == (max(-best, seen.lowest), min(best, seen.highest))
