"""Floors lie below what ggml's encoders keep, and above what weights in a wrong order keep."""

from __future__ import annotations

import numpy as np
import pytest

from bessemer.runners import llama
from bessemer.runners.llama import ggml
from bessemer.verify.language import bounds

SLOW = ("IQ1_S", "IQ1_M", "IQ2_S", "IQ2_XS")
"""ggml builds their tables for seconds, and their neighbours' figures are like theirs."""
OTHER = ("F64", "F32", "Q8_1", "Q8_K", "NVFP4", "Q1_0", "Q2_0")
TYPES = [name for name in bounds.FLOORS if name not in (*SLOW, *OTHER)]


@pytest.mark.parametrize("name", TYPES)
def test_floors_hold_for_heavy_tails_and_not_for_a_shuffle(name: str) -> None:
    if not llama.available():
        pytest.skip("llama.cpp is not installed")
    rng = np.random.default_rng(11)
    weights = (rng.standard_t(3, (16, 1024)) * 0.02).astype(np.float32)
    factors = np.ones(1024, np.float32) if name.startswith("IQ") else None
    decoded = ggml.dequantized(ggml.quantized(weights, name, factors), name)

    def kept(found: np.ndarray) -> float:
        return float(10 * np.log10(np.sum(weights**2) / np.sum((weights - found) ** 2)))

    assert kept(decoded) > bounds.floor(name)
    assert kept(rng.permutation(decoded)) < 0 < bounds.floor(name, importance=True)


def test_integers_must_be_the_same() -> None:
    assert bounds.floor("I32") == 140.0


def test_coarse_types_hide_less_of_a_runtimes_errors() -> None:
    assert bounds.added(["F32", "F16"]) == 1.0
    assert bounds.added(["F32", "Q6_K"]) == 0.5
    assert bounds.added(["Q6_K", "Q4_K"]) == 0.1
    assert bounds.added(["TQ1_0"]) == 0.1
