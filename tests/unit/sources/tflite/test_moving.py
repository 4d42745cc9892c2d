"""Gathering, slicing, padding, updating: one operator each, against LiteRT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.sources.tflite.single import Builder, converted, same

from bessemer.ir.errors import Declined
from bessemer.runners.litert import LiteRTRunner
from bessemer.sources.base import OpenOptions
from bessemer.sources.tflite import SOURCE

pytest.importorskip("ai_edge_litert")
RNG = np.random.default_rng(7)


@pytest.fixture(autouse=True)
def same_numbers_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever tests ran before."""
    monkeypatch.setitem(globals(), "RNG", np.random.default_rng(7))


@pytest.mark.parametrize(
    ("source", "indices", "axis", "shared"),
    [
        ((2, 5), (2, 3), 1, 1),
        ((2, 3, 5), (2, 4), 2, 1),
        ((2, 5, 3), (2, 4, 2), 1, 1),
        ((2, 3, 4, 5), (2, 3, 2), 3, 2),
        ((2, 3, 4, 5, 2), (2, 2, 2), 3, 1),
        ((2, 5), (2,), 1, 1),
    ],
)
def test_gather_with_shared_axes(
    tmp_path: Path, source: tuple[int, ...], indices: tuple[int, ...], axis: int, shared: int
) -> None:
    build = Builder()
    x = build.input(RNG.random(source))
    i = build.input(RNG.integers(0, source[axis], indices), "int32")
    out = build.tensor(source[:axis] + indices[shared:] + source[axis + 1 :])
    build.op("GATHER", [x, i], [out], table="GatherOptions", axis=axis, batch_dims=shared)
    same(build.save([out], tmp_path / "m.tflite"), build.feeds)


@pytest.mark.parametrize("mode", [0, 1])
@pytest.mark.parametrize("pads", [[[1, 2], [0, 2]], [[2, 0], [1, 1]]])
def test_mirror_pad(tmp_path: Path, mode: int, pads: list[list[int]]) -> None:
    build = Builder()
    x = build.input(RNG.random((3, 4)))
    out = build.tensor(tuple(d + sum(p) for d, p in zip((3, 4), pads, strict=True)))
    build.op("MIRROR_PAD", [x, build.const(pads, "int32")], [out], table="MirrorPadOptions", mode=mode)
    same(build.save([out], tmp_path / "m.tflite"), build.feeds)


def test_symmetric_pad_of_the_whole_axis(tmp_path: Path) -> None:
    build = Builder()
    x = build.input(RNG.random((3, 2)))
    out = build.tensor((9, 4))
    pads = build.const([[3, 3], [0, 2]], "int32")
    build.op("MIRROR_PAD", [x, pads], [out], table="MirrorPadOptions", mode=1)
    same(build.save([out], tmp_path / "m.tflite"), build.feeds)


SLICES: list[tuple[list[int], list[int], list[int], dict[str, Any], tuple[int, ...]]] = [
    ([0, 1], [1, 3], [1, 1], {"ellipsis_mask": 1}, (3, 4, 2)),
    ([1, 0, 1], [2, 0, 3], [1, 1, 1], {"ellipsis_mask": 2, "shrink_axis_mask": 1}, (4, 2)),
    ([0, 0, 1], [0, 0, 3], [1, 1, 2], {"new_axis_mask": 1, "begin_mask": 2, "end_mask": 2}, (1, 3, 1, 5)),
    ([0, 0, 0], [0, 0, 0], [1, 1, 1], {"new_axis_mask": 5, "begin_mask": 2, "end_mask": 2}, (1, 3, 1, 4, 5)),
    ([0, 0, 2], [0, 0, 4], [1, 1, 1], {"ellipsis_mask": 1, "new_axis_mask": 2}, (3, 4, 1, 2)),
    ([1, 0], [2, 0], [1, 1], {"shrink_axis_mask": 1, "new_axis_mask": 2}, (1, 4, 5)),
    ([-1, 0], [0, 0], [1, 1], {"shrink_axis_mask": 1, "begin_mask": 2, "end_mask": 2}, (4, 5)),
    ([1, 3, 4], [0, 0, 0], [1, -1, -2], {"shrink_axis_mask": 1, "end_mask": 4}, (3, 3)),
    ([2, 0], [0, 0], [1, 1], {"shrink_axis_mask": 1, "begin_mask": 3, "end_mask": 2}, (4, 5)),
]


