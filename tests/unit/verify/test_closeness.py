"""Named closeness: the grammar and what each name means."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bessemer.ir.errors import UsageError
from bessemer.verify.closeness import Closeness, measure

FLOATS = hnp.arrays(np.float32, hnp.array_shapes(max_dims=3, max_side=5), elements=st.floats(width=32))


@given(FLOATS)
def test_every_bound_holds_for_equal_arrays(array: np.ndarray) -> None:
    for text in ("exact", "ulp(0)", "close(0, 0)", "steps(0)"):
        assert Closeness.parse(text).holds(array, array.copy())


@given(st.floats(-1e6, 1e6, width=32), st.integers(0, 5))
def test_ulp_counts_representable_neighbours(start: float, count: int) -> None:
    ref = np.float32([start])
    got = ref.copy()
    for _ in range(count):
        got = np.nextafter(got, np.float32(np.inf))
    assert Closeness.parse(f"ulp({count + 1})").holds(ref, got)
    if count > 2:
        assert not Closeness.parse(f"ulp({count / 4})").holds(ref, got)


def test_close_judges_cancellation_at_the_scale_of_the_tensor() -> None:
    ref = np.float32([1000.0, 0.0])
    assert Closeness.parse("close(1e-4, 1e-4)").holds(ref, ref + np.float32(0.05))
    assert not Closeness.parse("close(1e-4, 1e-4)").holds(ref, ref + np.float32(0.5))


@pytest.mark.parametrize("bad", [[np.nan, 1], [np.inf, 1], [-np.inf, 1]])
def test_special_values_agree_only_with_themselves(bad: list[float]) -> None:
    ref, got = np.float32([0, 1]), np.float32(bad)
    for text in ("exact", "close(1, 1)", "snr(-100)", "ulp(9)", "steps(9)"):
        assert not Closeness.parse(text).holds(ref, got), text
        assert not Closeness.parse(text).holds(got, ref), text


def test_steps_count_integers_and_scaled_floats() -> None:
    assert Closeness.parse("steps(1)").holds(np.int8([5]), np.int8([6]))
    assert not Closeness.parse("steps(1)").holds(np.int8([5]), np.int8([7]))
    assert Closeness.parse("steps(2)").holds(np.float32([0.5]), np.float32([1.0]), step=0.25)
    assert not Closeness.parse("steps(1)").holds(np.float32([0.5]), np.float32([1.0]), step=0.25)


def test_alternatives_hold_when_one_does() -> None:
    bound = Closeness.parse("exact or snr(20)")
    assert str(bound) == "exact or snr(20)"
    assert bound.holds(np.float32([1, 2]), np.float32([1, 2.01]))
    assert not bound.holds(np.float32([1, 2]), np.float32([2, 1]))


def test_snr_is_ten_log_of_power_ratio() -> None:
    found = measure(np.float32([3, 4]), np.float32([3, 3.5]))
    assert found.snr == pytest.approx(20.0)
    assert found.max_abs == 0.5


def test_shapes_that_differ_are_never_close() -> None:
    assert not Closeness.parse("snr(-100)").holds(np.zeros((2, 1)), np.zeros((1, 2)))


@pytest.mark.parametrize("text", ["", "near", "close(1)", "exact(1)", "snr(x)", "close(1,2,3)"])
def test_a_wrong_bound_names_the_grammar(text: str) -> None:
    with pytest.raises(UsageError, match=r"not a named closeness.*close\(1e-4, 1e-4\)"):
        Closeness.parse(text)
