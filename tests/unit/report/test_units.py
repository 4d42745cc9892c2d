"""Numbers as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bessemer.report import units


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (13964571, "13.3 MiB"),
        (None, "–"),
        (3 << 40, "3.0 TiB"),
    ],
)
def test_sizes(count: int | None, text: str) -> None:
    assert units.size(count) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (999, "999"), (3487816, "3.5 M"), (999_999, "1.0 M"), (25_000_000_000, "25.0 G")],
)
def test_counts(count: int, text: str) -> None:
    assert units.count(count) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0031, "3.1 ms"), (0.42, "0.42 s"), (18.4, "18 s"), (125, "2 min 5 s"), (None, "–")]
)
def test_durations(value: float | None, text: str) -> None:
    assert units.seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (1.19e-7, "1.19e-07"), (0.034, "0.034"), (float("inf"), "∞"), (None, "–")]
)
def test_differences(value: float | None, text: str) -> None:
    assert units.number(value) == text


@given(st.integers(min_value=0, max_value=1 << 60))
def test_scaled_numbers_stay_true(count: int) -> None:
    """The text, read back, is within its last digit of the number."""
    factors = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
    number, unit = units.size(count).split()
    assert abs(float(number) * factors[unit] - count) <= 0.051 * factors[unit]


def test_shapes() -> None:
    assert units.shape([1, "N", None]) == "1×N×?"
    assert units.shape([]) == "scalar"
