"""Q4_0 Q4_1 Q5_0 Q5_1 with an importance matrix: scales by weighted least squares, one block in each lane.

A weight counts importance * sqrt(mean square of its row + its square) (`quantize_row_q4_0_impl` and its kin, ggml-quants.c).
"""

from __future__ import annotations

import numpy as np

from bessemer.blocks.base import Bytes, Floats
from bessemer.blocks.k.search import scale_and_minimum, signed_scale, weigh
from bessemer.blocks.lanes import (
    LANES,
    Value,
    compiled,
    gather,
    inlined,
    load,
    rows,
    scatter,
    store,
    to_half,
    whole,
)

_F32 = np.float32


@inlined
def mean_squares(x: Value, columns: int, over: int) -> Value:
    """Sum of squares of each row of `columns`, in their order, over `over`. Four rows at a time: a sum waits for itself."""
    count = x.size // columns
    found = np.empty(count, np.float32)
    for row in range(0, count, 4):
        a, b, c, d = row, min(row + 1, count - 1), min(row + 2, count - 1), min(row + 3, count - 1)
        sums = (_F32(0), _F32(0), _F32(0), _F32(0))
        for i in range(columns):
            sums = (
                _F32(sums[0] + _F32(x[a * columns + i] * x[a * columns + i])),
                _F32(sums[1] + _F32(x[b * columns + i] * x[b * columns + i])),
                _F32(sums[2] + _F32(x[c * columns + i] * x[c * columns + i])),
                _F32(sums[3] + _F32(x[d * columns + i] * x[d * columns + i])),
            )
        found[a], found[b], found[c], found[d] = sums
    for row in range(count):
        found[row] = _F32(found[row] / _F32(over))
    return found


@inlined
def _weigh(x: Value, importance: Value, means: Value, first: int, values: Value, weights: Value) -> None:
    """Blocks first..first + 15 into lanes, and what each weight counts."""
    per_row = importance.size // 32
    blocks = x.size // 32
    gather(x, first, blocks, values)
    gather(importance, first % per_row, per_row, weights)
    mean = np.empty(LANES, np.float32)
    for lane in range(LANES):
        mean[lane] = means[(first + lane) % blocks // per_row]
    weigh(values, weights, load(mean, 0), weights)


@inlined
def _put_half(packed: Value, at: int, value: Value) -> None:
    held = to_half(value)
    store(packed, at, held)
    store(packed, at + 1, held >> 8)


@inlined
def _put_nibbles(levels: Value, packed: Value, at: int) -> None:
    for i in range(16):
        low, high = whole(load(levels, i)), whole(load(levels, i + 16))
        store(packed, at + i, (low & 15) | ((high & 15) << 4))


@inlined
def _put_fifths(levels: Value, packed: Value, at: int) -> None:
    """The fifth bits of 32 levels in 4 bytes."""
    for byte in range(4):
        held = (whole(load(levels, 8 * byte)) & 16) >> 4
        for bit in range(1, 8):
            held = held | ((whole(load(levels, 8 * byte + bit)) & 16) >> 4 << bit)
        store(packed, at + byte, held)


@compiled
def q4_0(x: Floats, importance: Floats, out: Bytes) -> None:
    """Flat weights, importance per column, bytes."""
    values, weights, levels = rows(32, x), rows(32, x), rows(32, x)
    packed = np.empty((18, LANES), np.uint8)
    means = mean_squares(x, importance.size, importance.size)
    for first in range(0, x.size // 32, LANES):
        _weigh(x, importance, means, first, values, weights)
        _put_half(packed, 0, signed_scale(values, weights, 8, levels))
        _put_nibbles(levels, packed, 2)
        scatter(packed, out, first)


@compiled
def q5_0(x: Floats, importance: Floats, out: Bytes) -> None:
    """As `q4_0`."""
    values, weights, levels = rows(32, x), rows(32, x), rows(32, x)
    packed = np.empty((22, LANES), np.uint8)
    means = mean_squares(x, importance.size, importance.size)
    for first in range(0, x.size // 32, LANES):
        _weigh(x, importance, means, first, values, weights)
        _put_half(packed, 0, signed_scale(values, weights, 16, levels))
        _put_fifths(levels, packed, 2)
        _put_nibbles(levels, packed, 6)
        scatter(packed, out, first)


@inlined
def _search(values: Value, weights: Value, top: int, space: Value, levels: Value, packed: Value) -> None:
    """Scale and least weight, into bytes 0 to 3."""
    scale, minimum = scale_and_minimum(values, weights, top, _F32(-0.9), _F32(0.05), 36, False, space, levels)
    _put_half(packed, 0, scale)
    _put_half(packed, 2, -minimum)


@compiled
def q4_1(x: Floats, importance: Floats, out: Bytes) -> None:
    """As `q4_0`."""
    values, weights, levels, space = rows(32, x), rows(32, x), rows(32, x), rows(32, x)
    packed = np.empty((20, LANES), np.uint8)
    means = mean_squares(x, importance.size, importance.size)
    for first in range(0, x.size // 32, LANES):
        _weigh(x, importance, means, first, values, weights)
        _search(values, weights, 15, space, levels, packed)
        _put_nibbles(levels, packed, 4)
        scatter(packed, out, first)


@compiled
def q5_1(x: Floats, importance: Floats, out: Bytes) -> None:
    """As `q4_0`."""
    values, weights, levels, space = rows(32, x), rows(32, x), rows(32, x), rows(32, x)
    packed = np.empty((24, LANES), np.uint8)
    means = mean_squares(x, importance.size, importance.size)
    for first in range(0, x.size // 32, LANES):
        _weigh(x, importance, means, first, values, weights)
        _search(values, weights, 31, space, levels, packed)
        _put_fifths(levels, packed, 4)
        _put_nibbles(levels, packed, 8)
        scatter(packed, out, first)
