"""Weights that are read back, tensor by tensor."""

from __future__ import annotations

import numpy as np
import pytest

from bessemer.verify.language import compare
from bessemer.weights.views import from_array

RNG = np.random.default_rng(2)


def held(**arrays: np.ndarray) -> dict[str, object]:
    return {name: from_array(name, array) for name, array in arrays.items()}


def test_equal_values_in_wider_types() -> None:
    narrow = RNG.standard_normal((6, 8)).astype(np.float16)
    proof = compare(held(a=narrow, n=np.arange(4)), held(a=narrow.astype(np.float32), n=np.arange(4)))
    assert proof.equal
    assert proof.within
    assert {line.type: (line.tensors, line.identical, line.snr) for line in proof.lines} == {
        "F32": (1, 1, None),
        "I64": (1, 1, None),
    }


def test_a_narrower_type_is_measured() -> None:
    wide = RNG.standard_normal((64, 128)).astype(np.float32)
    (line,) = compare(held(a=wide), held(a=wide.astype(np.float16))).lines
    noise = wide - wide.astype(np.float16).astype(np.float32)
    assert line.snr == pytest.approx(10 * np.log10(np.sum(wide**2) / np.sum(noise**2)), abs=1e-3)
    assert line.within
    assert line.identical == 0


def test_rows_of_another_length_hold_the_same_values() -> None:
    wide = RNG.standard_normal((6, 35)).astype(np.float32)
    assert compare(held(a=wide), held(a=wide.reshape(10, 21))).equal
    assert not compare(held(a=wide), held(a=wide.T.copy())).within


@pytest.mark.parametrize(
    ("artifact", "said"),
    [
        ({}, "'a' is not in the artifact"),
        ({"a": np.zeros(4, np.float32), "b": np.zeros(1, np.float32)}, "'b' is in the artifact alone"),
        ({"a": np.zeros(5, np.float32)}, "'a' has another size"),
    ],
)
def test_missing_and_strange_tensors(artifact: dict[str, np.ndarray], said: str) -> None:
    proof = compare(held(a=np.zeros(4, np.float32)), held(**artifact))
    assert not proof.within
    assert not proof.equal
    assert any(said in problem for problem in proof.problems)


def test_values_that_are_not_finite_fail() -> None:
    wide = np.array([[1e30, 2.0]], np.float32)
    with np.errstate(over="ignore"):
        proof = compare(held(a=wide), held(a=wide.astype(np.float16)))
    assert not proof.within
    assert proof.lines[0].snr == -999.0


def test_a_wrong_order_is_found() -> None:
    wide = RNG.standard_normal((16, 32)).astype(np.float32)
    proof = compare(held(a=wide), held(a=wide[::-1].astype(np.float16)))
    assert not proof.within
    assert proof.lines[0].worst == "a"
