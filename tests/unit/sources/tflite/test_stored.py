"""Casts of stored integers and one-hot rows, against LiteRT."""

from __future__ import annotations

from pathlib import Path

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
