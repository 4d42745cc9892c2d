"""What a number format is: how to choose scales for an array, and the codes that follow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bessemer.ir.encoding import Encoding, quantize
from bessemer.ir.numbers import holder, storage
from bessemer.ir.types import Array

SMALLEST = float(np.finfo(np.float32).tiny) * 2**20
"""Scales stay far from subnormal: products of two of them must be normal numbers too."""


@dataclass(frozen=True)
class Grain:
    """What shares a scale: the whole array; each index of `axis`; or `block` elements in a row along `axis`.

    power_of_two: scales are rounded up to powers of two, so that nothing saturates and a shift rescales.
    """

    axis: int | None = None
    block: int = 0
    power_of_two: bool = False

    def reduce(self, array: Array, how: Any, fill: float = 0.0) -> Array:
        """`how` (np.max, ...) over what shares a scale; `fill` stands in the missing part of the last block."""
        if self.axis is None:
            return np.asarray(how(array, None))
        if not self.block:
            others = tuple(place for place in range(array.ndim) if place != self.axis)
            return np.asarray(how(array, others))
        return np.asarray(how(self.cut(array, fill), self.axis + 1))

    def cut(self, array: Array, fill: float = 0.0) -> Array:
        """`axis` split into (blocks, elements of a block)."""
        if self.axis is None:
            raise ValueError("blocks need an axis")
        size, short = array.shape[self.axis], -array.shape[self.axis] % self.block
        if short:
            padding = [(0, short if place == self.axis else 0) for place in range(array.ndim)]
            array = np.pad(array, padding, constant_values=fill)
        split = ((size + short) // self.block, self.block)
        return array.reshape(*array.shape[: self.axis], *split, *array.shape[self.axis + 1 :])

    @property
    def across(self) -> int:
        """The axis of the value that slabs cut: no scale reaches across it."""
        if self.axis is None:
            raise ValueError("one scale is not cut")
        return 1 - self.axis if self.block else self.axis

    def slabs(self, shape: Sequence[int], elements: int) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
        """Where to cut a value (a matrix, if in blocks), and its scales, into parts of about `elements`."""
        if self.axis is None:
            yield (), ()
            return
        across, whole = self.across, slice(None)
        rows = max(1, elements * shape[across] // max(int(np.prod(shape)), 1))
        for start in range(0, shape[across], rows):
            span = slice(start, start + rows)
            yield (whole,) * across + (span,), (whole,) * (across if self.block else 0) + (span,)

    def joined(self, parts: Sequence[Encoding]) -> Encoding:
        """One encoding from those of all slabs."""
        first = parts[0]
        if self.axis is None:
            return first
        place = self.across if self.block else 0
        scale = np.concatenate([part.scale for part in parts], place)
        zero = np.concatenate([part.zero_point for part in parts], place)
        return Encoding(first.dtype, scale, zero, self.axis, self.block)

    def encoding(self, dtype: str, scale: Array, zero: Array) -> Encoding:
        """The Encoding of these parameters."""
        return Encoding(dtype, scale, zero.astype(holder(dtype)), self.axis, self.block)

    def rounded(self, scale: Array) -> Array:
        """float32 scales as they will be stored."""
        wide = np.maximum(np.asarray(scale, np.float32), np.float32(SMALLEST))
        if not self.power_of_two:
            return np.asarray(wide, np.float32)
        mantissa, exponent = np.frexp(wide)
        return np.asarray(np.ldexp(np.float32(1), np.where(mantissa == 0.5, exponent - 1, exponent)), np.float32)


WHOLE = Grain()
"""One scale for the whole array."""


@dataclass(frozen=True)
class Format(ABC):
    """A number format. dtype: the ONNX type that holds its codes."""

    name: str
    dtype: str

    @abstractmethod
    def fit(self, real: Array, grain: Grain = WHOLE) -> Encoding:
        """Scales and zero points for `real`."""

    def encode(self, real: Array, encoding: Encoding) -> Array:
        """Codes nearest to `real`, saturating; narrow integers stand one per byte."""
        return quantize(real, encoding)

    def decode(self, codes: Array, encoding: Encoding) -> Array:
        """Real values, float32."""
        return encoding.dequantize(codes)


@dataclass(frozen=True)
class Integer(Format):
    """real = scale (code - zero point). Jacob et al., arXiv 1712.05877, equation 1.

    symmetric: the zero point lies in the middle and the lowest integer is unused, so the range is even.
    """

    symmetric: bool = True

    def fit(self, real: Array, grain: Grain = WHOLE) -> Encoding:
        """From the smallest and largest number of what shares a scale; zero is always exact."""
        low = np.minimum(grain.reduce(real, np.min), 0)
        high = np.maximum(grain.reduce(real, np.max), 0)
        return self.between(low, high, grain)

    def between(self, low: Array, high: Array, grain: Grain = WHOLE) -> Encoding:
        """From ranges (low <= 0 <= high), one for each scale.

        affine: s = (high - low) / (2^b - 1), z = lowest integer - low / s. symmetric: s = max(-low, high) / (2^(b-1) - 1).
        """
        kind = storage(self.dtype)
        first, last = int(kind.low), int(kind.high)
        if self.symmetric:
            middle = (first + last + 1) // 2
            scale = grain.rounded(np.maximum(-np.asarray(low), high) / np.float32(last - middle))
            return grain.encoding(self.dtype, scale, np.full(scale.shape, middle))
        scale = grain.rounded((np.asarray(high, np.float64) - low) / (last - first))
        zero = np.clip(np.rint(first - np.asarray(low, np.float64) / scale), first, last)
        return grain.encoding(self.dtype, scale, zero)


@dataclass(frozen=True)
class Float8(Format):
    """A float of eight bits behind a scale: s = max|x| / largest code (Micikevicius et al., arXiv 2209.05433, section 3)."""

    def fit(self, real: Array, grain: Grain = WHOLE) -> Encoding:
        """From the largest magnitude of what shares a scale."""
        peak = np.maximum(-grain.reduce(real, np.min), grain.reduce(real, np.max))
        return self.reaching(peak, grain)

    def reaching(self, peak: Array, grain: Grain = WHOLE) -> Encoding:
        """From magnitudes, one for each scale."""
        scale = grain.rounded(np.asarray(peak, np.float32) / np.float32(storage(self.dtype).high))
        return grain.encoding(self.dtype, scale, np.zeros(scale.shape))


@dataclass(frozen=True)
class Half(Format):
    """A float of sixteen bits: no scale, IEEE overflow to infinity."""

    def fit(self, real: Array, grain: Grain = WHOLE) -> Encoding:
        """Nothing to choose."""
        return Encoding(self.dtype, np.ones((), np.float32), np.zeros((), np.float32))

    def encode(self, real: Array, encoding: Encoding) -> Array:
        """Round to nearest even."""
        from bessemer.ir.types import named_dtype

        with np.errstate(over="ignore"):
            return np.asarray(real.astype(named_dtype(self.dtype.lower())))

    def decode(self, codes: Array, encoding: Encoding) -> Array:
        """Exact."""
        return codes.astype(np.float32)
