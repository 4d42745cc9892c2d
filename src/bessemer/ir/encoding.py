"""How a value is represented in integers: attached to the value, so that no pass can lose it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.types import Array, Perm, integer_limits, named_dtype

if TYPE_CHECKING:
    import onnx_ir

KEY = "bessemer.encoding"


@dataclass(frozen=True, eq=False)
class Encoding:
    """Affine integer representation: `real = scale * (integer - zero_point)`.

    dtype: name as in ONNX ('INT8', 'UINT8', 'INT16', 'INT4', ...).
    scale: float32, shape () per tensor, (n,) per channel along `axis`, or blocked like the value with `axis`
        divided by `block_size`.
    zero_point: integers of the same shape as scale.
    """

    dtype: str
    scale: Array
    zero_point: Array
    axis: int | None = None
    block_size: int = 0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Encoding):
            return NotImplemented
        mine, theirs = (self.dtype, self.axis, self.block_size), (other.dtype, other.axis, other.block_size)
        return (
            mine == theirs
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
        )

    def __hash__(self) -> int:
        return hash((self.dtype, self.axis, self.block_size, self.scale.tobytes()))

    @property
    def per_tensor(self) -> bool:
        """Whether one scale serves the whole value."""
        return self.scale.ndim == 0

    def permuted(self, perm: Perm) -> Encoding:
        """The encoding of `transpose(value, perm)`."""
        if self.axis is None:
            return self
        if self.block_size:
            return replace(
                self,
                scale=self.scale.transpose(perm),
                zero_point=self.zero_point.transpose(perm),
                axis=perm.index(self.axis),
            )
        return replace(self, axis=perm.index(self.axis))

    def dequantize(self, integers: Array) -> Array:
        """Real values, float32, of `integers` (same shape)."""
        scale, zero = self._spread(integers.ndim, self.scale), self._spread(integers.ndim, self.zero_point)
        wide = integers.astype(np.int32) - zero.astype(np.int32)
        return wide.astype(np.float32) * scale.astype(np.float32)

    def quantize(self, real: Array) -> Array:
        """Integers that stand nearest to `real` (half to even), clipped to the type; the inverse of `dequantize`."""
        dtype = named_dtype(self.dtype.lower())
        low, high = integer_limits(dtype)
        scale, zero = self._spread(real.ndim, self.scale), self._spread(real.ndim, self.zero_point)
        steps = np.rint(real.astype(np.float64) / scale.astype(np.float64)) + zero.astype(np.int32)
        integers: Array = np.clip(steps, low, high).astype(dtype)
        return integers

    def _spread(self, rank: int, parameter: Array) -> Array:
        if parameter.ndim == 0 or self.axis is None:
            return parameter
        if self.block_size:
            return np.repeat(parameter, self.block_size, axis=self.axis)
        shape = [1] * rank
        shape[self.axis] = parameter.size
        return parameter.reshape(shape)


class QuantizedWeight:
    """A constant held as integers with their encoding; real values are computed only when asked for."""

    def __init__(self, integers: Array, encoding: Encoding) -> None:
        self.integers, self.encoding = integers, encoding

    @cached_property
    def tensor(self) -> Any:
        """An `onnx_ir.LazyTensor` of float32 that dequantizes on demand."""
        import onnx_ir

        return onnx_ir.LazyTensor(
            lambda: onnx_ir.tensor(self.encoding.dequantize(self.integers)),
            dtype=onnx_ir.DataType.FLOAT,
            shape=onnx_ir.Shape(self.integers.shape),
            cache=False,
        )

    def transposed(self, perm: Perm) -> QuantizedWeight:
        """The same weight with its axes reordered."""
        return QuantizedWeight(self.integers.transpose(perm), self.encoding.permuted(perm))


def set_encoding(value: onnx_ir.Value, encoding: Encoding | None) -> None:
    """Attach `encoding` to `value`, or remove it when None."""
    if encoding is None:
        value.meta.pop(KEY, None)
    else:
        value.meta[KEY] = encoding


def encoding_of(value: onnx_ir.Value | None) -> Encoding | None:
    """The encoding of `value`, if it is quantized."""
    return None if value is None else value.meta.get(KEY)


WEIGHT_KEY = "bessemer.quantized_weight"


def set_weight(value: onnx_ir.Value, weight: QuantizedWeight) -> None:
    """Make `value` a constant held as integers; its float view is lazy, its encoding attached."""
    value.const_value = weight.tensor
    value.meta[WEIGHT_KEY] = weight
    set_encoding(value, weight.encoding)


def weight_of(value: onnx_ir.Value | None) -> QuantizedWeight | None:
    """The integers behind a quantized constant; None when the constant was replaced or never quantized."""
    if value is None:
        return None
    weight = value.meta.get(WEIGHT_KEY)
    if weight is None or value.const_value is not weight.tensor:
        return None
    return weight if isinstance(weight, QuantizedWeight) else None
