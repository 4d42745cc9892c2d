"""Q2_K: 16 blocks of 16 levels, each with a scale and a minimum in 4 bits, times two float16 of the super-block.

Bytes: 16 of scales (low half) and minima, 64 of levels, scale, minimum (block_q2_K of ggml-common.h).
"""

from __future__ import annotations

import numpy as np

from bessemer.blocks.k.parts import SIZE, as_whole, greatest, proportions, put_half, put_pairs
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
    rows,
    scatter,
    store,
)
from bessemer.blocks.neighbours import read_half

BYTES = 84
LEVELS, SCALE, MINIMUM = 16, 80, 82
"""Where they start."""

TOP = 15
"""Scales and minima have 4 bits."""


@inlined
def _finish(x: Value, scale: Value, minimum: Value, levels: Value, packed: Value) -> None:
    """The two float16, the levels for the scales as stored, and their bits."""
    scale, minimum = put_half(scale, packed, SCALE), put_half(minimum, packed, MINIMUM)
    for j in range(16):
        one, held = slice(16 * j, 16 * j + 16), load(packed, j)
        round_again(x[one], scale * floating(held & 15), minimum * floating(held >> 4), 0, 3, levels[one])
    put_pairs(levels, 0, packed, LEVELS)
    put_pairs(levels, 128, packed, LEVELS + 32)


@compiled
def encode(source: Value, out: Value) -> None:
    """quantize_row_q2_K_ref. source: float32 [elements]; out: uint8, 84 for each 256."""
    x, levels, weights, trial = rows(SIZE, source), rows(SIZE, source), rows(16, source), rows(16, source)
    scales, minima = rows(16, source), rows(16, source)
    scale_levels, minimum_levels = np.empty((16, LANES), np.int32), np.empty((16, LANES), np.int32)
    packed = np.empty((BYTES, LANES), np.uint8)
    blocks = len(source) // SIZE
    for block in range(0, blocks, LANES):
        gather(source, block, blocks, x)
        for j in range(16):
            one = slice(16 * j, 16 * j + 16)
            for i in range(16):
                store(weights, i, magnitude(load(x, 16 * j + i)))
            scale, minimum = scale_and_minimum(
                x[one], weights, 3, np.float32(-0.5), np.float32(0.1), 15, True, trial, levels[one]
            )
            store(scales, j, scale)
            store(minima, j, minimum)
        most, deepest = greatest(scales), greatest(minima)
        proportions(scales, most, TOP, 255, scale_levels)
        proportions(minima, deepest, TOP, 255, minimum_levels)
        for j in range(16):
            store(packed, j, load(scale_levels, j) | (load(minimum_levels, j) << 4))
        _finish(x, most / np.float32(TOP), deepest / np.float32(TOP), levels, packed)
        scatter(packed, out, block)


@compiled
def encode_weighted(source: Value, importance: Value, out: Value) -> None:
    """quantize_row_q2_K_impl. importance: float32 [columns], the same for each row of source."""
    x, levels, weights, trial = rows(SIZE, source), rows(SIZE, source), rows(16, source), rows(16, source)
    scales, minima, sums = rows(16, source), rows(16, source), rows(16, source)
    important, chosen = rows(SIZE, source), rows(16, source)
    scale_levels, minimum_levels = np.empty((16, LANES), np.int32), np.empty((16, LANES), np.int32)
    packed = np.empty((BYTES, LANES), np.uint8)
    blocks = len(source) // SIZE
    for block in range(0, blocks, LANES):
        gather(source, block, blocks, x)
        gather(importance, block, len(importance) // SIZE, important)
        mean = sum_of_squares(x) / np.float32(SIZE)
        for j in range(16):
            one = slice(16 * j, 16 * j + 16)
            store(sums, j, weigh(x[one], important[one], mean, weights))
            scale, minimum = scale_and_minimum(
                x[one], weights, 3, np.float32(-0.9), np.float32(0.05), 36, False, trial, levels[one]
            )
            store(scales, j, scale)
            store(minima, j, minimum)
        scale = positive_scale(scales, sums, TOP, chosen)
        as_whole(chosen, scale_levels)
        minimum = positive_scale(minima, sums, TOP, chosen)
        as_whole(chosen, minimum_levels)
        for j in range(16):
            store(packed, j, load(scale_levels, j) | (load(minimum_levels, j) << 4))
        _finish(x, scale, minimum, levels, packed)
        scatter(packed, out, block)


@compiled
def decode(source: Value, out: Value) -> None:
    """dequantize_row_q2_K. source: uint8; out: float32, flat."""
    for block in range(len(source) // BYTES):
        held, made = source[block * BYTES : (block + 1) * BYTES], out[block * SIZE : (block + 1) * SIZE]
        scale, minimum = read_half(held, SCALE), read_half(held, MINIMUM)
        for j in range(16):
            block_scale, block_minimum = scale * np.float32(held[j] & 15), minimum * np.float32(held[j] >> 4)
            # block j lies in bits 2 * (j // 2 % 4) of 16 bytes
            bits = load(held, LEVELS + j // 8 * 32 + j % 2 * 16) >> (j // 2 % 4 * 2) & 3
            store(made, 16 * j, floating(bits) * block_scale - block_minimum)
