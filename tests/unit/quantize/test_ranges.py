"""Chosen ranges against brute force over the data itself."""

from __future__ import annotations

import numpy as np
import pytest

from bessemer.quantize.histogram import Histogram
from bessemer.quantize.ranges import METHODS, RangeMethod, choose


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
