"""Divergence and perplexity by the definitions of llama.cpp's perplexity tool, worked out again, one position at a time."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bessemer.verify.language.tally import Tally, paired

RNG = np.random.default_rng(3)


def plainly(one: np.ndarray, two: np.ndarray, follows: np.ndarray) -> dict[str, float]:
    """In Python's floats, with the sums as they are written in a textbook."""
    divergences, surprises, averages = [], ([], []), np.zeros(one.shape[1])
    entropies = []
    for row in range(len(one)):
        p, q = (np.exp(side[row].astype(float) - max(side[row].astype(float))) for side in (one, two))
        p, q = p / math.fsum(p), q / math.fsum(q)
        divergences.append(math.fsum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0))
        entropies.append(-math.fsum(a * math.log(a) for a in p if a > 0))
        averages += p / len(one)
        if follows[row] >= 0:
            for place, side in enumerate((p, q)):
                surprises[place].append(-math.log(side[follows[row]]))
    return {
        "mean": math.fsum(divergences) / len(one),
        "largest": max(divergences),
        "top": float(np.mean(one.argmax(-1) == two.argmax(-1))),
        "one": math.exp(math.fsum(surprises[0]) / len(surprises[0])),
        "two": math.exp(math.fsum(surprises[1]) / len(surprises[1])),
        "spread": -math.fsum(a * math.log(a) for a in averages) - math.fsum(entropies) / len(one),
    }


@given(rows=st.integers(2, 40), columns=st.integers(2, 70), noise=st.floats(1e-3, 3), cut=st.integers(1, 40))
def test_figures_are_those_of_the_definitions(rows: int, columns: int, noise: float, cut: int) -> None:
    rng = np.random.default_rng(rows * 1000 + columns)
    one = (rng.standard_normal((rows, columns)) * 4).astype(np.float32)
    two = (one + rng.standard_normal((rows, columns)) * noise).astype(np.float32)
    follows = rng.integers(0, columns, rows)
    follows[-1] = -1
    tally = Tally()
    for start in range(0, rows, cut):
        tally.add(one[start : start + cut], two[start : start + cut], follows[start : start + cut])
    expected = plainly(one, two, follows)
    assert tally.mean_divergence == pytest.approx(expected["mean"], rel=1e-9, abs=1e-12)
    assert tally.largest_divergence == pytest.approx(expected["largest"], rel=1e-9, abs=1e-12)
    assert tally.same_top == pytest.approx(expected["top"])
    assert tally.perplexities == pytest.approx((expected["one"], expected["two"]), rel=1e-9)
    assert tally.spread == pytest.approx(expected["spread"], rel=1e-9, abs=1e-12)


def test_forbidden_tokens_have_no_weight() -> None:
    one = RNG.standard_normal((4, 9)).astype(np.float32)
    one[:, 3] = -np.inf
    two = one + RNG.standard_normal((4, 9)).astype(np.float32) * 0.1
    tally, without = Tally(), Tally()
    follows = np.full(4, -1)
    tally.add(one, two, follows)
    kept = [0, 1, 2, 4, 5, 6, 7, 8]
    without.add(one[:, kept], two[:, kept], follows)
    assert tally.mean_divergence == pytest.approx(without.mean_divergence)
    assert tally.perplexities is None


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_infinitely_far(value: float) -> None:
    one = RNG.standard_normal((3, 5)).astype(np.float32)
    two = one.copy()
    two[1, 2] = value
    tally = Tally()
    tally.add(one, two, np.full(3, -1))
    assert tally.mean_divergence == math.inf
    assert tally.largest_divergence == math.inf


def test_a_token_that_only_the_original_thinks_possible_is_infinitely_far() -> None:
    one, two = np.zeros((1, 4), np.float32), np.zeros((1, 4), np.float32)
    two[0, 1] = -np.inf
    tally = Tally()
    tally.add(one, two, np.array([0]))
    assert tally.mean_divergence == math.inf


@given(
    sizes=st.lists(st.integers(0, 5), min_size=1, max_size=8),
    others=st.lists(st.integers(0, 5), min_size=1, max_size=8),
)
def test_streams_are_paired_however_they_are_cut(sizes: list[int], others: list[int]) -> None:
    rows = min(sum(sizes), sum(others))

    def parts(cuts: list[int], sign: int) -> list[np.ndarray]:
        ends = np.cumsum([0, *cuts])
        return [sign * np.arange(a, b)[:, None] for a, b in pairwise(ends)]

    got = list(paired(iter(parts(sizes, 1)), iter(parts(others, -1))))
    assert sum(len(one) for one, _ in got) == rows
    for one, two in got:
        assert (one == -two).all()
    assert [value for one, _ in got for value in one[:, 0]] == list(range(rows))
