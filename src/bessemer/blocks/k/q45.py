"""Q4_K and Q5_K: 8 blocks of 32 levels, each with a scale and a minimum in 6 bits, times two float16 of the super-block.

Bytes: scale, minimum (float16), 12 bytes of scales and minima, for Q5_K 32 bytes of fifth bits, 128 bytes of four bits
(block_q4_K, block_q5_K of ggml-common.h).
"""

from __future__ import annotations

import numpy as np

from bessemer.blocks.k.parts import SIZE, as_whole, greatest, proportions, put_half
from bessemer.blocks.k.search import positive_scale, round_again, scale_and_minimum, sum_of_squares, weigh
from bessemer.blocks.lanes import (
    LANES,
    Value,
    compiled,
    floating,
    gather,
    inlined,
    load,
    magnitude,
    root,
    rows,
    scatter,
    store,
    whole,
)
from bessemer.blocks.neighbours import read_half

TOP = 63
"""Scales and minima have 6 bits."""


@inlined
def _weigh_plainly(x: Value, weights: Value) -> None:
    """weights = root mean square + |x|"""
    mean = root(sum_of_squares(x) / np.float32(len(x)))
    for i in range(len(x)):
        store(weights, i, mean + magnitude(load(x, i)))


@inlined
def _put_scales(scales: Value, minima: Value, packed: Value) -> None:
    """Two times eight numbers of 6 bits in bytes 4..15: the last four of each lie half with their fellows, half above the
    first four (what get_scale_min_k4 reads)."""
    for j in range(4):
        store(packed, 4 + j, load(scales, j) | (load(scales, j + 4) >> 4 << 6))
        store(packed, 8 + j, load(minima, j) | (load(minima, j + 4) >> 4 << 6))
        store(packed, 12 + j, (load(scales, j + 4) & 15) | ((load(minima, j + 4) & 15) << 4))


@inlined
def _stored(packed: Value, j: int) -> Value:
    """Scale and minimum of block j, as a reader finds them."""
    if j < 4:
        return load(packed, 4 + j) & 63, load(packed, 8 + j) & 63
    scale = (load(packed, 8 + j) & 15) | (load(packed, j) >> 6 << 4)
    return scale, (load(packed, 8 + j) >> 4) | (load(packed, 4 + j) >> 6 << 4)


@inlined
def _finish(x: Value, scale: Value, minimum: Value, top: int, levels: Value, packed: Value) -> None:
    """The two float16, the levels for the scales as stored, and their bits."""
    scale, minimum = put_half(scale, packed, 0), put_half(minimum, packed, 2)
    for j in range(8):
        one = slice(32 * j, 32 * j + 32)
        scale_level, minimum_level = _stored(packed, j)
        block_scale, block_minimum = scale * floating(scale_level), minimum * floating(minimum_level)
        round_again(x[one], block_scale, block_minimum, 0, top, levels[one])
    if top == 31:
        _put_fifth_bits(levels, packed)
    at = 48 if top == 31 else 16
    for i in range(128):
        low = i // 32 * 64 + i % 32
        store(packed, at + i, (whole(load(levels, low)) & 15) | ((whole(load(levels, low + 32)) & 15) << 4))


@inlined
def _put_fifth_bits(levels: Value, packed: Value) -> None:
    """Bytes 16..47: bit j of byte i belongs to element i of block j."""
    for i in range(32):
        held = whole(load(levels, i)) >> 4
        for j in range(1, 8):
            held |= whole(load(levels, 32 * j + i)) >> 4 << j
        store(packed, 16 + i, held)


