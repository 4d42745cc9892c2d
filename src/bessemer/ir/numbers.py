"""How a number is stored in few bits: its range, what rounds to it, what holds it (scales: `quantize/encodings`)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from bessemer.ir.types import Array, named_dtype

BITS = {
    "INT2": 2, "UINT2": 2, "INT4": 4, "UINT4": 4,
    "INT8": 8, "UINT8": 8, "INT16": 16, "UINT16": 16, "INT32": 32,
}  # fmt: skip
"""Integer types an Encoding may name, with their width."""

FLOAT8 = {"FLOAT8E4M3FN": "float8_e4m3fn", "FLOAT8E5M2": "float8_e5m2"}
"""Floats of eight bits an Encoding may name, with ml_dtypes' name."""


@dataclass(frozen=True)
class Storage:
    """low, high: smallest and largest number; dtype: numpy type that holds codes, one each (narrow integers in a byte)."""

    name: str
    bits: int
    low: float
    high: float
    dtype: np.dtype[np.generic]

    @property
    def integer(self) -> bool:
        """Whether codes are integers."""
        return self.name in BITS

    def nearest(self, steps: Array) -> Array:
        """Codes nearest to `steps` (half to even), saturating; NaN stays NaN where the type has one."""
        if self.integer:
            steps = steps.astype(np.float64, copy=False) if self.bits > 16 else steps  # 2^31 - 1 is no float32
            return np.asarray(np.clip(np.rint(steps), self.low, self.high).astype(self.dtype))
        return np.asarray(np.clip(steps, self.low, self.high).astype(self.dtype))


@cache
def storage(name: str) -> Storage:
    """What an encoding's type is. Raises KeyError for one that no Encoding may name."""
    if name in FLOAT8:
        import ml_dtypes

        dtype = named_dtype(FLOAT8[name])
        top = float(ml_dtypes.finfo(dtype).max)  # type: ignore[no-untyped-call]
        return Storage(name, 8, -top, top, dtype)
    low, high = integer_range(name)
    return Storage(name, BITS[name], low, high, np.dtype(holder(name)))


def integer_range(dtype: str) -> tuple[int, int]:
    """Smallest and largest integer of an encoding's type."""
    bits = BITS[dtype]
    return (0, 2**bits - 1) if dtype.startswith("U") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def weight_range(dtype: str) -> tuple[int, int]:
    """Smallest and largest integer of a weight of an encoding's type.

    Signed ones of eight bits and more leave the lowest out (TFLite's quantization specification: [-127, 127]); fewer
    bits cannot spare it.
    """
    low, high = integer_range(dtype)
    return (-high, high) if low < 0 and BITS[dtype] >= 8 else (low, high)


def holder(dtype: str) -> str:
    """The numpy type that holds codes of an encoding: narrow integers stand one per byte."""
    if dtype in FLOAT8:
        return FLOAT8[dtype]
    sign = "u" if dtype.startswith("U") else ""
    return f"{sign}int{max(BITS[dtype], 8)}"
