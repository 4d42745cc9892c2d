"""GGUF files, written: the bytes before the tensors, and where each tensor goes.

The data itself is streamed by whoever calls. Values get the type that ggml's own writer gives them, or the kind that a file
had which they were read from (`reader.File.kinds`), or the one of a numpy number.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from bessemer.wire.errors import WireError
from bessemer.wire.gguf.reader import MAGIC
from bessemer.wire.gguf.types import BY_NAME
from bessemer.wire.gguf.values import (
    ALIGNMENT,
    LETTERS,
    MAX_DIMS,
    MAX_KEY,
    MAX_TENSOR_NAME,
    TEXT_ERRORS,
    ArrayOf,
    Kind,
    ValueType,
)

NUMPY = {
    "uint8": ValueType.UINT8, "int8": ValueType.INT8, "uint16": ValueType.UINT16, "int16": ValueType.INT16,
    "uint32": ValueType.UINT32, "int32": ValueType.INT32, "float32": ValueType.FLOAT32, "bool": ValueType.BOOL,
    "uint64": ValueType.UINT64, "int64": ValueType.INT64, "float64": ValueType.FLOAT64,
}  # fmt: skip


def layout(
    metadata: Mapping[str, Any],
    tensors: Sequence[tuple[str, tuple[int, ...], str]],
    alignment: int = ALIGNMENT,
    *,
    kinds: Mapping[str, Kind] | None = None,
    big_endian: bool = False,
) -> tuple[bytes, list[int], int]:
    """What a file of version 3 begins with, padded to where its data starts; each tensor's absolute place; the file's size.

    tensors: (name, shape in numpy's order, type's name), placed one after another, each at a multiple of `alignment`; the
    bytes between them and behind the last are zeros. kinds: of the values that had one (`reader.File.kinds`).
    Raises WireError for what the format cannot hold.
    """
    if alignment != metadata.get("general.alignment", ALIGNMENT):
        raise WireError(f"general.alignment has to say {alignment}, the tensors' alignment", where="general.alignment")
    order = ">" if big_endian else "<"
    known = kinds or {}
    entries = b"".join(_entry(key, value, known.get(key), order) for key, value in metadata.items())
    places, size = _places(tensors, alignment)
    infos = b"".join(_info(*tensor, place, order) for tensor, place in zip(tensors, places, strict=True))
    counts = struct.pack(order + "IQQ", 3, len(tensors), len(metadata))
    header = MAGIC + counts + entries + infos
    header += bytes(-len(header) % alignment)
    return header, [len(header) + place for place in places], len(header) + size


def kind_of(value: Any) -> Kind:
    """The type that a value gets where nobody says one: as ggml's own writer chooses, but integers that need more bits
    get them. Raises WireError for a value without a type."""
    named = NUMPY.get(getattr(getattr(value, "dtype", None), "name", ""))
    if named is not None:
        return ArrayOf(named) if getattr(value, "ndim", 0) else named
    if isinstance(value, (bytes, bytearray)):
        return ArrayOf(ValueType.UINT8)
    if isinstance(value, (list, tuple)):
        return _array_kind(value)
    if isinstance(value, bool):
        return ValueType.BOOL
    if isinstance(value, float):
        return ValueType.FLOAT32
    if isinstance(value, str):
        return ValueType.STRING
    if isinstance(value, int):
        return _integer([value], ValueType.UINT32)
    raise WireError(f"a value of Python's type {type(value).__name__}, which metadata cannot hold")


def _array_kind(items: Sequence[Any]) -> ArrayOf:
    found = {type(item) for item in items}
    if not found:
        raise WireError("an empty list, whose elements have no type: leave the key out, or say its kind")
    if found <= {int}:
        return ArrayOf(_integer(items, ValueType.INT32))
    if found <= {int, float}:
        return ArrayOf(ValueType.FLOAT32)
    kinds = [kind_of(item) for item in items]
    if all(isinstance(kind, ArrayOf) for kind in kinds):
        return ArrayOf(ValueType.ARRAY, tuple(kind for kind in kinds if isinstance(kind, ArrayOf)))
    if len(set(kinds)) != 1 or not isinstance(kinds[0], ValueType):
        raise WireError("a list of several types")
    return ArrayOf(kinds[0])


def _integer(values: Sequence[int], wanted: ValueType) -> ValueType:
    """`wanted` where it holds all values, else the smallest other type of 4 or 8 bytes that does."""
    low, high = min(values), max(values)
    ranges = {
        ValueType.UINT32: (0, 1 << 32), ValueType.INT32: (-(1 << 31), 1 << 31), ValueType.UINT64: (0, 1 << 64),
        ValueType.INT64: (-(1 << 63), 1 << 63),
    }  # fmt: skip
    for kind in (wanted, *ranges):
        if ranges[kind][0] <= low and high < ranges[kind][1]:
            return kind
    raise WireError("an integer of more than 64 bits")


def _entry(key: str, value: Any, kind: Kind | None, order: str) -> bytes:
    try:
        name = _text(key, order)
        if len(name) > MAX_KEY + 8:
            raise WireError(f"a key of more than {MAX_KEY} bytes")
        kind = kind_of(value) if kind is None else kind
        number = ValueType.ARRAY if isinstance(kind, ArrayOf) else kind
        return name + struct.pack(order + "I", number) + _value(value, kind, order)
    except (struct.error, OverflowError, TypeError, ValueError) as error:
        why = error.what if isinstance(error, WireError) else f"a value that its type cannot hold ({error})"
        raise WireError(why, where=key[:100]) from None


def _value(value: Any, kind: Kind, order: str) -> bytes:
    if isinstance(kind, ArrayOf):
        return _array(value, kind, order)
    if kind is ValueType.STRING:
        return _text(value, order)
    return struct.pack(order + LETTERS[kind], value)


def _array(items: Any, kind: ArrayOf, order: str) -> bytes:
    head = struct.pack(order + "IQ", kind.item, len(items))
    if kind.item is ValueType.ARRAY:
        return head + b"".join(_array(item, inner, order) for item, inner in zip(items, kind.inner, strict=True))
    if kind.item is ValueType.STRING:
        return head + b"".join([_text(item, order) for item in items])
    return head + struct.pack(f"{order}{len(items)}{LETTERS[kind.item]}", *items)


def _text(text: str, order: str) -> bytes:
    if not isinstance(text, str):
        raise WireError(f"a {type(text).__name__} where a string is wanted")
    raw = text.encode("utf-8", TEXT_ERRORS)
    return struct.pack(order + "Q", len(raw)) + raw


def _places(tensors: Sequence[tuple[str, tuple[int, ...], str]], alignment: int) -> tuple[list[int], int]:
    """Where each tensor begins in the data, and how long the data is."""
    places, at = [], 0
    seen: set[str] = set()
    for name, shape, kind in tensors:
        if name in seen:
            raise WireError("a tensor that stands twice", where=name)
        seen.add(name)
        places.append(at)
        at += _nbytes(name, shape, kind)
        at += -at % alignment
    return places, at


def _nbytes(name: str, shape: tuple[int, ...], kind: str) -> int:
    if kind not in BY_NAME:
        raise WireError(f"a tensor of the type {kind}, which GGUF does not have", where=name)
    try:
        return prod(shape[:-1]) * BY_NAME[kind].row_bytes(shape[-1] if shape else 1)
    except ValueError as error:
        raise WireError(str(error), where=name) from None


def _info(name: str, shape: tuple[int, ...], kind: str, place: int, order: str) -> bytes:
    raw = name.encode()
    if len(raw) > MAX_TENSOR_NAME:
        raise WireError(f"a tensor's name of {len(raw)} bytes; ggml takes {MAX_TENSOR_NAME}", where=name)
    if len(shape) > MAX_DIMS:
        raise WireError(f"a tensor of rank {len(shape)}; {MAX_DIMS} is the most", where=name)
    sizes = struct.pack(f"{order}I{len(shape)}Q", len(shape), *reversed(shape))
    return struct.pack(order + "Q", len(raw)) + raw + sizes + struct.pack(order + "IQ", BY_NAME[kind].id, place)
