"""What formats cannot hold: infinities and NaN in blocks, numbers beyond a block's scales, or beyond 16 bits.

ggml encodes them into bytes that mean something else, or nothing; `llama-quantize` refuses such tensors before and after.
"""

from __future__ import annotations

import numpy as np

from bessemer.blocks.base import Bytes, Floats
from bessemer.blocks.lanes import LANES, bits, compiled, load, magnitude, pick
from bessemer.blocks.neighbours import most, pair, word
from bessemer.wire.gguf.types import BY_NAME

_U32 = np.uint32

_HALVES = {
    "Q4_0": (0,), "Q4_1": (0, 2), "Q5_0": (0,), "Q5_1": (0, 2), "Q8_0": (0,), "Q1_0": (0,), "Q2_0": (0,),
    "Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,), "IQ4_NL": (0,), "IQ4_XS": (0,),
    "TQ1_0": (52,), "TQ2_0": (64,), "MXFP4": (), "NVFP4": (),
}  # fmt: skip
"""Block formats with an encoder, and where in a block their float16 numbers lie."""


_OVERFLOW = {"F16": 0x477FF000, "BF16": 0x7F7F8000}
"""Plain formats of smaller range: bits of the least float32 that they round to infinity."""
_INFINITY = 0x7F800000


def fault(weights: Floats, data: Bytes, name: str) -> str:
    """Why `data`, the encoding of `weights` in a format, does not mean them; '' where it does. Infinities and NaN that were
    there before pass through plain formats."""
    if name not in _HALVES and name not in _OVERFLOW:
        return ""
    top = _top(np.ascontiguousarray(weights).reshape(-1))
    if name in _OVERFLOW:
        over = _OVERFLOW[name] <= top < _INFINITY
        return f"weights up to {_float(top):g} are beyond {name}, where they become infinite" if over else ""
    if top >= _INFINITY:
        return f"{name} cannot hold weights that are infinite or not a number"
    flat = np.ascontiguousarray(data).reshape(-1)
    if not all(_finite_halves(flat, BY_NAME[name].bytes, place) for place in _HALVES[name]):
        return f"weights up to {_float(top):g} are beyond the half-precision scales of {name}"
    if name == "MXFP4" and (flat[:: BY_NAME[name].bytes] == 255).any():  # E8M0's NaN
        return f"{name} has no scale for a block of weights around 1e-38"
    return ""


def _float(bits: int) -> float:
    return float(np.array(bits, np.uint32).view(np.float32))


@compiled
def _top(weights: Floats) -> int:
    """Bits of the greatest magnitude; NaN counts above infinity."""
    full = weights.size // LANES * LANES
    highest = np.int32(0)
    if full:
        top = bits(magnitude(load(weights, 0)))
        for i in range(LANES, full, LANES):
            held = bits(magnitude(load(weights, i)))
            top = pick(held > top, held, top)
        highest = most(top)
    for i in range(full, weights.size):
        highest = max(highest, np.int32(word(weights[i]) & _U32(0x7FFFFFFF)))
    return int(highest)


@compiled
def _finite_halves(data: Bytes, size: int, place: int) -> bool:
    """Whether the float16 at `place` of each block of `size` bytes is finite."""
    good = True
    for start in range(place, data.size, size):
        good &= _U32(pair(data, start) & _U32(0x7C00)) != _U32(0x7C00)
    return good
