"""Protobuf's wire format: the fields of one message, nothing decoded and nothing copied.

A message is a sequence of (key, payload): key = number << 3 | kind; kinds 0 varint, 1 eight bytes, 2 a length and so
many bytes, 5 four bytes (protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

from collections.abc import Iterator

from bessemer.wire.errors import WireError

FIXED = {1: 8, 5: 4}
Bytes = bytes | memoryview


def fields(data: Bytes) -> Iterator[tuple[int, Bytes]]:
    """Number and payload of each field (a varint's own bytes, too). Raises WireError where the bytes break the format."""
    position, size = 0, len(data)
    while position < size:
        start = position
        key, position = _varint(data, position)
        kind = key & 7
        if kind == 0:
            _, end = _varint(data, position)
        elif kind == 2:
            length, position = _varint(data, position)
            end = position + length
        elif kind in FIXED:
            end = position + FIXED[kind]
        else:
            raise WireError(f"wire type {kind} does not exist", offset=start)
        if end > size:
            raise WireError(f"field {key >> 3} ends {end - size} bytes after the end: truncated?", offset=start)
        yield key >> 3, data[position:end]
        position = end


def _varint(data: Bytes, position: int) -> tuple[int, int]:
    if position < len(data) and (first := data[position]) < 0x80:  # nearly all of them
        return first, position + 1
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise WireError("the bytes end inside a number: truncated?", offset=position)
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise WireError("a number of more than ten bytes", offset=position)
