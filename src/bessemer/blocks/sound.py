"""What block formats cannot hold: infinities and NaN, and numbers beyond their scales.

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


def fault(weights: Floats, data: Bytes, name: str) -> str:
    """Why `data`, the encoding of `weights` in a format, does not mean them; '' where it does. Plain ones hold all."""
    if name not in _HALVES:
        return ""
    if not _finite(np.ascontiguousarray(weights).reshape(-1)):
        return f"{name} cannot hold weights that are infinite or not a number"
    flat = np.ascontiguousarray(data).reshape(-1)
    if not all(_finite_halves(flat, BY_NAME[name].bytes, place) for place in _HALVES[name]):
        return f"weights up to {np.abs(weights).max():g} are beyond the half-precision scales of {name}"
    return ""


@compiled
def _finite(weights: Floats) -> bool:
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
    return bool(highest < np.int32(0x7F800000))


@compiled
def _finite_halves(data: Bytes, size: int, place: int) -> bool:
    """Whether the float16 at `place` of each block of `size` bytes is finite."""
    good = True
    for start in range(place, data.size, size):
        good &= _U32(pair(data, start) & _U32(0x7C00)) != _U32(0x7C00)
    return good
