"""LevelDB's sorted tables, as TensorFlow writes checkpoint indices (leveldb/doc/table_format.md)."""

from __future__ import annotations

from collections.abc import Iterator

from bessemer.wire.errors import WireError
from bessemer.wire.protobuf import Bytes
from bessemer.wire.savedmodel.snappy import uncompressed

MAGIC = 0xDB4775248B80FB57
FOOTER = 48
TRAILER = 5
"""After a block: its compression (one byte) and a checksum over both."""
MOST_KEY = 1 << 16
"""Bytes of a key: a tensor's name and a slice."""


def table(data: Bytes) -> Iterator[tuple[bytes, Bytes]]:
    """Keys and values in order. Raises WireError where the bytes break the format or a checksum."""
    if len(data) < FOOTER:
        raise WireError(f"{len(data)} bytes are no table: truncated?", offset=0)
    footer = data[-FOOTER:]
    if int.from_bytes(footer[-8:], "little") != MAGIC:
        raise WireError("the table's magic number is missing: truncated, or no checkpoint index", offset=len(data) - 8)
    _, _, place = _handle(footer, 0)
    start, size, _ = _handle(footer, place)
    seen = len(data) - FOOTER
    for _, handle in _entries(_block(data, start, size)):
        offset, length, _ = _handle(handle, 0)
        seen -= length
        if seen < 0:
            raise WireError("the blocks of the table overlap", offset=offset)
        yield from _entries(_block(data, offset, length))


def _handle(data: Bytes, place: int) -> tuple[int, int, int]:
    offset, place = _varint(data, place)
    size, place = _varint(data, place)
    return offset, size, place


def _block(data: Bytes, offset: int, size: int) -> Bytes:
    if offset + size + TRAILER > len(data):
        raise WireError(f"a block of {size} bytes reaches past the end: truncated?", offset=offset)
    held, kind = data[offset : offset + size], data[offset + size]
    stated = int.from_bytes(data[offset + size + 1 : offset + size + TRAILER], "little")
    if masked(crc32c(data[offset : offset + size + 1])) != stated:
        raise WireError("the checksum of a block is wrong: the file is damaged", offset=offset)
    if kind == 0:
        return held
    if kind == 1:
        return uncompressed(held)
    raise WireError(f"blocks of compression {kind} are not known", offset=offset + size)


def _entries(block: Bytes) -> Iterator[tuple[bytes, Bytes]]:
    if len(block) < 4:
        raise WireError("a block without its restart points")
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 - 4 * restarts
    if end < 0:
        raise WireError(f"a block of {len(block)} bytes states {restarts} restart points")
    place, key = 0, b""
    while place < end:
        shared, place = _varint(block, place)
        own, place = _varint(block, place)
        length, place = _varint(block, place)
        if shared > len(key) or own > MOST_KEY or place + own + length > end:
            raise WireError("an entry of a block reaches past its end", offset=place)
        key = key[:shared] + bytes(block[place : place + own])
        place += own
        yield key, block[place : place + length]
        place += length


def _varint(data: Bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            break
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise WireError("a number without an end", offset=place)


def _remainders() -> list[int]:
    """CRC-32C of every byte (Castagnoli's polynomial, reflected: 0x82f63b78)."""
    found = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        found.append(value)
    return found


REMAINDERS = _remainders()


def crc32c(data: Bytes) -> int:
    """Castagnoli's checksum (RFC 3720, appendix B.4)."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ REMAINDERS[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def masked(checksum: int) -> int:
    """As LevelDB stores it: a checksum over data that holds checksums is no good one."""
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF
