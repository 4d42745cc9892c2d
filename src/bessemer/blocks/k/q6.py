"""Q6_K: 16 blocks of 16 levels of both signs, each with a scale in 8 bits, times a float16 of the super-block.

Bytes: 128 of four bits, 64 of two bits, 16 scales (int8), the float16 (block_q6_K of ggml-common.h).
"""

from __future__ import annotations

import numpy as np

from bessemer.blocks.k.parts import SIZE, put_half
from bessemer.blocks.k.search import EMPTY, round_again, signed_scale
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

BYTES = 210
HIGH, SCALES, SCALE = 128, 192, 208
"""Where they start; the low four bits come first."""

ZERO = np.float32(0)


@inlined
def _put_levels(levels: Value, packed: Value) -> None:
    for i in range(64):
        start = i // 32 * 128 + i % 32
        one, two = whole(load(levels, start)), whole(load(levels, start + 32))
        three, four = whole(load(levels, start + 64)), whole(load(levels, start + 96))
        at = i // 32 * 64 + i % 32
        store(packed, at, (one & 15) | ((three & 15) << 4))
        store(packed, at + 32, (two & 15) | ((four & 15) << 4))
        store(packed, HIGH + i, (one >> 4) | (two >> 4 << 2) | (three >> 4 << 4) | (four >> 4 << 6))


@inlined
def _put_scales(scales: Value, packed: Value) -> Value:
    """The one of greatest magnitude being -128; returns (float16 of what 1 is worth, where all are zero)."""
    most = far = spread(ZERO)
    for j in range(16):
        scale = load(scales, j)
        far = pick(magnitude(scale) > most, scale, far)
        most = highest(magnitude(scale), most)
    inverse = np.float32(-128) / far
    empty = most < EMPTY
    for j in range(16):
        store(packed, SCALES + j, pick(empty, 0, lowest(nearest(inverse * load(scales, j)), 127)))
    return put_half(pick(empty, ZERO, np.float32(1) / inverse), packed, SCALE), empty


@compiled
def encode(source: Value, importance: Value, out: Value) -> None:
    """quantize_row_q6_K_ref, quantize_row_q6_K_impl. source: float32 [elements]; importance: float32 [columns] or empty
    (weights are then the squares); out: uint8, 210 for each 256."""
    x, levels, weights, scales = rows(SIZE, source), rows(SIZE, source), rows(SIZE, source), rows(16, source)
    packed = np.empty((BYTES, LANES), np.uint8)
    blocks = len(source) // SIZE
    for block in range(0, blocks, LANES):
        gather(source, block, blocks, x)
        if len(importance):
            gather(importance, block, len(importance) // SIZE, weights)
        else:
            for i in range(SIZE):
                store(weights, i, load(x, i) * load(x, i))
        for j in range(16):
            one = slice(16 * j, 16 * j + 16)
            store(scales, j, signed_scale(x[one], weights[one], 32, levels[one]))
        scale, empty = _put_scales(scales, packed)
        for j in range(16):
            one, held = slice(16 * j, 16 * j + 16), load(packed, SCALES + j) << 24 >> 24
            round_again(x[one], scale * floating(held), spread(ZERO), -32, 31, levels[one])
        for i in range(SIZE):
            store(levels, i, pick(empty, ZERO, load(levels, i)))
        _put_levels(levels, packed)
        scatter(packed, out, block)


@compiled
def decode(source: Value, out: Value) -> None:
    """dequantize_row_q6_K. source: uint8; out: float32, flat."""
    for block in range(len(source) // BYTES):
        held, made = source[block * BYTES : (block + 1) * BYTES], out[block * SIZE : (block + 1) * SIZE]
        scale = read_half(held, SCALE)
        for j in range(16):
            half, quarter, place = j // 8, j // 2 % 4, j % 2 * 16
            low = load(held, half * 64 + quarter % 2 * 32 + place) >> (quarter // 2 * 4) & 15
            high = (load(held, HIGH + half * 32 + place) >> (quarter * 2) & 3) << 4
            store(made, 16 * j, floating((low | high) - 32) * (scale * np.float32(np.int8(held[SCALES + j]))))
