"""Streaming histograms against numpy's, in any order and any cut."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bessemer.quantize.histogram import BINS, Histogram, merged

ARRAYS = hnp.arrays(
    np.float32,
    st.integers(0, 300),
    elements=st.floats(-1e6, 1e6, width=32, allow_subnormal=False).map(lambda x: x if abs(x) > 1e-6 else 0.0),
)


def of(arrays: list[np.ndarray]) -> Histogram:
    seen = Histogram()
    for array in arrays:
        seen.add(array)
    return seen


@given(st.lists(ARRAYS, min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_counts_are_those_of_numpy(arrays: list[np.ndarray]) -> None:
    seen, values = of(arrays), np.concatenate(arrays)
    assert seen.total == values.size
    assert seen.zeros == np.count_nonzero(values == 0)
    assert seen.counts.size <= BINS
    moving = values[values != 0].astype(np.float64)
    if moving.size:
        assert (seen.lowest, seen.highest) == (min(moving.min(), 0), max(moving.max(), 0))
        place = np.floor(moving / seen.width).astype(np.int64) - seen.first
        np.testing.assert_array_equal(seen.counts, np.bincount(place, minlength=seen.counts.size))


@given(st.lists(ARRAYS, min_size=2, max_size=5))
@settings(max_examples=60, deadline=None)
def test_neither_order_nor_cut_matters(arrays: list[np.ndarray]) -> None:
    forward, backward, parts = of(arrays), of(arrays[::-1]), merged([of([array]) for array in arrays])
    for other in (backward, parts):
        assert other.width == forward.width
        kept = slice(other.first - forward.first, None)
        np.testing.assert_array_equal(np.trim_zeros(other.counts), np.trim_zeros(forward.counts[kept]))
        assert (other.lowest, other.highest, other.zeros) == (forward.lowest, forward.highest, forward.zeros)


def test_numbers_that_are_none_are_counted_apart() -> None:
    seen = of([np.array([1, np.nan, -2, np.inf], np.float32)])
    assert (seen.total, seen.unusual, seen.lowest, seen.highest) == (2, 2, -2.0, 1.0)
