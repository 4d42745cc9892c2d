"""Reshapes of permuted tensors against NumPy."""

from __future__ import annotations

import itertools
import math

import numpy as np

from bessemer.ir.layout import apply, inverse, merged_last, through_reshape

SHAPES = [
    (1, 48, 4, 6), (24, 2, 24), (2, 24, 24), (2, 1, 24, 4, 6), (1, 1152), (48, 24), (1, 48, 24), (1152,), (4, 6, 48),
    (1, 1, 48, 24),
]  # fmt: skip


def test_every_permutation_of_every_shape() -> None:
    seen = 0
    for before, after in itertools.product(SHAPES, SHAPES):
        logical = np.arange(math.prod(before)).reshape(before)
        for perm in itertools.permutations(range(len(before))):
            physical = logical.transpose(inverse(perm))
            new = through_reshape(perm, before, after)
            if new is not None:
                seen += 1
                got = physical.reshape(apply(inverse(new), after)).transpose(new)
                np.testing.assert_array_equal(got, logical.reshape(after))
    assert seen > 500


def test_an_unknown_size_is_followed() -> None:
    assert through_reshape((0, 3, 1, 2), (None, 8, 4, 4), (None, 8, 16)) == (0, 2, 1)
    assert through_reshape((0, 3, 1, 2), (None, 8, 4, 4), (None, 128)) is None
    assert through_reshape((0, 3, 1, 2), (None, 8, None, 4), (None, 8, 16)) is None
    assert through_reshape((0, 3, 1, 2), (None, 8, 4, 4), (8, None, 16)) is None


def test_a_flatten_says_how_its_axes_lie() -> None:
    assert merged_last((0, 3, 1, 2), (None, 8, 4, 5), (None, 160)) == [2, 3, 1]
    assert merged_last((3, 0, 1, 2), (2, 8, 4, 5), (2, 160)) is None
