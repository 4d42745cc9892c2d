"""Zip archives of stored members that are written out of order: places first, then contents, checksums last.

    member  = local header, name, extra fields (64-bit sizes, padding), content
    archive = members, their directory, [its 64-bit end,] its end

Source: PKWARE's APPNOTE 6.3; the padding field is the one that PyTorch writes ('FB').
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from bessemer.wire.errors import WireError

FULL, MANY = 0xFFFFFFFF, 0xFFFF
DATE = 0x21
"""1 January 1980: the same content is the same archive."""
UTF8 = 0x800
PADDING = 0x4246


@dataclass(frozen=True)
class Member:
    """name: in the archive; size: bytes of its content."""

    name: str
    size: int


@dataclass(frozen=True)
class Places:
    """starts: where each member's local header begins; contents: where its content does; directory: where that begins;
    total: bytes of the archive."""

    members: tuple[Member, ...]
    starts: tuple[int, ...]
    contents: tuple[int, ...]
    directory: int
    total: int


def layout(members: Sequence[Member], alignment: int = 64) -> Places:
    """Places of members, each content at a multiple of `alignment`. Raises WireError for names that no archive holds."""
    if len({member.name for member in members}) != len(members):
        raise WireError("two members of one name")
    long = next((member.name for member in members if len(member.name.encode()) > MANY), None)
    if long is not None:
        raise WireError(f"a name of more than {MANY} bytes", where=long[:100])
    starts, contents, at = [], [], 0
    for member in members:
        starts.append(at)
        at += len(_local(member, 0, 0))
        at += -at % alignment
        contents.append(at)
        at += member.size
    places = Places(tuple(members), tuple(starts), tuple(contents), at, 0)
    end = len(_directory(places, [0] * len(members)))
    return Places(places.members, places.starts, places.contents, at, at + end)


def headers(places: Places, checksums: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    """(place, bytes) of everything but the contents."""
    for member, start, content, checksum in zip(
        places.members, places.starts, places.contents, checksums, strict=True
    ):
        yield start, _local(member, content - start, checksum)
    yield places.directory, _directory(places, checksums)


def _local(member: Member, room: int, checksum: int) -> bytes:
    """The local header, filled up to `room` bytes; the least that it needs where room is 0."""
    name, wide = member.name.encode(), member.size >= FULL
    size = FULL if wide else member.size
    extra = struct.pack("<HHQQ", 1, 16, member.size, member.size) if wide else b""
    used = 30 + len(name) + len(extra) + 4
    spare = max(room - used, 0)
    extra += struct.pack("<HH", PADDING, spare) + b"Z" * spare
    fields = (0x04034B50, 45 if wide else 20, _flags(name), 0, 0, DATE, checksum, size, size, len(name), len(extra))
    return struct.pack("<IHHHHHIIIHH", *fields) + name + extra


def _flags(name: bytes) -> int:
    return 0 if name.isascii() else UTF8


def _directory(places: Places, checksums: Sequence[int]) -> bytes:
    entries = b"".join(
        _entry(member, start, checksum)
        for member, start, checksum in zip(places.members, places.starts, checksums, strict=True)
    )
    count, at = len(places.members), places.directory
    end = b""
    if count >= MANY or at >= FULL or len(entries) >= FULL:
        end = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, count, count, len(entries), at)
        end += struct.pack("<IIQI", 0x07064B50, 0, at + len(entries), 1)
    few = min(count, MANY)
    end += struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, few, few, min(len(entries), FULL), min(at, FULL), 0)
    return entries + end


def _entry(member: Member, start: int, checksum: int) -> bytes:
    name = member.name.encode()
    wide = [number for number in (member.size, member.size, start) if number >= FULL]
    extra = struct.pack(f"<HH{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
    size, place, version = min(member.size, FULL), min(start, FULL), 45 if wide else 20
    facts = (0x02014B50, version, version, _flags(name), 0, 0, DATE, checksum, size, size)
    return struct.pack("<IHHHHHHIIIHHHHHII", *facts, len(name), len(extra), 0, 0, 0, 0, place) + name + extra


def joined(first: int, second: int, length: int) -> int:
    """CRC-32 of two runs of bytes from their own; length: bytes of the second.

    A run of zeros is a linear map over GF(2), applied by squaring (Mark Adler's crc32_combine in zlib).
    """
    return second if length == 0 and not first else _applied(_zeros(length), first) ^ second


Matrix = tuple[int, ...]
"""Row i: what bit i becomes."""


def _applied(matrix: Matrix, vector: int) -> int:
    total, place = 0, 0
    while vector:
        if vector & 1:
            total ^= matrix[place]
        vector, place = vector >> 1, place + 1
    return total


def _product(one: Matrix, other: Matrix) -> Matrix:
    return tuple(_applied(one, row) for row in other)


@lru_cache(maxsize=256)
def _zeros(length: int) -> Matrix:
    """What `length` bytes of zeros do to a checksum."""
    result: Matrix = tuple(1 << bit for bit in range(32))
    power: Matrix = (0xEDB88320, *(1 << bit for bit in range(31)))  # one bit of zero
    power = _product(power, power)
    power = _product(power, power)
    power = _product(power, power)  # one byte
    while length:
        if length & 1:
            result = _product(power, result)
        power, length = _product(power, power), length >> 1
    return result
