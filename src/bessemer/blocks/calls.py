"""From kernels on flat arrays to the two directions of a format; what an encoder refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bessemer.blocks.base import Bytes, Decode, Encode, Floats
from bessemer.blocks.lanes import LANES, bits, compiled, load, magnitude, pick
from bessemer.blocks.neighbours import most, pair, word
from bessemer.wire.gguf.types import BY_NAME

_U32 = np.uint32


@compiled
def _finite(weights: Floats) -> bool:
    """Whether no number is infinite or NaN."""
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
def _finite_scales(data: Bytes, size: int, place: int) -> bool:
    """Whether the float16 at `place` of each block of `size` bytes is finite."""
    good = True
    for start in range(place, data.size, size):
        good &= _U32(pair(data, start) & _U32(0x7C00)) != _U32(0x7C00)
    return good


def encoder(
    name: str,
    plain: Callable[[Any, Any], None],
    weighted: Callable[[Any, Any, Any], None] | None = None,
    scales: tuple[int, ...] = (0,),
) -> Encode:
    """The encoder of a block format from kernels on flat arrays: plain(weights, out), weighted(weights, importance, out).

    scales: where in a block its float16 numbers lie. Encoding raises ValueError for weights that are infinite or NaN, and
    for a scale beyond float16: what ggml would write then is an accident, and `llama-quantize` refuses it too.
    """
    size = BY_NAME[name].bytes

    def encode(weights: Floats, importance: Floats | None, out: Bytes) -> None:
        flat, into = np.ascontiguousarray(weights).reshape(-1), whole_of(out)
        if not _finite(flat):
            raise ValueError(f"{name} cannot hold weights that are infinite or not a number")
        if importance is None or weighted is None:
            plain(flat, into)
        elif importance.shape != weights.shape[-1:]:
            raise ValueError(f"importance {importance.shape} does not fit rows of {weights.shape[-1]}")
        else:
            weighted(flat, np.ascontiguousarray(importance, np.float32), into)
        if not all(_finite_scales(into, size, place) for place in scales):
            raise ValueError(f"weights up to {np.abs(flat).max():g} are beyond the half-precision scales of {name}")

    return encode


def decoder(run: Callable[[Any, Any], None]) -> Decode:
    """A decoder from a kernel on flat arrays: run(bytes, weights to fill)."""

    def decode(data: Bytes, out: Floats) -> None:
        run(np.ascontiguousarray(data).reshape(-1), whole_of(out))

    return decode


def whole_of(out: Any) -> Any:
    """An array to fill, flat. Raises ValueError where that would be a copy."""
    if not out.flags.c_contiguous:
        raise ValueError("what is written must lie in one piece")
    return out.reshape(-1)
