"""Cutting, joining, turning round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bessemer.ir.types import Array
from bessemer.runners.tensorflow.registry import evaluates
from bessemer.wire.savedmodel.node import Node


@evaluates("ConcatV2")
def concat(node: Node, inputs: Sequence[Array]) -> Array:
    """Along the axis that the last operand names."""
    return np.concatenate(inputs[:-1], axis=int(inputs[-1]))


@evaluates("Concat")
def concat_v1(node: Node, inputs: Sequence[Array]) -> Array:
    """Along the axis that the first operand names."""
    return np.concatenate(inputs[1:], axis=int(inputs[0]))


@evaluates("Pack")
def pack(node: Node, inputs: Sequence[Array]) -> Array:
    """Along a new axis."""
    return np.stack(inputs, axis=int(node.attrs.get("axis", 0)))


@evaluates("Unpack")
def unpack(node: Node, inputs: Sequence[Array]) -> Sequence[Array]:
    """The slices along an axis."""
    return [item.copy() for item in np.moveaxis(inputs[0], int(node.attrs.get("axis", 0)), 0)]


@evaluates("Split")
def split(node: Node, inputs: Sequence[Array]) -> Sequence[Array]:
    """Equal parts."""
    return np.split(inputs[1], int(node.attrs["num_split"]), axis=int(inputs[0]))


@evaluates("SplitV")
def split_v(node: Node, inputs: Sequence[Array]) -> Sequence[Array]:
    """Parts of given sizes, one of which may be -1."""
    x, sizes, axis = inputs[0], [int(item) for item in inputs[1]], int(inputs[2])
    if -1 in sizes:
        sizes[sizes.index(-1)] = x.shape[axis] - sum(size for size in sizes if size >= 0)
    return np.split(x, np.cumsum(sizes)[:-1], axis=axis)


@evaluates("ReverseV2")
def reverse(node: Node, inputs: Sequence[Array]) -> Array:
    """Turned round along axes."""
    return np.flip(inputs[0], tuple(int(axis) for axis in inputs[1])) if inputs[1].size else inputs[0]


@evaluates("Reverse")
def reverse_v1(node: Node, inputs: Sequence[Array]) -> Array:
    """Axes named by one flag each."""
    return np.flip(inputs[0], tuple(np.flatnonzero(inputs[1]).tolist()))


@evaluates("Roll")
def roll(node: Node, inputs: Sequence[Array]) -> Array:
    """What falls off one end comes in at the other."""
    x, shifts, axes = inputs
    return np.roll(x, [int(item) for item in shifts.reshape(-1)], [int(item) for item in axes.reshape(-1)])


@evaluates("Slice")
def read_slice(node: Node, inputs: Sequence[Array]) -> Array:
    """begin and size; size -1 reaches the end."""
    x, begin, size = inputs
    cuts = [slice(int(b), None if n < 0 else int(b) + int(n)) for b, n in zip(begin, size, strict=True)]
    return x[tuple(cuts)]


@evaluates("StridedSlice")
def strided_slice(node: Node, inputs: Sequence[Array]) -> Array:
    """numpy's own indexing, written from the masks."""
    x, begin, end, strides = inputs

    def has(mask: str, place: int) -> bool:
        return bool(int(node.attrs.get(f"{mask}_mask") or 0) >> place & 1)

    entries: list[Any] = []
    for place in range(len(begin)):
        if has("ellipsis", place):
            entries.append(Ellipsis)
        elif has("new_axis", place):
            entries.append(None)
        elif has("shrink_axis", place):
            entries.append(int(begin[place]))
        else:
            low = None if has("begin", place) else int(begin[place])
            high = None if has("end", place) else int(end[place])
            entries.append(_cut(low, high, int(strides[place])))
    return np.asarray(x[tuple(entries)])


def _cut(low: int | None, high: int | None, step: int) -> slice:
    return slice(low, high, step)


@evaluates("ReverseSequence")
def reverse_sequence(node: Node, inputs: Sequence[Array]) -> Array:
    """Each sequence turned round up to its length."""
    x, lengths = inputs
    batch, time = int(node.attrs.get("batch_dim", 0)), int(node.attrs.get("seq_dim", 0))
    made = np.moveaxis(x, (batch, time), (0, 1)).copy()
    for row, count in zip(made, lengths, strict=True):
        row[: int(count)] = row[: int(count)][::-1].copy()
    return np.moveaxis(made, (0, 1), (batch, time))
