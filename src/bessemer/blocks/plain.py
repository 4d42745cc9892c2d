"""Formats whose elements stand by themselves: floats of 16, 32 and 64 bits, and integers.

Infinities and NaN pass through (as ggml has it: a NaN in float16 is 0x7E00 with its sign, in bfloat16 it is made quiet).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bessemer.blocks.base import Bytes, Codec, Decode, Floats
from bessemer.blocks.calls import decoder, encoder
from bessemer.blocks.lanes import (
    LANES,
    Value,
    bits,
    compiled,
    from_half,
    inlined,
    load,
    pick,
    real,
    store,
    to_half,
)
from bessemer.blocks.neighbours import half, load_pairs, pair, put_pair, read_half, single, store_pairs, word
from bessemer.wire.gguf.types import BY_NAME

_U32 = np.uint32


@compiled
def _f16(weights: Floats, out: Bytes) -> None:
    full = weights.size // LANES * LANES
    for i in range(0, full, LANES):
        store_pairs(out, 2 * i, to_half(load(weights, i)))
    for i in range(full, weights.size):
        put_pair(out, 2 * i, half(weights[i]))


@compiled
def _from_f16(data: Bytes, out: Floats) -> None:
    full = out.size // LANES * LANES
    for i in range(0, full, LANES):
        store(out, i, from_half(load_pairs(data, 2 * i)))
    for i in range(full, out.size):
        out[i] = read_half(data, 2 * i)


@inlined
def _brain(held: Value) -> Value:
    """Bits of float32 -> of the nearest bfloat16, ties to even."""
    near = (held + 0x7FFF + ((held >> 16) & 1)) >> 16
    return pick((held & 0x7FFFFFFF) > 0x7F800000, (held >> 16) | 64, near)


@inlined
def _one_brain(held: Value) -> Value:
    """As `_brain`, for one."""
    near = _U32(_U32(held + _U32(0x7FFF)) + _U32(_U32(held >> _U32(16)) & _U32(1)))
    unknown = _U32(held & _U32(0x7FFFFFFF)) > _U32(0x7F800000)
    return _U32(_U32(held >> _U32(16)) | _U32(64)) if unknown else _U32(near >> _U32(16))


@compiled
def _bf16(weights: Floats, out: Bytes) -> None:
    full = weights.size // LANES * LANES
    for i in range(0, full, LANES):
        store_pairs(out, 2 * i, _brain(bits(load(weights, i))))
    for i in range(full, weights.size):
        put_pair(out, 2 * i, _one_brain(word(weights[i])))


@compiled
def _from_bf16(data: Bytes, out: Floats) -> None:
    full = out.size // LANES * LANES
    for i in range(0, full, LANES):
        store(out, i, real(load_pairs(data, 2 * i) << 16))
    for i in range(full, out.size):
        out[i] = single(_U32(pair(data, 2 * i) << _U32(16)))


def _copy(weights: Any, out: Any) -> None:
    out[...] = weights.view(np.uint8)


def _viewed(kind: str) -> Decode:
    """Decoder of what numpy holds; integers beyond 2 ** 24 and doubles are rounded to float32."""

    def decode(data: Bytes, out: Floats) -> None:
        out[...] = np.ascontiguousarray(data).view(kind).reshape(out.shape)

    return decode


CODECS = {
    "F32": Codec(BY_NAME["F32"], _viewed("<f4"), encoder(_copy)),
    "F16": Codec(BY_NAME["F16"], decoder(_from_f16), encoder(_f16)),
    "BF16": Codec(BY_NAME["BF16"], decoder(_from_bf16), encoder(_bf16)),
    **{
        name: Codec(BY_NAME[name], _viewed(kind))
        for name, kind in {"F64": "<f8", "I8": "i1", "I16": "<i2", "I32": "<i4", "I64": "<i8"}.items()
    },
}
