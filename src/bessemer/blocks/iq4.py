"""IQ4_NL and IQ4_XS: 4 bits that stand for one of 16 unevenly spaced values, times a scale.

IQ4_NL: 32 weights, float16 scale. IQ4_XS: 256 weights, float16 scale, 8 scales of 6 bits (2 high bits each in one 16-bit
number, then 4 low bits each). Facts of ggml-common.h; the search is `quantize_row_iq4_nl_impl` (ggml-quants.c), with one
block of 32 in each lane.
"""

from __future__ import annotations

import numpy as np

from bessemer.blocks.base import Bytes, Codec, Floats
from bessemer.blocks.calls import decoder, encoder
from bessemer.blocks.lanes import (
    LANES,
    Value,
    compiled,
    floating,
    gather,
    highest,
    inlined,
    load,
    lowest,
    magnitude,
    nearest,
    pick,
    root,
    rows,
    scatter,
    spread,
    store,
    to_half,
)  # fmt: skip
from bessemer.blocks.neighbours import pair, put_pair, read_half
from bessemer.wire.gguf.types import BY_NAME

_F32 = np.float32
_ZERO, _ONE = np.float32(0), np.float32(1)

VALUES = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
"""kvalues_iq4nl."""
_VALUES = np.array(VALUES, np.float32)
_MIDDLES = ((_VALUES[1:] + _VALUES[:-1]) / 2).astype(np.float32)
"""From here on the next value is nearer. ggml compares rounded distances; in float32 these differences are exact."""

_EMPTY = np.float32(1e-15)
_TRIALS = 7


@inlined
def _closest(x: Value) -> Value:
    """The value nearest to x (NaN counts as the last, as in ggml)."""
    found = spread(_VALUES[0])
    for i in range(15):
        found = pick(x < _MIDDLES[i], found, _VALUES[i + 1])
    return found


@inlined
def _index(x: Value) -> Value:
    """Which value is nearest."""
    found = nearest(spread(_ZERO))
    for i in range(15):
        found = pick(x < _MIDDLES[i], found, i + 1)
    return found


@inlined
def _products(x: Value, weights: Value, by: Value) -> Value:
    """Weighted sums of x * value and value * value for the values that x * by is nearest to."""
    sum_qx = sum_q2 = spread(_ZERO)
    for i in range(32):
        held, weight = load(x, i), load(weights, i)
        value = _closest(by * held)
        weighted = weight * value
        sum_qx = sum_qx + weighted * held
        sum_q2 = sum_q2 + weighted * value
    return sum_qx, sum_q2


@inlined
def _farthest(x: Value) -> Value:
    most = far = spread(_ZERO)
    for i in range(32):
        size = magnitude(load(x, i))
        far = pick(size > most, load(x, i), far)
        most = highest(size, most)
    return far, most


@inlined
def _scale(x: Value, weights: Value) -> Value:
    """The best scale of 16 blocks of 32, by 16 trials."""
    far, most = _farthest(x)
    sum_qx, sum_q2 = _products(x, weights, _ONE / (-far / _VALUES[0]))
    scale = pick(sum_q2 > _ZERO, sum_qx / sum_q2, _ZERO)
    best = scale * sum_qx
    for trial in range(-_TRIALS, _TRIALS + 1):
        sum_qx, sum_q2 = _products(x, weights, (_F32(trial) + _VALUES[0]) / far)
        better = (sum_q2 > _ZERO) & (sum_qx * sum_qx > best * sum_q2)
        scale = pick(better, sum_qx / sum_q2, scale)
        best = pick(better, scale * sum_qx, best)
    return pick(most < _EMPTY, _ZERO, scale)


@inlined
def _weigh(x: Value, importance: Value, weights: Value, mean: Value) -> None:
    """weights = importance * sqrt(mean + x * x)"""
    for i in range(32):
        store(weights, i, load(importance, i) * root(mean + load(x, i) * load(x, i)))


@inlined
def _square(x: Value, weights: Value) -> None:
    for i in range(32):
        store(weights, i, load(x, i) * load(x, i))


@inlined
def _put_nibbles(x: Value, by: Value, packed: Value, at: int) -> None:
    for i in range(16):
        store(packed, at + i, _index(by * load(x, i)) | (_index(by * load(x, i + 16)) << 4))


# -- IQ4_NL


@inlined
def _put_nl(values: Value, weights: Value, packed: Value, out: Value, first: int) -> None:
    scale = _scale(values, weights)
    held = to_half(scale)
    store(packed, 0, held)
    store(packed, 1, held >> 8)
    _put_nibbles(values, pick(scale == _ZERO, _ZERO, _ONE / scale), packed, 2)
    scatter(packed, out, first)


