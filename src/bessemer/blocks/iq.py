"""IQ1_S, IQ1_M, IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S: groups of 4 or 8 weights as points of a grid, with signs and scales.

Only decoded: encoders search in the grids' neighbourhoods, and ggml's own need an importance matrix. A super-block has 256
weights in 8 blocks of 32. Facts of ggml-common.h and ggml-quants.c (`dequantize_row_iq*`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bessemer.blocks import grids
from bessemer.blocks.base import Bytes, Codec, Floats
from bessemer.blocks.calls import decoder
from bessemer.blocks.lanes import Value, compiled, floating, inlined, pick, store
from bessemer.blocks.neighbours import four, four_rows, from_bits, pair, read_half, two_rows
from bessemer.wire.gguf.types import BY_NAME

_F32, _U32 = np.float32, np.uint32

_IQ2_XXS, _IQ2_XS, _IQ2_S = grids.IQ2_XXS, grids.IQ2_XS, grids.IQ2_S
_IQ3_XXS, _IQ3_S, _IQ1_S = grids.IQ3_XXS, grids.IQ3_S, grids.IQ1_S

_SIGNS = np.array([i | i.bit_count() % 2 << 7 for i in range(128)], np.uint8)
"""Seven signs and the eighth, which makes their number even (ksigns_iq2xs)."""
_SHIFT = np.float32(0.125)
"""IQ1S_DELTA: what is added to, or taken from, all of a group."""


@inlined
def _signed(points: Value, signs: Value, scale: Value, out: Value, to: int) -> None:
    """scale * points, negative where a bit of `signs` is set."""
    values = floating(points) * scale
    store(out, to, pick(from_bits(_U32(signs)), -values, values))


@inlined
def _signs(rest: Value, group: int) -> Value:
    """Two times eight signs from two numbers of 7 bits, the first one of them number `group`."""
    low = _SIGNS[_U32(_U32(rest >> _U32(7 * group)) & _U32(127))]
    return _U32(low | _U32(_U32(_SIGNS[_U32(_U32(rest >> _U32(7 * group + 7)) & _U32(127))]) << _U32(8)))


@inlined
def _nibble(data: Value, at: int, half: int) -> Value:
    return _F32((data[at] >> np.uint8(4 * half)) & np.uint8(15))


@compiled
def _iq2_xxs(data: Bytes, out: Floats) -> None:
    for block in range(out.size // 32):
        start = block // 8 * 66
        at = start + 2 + block % 8 * 8
        rest = four(data, at + 4)
        scale = _F32(_F32(read_half(data, start) * _F32(_F32(0.5) + _F32(_U32(rest >> _U32(28))))) * _F32(0.25))
        for group in range(0, 4, 2):
            points = two_rows(_IQ2_XXS, (data[at + group], data[at + group + 1]))
            _signed(points, _signs(rest, group), scale, out, 32 * block + 8 * group)


@compiled
def _iq2_xs(data: Bytes, out: Floats) -> None:
    for block in range(out.size // 32):
        start = block // 8 * 74
        for half in range(2):
            held = four(data, start + 2 + block % 8 * 8 + 4 * half)
            level = _F32(_F32(0.5) + _nibble(data, start + 66 + block % 8, half))
            scale = _F32(_F32(read_half(data, start) * level) * _F32(0.25))
            low, high = _U32(held & _U32(0xFFFF)), _U32(held >> _U32(16))
            signs = _U32(_SIGNS[_U32(low >> _U32(9))] | _U32(_U32(_SIGNS[_U32(high >> _U32(9))]) << _U32(8)))
            points = two_rows(_IQ2_XS, (_U32(low & _U32(511)), _U32(high & _U32(511))))
            _signed(points, signs, scale, out, 32 * block + 16 * half)


@inlined
def _index(data: Value, at: int, high: Value, up: int, mask: int) -> Value:
    """A grid's index: eight bits of a byte, those of `high` above."""
    return _U32(_U32(data[at]) | _U32(_U32(high << _U32(up)) & _U32(mask)))


