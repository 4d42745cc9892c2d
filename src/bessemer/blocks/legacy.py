"""Blocks with one scale: Q4_0 Q4_1 Q5_0 Q5_1 (32 weights), Q8_0, Q8_1, Q8_K, Q1_0 (128), Q2_0 (64).

A block is its scale as float16 (Q4_1, Q5_1: and its least weight; Q8_1: and its sum; Q8_K: a float32 scale, sums at the
end), for Q5 the fifth bits of all weights, then the quants: of 4 bits, the first half of the block lies in the low nibbles.
Facts of ggml-common.h and ggml-quants.c (`quantize_row_*_ref`, `dequantize_row_*`); with an importance matrix see
`blocks.weighted`.
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
    inlined,
    load,
    lowest,
    pick,
    spread,
    store,
    whole,
)
from bessemer.blocks.neighbours import (
    any_int,
    extremes,
    farthest,
    four,
    greatest,
    half,
    inverse,
    pair,
    put_four,
    put_pair,
    read_half,
    rounded,
    set_bits,
    single,
)  # fmt: skip
from bessemer.blocks.weighted import q4_0 as weighted_q4_0
from bessemer.blocks.weighted import q4_1 as weighted_q4_1
from bessemer.blocks.weighted import q5_0 as weighted_q5_0
from bessemer.blocks.weighted import q5_1 as weighted_q5_1
from bessemer.wire.gguf.types import BY_NAME

_F32, _U32 = np.float32, np.uint32


@inlined
def _signed_byte(values: Value) -> Value:
    """What C's conversion to int8 leaves of a whole number."""
    return values << 24 >> 24


# -- encoders