@compiled
def _nl(x: Floats, out: Bytes) -> None:
    values, weights = rows(32, x), rows(32, x)
    packed = np.empty((18, LANES), np.uint8)
    for first in range(0, x.size // 32, LANES):
        gather(x, first, x.size // 32, values)
        _square(values, weights)
        _put_nl(values, weights, packed, out, first)


@compiled
def _nl_weighted(x: Floats, importance: Floats, out: Bytes) -> None:
    values, weights = rows(32, x), rows(32, x)
    packed = np.empty((18, LANES), np.uint8)
    per_row = importance.size // 32
    for first in range(0, x.size // 32, LANES):
        gather(x, first, x.size // 32, values)
        gather(importance, first % per_row, per_row, weights)
        mean = spread(_ZERO)
        for i in range(32):
            mean = mean + load(values, i) * load(values, i)
        _weigh(values, weights, weights, mean * _F32(2.0 / 32))
        _put_nl(values, weights, packed, out, first)


# -- IQ4_XS


@inlined
def _first_farthest(scales: Value, first: int) -> Value:
    """The first of 8 scales with the greatest magnitude; +0 where all are zeros."""
    most = found = _ZERO
    for i in range(first, first + 8):
        if abs(scales[i]) > most:
            most, found = abs(scales[i]), scales[i]
    return found


@inlined
def _put_xs(values: Value, scales: Value, whole_scales: Value, packed: Value, out: Value, first: int) -> None:
    """Two super-blocks: their scales, then the nibbles of each block of 32. scales: of 16 blocks; the rest is space."""
    for half in range(0, LANES, 8):
        scale = _F32(-_first_farthest(scales, half) / _F32(32))
        for i in range(half, half + 8):
            whole_scales[i] = scale
    shared = load(whole_scales, 0)
    sixth = lowest(highest(nearest(pick(shared == _ZERO, _ZERO, _ONE / shared) * load(scales, 0)), -32), 31)
    block_scale = shared * floating(sixth)
    _put_nibbles(values, pick(block_scale == _ZERO, _ZERO, _ONE / block_scale), packed, 2)
    held = to_half(shared)
    store(packed, 0, held)
    store(packed, 1, held >> 8)
    store(packed, 18, sixth + 32)
    for half in range(min(2, out.size // 136 - first // 8)):
        _put_block(packed, 8 * half, out, (first // 8 + half) * 136)


@inlined
def _put_block(packed: Value, lane: int, out: Value, to: int) -> None:
    """One super-block from 8 lanes from `lane`."""
    out[to], out[to + 1] = packed[0, lane], packed[1, lane]
    high = np.uint32(0)
    for i in range(8):
        sixth = packed[18, lane + i]
        high = np.uint32(high | np.uint32(np.uint32(sixth >> np.uint8(4)) << np.uint32(2 * i)))
        for j in range(16):
            out[to + 8 + 16 * i + j] = packed[2 + j, lane + i]
    put_pair(out, to + 2, high)
    for i in range(4):
        low, above = packed[18, lane + 2 * i], packed[18, lane + 2 * i + 1]
        out[to + 4 + i] = np.uint8((low & np.uint8(15)) | (above & np.uint8(15)) << np.uint8(4))


@compiled
def _xs(x: Floats, out: Bytes) -> None:
    values, weights = rows(32, x), rows(32, x)
    scales, whole_scales = np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    packed = np.empty((19, LANES), np.uint8)
    for first in range(0, x.size // 32, LANES):
        gather(x, first, x.size // 32, values)
        _square(values, weights)
        store(scales, 0, _scale(values, weights))
        _put_xs(values, scales, whole_scales, packed, out, first)


@inlined
def _means(x: Value, first: int, means: Value) -> None:
    """2 / 256 of the sum of squares of a lane's super-block, for two of them."""
    for half in range(0, LANES, 8):
        at = (first + half) % (x.size // 32) * 32
        total = _ZERO
        for i in range(256):
            total = _F32(total + _F32(x[at + i] * x[at + i]))
        for i in range(half, half + 8):
            means[i] = _F32(total * _F32(2.0 / 256))


@compiled
def _xs_weighted(x: Floats, importance: Floats, out: Bytes) -> None:
    values, weights = rows(32, x), rows(32, x)
    scales, whole_scales = np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    packed = np.empty((19, LANES), np.uint8)
    per_row = importance.size // 32
    for first in range(0, x.size // 32, LANES):
        gather(x, first, x.size // 32, values)
        gather(importance, first % per_row, per_row, weights)
        _means(x, first, scales)
        _weigh(values, weights, weights, load(scales, 0))
        store(scales, 0, _scale(values, weights))
        _put_xs(values, scales, whole_scales, packed, out, first)


# -- decoders


@inlined
def _values(held: Value) -> Value:
    """The values of 16 indices."""
    found = spread(_VALUES[0])
    for i in range(1, 16):
        found = pick(held == i, _VALUES[i], found)
    return found


@compiled
def _from_nl(data: Bytes, out: Floats) -> None:
    for block in range(out.size // 32):
        held, scale = load(data, 18 * block + 2), read_half(data, 18 * block)
        store(out, 32 * block, _values(held & 15) * scale)
        store(out, 32 * block + LANES, _values(held >> 4) * scale)


@compiled
def _from_xs(data: Bytes, out: Floats) -> None:
    for block in range(out.size // 256):
        at = 136 * block
        scale, high = read_half(data, at), pair(data, at + 2)
        for i in range(8):
            low = np.int32(data[at + 4 + i // 2] >> np.uint8(4 * (i % 2))) & np.int32(15)
            sixth = low | np.int32(np.uint32(high >> np.uint32(2 * i)) & np.uint32(3)) << np.int32(4)
            by = _F32(scale * _F32(np.int32(sixth) - np.int32(32)))
            held = load(data, at + 8 + 16 * i)
            store(out, 256 * block + 32 * i, _values(held & 15) * by)
            store(out, 256 * block + 32 * i + LANES, _values(held >> 4) * by)


CODECS = {
    "IQ4_NL": Codec(BY_NAME["IQ4_NL"], decoder(_from_nl), encoder(_nl, _nl_weighted)),
    "IQ4_XS": Codec(BY_NAME["IQ4_XS"], decoder(_from_xs), encoder(_xs, _xs_weighted)),
}
