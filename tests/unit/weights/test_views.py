"""Views of lazy tensors against the same operation in numpy, whatever range of rows is asked for."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bessemer.ir.checkpoint import Lazy
from bessemer.weights import views


def numbered(*shape: int, kind: str = "float32") -> tuple[np.ndarray, Lazy]:
    values = np.arange(np.prod(shape), dtype=kind).reshape(shape)
    return values, views.from_array("t", values)


def read_in_parts(tensor: Lazy, cuts: list[int]) -> np.ndarray:
    bounds = sorted({0, tensor.rows, *(cut % (tensor.rows + 1) for cut in cuts)})
    parts = [tensor.read(a, b) for a, b in itertools.pairwise(bounds)]
    return np.concatenate(parts).reshape(-1).view(views.numpy_type(tensor.type)).reshape(tensor.shape)


CUTS = st.lists(st.integers(0, 1000), max_size=5)


@given(CUTS, st.sampled_from(["float32", "float16", "int8"]))
def test_slices_gathers_and_unions_are_numpys(cuts: list[int], kind: str) -> None:
    values, tensor = numbered(12, 6, kind=kind)
    order = np.random.default_rng(3).permutation(12)
    assert np.array_equal(read_in_parts(views.row_slice(tensor, 3, 9, (6, 6)), cuts), values[3:9])
    assert np.array_equal(read_in_parts(views.row_gather(tensor, order, (12, 6)), cuts), values[order])
    both = views.row_concat("b", [tensor, views.row_slice(tensor, 0, 2, (2, 6))], (14, 6))
    assert np.array_equal(read_in_parts(both, cuts), np.concatenate([values, values[:2]]))


def test_rows_far_apart_are_read_alone() -> None:
    values, tensor = numbered(5000, 2)
    seen: list[int] = []
    counted = Lazy("t", tensor.shape, "F32", 8, lambda a, b: (seen.append(b - a), tensor.read(a, b))[1])
    picked = views.row_gather(counted, np.array([0, 4999]), (2, 2))
    assert np.array_equal(picked.read(0, 2).view(np.float32), values[[0, 4999]])
    assert sum(seen) == 2


@given(CUTS, st.sampled_from([(8, 9), (72,), (2, 36), (3, 4, 6), (24, 3), (72, 1)]))
def test_another_shape_keeps_the_order(cuts: list[int], shape: tuple[int, ...]) -> None:
    values, tensor = numbered(12, 6)
    assert np.array_equal(read_in_parts(views.reshaped(tensor, shape), cuts), values.reshape(shape))


@given(CUTS, st.permutations(range(3)))
def test_axes_in_any_order(cuts: list[int], axes: list[int]) -> None:
    values, tensor = numbered(3, 4, 5, kind="float16")
    turned = views.transposed(tensor, axes)
    assert np.array_equal(read_in_parts(turned, cuts), values.transpose(axes))
    assert np.array_equal(read_in_parts(turned, cuts), values.transpose(axes)), "it can be read a second time"


def test_values_pass_through_a_function() -> None:
    values, tensor = numbered(4, 6)
    assert np.array_equal(views.array(views.mapped(tensor, lambda x: x + 1)), values + 1)


def test_what_would_cut_blocks_is_refused() -> None:
    blocks = Lazy("q", (4, 64), "Q4_0", 36, lambda a, b: np.zeros((b - a, 36), np.uint8))
    with pytest.raises(ValueError, match="Q4_0"):
        views.transposed(blocks)
    with pytest.raises(ValueError, match="no multiple"):
        views.reshaped(blocks, (16, 16))
    assert views.reshaped(blocks, (8, 32)).row_bytes == 18
    with pytest.raises(ValueError, match="different types"):
        views.row_concat("j", [blocks, numbered(4, 64)[1]], (8, 64))
    with pytest.raises(ValueError, match="4 rows"):
        views.row_slice(blocks, 0, 4, (3, 64))
