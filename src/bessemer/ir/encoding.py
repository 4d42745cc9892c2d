"""How a value is represented in integers: attached to the value, so that no pass can lose it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.numbers import FLOAT8, storage
from bessemer.ir.types import Array, Perm, named_dtype

if TYPE_CHECKING:
    import onnx_ir

KEY = "bessemer.encoding"


@dataclass(frozen=True, eq=False)
class Encoding:
    """Affine integer representation: `real = scale * (integer - zero_point)`.

    dtype: name as in ONNX ('INT8', 'UINT8', 'INT16', 'INT4', ..., or a float of eight bits: 'FLOAT8E4M3FN').
    scale: float32, shape () per tensor, (n,) per channel along `axis`, or blocked like the value with `axis`
        divided by `block_size` (the last block may be partial).
    zero_point: codes of the same shape as scale.
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

    def dequantize(self, codes: Array) -> Array:
        """Real values, float32, of `codes` (same shape)."""
        scale = self.spread(self.scale, codes.shape).astype(np.float32, copy=False)
        if not storage(self.dtype).integer:
            return codes.astype(np.float32) * scale
        wide = codes.astype(np.int32)
        if np.any(self.zero_point):
            wide -= self.spread(self.zero_point, codes.shape).astype(np.int32)
        return wide.astype(np.float32) * scale

    def quantize(self, real: Array) -> Array:
        """Codes that stand nearest to `real`, saturating, in a dtype of the type's own name; the way back from
        `dequantize`."""
        return quantize(real, self).astype(named_dtype(FLOAT8.get(self.dtype, self.dtype.lower())), copy=False)

    def spread(self, parameter: Array, shape: tuple[int, ...]) -> Array:
        """A scale or zero point as it meets each element of a value of `shape` (broadcastable)."""
        if parameter.ndim == 0 or self.axis is None:
            return parameter
        if self.block_size:
            wide = np.repeat(parameter, self.block_size, axis=self.axis)
            return wide[(slice(None),) * self.axis + (slice(shape[self.axis]),)]
        spread = [1] * len(shape)
        spread[self.axis] = parameter.size
        return parameter.reshape(spread)


def quantize(array: Array, encoding: Encoding) -> Array:
    """Codes of `array`: round half to even, saturate (QuantizeLinear's rule), one per item of the holding type."""
    kind = storage(encoding.dtype)
    scale = encoding.spread(encoding.scale, array.shape).astype(np.float32)
    steps = np.asarray(array.astype(np.float32, copy=False) / scale)
    if not kind.integer:
        return kind.nearest(steps)
    np.rint(steps, out=steps)
    if not np.any(encoding.zero_point):
        return kind.nearest(steps)
    return kind.nearest(steps.astype(np.float64) + encoding.spread(encoding.zero_point, array.shape))


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
