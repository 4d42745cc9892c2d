"""Casts of stored integers and one-hot rows, against LiteRT."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.unit.sources.tflite.single import Builder, same, scaled

pytest.importorskip("ai_edge_litert")


@pytest.mark.parametrize(("dtype", "zero"), [("int8", -5), ("uint8", 120)])
def test_cast_reads_stored_integers(tmp_path: Path, dtype: str, zero: int) -> None:
    build = Builder()
    source = build.input([0, 7, 100, 127], dtype, quantization=scaled(0.05, zero))
    out = build.tensor((4,))
    build.op("CAST", [source], [out], table="CastOptions")
    same(build.save([out], tmp_path / "m.tflite"), build.feeds)


@pytest.mark.parametrize(("axis", "shape"), [(0, (4, 2, 3)), (-1, (2, 3, 4)), (1, (2, 4, 3))])
def test_one_hot_outside_is_off(tmp_path: Path, axis: int, shape: tuple[int, ...]) -> None:
    build = Builder()
    indices = build.input([[0, 1, -1], [3, 4, 2]], "int32")
    out = build.tensor(shape)
    operands = [indices, build.const(4, "int32"), build.const(5.0), build.const(-1.0)]
    build.op("ONE_HOT", operands, [out], table="OneHotOptions", axis=axis)
    same(build.save([out], tmp_path / "m.tflite"), build.feeds)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32"])
def test_cast_of_reals_stops_at_the_ends(tmp_path: Path, dtype: str) -> None:
    build = Builder()
    source = build.input([-70000.0, -200.7, -0.9, 0.9, 127.9, 300.0, 70000.0])
    out = build.tensor((7,), dtype)
    build.op("CAST", [source], [out], table="CastOptions")
    same(build.save([out], tmp_path / "m.tflite"), build.feeds)


@pytest.mark.parametrize(
    ("low", "high", "bits"), [(-1.0, 1.0, 8), (0.1, 3.0, 8), (-1.3, 2.1, 8), (-6.0, -2.0, 4), (-0.7, 5.0, 16)]
)
def test_fake_quant(tmp_path: Path, low: float, high: float, bits: int) -> None:
    build = Builder()
    source = build.input(np.linspace(-7.0, 6.0, 1001))
    out = build.tensor((1001,))
    build.op("FAKE_QUANT", [source], [out], table="FakeQuantOptions", min=low, max=high, num_bits=bits)
    same(build.save([out], tmp_path / "m.tflite"), build.feeds, 1e-6)
