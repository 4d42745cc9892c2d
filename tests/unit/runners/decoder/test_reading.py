"""Large matrices are read in parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bessemer.ir.checkpoint import Bytes
from bessemer.runners.decoder import reading
from bessemer.weights.views import from_array

RNG = np.random.default_rng(0)


def test_a_product_reads_its_matrix_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "AT_ONCE", 16 * 20)
    weights = RNG.standard_normal((70, 16)).astype(np.float32)
    x = RNG.standard_normal((5, 16)).astype(np.float32)
    stored = from_array("output.weight", weights)
    asked: list[tuple[int, int]] = []

    def read(start: int, stop: int) -> Bytes:
        asked.append((start, stop))
        return stored.read(start, stop)

    held = reading.Reading({"output.weight": replace(stored, read=read)})
    np.testing.assert_allclose(held.product("output.weight", x), x @ weights.T, rtol=1e-6)
    assert asked == [(0, 20), (20, 40), (40, 60), (60, 70)]


def test_a_matrix_that_is_stored_in_another_shape() -> None:
    weights = RNG.standard_normal((6, 2, 8)).astype(np.float32)
    x = RNG.standard_normal((3, 16)).astype(np.float32)
    held = reading.Reading({"a": from_array("a", weights)})
    np.testing.assert_allclose(held.product("a", x), x @ weights.reshape(6, 16).T, rtol=1e-6)
