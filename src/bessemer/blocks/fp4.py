"""MXFP4 and NVFP4: 4-bit floats (E2M1: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives) times a shared scale.

MXFP4 (OCP Microscaling Formats 1.0): 32 weights, one power of two (E8M0). NVFP4 as ggml lays it out: 64 weights, four scales
(E4M3 without sign) of 16 weights each. In tables the values are doubled and the scales halved, as in ggml (ggml-common.h,
ggml-impl.h).
"""

from __future__ import annotations

import math

import numpy as np

from bessemer.blocks.base import Bytes, Codec, Floats
from bessemer.blocks.calls import decoder, encoder
from bessemer.blocks.lanes import (
    LANES,
    Value,
    compiled,
    inlined,
    load,
    magnitude,
    nearest,
    pick,
    spread,
    store,
)
from bessemer.blocks.neighbours import greatest, single, word
from bessemer.wire.gguf.types import BY_NAME

_F32, _U32, _I32 = np.float32, np.uint32, np.int32

VALUES = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)
"""kvalues_fp4: E2M1, doubled. A negative zero (8) is never written."""
_VALUES = np.array(VALUES, np.float32)


_MIDDLES = ((_VALUES[:7] + _VALUES[1:8]) / 2).astype(np.float32)


@inlined
def _index(x: Value, scale: Value, top: Value) -> Value:
    """Which value times scale is nearest; the first of equals. top: the greatest magnitude in x.

    Up to 16 times the scale the differences that ggml compares are exact, so that counting the middles below comes to the
    same. Beyond (a scale that was cut at its greatest, or is 0) they are rounded, and rounding decides.
    """
    return _counted(x, scale) if top <= _F32(_F32(16) * scale) else _compared(x, scale)


@inlined
def _counted(x: Value, scale: Value) -> Value:
    size, found = magnitude(x), nearest(spread(_F32(0)))
    for i in range(7):
        found = pick(size > _F32(_MIDDLES[i] * scale), i + 1, found)
    return pick((x < _F32(0)) & (found > 0), found + 8, found)


@inlined
def _compared(x: Value, scale: Value) -> Value:
    found, best = nearest(spread(_F32(0))), magnitude(_F32(0) * scale - x)
    for i in range(1, 16):
        error = magnitude(_F32(_VALUES[i] * scale) - x)
        found = pick(error < best, i, found)
        best = pick(error < best, error, best)
    return found


@inlined
def _values(held: Value) -> Value:
    """The values of 16 indices."""
    found = spread(_VALUES[0])
    for i in range(1, 16):
        found = pick(held == i, _VALUES[i], found)
    return found


# -- MXFP4


@inlined
def _power(exponent: Value) -> Value:
    """Half of the power of two that a byte means: 2 ** (exponent - 128)."""
    small = exponent < _U32(2)
    return single(_U32(_U32(0x200000) << exponent) if small else _U32(_U32(exponent - _U32(1)) << _U32(23)))


@compiled
def _mxfp4(x: Floats, out: Bytes) -> None:
    for block in range(x.size // 32):
        at, to = 32 * block, 17 * block
        top, exponent = greatest(x, at, 32), _U32(0)
        if top > _F32(0):
            logarithm = _F32(math.log2(np.float64(top)))  # rounded to float32 as log2f is: that can reach the next power
            exponent = _U32(_U32(_I32(math.floor(logarithm)) + _I32(125)) & _U32(255))
        scale = _power(exponent)
        out[to] = np.uint8(exponent)
        store(out, to + 1, _index(load(x, at), scale, top) | (_index(load(x, at + LANES), scale, top) << 4))


@compiled
def _from_mxfp4(data: Bytes, out: Floats) -> None:
    for block in range(out.size // 32):
        held, scale = load(data, 17 * block + 1), _power(_U32(data[17 * block]))
        store(out, 32 * block, _values(held & 15) * scale)
        store(out, 32 * block + LANES, _values(held >> 4) * scale)


# -- NVFP4


@inlined
def _small_float(value: Value) -> Value:
    """float32 -> E4M3 without sign: halves up; what is not above 0 is 0, what would reach 256 is 448 (0x7E), as in ggml."""
    if not value > _F32(0):
        return _U32(0)
    held = word(min(value, _F32(448)))
    exponent = _I32(held >> _U32(23)) - _I32(120)
    if exponent <= 0:
        return _U32(min(_I32(_F32(_F32(value * _F32(512)) + _F32(0.5))), _I32(7)))
    # a mantissa that rounds up to 8 carries into the exponent
    near = _I32(_U32(_U32(held >> _U32(19)) & _U32(15)) + _U32(1)) >> _I32(1)
    found = _I32((exponent << 3) + near)
    return _U32(found) if found < 0x78 else _U32(0x7E)


@inlined
def _from_small(held: Value) -> Value:
    """Half of what E4M3 means; 0 for its NaN."""
    exponent, mantissa = _I32(held >> _U32(3)) & _I32(15), _F32(_I32(held & _U32(7)))
    if held == _U32(0x7F):
        return _F32(0)
    if exponent == 0:
        return _F32(mantissa * _F32(2.0**-10))
    power = single(_U32(_U32(_I32(exponent) + _I32(127 - 8)) << _U32(23)))
    return _F32(_F32(_F32(1) + _F32(mantissa / _F32(8))) * power)


@compiled
def _nvfp4(x: Floats, out: Bytes) -> None:
    found = np.empty(LANES, np.uint8)
    for part in range(x.size // LANES):
        at, to = LANES * part, part // 4 * 36
        top = greatest(x, at, LANES)
        held = _small_float(_F32(top / _F32(6)))
        out[to + part % 4] = np.uint8(held)
        store(found, 0, _index(load(x, at), _from_small(held), top))
        for i in range(8):
            out[to + 4 + part % 4 * 8 + i] = np.uint8(found[i] | found[i + 8] << np.uint8(4))


@compiled
def _from_nvfp4(data: Bytes, out: Floats) -> None:
    for part in range(out.size // LANES):
        at, to = part // 4 * 36, LANES * part
        scale = _from_small(_U32(data[at + part % 4]))
        for i in range(8):
            held = data[at + 4 + part % 4 * 8 + i]
            out[to + i] = _F32(_VALUES[held & np.uint8(15)] * scale)
            out[to + i + 8] = _F32(_VALUES[held >> np.uint8(4)] * scale)


CODECS = {
    "MXFP4": Codec(BY_NAME["MXFP4"], decoder(_from_mxfp4), encoder(_mxfp4)),
    "NVFP4": Codec(BY_NAME["NVFP4"], decoder(_from_nvfp4), encoder(_nvfp4)),
}