@pytest.mark.parametrize(("begin", "end", "strides", "masks", "shape"), SLICES)
@pytest.mark.parametrize("computed", ["", "begin end", "begin end strides"])
def test_strided_slice(
    tmp_path: Path, begin: list[int], end: list[int], strides: list[int], masks: dict[str, Any],
    shape: tuple[int, ...], computed: str,
) -> None:  # fmt: skip
    build = Builder()
    x = build.input(RNG.random((3, 4, 5)))
    held = {"begin": begin, "end": end, "strides": strides}
    bounds = [(build.input if k in computed else build.const)(v, "int32") for k, v in held.items()]
    out = build.tensor(shape)
    build.op("STRIDED_SLICE", [x, *bounds], [out], table="StridedSliceOptions", **masks)
    path = build.save([out], tmp_path / "m.tflite")
    try:
        same(path, build.feeds)
    except Declined as problem:
        assert "strides" in computed and {"begin_mask", "end_mask"} & masks.keys(), problem


def test_ends_relative_to_begins(tmp_path: Path) -> None:
    """LiteRT 2.3 crashes on such files: their meaning is taken from the schema's comment."""
    build = Builder()
    data = RNG.random((3, 4, 5)).astype(np.float32)
    x = build.input(data)
    bounds = [build.const(v, "int32") for v in ([1, -2, -3], [2, 2, 1], [1, 1, 1])]
    out = build.tensor((2, 2, 1))
    build.op("STRIDED_SLICE", [x, *bounds], [out], table="StridedSliceOptions", offset=True)
    got = converted(build.save([out], tmp_path / "m.tflite"), build.feeds)
    np.testing.assert_array_equal(next(iter(got.values())), data[1:3, 2:4, 2:3])


@pytest.mark.parametrize("size", [[2, -1, 3], [-1, 2, 1]])
@pytest.mark.parametrize("computed", ["begin", "size", "begin size"])
def test_slice_of_computed_place(tmp_path: Path, size: list[int], computed: str) -> None:
    build = Builder()
    x = build.input(RNG.random((3, 4, 5)))
    held = {"begin": [1, 2, 1], "size": size}
    bounds = [
        (build.input if key in computed else build.const)(value, "int32") for key, value in held.items()
    ]
    out = build.tensor(
        tuple(d - b if s < 0 else s for d, b, s in zip((3, 4, 5), [1, 2, 1], size, strict=True))
    )
    build.op("SLICE", [x, *bounds], [out], table="SliceOptions")
    same(build.save([out], tmp_path / "m.tflite"), build.feeds)


@pytest.mark.parametrize("name", ["PAD", "PADV2", "MIRROR_PAD"])
def test_computed_margins(tmp_path: Path, name: str) -> None:
    build = Builder()
    operands = [build.input(RNG.random((3, 4))), build.input([[1, 2], [0, 3]], "int32")]
    operands += [build.const(0.5)] if name == "PADV2" else []
    out = build.tensor((6, 7))
    table = {"PAD": "PadOptions", "PADV2": "PadV2Options", "MIRROR_PAD": "MirrorPadOptions"}[name]
    build.op(name, operands, [out], table=table)
    same(build.save([out], tmp_path / "m.tflite"), build.feeds)


@pytest.mark.parametrize("name", ["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"])
def test_resize_to_a_computed_size(tmp_path: Path, name: str) -> None:
    build = Builder()
    operands = [build.input(RNG.random((2, 3, 4, 5))), build.input([6, 7], "int32")]
    out = build.tensor((2, 6, 7, 5))
    table = {"RESIZE_BILINEAR": "ResizeBilinearOptions"}.get(name, "ResizeNearestNeighborOptions")
    build.op(name, operands, [out], table=table, half_pixel_centers=True)
    same(build.save([out], tmp_path / "m.tflite"), build.feeds)


def test_scatter_into_a_computed_shape(tmp_path: Path) -> None:
    build = Builder()
    operands = [
        build.input([[0], [2], [0]], "int32"),
        build.input(RNG.random((3, 4))),
        build.input([5, 4], "int32"),
    ]
    out = build.tensor((5, 4))
    build.op("SCATTER_ND", operands, [out], table="ScatterNdOptions")
    same(build.save([out], tmp_path / "m.tflite"), build.feeds)


@pytest.mark.parametrize("start", [[0, 1, 1], [2, 3, -4], [0, 0, 0]])
@pytest.mark.parametrize("part", [(1, 2, 5), (3, 4, 5), (3, 1, 2)])
def test_dynamic_update_slice(tmp_path: Path, start: list[int], part: tuple[int, ...]) -> None:
    build = Builder()
    x, update = build.input(RNG.random((3, 4, 5))), build.input(RNG.random(part))
    out = build.tensor((3, 4, 5))
    build.op("DYNAMIC_UPDATE_SLICE", [x, update, build.input(start, "int32")], [out])
    same(build.save([out], tmp_path / "m.tflite"), build.feeds)


