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


Dims = Sequence[int | str | None]
"""A shape; what is no integer is a size known only when the model runs."""


def axis_groups(before: Dims, after: Dims) -> list[tuple[list[int], list[int]]] | None:
    """Runs of axes that a reshape of `before` to `after` merges into, or splits from, each other; axes of one left out.

    None where a zero or several unknown sizes stand in the way.
    """
    unknown = [sum(not isinstance(dim, int) for dim in dims) for dims in (before, after)]
    if 0 in before or 0 in after or max(unknown) > 1:
        return None
    left = [(axis, dim) for axis, dim in enumerate(before) if dim != 1]
    right = [(axis, dim) for axis, dim in enumerate(after) if dim != 1]
    groups = []
    while left or right:
        taken: tuple[list[int], list[int]] = ([], [])
        sizes = [(0, 1), (0, 1)]
        while not taken[0] or not taken[1] or sizes[0] != sizes[1]:
            side = 0 if sizes[0] <= sizes[1] else 1
            side = 1 - side if taken[side] and not taken[1 - side] else side
            rest = (left, right)[side]
            if not rest:
                return None
            axis, dim = rest.pop(0)
            taken[side].append(axis)
            count, size = sizes[side]
            sizes[side] = (count, size * dim) if isinstance(dim, int) else (count + 1, size)
        groups.append(taken)
    return groups


def through_reshape(perm: Perm, before: Dims, after: Dims) -> Perm | None:
    """The order in which `after` stands when the physical tensor itself is reshaped; None where it cannot be.

    `reshape(transpose(x, perm), after) == transpose(reshape(x, apply(inverse(new), after)), new)` for the permutation
    returned: it exists where each run of axes that is merged lies together in `x`, too.
    """
    groups = axis_groups(before, after)
    if groups is None:
        return None
    lying = [axis for axis in inverse(perm) if before[axis] != 1]
    order: list[int] = []
    while lying:
        merged, made = next(group for group in groups if lying[0] in group[0])
        if lying[: len(merged)] != merged:
            return None
        lying = lying[len(merged) :]
        order += made
    for axis, dim in enumerate(after):
        if dim == 1:  # beside the axis before it
            order.insert(order.index(axis - 1) + 1 if axis else 0, axis)
    return inverse(tuple(order))


def merged_last(perm: Perm, before: Dims, after: Dims) -> list[int] | None:
    """The axes of `before` that become the last of `after`, in the order in which they lie in the physical tensor.

    None unless reshaping that tensor itself differs from reshaping the logical one within that last axis only.
    """
    groups = axis_groups(before, after)
    if not groups or groups[-1][1] != [len(after) - 1]:
        return None
    last = groups[-1][0]
    lying = [axis for axis in inverse(perm) if before[axis] != 1]
    logical = [axis for axis in range(len(before)) if before[axis] != 1]
    front = len(lying) - len(last)
    return lying[front:] if lying[:front] == logical[:front] and sorted(lying[front:]) == last else None


def transpose(array: Array, perm: Perm) -> Array:
    """`array` in logical order; a view."""
    return array.transpose(perm)
