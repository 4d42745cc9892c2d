"""The checksum of HDF5's metadata: Bob Jenkins's lookup3 hash (public domain, 2006), `hashlittle` with seed 0."""

from __future__ import annotations

import struct

MASK = 0xFFFFFFFF


def _turn(value: int, count: int) -> int:
    return ((value << count) | (value >> (32 - count))) & MASK


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    a = ((a - c) & MASK) ^ _turn(c, 4)
    c = (c + b) & MASK
    b = ((b - a) & MASK) ^ _turn(a, 6)
    a = (a + c) & MASK
    c = ((c - b) & MASK) ^ _turn(b, 8)
    b = (b + a) & MASK
    a = ((a - c) & MASK) ^ _turn(c, 16)
    c = (c + b) & MASK
    b = ((b - a) & MASK) ^ _turn(a, 19)
    a = (a + c) & MASK
    c = ((c - b) & MASK) ^ _turn(b, 4)
    b = (b + a) & MASK
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    c = ((c ^ b) - _turn(b, 14)) & MASK
    a = ((a ^ c) - _turn(c, 11)) & MASK
    b = ((b ^ a) - _turn(a, 25)) & MASK
    c = ((c ^ b) - _turn(b, 16)) & MASK
    a = ((a ^ c) - _turn(c, 4)) & MASK
    b = ((b ^ a) - _turn(a, 14)) & MASK
    return ((c ^ b) - _turn(b, 24)) & MASK


def lookup3(data: bytes) -> int:
    """The 32-bit hash of `data`."""
    a = b = c = (0xDEADBEEF + len(data)) & MASK
    if not data:
        return c
    whole = (len(data) - 1) // 12  # the last block, full or not, is mixed in another way
    padded = data + bytes(-len(data) % 12)
    words = struct.unpack(f"<{len(padded) // 4}I", padded)
    for place in range(0, 3 * whole, 3):
        a, b, c = _mix((a + words[place]) & MASK, (b + words[place + 1]) & MASK, (c + words[place + 2]) & MASK)
    last = words[3 * whole :]
    return _final((a + last[0]) & MASK, (b + last[1]) & MASK, (c + last[2]) & MASK)
