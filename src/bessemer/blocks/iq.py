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
from bessemer.blocks.lanes import Value, compiled, inlined
from bessemer.blocks.neighbours import four, pair, read_half
from bessemer.wire.gguf.types import BY_NAME

_F32, _U32 = np.float32, np.uint32

_IQ2_XXS, _IQ2_XS, _IQ2_S = grids.IQ2_XXS, grids.IQ2_XS, grids.IQ2_S
_IQ3_XXS, _IQ3_S, _IQ1_S = grids.IQ3_XXS, grids.IQ3_S, grids.IQ1_S

_SIGNS = np.array([i | i.bit_count() % 2 << 7 for i in range(128)], np.uint8)
"""Seven signs and the eighth, which makes their number even (ksigns_iq2xs)."""
_SHIFT = np.float32(0.125)
"""IQ1S_DELTA: what is added to, or taken from, all of a group."""


@inlined
def _put(point: Value, signs: Value, scale: Value, out: Value, to: int) -> None:
    """scale * point, negative where a bit of `signs` is set."""
    for i in range(len(point)):
        value = _F32(scale * _F32(point[i]))
        out[to + i] = -value if _U32(_U32(signs) >> _U32(i)) & _U32(1) else value


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
        for group in range(4):
            signs = _SIGNS[_U32(_U32(rest >> _U32(7 * group)) & _U32(127))]
            _put(_IQ2_XXS[data[at + group]], signs, scale, out, 32 * block + 8 * group)


@compiled
def _iq2_xs(data: Bytes, out: Floats) -> None:
    for block in range(out.size // 32):
        start = block // 8 * 74
        for group in range(4):
            held = pair(data, start + 2 + block % 8 * 8 + 2 * group)
            level = _F32(_F32(0.5) + _nibble(data, start + 66 + block % 8, group // 2))
            scale = _F32(_F32(read_half(data, start) * level) * _F32(0.25))
            _put(_IQ2_XS[_U32(held & _U32(511))], _SIGNS[_U32(held >> _U32(9))], scale, out, 32 * block + 8 * group)


@compiled
def _iq2_s(data: Bytes, out: Floats) -> None:
    for block in range(out.size // 32):
        start = block // 8 * 82
        at, high = start + 2 + block % 8 * 4, _U32(data[start + 66 + block % 8])
        for group in range(4):
            level = _F32(_F32(0.5) + _nibble(data, start + 74 + block % 8, group // 2))
            scale = _F32(_F32(read_half(data, start) * level) * _F32(0.25))
            index = _U32(_U32(data[at + group]) | _U32(_U32(high << _U32(8 - 2 * group)) & _U32(0x300)))
            _put(_IQ2_S[index], data[at + 32 + group], scale, out, 32 * block + 8 * group)


@compiled
def _iq3_xxs(data: Bytes, out: Floats) -> None:
    for block in range(out.size // 32):
        start = block // 8 * 98
        at, rest = start + 2 + block % 8 * 8, four(data, start + 66 + block % 8 * 4)
        scale = _F32(_F32(read_half(data, start) * _F32(_F32(0.5) + _F32(_U32(rest >> _U32(28))))) * _F32(0.5))
        for group in range(8):
            signs = _U32(_SIGNS[_U32(_U32(rest >> _U32(7 * (group // 2))) & _U32(127))])
            signs = _U32(signs >> _U32(4 * (group % 2)))
            _put(_IQ3_XXS[data[at + group]], signs, scale, out, 32 * block + 4 * group)


@compiled
def _iq3_s(data: Bytes, out: Floats) -> None:
    for block in range(out.size // 32):
        start, part = block // 8 * 110, block % 8
        at, high = start + 2 + part * 8, _U32(data[start + 66 + part])
        level = _F32(_F32(1) + _F32(_F32(2) * _nibble(data, start + 106 + part // 2, part % 2)))
        scale = _F32(read_half(data, start) * level)
        for group in range(8):
            index = _U32(_U32(data[at + group]) | _U32(_U32(high << _U32(8 - group)) & _U32(256)))
            signs = _U32(data[start + 74 + 4 * part + group // 2]) >> _U32(4 * (group % 2))
            _put(_IQ3_S[index], signs, scale, out, 32 * block + 4 * group)


@inlined
def _shifted(point: Value, shift: Value, scale: Value, out: Value, to: int) -> None:
    for i in range(8):
        out[to + i] = _F32(scale * _F32(_F32(point[i]) + shift))


@compiled
def _iq1_s(data: Bytes, out: Floats) -> None:
    for block in range(out.size // 32):
        start, part = block // 8 * 50, block % 8
        high = pair(data, start + 34 + 2 * part)
        level = _U32(_U32(_U32(2) * _U32(_U32(high >> _U32(12)) & _U32(7))) + _U32(1))
        scale = _F32(read_half(data, start) * _F32(level))
        shift = -_SHIFT if high & _U32(0x8000) else _SHIFT
        for group in range(4):
            above = _U32(_U32(_U32(high >> _U32(3 * group)) & _U32(7)) << _U32(8))
            index = _U32(_U32(data[start + 2 + 4 * part + group]) | above)
            _shifted(_IQ1_S[index], shift, scale, out, 32 * block + 8 * group)


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
        for group in range(4):
            held = _U32(data[start + 32 + 2 * part + group // 2]) >> _U32(4 * (group % 2))
            level = _U32(_U32(levels >> _U32(6 * (part % 2) + 3 * (group // 2))) & _U32(7))
            scale = _F32(shared * _F32(_U32(_U32(_U32(2) * level) + _U32(1))))
            index = _U32(_U32(data[start + 4 * part + group]) | _U32(_U32(held & _U32(7)) << _U32(8)))
            shift = -_SHIFT if held & _U32(8) else _SHIFT
            _shifted(_IQ1_S[index], shift, scale, out, 32 * block + 8 * group)


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
