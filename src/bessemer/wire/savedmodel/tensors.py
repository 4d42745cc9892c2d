"""TensorProto and TensorShapeProto (tensor.proto, tensor_shape.proto)."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np

from bessemer.wire.errors import WireError
from bessemer.wire.protobuf import Bytes
from bessemer.wire.savedmodel.scalars import (
    HANDLE,
    STRING,
    dtype_of,
    last,
    message,
    signed,
    unsigned,
    varints,
)

Dims = tuple[int | None, ...]
MOST_AXES = 254
"""TensorFlow's own bound."""
MOST_BYTES = 1 << 34
"""Of one tensor; a value that is repeated costs no bytes in the file, so the file's size bounds nothing."""

PLACES: dict[str, int] = {
    "float32": 5, "float64": 6, "int32": 7, "uint8": 7, "int16": 7, "int8": 7, "uint16": 7, "complex64": 9, "int64": 10,
    "bool": 11, "complex128": 12, "float16": 13, "bfloat16": 13, "uint32": 16, "uint64": 17, "float8_e5m2": 18,
    "float8_e4m3fn": 18, "int4": 7, "uint4": 7,
}  # fmt: skip
"""Which field holds a type's values one by one."""
FIXED = {5: "<f4", 6: "<f8", 9: "<f4", 12: "<f8"}


def shape(data: Bytes) -> Dims | None:
    """Dims, None for unbound ones; None altogether where the rank is unknown."""
    held = message(data)
    if held.get(3) and unsigned(held[3][-1]):
        return None
    dims = held.get(2, [])
    if len(dims) > MOST_AXES:
        raise WireError(f"a tensor of {len(dims)} axes", where="TensorShapeProto")
    return tuple(_dim(item) for item in dims)


def _dim(data: Bytes) -> int | None:
    size = signed(last(message(data), 1))
    if size < -1:
        raise WireError(f"a dim of {size}", where="TensorShapeProto")
    return None if size == -1 else size


def tensor(data: Bytes) -> Any:
    """The elements of a TensorProto; they stay in `data` where they lie there as they are used. Raises WireError."""
    held = message(data)
    number = unsigned(last(held, 1))
    dtype, dims = dtype_of(number), shape(last(held, 2))
    if dims is None or None in dims:
        raise WireError("a constant of unknown shape", where="TensorProto")
    sizes = [dim for dim in dims if dim is not None]
    count = math.prod(sizes)
    if count * max(dtype.itemsize, 1) > MOST_BYTES:
        raise WireError(f"a constant of shape {sizes}: more than {MOST_BYTES >> 30} GiB", where="TensorProto")
    if dtype == HANDLE:
        raise WireError("a constant of a resource or a variant type", where="TensorProto")
    content = last(held, 4)
    if number == STRING:
        return _filled(np.array([bytes(item) for item in held.get(8, [])], object), sizes, count)
    if len(content):
        return _content(content, dtype, sizes, count)
    return _filled(_values(held, dtype), sizes, count)


def _content(content: Bytes, dtype: np.dtype[Any], sizes: list[int], count: int) -> Any:
    if len(content) != count * dtype.itemsize:
        raise WireError(
            f"{len(content)} bytes for {count} elements of {dtype}, which take {count * dtype.itemsize}", where="TensorProto"
        )
    return np.frombuffer(content, dtype).reshape(sizes)


def values(data: Bytes, dtype: np.dtype[Any]) -> Any:
    """All values of a TensorProto that states neither type nor shape, in one row. Raises WireError."""
    held = message(data)
    if dtype == HANDLE:
        raise WireError("values of a type that has no elements", where="TensorProto")
    if dtype.kind == "O":
        return np.array([bytes(item) for item in held.get(8, [])], object)
    content = last(held, 4)
    if len(content) % dtype.itemsize:
        raise WireError(f"{len(content)} bytes of {dtype}, which has {dtype.itemsize}", where="TensorProto")
    return np.frombuffer(content, dtype) if len(content) else _values(held, dtype)


def _filled(values: Any, sizes: list[int], count: int) -> Any:
    """Values to a shape; the last one stands for all that are missing, zero where there is none."""
    if values.size > count:
        raise WireError(f"{values.size} values for {count} elements", where="TensorProto")
    if values.size == count:
        return values.reshape(sizes)
    if values.size <= 1:
        empty: Any = b"" if values.dtype.kind == "O" else 0
        one = values if values.size else np.array([empty]).astype(values.dtype)
        return np.broadcast_to(one.reshape(()), sizes)
    rest = np.broadcast_to(values[-1:], (count - values.size,))
    return np.concatenate([values, rest]).reshape(sizes)


def _values(held: dict[int, list[Bytes]], dtype: np.dtype[Any]) -> Any:
    place = PLACES[dtype.name]
    payloads = held.get(place, [])
    if place in FIXED:
        return _fixed(payloads, FIXED[place], dtype)
    if place == 18:
        return np.frombuffer(b"".join(map(bytes, payloads)), np.uint8).view(dtype)
    numbers = np.array([item for payload in payloads for item in varints(payload)], np.uint64)
    if place == 13:
        return numbers.astype(np.uint16).view(dtype)
    if dtype in (np.dtype(ml_dtypes.int4), np.dtype(ml_dtypes.uint4)):
        return numbers.astype(np.int8).astype(dtype)
    return numbers.astype(np.bool_) if dtype == np.bool_ else numbers.view(np.int64).astype(dtype)


def _fixed(payloads: list[Bytes], code: str, dtype: np.dtype[Any]) -> Any:
    if any(len(item) % int(code[-1]) for item in payloads):
        raise WireError("packed numbers that end inside one", where="TensorProto")
    whole = payloads[0] if len(payloads) == 1 else b"".join(map(bytes, payloads))
    plain = np.frombuffer(whole, code)
    if dtype.kind == "c" and plain.size % 2:
        raise WireError("a complex number without its imaginary part", where="TensorProto")
    return plain.view(dtype)