def test_atan2_in_all_directions(tmp_path: Path) -> None:
    edges = [0.0, -0.0, 1.0, -1.0, 1e-30, -1e30, 3.0, np.inf, -np.inf, np.nan]
    y, x = (side.reshape(-1) for side in np.meshgrid(edges, edges))
    build = Builder()
    operands = [build.input(y), build.input(x)]
    out = build.tensor((100,))
    build.op("ATAN2", operands, [out])
    same(build.save([out], tmp_path / "m.tflite"), build.feeds, 1e-6)


@pytest.mark.parametrize("same_size", [0, 1])
@pytest.mark.parametrize("bias", [False, True])
def test_transposed_conv_3d(tmp_path: Path, same_size: int, bias: bool) -> None:
    build = Builder()
    sizes = (1, 9, 8, 6, 2) if same_size else (1, 7, 7, 8, 2)
    x = build.input(RNG.random((1, 5, 4, 3, 4) if same_size else (1, 3, 3, 3, 4)))
    weights = build.const(RNG.random((3, 3, 3 if same_size else 4, 2, 4)))
    if not same_size:
        sizes = (1, 7, 7, 8, 2)
    out = build.tensor(sizes)
    operands = [build.const(sizes, "int32"), weights, x, *([build.const([0.5, -1.0])] if bias else [])]
    build.op(
        "CONV_3D_TRANSPOSE", operands, [out], table="Conv3DOptions", padding=1 - same_size,
        stride_d=2, stride_h=2, stride_w=2,
    )  # fmt: skip
    same(build.save([out], tmp_path / "m.tflite"), build.feeds)


@pytest.mark.parametrize(("padding", "size"), [(1, (6, 9)), (2, (7, 10))])
def test_transposed_conv_with_bias_as_mediapipe_has_it(
    tmp_path: Path, padding: int, size: tuple[int, int]
) -> None:
    build = Builder()
    x, weights = build.input(RNG.random((1, 3, 3, 4))), build.const(RNG.random((2, 3, 4, 4)))
    out = build.tensor((1, *size, 2))
    custom = np.array([padding, 3, 2], np.int32).tobytes()
    build.op("Convolution2DTransposeBias", [x, weights, build.const([0.5, -1.0])], [out], custom=custom)
    path = build.save([out], tmp_path / "m.tflite")
    expected = LiteRTRunner(path).run(build.feeds)  # only its delegate has a kernel
    got = converted(path, build.feeds)
    for name, held in expected.items():
        np.testing.assert_allclose(got[name], held, rtol=1e-5, atol=1e-5)


def spectrum(build: Builder, lengths: list[int]) -> int:
    x = build.input(RNG.random((2, 4, 8)))
    out = build.tensor((2, lengths[0], lengths[1] // 2 + 1), "complex64")
    build.op("RFFT2D", [x, build.const(lengths, "int32")], [out], table="Rfft2dOptions")
    return out


@pytest.mark.parametrize("name", ["REAL", "IMAG", "COMPLEX_ABS"])
@pytest.mark.parametrize("lengths", [[4, 8], [2, 4], [8, 16], [1, 8]])
def test_rfft2d(tmp_path: Path, name: str, lengths: list[int]) -> None:
    build = Builder()
    pairs = spectrum(build, lengths)
    out = build.tensor(build.graph.tensors[pairs].shape)
    build.op(name, [pairs], [out])
    same(build.save([out], tmp_path / "m.tflite"), build.feeds)


def test_complex_results_are_declined(tmp_path: Path) -> None:
    build = Builder()
    pairs = spectrum(build, [4, 8])
    path = build.save([pairs], tmp_path / "m.tflite")
    with pytest.raises(Declined, match="complex"):
        SOURCE.open(path, OpenOptions())


def test_complex_arithmetic_is_declined(tmp_path: Path) -> None:
    build = Builder()
    pairs = spectrum(build, [4, 8])
    twice = build.tensor(build.graph.tensors[pairs].shape, "complex64")
    build.op("ADD", [pairs, pairs], [twice], table="AddOptions")
    out = build.tensor(build.graph.tensors[pairs].shape)
    build.op("REAL", [twice], [out])
    path = build.save([out], tmp_path / "m.tflite")
    with pytest.raises(Declined, match="complex"):
        SOURCE.open(path, OpenOptions())
