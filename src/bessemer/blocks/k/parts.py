"""What several k-quants share around the searches: scales of a super-block's 8 or 16 blocks, and the places of bits."""

from __future__ import annotations

import numpy as np

from bessemer.blocks.lanes import (
    Value,
    from_half,
    highest,
    inlined,
    load,
    lowest,
    nearest,
    pick,
    spread,
    store,
    to_half,
    whole,
)

ZERO = np.float32(0)

SIZE = 256
"""Elements of a super-block (QK_K)."""


@inlined
def put_half(value: Value, packed: Value, at: int) -> Value:
    """Stores float16 at bytes `at`, at + 1; returns what a reader gets back."""
    half = to_half(value)
    store(packed, at, half)
    store(packed, at + 1, half >> 8)
    return from_half(half)


@inlined
def greatest(values: Value) -> Value:
    """The greatest number, at least 0."""
    most = spread(ZERO)
    for j in range(len(values)):
        most = highest(load(values, j), most)
    return most


@inlined
def proportions(values: Value, most: Value, top: Value, bound: Value, levels: Value) -> None:
    """levels = values as bytes, `most` being top; none above bound."""
    inverse = pick(most > ZERO, np.float32(top) / most, ZERO)
    for j in range(len(values)):
        store(levels, j, lowest(nearest(inverse * load(values, j)) & 0xFF, bound))


@inlined
def put_pairs(levels: Value, start: int, packed: Value, at: int) -> None:
    """2 bits each: 128 levels from `start` in 32 bytes, the four of a byte 32 apart."""
    for i in range(32):
        low = whole(load(levels, start + i)) | (whole(load(levels, start + 32 + i)) << 2)
        high = whole(load(levels, start + 64 + i)) | (whole(load(levels, start + 96 + i)) << 2)
        store(packed, at + i, (low & 15) | (high << 4))


@inlined
def as_whole(levels: Value, into: Value) -> None:
    """Float levels as int32."""
    for j in range(len(levels)):
        store(into, j, whole(load(levels, j)))
