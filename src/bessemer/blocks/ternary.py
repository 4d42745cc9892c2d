"""TQ1_0 and TQ2_0: weights -1, 0, 1 times a float16 scale, 256 to a block (BitNet b1.58 and its kin).

TQ2_0 has 2 bits a weight: byte m of 32 holds weights m, m + 32, m + 64, m + 96 of a half block. TQ1_0 has 5 weights a byte,
as the digits in base 3 of a fraction of 256, rounded up: multiplying a byte by 3 pushes out the first digit. Its first 32
bytes hold 160 weights, the next 16 hold 80, 4 bytes the last 16, four each. The scale stands last. Facts of ggml-common.h
and ggml-quants.c.
"""

from __future__ import annotations

import numpy as np

from bessemer.blocks.base import Bytes, Codec, Floats
from bessemer.blocks.calls import decoder, encoder
from bessemer.blocks.lanes import LANES, Value, compiled, floating, inlined, load, store
from bessemer.blocks.neighbours import greatest, half, inverse, put_pair, read_half, rounded
from bessemer.wire.gguf.types import BY_NAME

_F32 = np.float32


@inlined
def _fraction(digits: Value) -> Value:
    """ceil(256 * digits / 243) of numbers below 243, by a multiplication that is exact for them."""
    return ((digits * 256 + 242) * 17261) >> 22


@inlined
def _digits(x: Value, at: int, by: Value, step: int, count: int) -> Value:
    """`count` weights, `step` apart, as the digits of a number in base 3, for 16 neighbours."""
    found = rounded(load(x, at) * by) + 1
    for i in range(1, count):
        found = (found * 3 + rounded(load(x, at + i * step) * by) + 1) & 255
    return found & 255


@compiled
def _tq1_0(x: Floats, out: Bytes) -> None:
    tail, bytes_of_tail = np.empty(4 * LANES, np.float32), np.empty(LANES, np.uint8)
    for block in range(x.size // 256):
        at, to = 256 * block, 54 * block
        scale = greatest(x, at, 256)
        by = inverse(scale)
        for i in range(0, 32, LANES):
            store(out, to + i, _fraction(_digits(x, at + i, by, 32, 5)))
        store(out, to + 32, _fraction(_digits(x, at + 160, by, 16, 5)))
        for i in range(4 * LANES):  # four lanes of use: the last 16 weights, 4 apart
            tail[i] = x[at + 240 + 4 * (i // LANES) + i % 4]
        store(bytes_of_tail, 0, _fraction((_digits(tail, 0, by, LANES, 4) * 3) & 255))
        out[to + 48 : to + 52] = bytes_of_tail[:4]
        put_pair(out, to + 52, half(scale))


@compiled
def _tq2_0(x: Floats, out: Bytes) -> None:
    for block in range(x.size // 256):
        at, to = 256 * block, 66 * block
        scale = greatest(x, at, 256)
        by = inverse(scale)
        for i in range(0, 64, LANES):
            place = at + i // 32 * 128 + i % 32
            held = (rounded(load(x, place) * by) + 1) & 3
            for n in range(1, 4):
                held = held | (((rounded(load(x, place + 32 * n) * by) + 1) & 3) << (2 * n))
            store(out, to + i, held)
        put_pair(out, to + 64, half(scale))


@inlined
def _put_digits(held: Value, scale: Value, out: Value, at: int, step: int) -> None:
    """The five digits of 16 bytes as weights, `step` apart."""
    for n in range(5):
        store(out, at + n * step, floating((held * 3 >> 8) - 1) * scale)
        held = (held * 3) & 255


@compiled
def _from_tq1_0(data: Bytes, out: Floats) -> None:
    for block in range(out.size // 256):
        at, to, scale = 54 * block, 256 * block, read_half(data, 54 * block + 52)
        for i in range(0, 32, LANES):
            _put_digits(load(data, at + i), scale, out, to + i, 32)
        _put_digits(load(data, at + 32), scale, out, to + 160, 16)
        for i in range(16):
            held = np.int32(data[at + 48 + i % 4]) * np.int32(3 ** (i // 4)) & np.int32(255)
            out[to + 240 + i] = _F32(_F32(np.int32(np.int32(held) * np.int32(3) >> np.int32(8)) - np.int32(1)) * scale)


@compiled
def _from_tq2_0(data: Bytes, out: Floats) -> None:
    for block in range(out.size // 256):
        at, scale = 66 * block, read_half(data, 66 * block + 64)
        for i in range(0, 64, LANES):
            held, to = load(data, at + i), 256 * block + i // 32 * 128 + i % 32
            for n in range(4):
                store(out, to + 32 * n, floating((held >> (2 * n) & 3) - 1) * scale)


CODECS = {
    "TQ1_0": Codec(BY_NAME["TQ1_0"], decoder(_from_tq1_0), encoder(_tq1_0)),
    "TQ2_0": Codec(BY_NAME["TQ2_0"], decoder(_from_tq2_0), encoder(_tq2_0)),
}
