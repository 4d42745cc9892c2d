"""Operators behind a convolution, whose result stands channels-first in the graph, against LiteRT."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.sources.tflite.single import Builder, same

pytest.importorskip("ai_edge_litert")
RNG = np.random.default_rng(17)
SIZE = (2, 5, 4, 6)


def sliced(shape: tuple[int, ...], *bounds: list[int], **masks: Any) -> Callable[[Builder, int], int]:
    def add(build: Builder, source: int) -> int:
        out = build.tensor(shape)
        operands = [source, *(build.const(items, "int32") for items in bounds)]
        build.op("STRIDED_SLICE", operands, [out], table="StridedSliceOptions", **masks)
        return out

    return add


def gathered(axis: int, shared: int, shape: tuple[int, ...]) -> Callable[[Builder, int], int]:
    def add(build: Builder, source: int) -> int:
        out = build.tensor(SIZE[:axis] + shape[shared:] + SIZE[axis + 1 :])
        places = build.const(RNG.integers(0, SIZE[axis], shape), "int32")
        build.op("GATHER", [source, places], [out], table="GatherOptions", axis=axis, batch_dims=shared)
        return out

    return add


def mirrored(build: Builder, source: int) -> int:
    out = build.tensor((3, 7, 5, 8))
    pads = build.const([[1, 0], [2, 0], [0, 1], [1, 1]], "int32")
    build.op("MIRROR_PAD", [source, pads], [out], table="MirrorPadOptions", mode=1)
    return out


def updated(build: Builder, source: int) -> int:
    out = build.tensor(SIZE)
    start = build.input([0, 1, 2, 3], "int32")
    build.op("DYNAMIC_UPDATE_SLICE", [source, build.input(RNG.random((1, 5, 1, 2))), start], [out])
    return out


def spectrum(build: Builder, source: int) -> int:
    pairs, out = build.tensor((2, 5, 4, 5), "complex64"), build.tensor((2, 5, 4, 5))
    build.op("RFFT2D", [source, build.const([4, 8], "int32")], [pairs], table="Rfft2dOptions")
    build.op("COMPLEX_ABS", [pairs], [out])
    return out


def filtered(build: Builder, source: int) -> int:
    rows, out = build.tensor((2, 120)), build.tensor((2, 4))
    build.op("RESHAPE", [source, build.const([2, 120], "int32")], [rows], table="ReshapeOptions")
    operands = [rows, *(build.const(RNG.normal(size=shape)) for shape in ((8, 120), (8, 3), (4,)))]
    operands.append(build.tensor((2, 24), is_variable=True))
    build.op("SVDF", operands, [out], table="SVDFOptions", rank=2)
    return out


CASES = {
    "slice": sliced((2, 2, 4, 3), [0, 1, 0, 2], [2, 4, 4, 5], [1, 2, 1, 1]),
    "shrink": sliced((2, 2, 4), [0, 1, 0, 2], [2, 4, 4, 3], [1, 2, 1, 1], shrink_axis_mask=8),
    "new axis": sliced((1, *SIZE), [0, 0], [0, 0], [1, 1], new_axis_mask=1, ellipsis_mask=2),
    "ellipsis": sliced((2, 5, 4, 2), [0, 3], [0, 1], [1, -1], ellipsis_mask=1),
    "gather rows": gathered(2, 1, (2, 3)),
    "gather channels": gathered(3, 2, (2, 5, 2)),
    "mirror": mirrored,
    "update": updated,
    "spectrum": spectrum,
    "svdf": filtered,
}


@pytest.mark.parametrize("case", CASES)
def test_behind_a_convolution(tmp_path: Path, case: str) -> None:
    build = Builder()
    operands = [build.input(RNG.normal(size=(2, 5, 4, 3))), build.const(RNG.normal(size=(6, 1, 1, 3)))]
    made = build.tensor(SIZE)
    build.op(
        "CONV_2D",
        [*operands, build.const(RNG.random(6))],
        [made],
        table="Conv2DOptions",
        stride_w=1,
        stride_h=1,
    )
    out = CASES[case](build, made)
    same(build.save([out], tmp_path / "m.tflite"), build.feeds, 1e-4)