@compiled
def _iq2_s(data: Bytes, out: Floats) -> None:
    for block in range(out.size // 32):
        start = block // 8 * 82
        at, high = start + 2 + block % 8 * 4, _U32(data[start + 66 + block % 8])
        for half in range(2):
            level = _F32(_F32(0.5) + _nibble(data, start + 74 + block % 8, half))
            scale = _F32(_F32(read_half(data, start) * level) * _F32(0.25))
            one, two = at + 2 * half, at + 2 * half + 1
            indices = _index(data, one, high, 8 - 4 * half, 0x300), _index(data, two, high, 6 - 4 * half, 0x300)
            _signed(two_rows(_IQ2_S, indices), pair(data, one + 32), scale, out, 32 * block + 16 * half)


@compiled
def _iq3_xxs(data: Bytes, out: Floats) -> None:
    for block in range(out.size // 32):
        start = block // 8 * 98
        at, rest = start + 2 + block % 8 * 8, four(data, start + 66 + block % 8 * 4)
        scale = _F32(_F32(read_half(data, start) * _F32(_F32(0.5) + _F32(_U32(rest >> _U32(28))))) * _F32(0.5))
        for half in range(2):
            one = at + 4 * half
            points = four_rows(_IQ3_XXS, (data[one], data[one + 1], data[one + 2], data[one + 3]))
            _signed(points, _signs(rest, 2 * half), scale, out, 32 * block + 16 * half)


@compiled
def _iq3_s(data: Bytes, out: Floats) -> None:
    for block in range(out.size // 32):
        start, part = block // 8 * 110, block % 8
        at, high = start + 2 + part * 8, _U32(data[start + 66 + part])
        level = _F32(_F32(1) + _F32(_F32(2) * _nibble(data, start + 106 + part // 2, part % 2)))
        scale = _F32(read_half(data, start) * level)
        for half in range(2):
            one, up = at + 4 * half, 8 - 4 * half
            first, second = _index(data, one, high, up, 256), _index(data, one + 1, high, up - 1, 256)
            third, fourth = _index(data, one + 2, high, up - 2, 256), _index(data, one + 3, high, up - 3, 256)
            points = four_rows(_IQ3_S, (first, second, third, fourth))
            _signed(points, pair(data, start + 74 + 4 * part + 2 * half), scale, out, 32 * block + 16 * half)


@compiled
def _iq1_s(data: Bytes, out: Floats) -> None:
    for block in range(out.size // 32):
        start, part = block // 8 * 50, block % 8
        high = pair(data, start + 34 + 2 * part)
        level = _U32(_U32(_U32(2) * _U32(_U32(high >> _U32(12)) & _U32(7))) + _U32(1))
        scale = _F32(read_half(data, start) * _F32(level))
        shift = -_SHIFT if high & _U32(0x8000) else _SHIFT
        for half in range(2):
            one, above = start + 2 + 4 * part + 2 * half, _U32(high >> _U32(6 * half))
            indices = _index(data, one, above, 8, 0x700), _index(data, one + 1, above, 5, 0x700)
            store(out, 32 * block + 16 * half, (floating(two_rows(_IQ1_S, indices)) + shift) * scale)


@inlined
def _scale_of_iq1_m(data: Value, start: int, space: Value) -> Value:
    """The float16 whose four parts are the highest bits of the four numbers of scales."""
    held = _U32(0)
    for i in range(4):
        held = _U32(held | _U32(_U32(pair(data, start + 48 + 2 * i) >> _U32(12)) << _U32(4 * i)))
    space[0], space[1] = np.uint8(held & _U32(255)), np.uint8(held >> _U32(8))
    return read_half(space, 0)


@compiled
def _iq1_m(data: Bytes, out: Floats) -> None:
    space = np.empty(2, np.uint8)
    for block in range(out.size // 32):
        start, part = block // 8 * 56, block % 8
        shared, levels = _scale_of_iq1_m(data, start, space), pair(data, start + 48 + 2 * (part // 2))
        for half in range(2):
            one, held = start + 4 * part + 2 * half, _U32(data[start + 32 + 2 * part + half])
            level = _U32(_U32(levels >> _U32(6 * (part % 2) + 3 * half)) & _U32(7))
            scale = _F32(shared * _F32(_U32(_U32(_U32(2) * level) + _U32(1))))
            down = _U32(255 if held & _U32(8) else 0) | _U32(0xFF00 if held & _U32(0x80) else 0)
            points = floating(two_rows(_IQ1_S, (_index(data, one, held, 8, 0x700), _index(data, one + 1, held, 4, 0x700))))
            store(out, 32 * block + 16 * half, pick(from_bits(_U32(down)), points - _SHIFT, points + _SHIFT) * scale)


def _codec(name: str, run: Callable[[Any, Any], None]) -> Codec:
    return Codec(BY_NAME[name], decoder(run), needs_importance=True)


CODECS = {
    "IQ1_S": _codec("IQ1_S", _iq1_s),
    "IQ1_M": _codec("IQ1_M", _iq1_m),
    "IQ2_XXS": _codec("IQ2_XXS", _iq2_xxs),
    "IQ2_XS": _codec("IQ2_XS", _iq2_xs),
    "IQ2_S": _codec("IQ2_S", _iq2_s),
    "IQ3_XXS": _codec("IQ3_XXS", _iq3_xxs),
    "IQ3_S": _codec("IQ3_S", _iq3_s),
}
