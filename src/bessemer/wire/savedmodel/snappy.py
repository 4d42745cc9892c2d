"""Snappy's raw format, read (google/snappy format_description.txt)."""

from __future__ import annotations

from bessemer.wire.errors import WireError
from bessemer.wire.protobuf import Bytes

MOST_GROWTH = 64
"""A copy of three bytes makes at most 64."""


def uncompressed(data: Bytes) -> bytes:
    """The plain bytes. Raises WireError; never makes more than the stated length, nor that without room for it."""
    length, place = _length(data)
    if length > MOST_GROWTH * len(data):
        raise WireError(f"{len(data)} compressed bytes cannot hold {length}", offset=0)
    made = bytearray()
    while place < len(data):
        tag = data[place]
        kind = tag & 3
        if kind == 0:
            place = _literal(data, place, made)
        else:
            count, back, place = _copied(data, place, kind)
            _copy(made, back, count, place)
        if len(made) > length:
            raise WireError(f"more bytes than the {length} stated", offset=place)
    if len(made) != length:
        raise WireError(f"{len(made)} bytes instead of the {length} stated", offset=place)
    return bytes(made)


def _length(data: Bytes) -> tuple[int, int]:
    value = 0
    for place in range(min(5, len(data))):
        value |= (data[place] & 0x7F) << (7 * place)
        if data[place] < 0x80:
            return value, place + 1
    raise WireError("the length has no end", offset=0)


def _literal(data: Bytes, place: int, made: bytearray) -> int:
    count = data[place] >> 2
    place += 1
    if count >= 60:
        size = count - 59
        count = int.from_bytes(data[place : place + size], "little")
        place += size
    count += 1
    if place + count > len(data):
        raise WireError("a literal reaches past the end: truncated?", offset=place)
    made += data[place : place + count]
    return place + count


def _copied(data: Bytes, place: int, kind: int) -> tuple[int, int, int]:
    """Count, distance and where it goes on."""
    tag, size = data[place], {1: 1, 2: 2, 3: 4}[kind]
    end = place + 1 + size
    if end > len(data):
        raise WireError("a copy without its distance: truncated?", offset=place)
    back = int.from_bytes(data[place + 1 : end], "little")
    if kind == 1:
        return 4 + (tag >> 2 & 7), back | (tag >> 5) << 8, end
    return 1 + (tag >> 2), back, end


def _copy(made: bytearray, back: int, count: int, place: int) -> None:
    if not 0 < back <= len(made):
        raise WireError(f"a copy from {back} bytes before, of {len(made)} there are", offset=place)
    start = len(made) - back
    if back >= count:
        made += made[start : start + count]
    else:
        whole = bytes(made[start:])
        made += (whole * (count // back + 1))[:count]
