"""Types of metadata values in GGUF: a file read and written again keeps them.

A value is plain Python (int, float, bool, str, list; bytes for an array of UINT8); its kind says which of GGUF's types it
had. Numbers, widths and ids are facts of the format (ggml's docs/gguf.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class ValueType(IntEnum):
    """`gguf_metadata_value_type`."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


@dataclass(frozen=True)
class ArrayOf:
    """An array's kind. item: its elements' type; inner: the kind of each element where these are arrays themselves."""

    item: ValueType
    inner: tuple[ArrayOf, ...] = ()


Kind = ValueType | ArrayOf

LETTERS = {
    ValueType.UINT8: "B", ValueType.INT8: "b", ValueType.UINT16: "H", ValueType.INT16: "h", ValueType.UINT32: "I",
    ValueType.INT32: "i", ValueType.FLOAT32: "f", ValueType.BOOL: "B", ValueType.UINT64: "Q", ValueType.INT64: "q",
    ValueType.FLOAT64: "d",
}  # fmt: skip
"""`struct`'s letters of the types of fixed width."""

WIDTHS = {
    ValueType.UINT8: 1, ValueType.INT8: 1, ValueType.UINT16: 2, ValueType.INT16: 2, ValueType.UINT32: 4,
    ValueType.INT32: 4, ValueType.FLOAT32: 4, ValueType.BOOL: 1, ValueType.UINT64: 8, ValueType.INT64: 8,
    ValueType.FLOAT64: 8,
}  # fmt: skip

TEXT_ERRORS = "surrogateescape"
"""How bytes that are no UTF-8 stand in a string (tokens may be odd): lone surrogates, written back as the same bytes."""

ALIGNMENT = 32
MAX_KEY = 65535
MAX_DIMS = 4
MAX_TENSOR_NAME = 63
"""Bytes of a tensor's name: ggml keeps 64, the last of them 0."""
