"""Permutations between a logical value (channels first) and its physical tensor.

A permutation `p` maps physical to logical as `logical = transpose(physical, p)`: logical axis `i` is physical
axis `p[i]`. Sources and targets that are channels-last keep one per value, so that a Transpose node is born
only where two neighbours really disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from bessemer.ir.types import Array, Perm

T = TypeVar("T")


def identity(rank: int) -> Perm:
    """The permutation that moves nothing."""
    return tuple(range(rank))


def is_identity(perm: Perm) -> bool:
    """Whether `perm` moves nothing."""
    return perm == identity(len(perm))


def inverse(perm: Perm) -> Perm:
    """The permutation that undoes `perm`."""
    result = [0] * len(perm)
    for logical, physical in enumerate(perm):
        result[physical] = logical
    return tuple(result)


def compose(first: Perm, second: Perm) -> Perm:
    """The permutation of `transpose(transpose(x, first), second)`."""
    return tuple(first[axis] for axis in second)


def channels_first(rank: int) -> Perm:
    """Physical channels-last to logical channels-first: NHWC -> NCHW is (0, 3, 1, 2)."""
    return identity(rank) if rank < 3 else (0, rank - 1, *range(1, rank - 1))


def channels_last(rank: int) -> Perm:
    """Inverse of `channels_first`: NCHW -> NHWC is (0, 2, 3, 1)."""
    return inverse(channels_first(rank))


def apply(perm: Perm, items: Sequence[T]) -> tuple[T, ...]:
    """Reorder per-axis items (a shape, pads, ...) from physical to logical order."""
    return tuple(items[axis] for axis in perm)


def moves_data(perm: Perm, shape: Sequence[int | str | None]) -> bool:
    """Whether transposing a tensor of physical `shape` by `perm` changes the order of its bytes.

    Moving axes of size one is only a reshape.
    """
    kept = [axis for axis in perm if shape[axis] != 1]
    return kept != sorted(kept)


def transpose(array: Array, perm: Perm) -> Array:
    """`array` in logical order; a view."""
    return array.transpose(perm)
