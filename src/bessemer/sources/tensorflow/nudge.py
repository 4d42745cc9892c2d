"""The steps that TensorFlow's quantization stand-ins round to.

Facts from tensorflow/core/kernels/fake_quant_ops_functor.h (the range is nudged so that zero is a step) and
quantize_and_dequantize_op.h (the scale is that of the end which needs the coarser steps).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bessemer.ir.types import Array


@dataclass(frozen=True)
class Grid:
    """Reals (q - zero) * scale for q from `first` to `last`; scale and zero are scalars, or one per channel."""

    scale: Array
    zero: Array
    first: int
    last: int

    def steps(self, reals: Array) -> Array:
        """The nearest step to each real, halves going up, as the kernel computes it; the last axis has the channels."""
        low = (np.float32(self.first) - self.zero) * self.scale
        high = (np.float32(self.last) - self.zero) * self.scale
        inside = np.minimum(np.maximum(reals.astype(np.float32), low), high)
        return np.asarray(np.floor((inside - low) / self.scale + np.float32(0.5)) + self.first)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The narrowest integer type that holds the steps."""
        kinds = ("i1", "i2") if self.first < 0 else ("u1", "u2")
        return np.dtype(next(kind for kind in kinds if np.iinfo(kind).max >= self.last))


def nudged(low: Array, high: Array, bits: int, narrow: bool) -> Grid:
    """FakeQuant's: in float32, as the kernel computes it."""
    first, last = int(narrow), (1 << bits) - 1
    low, high = np.asarray(low, np.float32), np.asarray(high, np.float32)
    scale = (high - low) / np.float32(last - first)
    wanted = np.float32(first) - low / scale
    zero = np.clip(np.floor(wanted + np.float32(0.5)), first, last)  # std::round of what is not negative
    return Grid(np.asarray(scale, np.float32), np.asarray(zero, np.float32), first, last)


def dequantized_grid(low: Array, high: Array, bits: int, signed: bool, narrow: bool) -> Grid:
    """QuantizeAndDequantize's."""
    last = (1 << (bits - 1)) - 1 if signed else (1 << bits) - 1
    first = -last - int(not narrow) if signed else 0
    low, high = np.asarray(low, np.float32), np.asarray(high, np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        down = np.where(first * low > 0, np.float32(first) / low, np.finfo(np.float32).max)
        up = np.where(last * high > 0, np.float32(last) / high, np.finfo(np.float32).max)
        scale = np.where(down < up, low / np.float32(first or 1), high / np.float32(last)).astype(np.float32)
    return Grid(np.asarray(scale, np.float32), np.zeros_like(scale), first, last)