@compiled
def _q8_0(x: Floats, out: Bytes) -> None:
    for block in range(x.size // 32):
        at, to = 32 * block, 34 * block
        scale = _F32(greatest(x, at, 32) / _F32(127))
        by = inverse(scale)
        put_pair(out, to, half(scale))
        store(out, to + 2, rounded(load(x, at) * by))
        store(out, to + 2 + LANES, rounded(load(x, at + LANES) * by))


@compiled
def _q4_0(x: Floats, out: Bytes) -> None:
    for block in range(x.size // 32):
        at, to = 32 * block, 18 * block
        scale = _F32(farthest(x, at) / _F32(-8))
        by = inverse(scale)
        put_pair(out, to, half(scale))
        low = lowest(_signed_byte(whole(load(x, at) * by + _F32(8.5))), 15)
        high = lowest(_signed_byte(whole(load(x, at + LANES) * by + _F32(8.5))), 15)
        store(out, to + 2, low | (high << 4))


@compiled
def _q4_1(x: Floats, out: Bytes) -> None:
    for block in range(x.size // 32):
        at, to = 32 * block, 20 * block
        low, high = extremes(x, at)
        scale = _F32(_F32(high - low) / _F32(15))
        by = inverse(scale)
        put_pair(out, to, half(scale))
        put_pair(out, to + 2, half(low))
        first = lowest(_signed_byte(whole((load(x, at) - low) * by + _F32(0.5))), 15)
        second = lowest(_signed_byte(whole((load(x, at + LANES) - low) * by + _F32(0.5))), 15)
        store(out, to + 4, first | (second << 4))


@inlined
def _put_five(out: Bytes, at: int, low: Value, high: Value) -> None:
    """Quants of 5 bits: 32 fifth bits, then nibbles."""
    fifth = _U32(set_bits((low & 16) != 0) | _U32(set_bits((high & 16) != 0) << _U32(16)))
    put_four(out, at, fifth)
    store(out, at + 4, (low & 15) | ((high & 15) << 4))


@compiled
def _q5_0(x: Floats, out: Bytes) -> None:
    for block in range(x.size // 32):
        at, to = 32 * block, 22 * block
        scale = _F32(farthest(x, at) / _F32(-16))
        by = inverse(scale)
        put_pair(out, to, half(scale))
        low = lowest(_signed_byte(whole(load(x, at) * by + _F32(16.5))), 31)
        high = lowest(_signed_byte(whole(load(x, at + LANES) * by + _F32(16.5))), 31)
        _put_five(out, to + 2, low, high)


@compiled
def _q5_1(x: Floats, out: Bytes) -> None:
    for block in range(x.size // 32):
        at, to = 32 * block, 24 * block
        low, high = extremes(x, at)
        scale = _F32(_F32(high - low) / _F32(31))
        by = inverse(scale)
        put_pair(out, to, half(scale))
        put_pair(out, to + 2, half(low))
        first = whole((load(x, at) - low) * by + _F32(0.5))
        _put_five(out, to + 4, first, whole((load(x, at + LANES) - low) * by + _F32(0.5)))


@compiled
def _q1_0(x: Floats, out: Bytes) -> None:
    for block in range(x.size // 128):
        at, to = 128 * block, 18 * block
        total = _F32(0)
        for i in range(128):  # a sum has its order
            total = _F32(total + abs(x[at + i]))
        put_pair(out, to, half(_F32(total / _F32(128))))
        for part in range(8):
            put_pair(out, to + 2 + 2 * part, set_bits(load(x, at + LANES * part) >= _F32(0)))


@compiled
def _q2_0(x: Floats, out: Bytes) -> None:
    quants = np.empty(64, np.uint8)
    for block in range(x.size // 64):
        at, to = 64 * block, 18 * block
        scale = greatest(x, at, 64)
        by = inverse(scale)
        put_pair(out, to, half(scale))
        for i in range(0, 64, LANES):
            held = rounded(load(x, at + i) * by) + 1
            store(quants, i, lowest(pick(held < 0, 0, held), 3))
        for i in range(16):
            four_quants = quants[4 * i] | quants[4 * i + 1] << 2 | quants[4 * i + 2] << 4 | quants[4 * i + 3] << 6
            out[to + 2 + i] = np.uint8(four_quants)


# -- decoders


@compiled
def _from_q8_0(data: Bytes, out: Floats) -> None:
    for block in range(out.size // 32):
        at, scale = 34 * block, read_half(data, 34 * block)
        store(out, 32 * block, floating(_signed_byte(load(data, at + 2))) * scale)
        store(out, 32 * block + LANES, floating(_signed_byte(load(data, at + 2 + LANES))) * scale)


@compiled
def _from_q8_1(data: Bytes, out: Floats) -> None:
    for block in range(out.size // 32):
        at, scale = 36 * block, read_half(data, 36 * block)
        store(out, 32 * block, floating(_signed_byte(load(data, at + 4))) * scale)
        store(out, 32 * block + LANES, floating(_signed_byte(load(data, at + 4 + LANES))) * scale)


@compiled
def _from_q8_k(data: Bytes, out: Floats) -> None:
    for block in range(out.size // 256):
        at, scale = 292 * block, single(four(data, 292 * block))
        for i in range(0, 256, LANES):
            store(out, 256 * block + i, floating(_signed_byte(load(data, at + 4 + i))) * scale)


@compiled
def _from_q4_0(data: Bytes, out: Floats) -> None:
    for block in range(out.size // 32):
        held, scale = load(data, 18 * block + 2), read_half(data, 18 * block)
        store(out, 32 * block, floating((held & 15) - 8) * scale)
        store(out, 32 * block + LANES, floating((held >> 4) - 8) * scale)


@compiled
def _from_q4_1(data: Bytes, out: Floats) -> None:
    for block in range(out.size // 32):
        at = 20 * block
        held, scale, low = load(data, at + 4), read_half(data, at), read_half(data, at + 2)
        store(out, 32 * block, floating(held & 15) * scale + low)
        store(out, 32 * block + LANES, floating(held >> 4) * scale + low)


@inlined
def _fifth(mask: Value, bit: Value) -> Value:
    """16 where the lane's bit is set."""
    return pick((any_int(np.int32(mask)) & bit) != 0, 16, any_int(np.int32(0)))


@compiled
def _from_q5_0(data: Bytes, out: Floats) -> None:
    order = _powers()
    for block in range(out.size // 32):
        at, bit = 22 * block, load(order, 0)
        held, scale = load(data, at + 6), read_half(data, at)
        low = (held & 15) | _fifth(pair(data, at + 2), bit)
        high = (held >> 4) | _fifth(pair(data, at + 4), bit)
        store(out, 32 * block, floating(low - 16) * scale)
        store(out, 32 * block + LANES, floating(high - 16) * scale)


@compiled
def _from_q5_1(data: Bytes, out: Floats) -> None:
    order = _powers()
    for block in range(out.size // 32):
        at, bit = 24 * block, load(order, 0)
        held, scale, least = load(data, at + 8), read_half(data, at), read_half(data, at + 2)
        low = (held & 15) | _fifth(pair(data, at + 4), bit)
        high = (held >> 4) | _fifth(pair(data, at + 6), bit)
        store(out, 32 * block, floating(low) * scale + least)
        store(out, 32 * block + LANES, floating(high) * scale + least)


@inlined
def _powers() -> Value:
    """1, 2, 4, ...: the bit of each lane."""
    found = np.empty(LANES, np.int32)
    for i in range(LANES):
        found[i] = 1 << i
    return found


@compiled
def _from_q1_0(data: Bytes, out: Floats) -> None:
    order = _powers()
    for block in range(out.size // 128):
        at, scale = 18 * block, read_half(data, 18 * block)
        for part in range(8):
            held = any_int(np.int32(pair(data, at + 2 + 2 * part))) & load(order, 0)
            store(out, 128 * block + LANES * part, pick(held != 0, spread(scale), -scale))


@compiled
def _from_q2_0(data: Bytes, out: Floats) -> None:
    for block in range(out.size // 64):
        at, scale = 18 * block, read_half(data, 18 * block)
        for i in range(64):
            quant = np.int32((data[at + 2 + i // 4] >> np.uint8(2 * (i % 4))) & np.uint8(3)) - np.int32(1)
            out[64 * block + i] = _F32(_F32(quant) * scale)


CODECS = {
    "Q4_0": Codec(BY_NAME["Q4_0"], decoder(_from_q4_0), encoder(_q4_0, weighted_q4_0)),
    "Q4_1": Codec(BY_NAME["Q4_1"], decoder(_from_q4_1), encoder(_q4_1, weighted_q4_1)),
    "Q5_0": Codec(BY_NAME["Q5_0"], decoder(_from_q5_0), encoder(_q5_0, weighted_q5_0)),
    "Q5_1": Codec(BY_NAME["Q5_1"], decoder(_from_q5_1), encoder(_q5_1, weighted_q5_1)),
    "Q8_0": Codec(BY_NAME["Q8_0"], decoder(_from_q8_0), encoder(_q8_0)),
    "Q8_1": Codec(BY_NAME["Q8_1"], decoder(_from_q8_1)),
    "Q8_K": Codec(BY_NAME["Q8_K"], decoder(_from_q8_k)),
    "Q1_0": Codec(BY_NAME["Q1_0"], decoder(_from_q1_0), encoder(_q1_0)),
    "Q2_0": Codec(BY_NAME["Q2_0"], decoder(_from_q2_0), encoder(_q2_0)),
}
