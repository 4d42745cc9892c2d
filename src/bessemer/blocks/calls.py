"""From kernels on flat arrays to the two directions of a format."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bessemer.blocks.base import Bytes, Decode, Encode, Floats


def encoder(plain: Callable[[Any, Any], None], weighted: Callable[[Any, Any, Any], None] | None = None) -> Encode:
    """The encoder of a format from kernels on flat arrays: plain(weights, out), weighted(weights, importance, out) where
    ggml takes importance into account. What the format cannot hold becomes what ggml makes of it: see `blocks.sound`."""

    def encode(weights: Floats, importance: Floats | None, out: Bytes) -> None:
        flat, into = np.ascontiguousarray(weights, np.float32).reshape(-1), _flat(out)
        if importance is None or weighted is None:
            plain(flat, into)
        elif importance.shape != weights.shape[-1:]:
            raise ValueError(f"importance {importance.shape} does not fit rows of {weights.shape[-1]}")
        else:
            weighted(flat, np.ascontiguousarray(importance, np.float32), into)

    return encode


def decoder(run: Callable[[Any, Any], None]) -> Decode:
    """A decoder from a kernel on flat arrays: run(bytes, weights to fill)."""

    def decode(data: Bytes, out: Floats) -> None:
        run(np.ascontiguousarray(data).reshape(-1), _flat(out))

    return decode


def _flat(out: Any) -> Any:
    """An array to fill, with one axis. Raises ValueError where that would be a copy."""
    if not out.flags.c_contiguous:
        raise ValueError("what is written must lie in one piece")
    return out.reshape(-1)