@compiled
def encode(source: Value, out: Value, top: int, first: Value, steps: int) -> None:
    """quantize_row_q4_K_ref, quantize_row_q5_K_ref. source: float32 [elements]; out: uint8, 144 or 176 for each 256."""
    x, levels, weights, trial = rows(SIZE, source), rows(SIZE, source), rows(32, source), rows(32, source)
    scales, minima = rows(8, source), rows(8, source)
    scale_levels, minimum_levels = np.empty((8, LANES), np.int32), np.empty((8, LANES), np.int32)
    packed = np.empty((176 if top == 31 else 144, LANES), np.uint8)
    blocks = len(source) // SIZE
    for block in range(0, blocks, LANES):
        gather(source, block, blocks, x)
        for j in range(8):
            one = slice(32 * j, 32 * j + 32)
            _weigh_plainly(x[one], weights)
            scale, minimum = scale_and_minimum(
                x[one], weights, top, first, np.float32(0.1), steps, False, trial, levels[one]
            )
            store(scales, j, scale)
            store(minima, j, minimum)
        most, deepest = greatest(scales), greatest(minima)
        proportions(scales, most, TOP, TOP, scale_levels)
        proportions(minima, deepest, TOP, TOP, minimum_levels)
        _put_scales(scale_levels, minimum_levels, packed)
        _finish(x, most / np.float32(TOP), deepest / np.float32(TOP), top, levels, packed)
        scatter(packed, out, block)


@compiled
def encode_weighted(source: Value, importance: Value, out: Value, top: int) -> None:
    """quantize_row_q4_K_impl, quantize_row_q5_K_impl. importance: float32 [columns], the same for each row of source."""
    x, levels, weights, trial = rows(SIZE, source), rows(SIZE, source), rows(32, source), rows(32, source)
    scales, minima, sums = rows(8, source), rows(8, source), rows(8, source)
    important, chosen = rows(SIZE, source), rows(8, source)
    scale_levels, minimum_levels = np.empty((8, LANES), np.int32), np.empty((8, LANES), np.int32)
    packed = np.empty((176 if top == 31 else 144, LANES), np.uint8)
    blocks = len(source) // SIZE
    for block in range(0, blocks, LANES):
        gather(source, block, blocks, x)
        gather(importance, block, len(importance) // SIZE, important)
        mean = np.float32(2) * sum_of_squares(x) / np.float32(SIZE)
        for j in range(8):
            one = slice(32 * j, 32 * j + 32)
            store(sums, j, weigh(x[one], important[one], mean, weights))
            scale, minimum = scale_and_minimum(
                x[one], weights, top, np.float32(-0.9), np.float32(0.05), 36, False, trial, levels[one]
            )
            store(scales, j, scale)
            store(minima, j, minimum)
        scale = positive_scale(scales, sums, TOP, chosen)
        as_whole(chosen, scale_levels)
        minimum = positive_scale(minima, sums, TOP, chosen)
        as_whole(chosen, minimum_levels)
        _put_scales(scale_levels, minimum_levels, packed)
        _finish(x, scale, minimum, top, levels, packed)
        scatter(packed, out, block)


@compiled
def decode(source: Value, out: Value, five: bool) -> None:
    """dequantize_row_q4_K, dequantize_row_q5_K. source: uint8; out: float32, flat."""
    size = 176 if five else 144
    for block in range(len(source) // size):
        held, made = source[block * size : (block + 1) * size], out[block * SIZE : (block + 1) * SIZE]
        scale, minimum = read_half(held, 0), read_half(held, 2)
        for j in range(8):
            level_of, offset = _numbers(held, j)
            block_scale, block_minimum = scale * np.float32(level_of), minimum * np.float32(offset)
            for i in range(0, 32, LANES):
                bits = load(held, size - 128 + j // 2 * 32 + i) >> (j % 2 * 4) & 15
                if five:
                    bits |= (load(held, 16 + i) >> j & 1) << 4
                store(made, 32 * j + i, floating(bits) * block_scale - block_minimum)


@inlined
def _numbers(held: Value, j: int) -> Value:
    """Scale and minimum of block j, 6 bits each (get_scale_min_k4)."""
    if j < 4:
        return held[4 + j] & 63, held[8 + j] & 63
    return (held[8 + j] & 15) | (held[j] >> 6 << 4), (held[8 + j] >> 4) | (held[4 + j] >> 6 << 4)
