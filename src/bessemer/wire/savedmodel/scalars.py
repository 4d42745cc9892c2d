"""Scalars of protobuf messages, and the element types of TensorFlow."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np

from bessemer.wire.errors import WireError
from bessemer.wire.protobuf import Bytes, fields

DTYPES: dict[int, Any] = {
    1: np.float32, 2: np.float64, 3: np.int32, 4: np.uint8, 5: np.int16, 6: np.int8, 7: np.object_, 8: np.complex64,
    9: np.int64, 10: np.bool_, 11: np.int8, 12: np.uint8, 13: np.int32, 14: ml_dtypes.bfloat16, 15: np.int16,
    16: np.uint16, 17: np.uint16, 18: np.complex128, 19: np.float16, 22: np.uint32, 23: np.uint64,
    24: ml_dtypes.float8_e5m2, 25: ml_dtypes.float8_e4m3fn, 29: ml_dtypes.int4, 30: ml_dtypes.uint4,
}  # fmt: skip
"""DataType of types.proto; strings are objects (bytes). Quantized types are the integers that they hold."""
STRING, RESOURCE, VARIANT = 7, 20, 21
HANDLE: np.dtype[Any] = np.dtype(np.void)
"""What stands for the types resource and variant: they have no elements."""
REFERENCE = 100
"""A reference type is its plain type's number plus this."""


def dtype_of(number: int) -> np.dtype[Any]:
    """numpy type of a DataType; raises WireError for a number that names none."""
    plain = number - REFERENCE if number > REFERENCE else number
    if plain in (RESOURCE, VARIANT, 0):
        return HANDLE
    if plain not in DTYPES:
        raise WireError(f"element type {number} does not exist")
    found: np.dtype[Any] = np.dtype(DTYPES[plain])
    return found


def unsigned(data: Bytes) -> int:
    """A varint payload."""
    value = 0
    for place, byte in enumerate(data):
        value |= (byte & 0x7F) << (7 * place)
    return value & (2**64 - 1)


def signed(data: Bytes) -> int:
    """A varint payload in two's complement of 64 bits, as int32 and int64 are written."""
    value = unsigned(data)
    return value - 2**64 if value >= 2**63 else value


def real(data: Bytes) -> float:
    """A float."""
    if len(data) != 4:
        raise WireError(f"a float of {len(data)} bytes")
    return float(struct.unpack("<f", data)[0])


def text(data: Bytes) -> str:
    """A string; bytes that are no UTF-8 are spelt out."""
    return bytes(data).decode("utf-8", "backslashreplace")


def varints(data: Bytes) -> Iterator[int]:
    """Packed varints. Raises WireError where the last one has no end."""
    value, shift = 0, 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield value & (2**64 - 1)
            value, shift = 0, 0
        elif shift > 63:
            raise WireError("a number of more than ten bytes")
    if shift:
        raise WireError("the bytes end inside a number: truncated?")


def message(data: Bytes) -> dict[int, list[Bytes]]:
    """All fields by number, in order."""
    found: dict[int, list[Bytes]] = {}
    for number, payload in fields(data):
        found.setdefault(number, []).append(payload)
    return found


def entries(data: list[Bytes]) -> Iterator[tuple[str, Bytes]]:
    """Key and value of every entry of a map with string keys."""
    for item in data:
        held = dict(fields(item))
        yield text(held.get(1, b"")), held.get(2, b"")


def last(held: dict[int, list[Bytes]], number: int) -> Bytes:
    """The last payload of a field, which wins; empty where it is absent."""
    found = held.get(number)
    return found[-1] if found else b""
