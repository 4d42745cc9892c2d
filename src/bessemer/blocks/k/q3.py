"""Q3_K: 16 blocks of 16 levels of both signs, each with a scale in 6 bits, times a float16 of the super-block.

Bytes: 32 of third bits, 64 of two bits, 12 of scales, the float16 (block_q3_K of ggml-common.h).
"""

from __future__ import annotations

import numpy as np

from bessemer.blocks.k.parts import SIZE, put_half, put_pairs
from bessemer.blocks.k.search import descended_scale, round_again, signed_scale, sum_of_squares, weigh
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
    rows,
    scatter,
    spread,
    store,
    whole,
)
from bessemer.blocks.neighbours import read_half

BYTES = 110
LEVELS, SCALES, SCALE = 32, 96, 108
"""Where they start; the third bits come first."""

ZERO = np.float32(0)


@inlined
def _put_scales(scales: Value, packed: Value) -> None:
    """16 numbers of 6 bits: four bits of j and j + 8 in a byte each, then two bits of j, j + 4, j + 8, j + 12."""
    for j in range(8):
        store(packed, SCALES + j, (load(scales, j) & 15) | ((load(scales, j + 8) & 15) << 4))
    for j in range(4):
        low = (load(scales, j) >> 4) | (load(scales, j + 4) >> 4 << 2)
        store(packed, SCALES + 8 + j, low | (load(scales, j + 8) >> 4 << 4) | (load(scales, j + 12) >> 4 << 6))


@inlined
def _finish(x: Value, scale: Value, scales: Value, levels: Value, packed: Value) -> None:
    """The float16, the levels for the scales as stored, and their bits."""
    scale = put_half(scale, packed, SCALE)
    _put_scales(scales, packed)
    for j in range(16):
        one = slice(16 * j, 16 * j + 16)
        round_again(x[one], scale * floating(load(scales, j) - 32), spread(ZERO), -4, 3, levels[one])
    for i in range(32):
        held = whole(load(levels, i)) >> 2
        for j in range(1, 8):
            held |= whole(load(levels, 32 * j + i)) >> 2 << j
        store(packed, i, held)
    for i in range(SIZE):
        store(levels, i, floating(whole(load(levels, i)) & 3))
    put_pairs(levels, 0, packed, LEVELS)
    put_pairs(levels, 128, packed, LEVELS + 32)


@inlined
def _six_bits(scales: Value, into: Value) -> Value:
    """Scales as -32..31, the one of greatest magnitude being -32, plus 32; returns what 1 of them is worth."""
    most = far = spread(ZERO)
    for j in range(16):
        scale = load(scales, j)
        far = pick(magnitude(scale) > most, scale, far)
        most = highest(magnitude(scale), most)
    inverse = np.float32(-32) / far
    for j in range(16):
        wrapped = nearest(inverse * load(scales, j)) << 24 >> 24  # ggml keeps it in an int8_t before it bounds it
        store(into, j, pick(far != ZERO, highest(lowest(wrapped, 31), -32) + 32, 0))
    return pick(far != ZERO, np.float32(1) / inverse, ZERO)


@compiled
def encode(source: Value, out: Value) -> None:
    """quantize_row_q3_K_ref. source: float32 [elements]; out: uint8, 110 for each 256."""
    x, levels, squares, scales = rows(SIZE, source), rows(SIZE, source), rows(16, source), rows(16, source)
    scale_levels = np.empty((16, LANES), np.int32)
    packed = np.empty((BYTES, LANES), np.uint8)
    blocks = len(source) // SIZE
    for block in range(0, blocks, LANES):
        gather(source, block, blocks, x)
        for j in range(16):
            one = slice(16 * j, 16 * j + 16)
            store(scales, j, descended_scale(x[one], 4, squares, levels[one]))
        scale = _six_bits(scales, scale_levels)
        _finish(x, scale, scale_levels, levels, packed)
        scatter(packed, out, block)


@compiled
def encode_weighted(source: Value, importance: Value, out: Value) -> None:
    """quantize_row_q3_K_impl. importance: float32 [columns], the same for each row of source."""
    x, levels, weights, scales = rows(SIZE, source), rows(SIZE, source), rows(16, source), rows(16, source)
    important, sums, chosen = rows(SIZE, source), rows(16, source), rows(16, source)
    scale_levels = np.empty((16, LANES), np.int32)
    packed = np.empty((BYTES, LANES), np.uint8)
    blocks = len(source) // SIZE
    for block in range(0, blocks, LANES):
        gather(source, block, blocks, x)
        gather(importance, block, len(importance) // SIZE, important)
        mean = np.float32(2) * sum_of_squares(x) / np.float32(SIZE)
        for j in range(16):
            one = slice(16 * j, 16 * j + 16)
            store(sums, j, weigh(x[one], important[one], mean, weights))
            store(scales, j, signed_scale(x[one], weights, 4, levels[one]))
        scale = signed_scale(scales, sums, 32, chosen)
        for j in range(16):
            store(scale_levels, j, whole(load(chosen, j)))
        _finish(x, scale, scale_levels, levels, packed)
        scatter(packed, out, block)


@inlined
def _scale_of(held: Value, j: int) -> Value:
    """Scale of block j, -32..31."""
    low = held[SCALES + j % 8] >> (j // 8 * 4) & 15
    return np.int32(low | (held[SCALES + 8 + j % 4] >> (j // 4 * 2) & 3) << 4) - np.int32(32)


@compiled
def decode(source: Value, out: Value) -> None:
    """dequantize_row_q3_K. source: uint8; out: float32, flat."""
    for block in range(len(source) // BYTES):
        held, made = source[block * BYTES : (block + 1) * BYTES], out[block * SIZE : (block + 1) * SIZE]
        scale = read_half(held, SCALE)
        for j in range(16):
            low = load(held, LEVELS + j // 8 * 32 + j % 2 * 16) >> (j // 2 % 4 * 2) & 3
            high = (load(held, j % 2 * 16) >> (j // 2) & 1) << 2
            store(made, 16 * j, floating((low | high) - 4) * (scale * np.float32(_scale_of(held, j))))
