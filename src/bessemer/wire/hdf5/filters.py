"""The filters that chunks went through, undone."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bessemer.wire.errors import WireError

if TYPE_CHECKING:
    from bessemer.wire.hdf5.bounds import Cursor

DEFLATE, SHUFFLE, FLETCHER32 = 1, 2, 3
NAMES = {4: "szip", 5: "nbit", 6: "scaleoffset", 32000: "lzf", 32001: "blosc", 32004: "lz4", 32008: "bitshuffle",
         32015: "zstd"}  # fmt: skip


class Filter(NamedTuple):
    """One step of the pipeline."""

    number: int
    values: tuple[int, ...]


def read_filters(cursor: Cursor) -> tuple[Filter, ...]:
    """The filter pipeline message."""
    version, count = cursor.uint(1), cursor.uint(1)
    if version == 1:
        cursor.raw(6)
    return tuple(_filter(cursor, version) for _ in range(count))


def _filter(cursor: Cursor, version: int) -> Filter:
    number = cursor.uint(2)
    named = cursor.uint(2) if version == 1 or number >= 256 else 0
    cursor.uint(2)
    count = cursor.uint(2)
    cursor.raw(named + (-named % 8 if version == 1 else 0))
    values = tuple(cursor.uint(4) for _ in range(count))
    cursor.raw(4 if version == 1 and count % 2 else 0)
    return Filter(number, values)


def undo(data: memoryview, filters: tuple[Filter, ...], mask: int, size: int, offset: int) -> memoryview:
    """The `size` bytes of a chunk from what is stored. mask: bit i set where filter i was left out."""
    for place in reversed(range(len(filters))):
        if not mask >> place & 1:
            data = _undone(data, filters[place], size, offset)
    if len(data) < size:
        raise WireError(f"a chunk of {len(data)} bytes where {size} must be", offset=offset, where="chunk")
    return data[:size]


def _undone(data: memoryview, step: Filter, size: int, offset: int) -> memoryview:
    if step.number == DEFLATE:
        return _inflated(data, size, offset)
    if step.number == SHUFFLE:
        return _unshuffled(data, step, offset)
    if step.number == FLETCHER32:
        return _checked(data, offset)
    name = NAMES.get(step.number, f"number {step.number}")
    raise WireError(f"data compressed by the filter {name} cannot be read here", offset=offset, where="chunk")


def _inflated(data: memoryview, size: int, offset: int) -> memoryview:
    worker = zlib.decompressobj()
    try:
        found = worker.decompress(data, size + 4)  # a fletcher32 sum may stand inside
    except zlib.error as error:
        raise WireError(f"broken compressed data ({error})", offset=offset, where="chunk") from None
    if not worker.eof:
        raise WireError("more compressed data than a chunk holds", offset=offset, where="chunk")
    return memoryview(found)


def _unshuffled(data: memoryview, step: Filter, offset: int) -> memoryview:
    width = step.values[0] if step.values else 1
    if not 0 < width <= max(len(data), 1):
        raise WireError(f"shuffled elements of {width} bytes", offset=offset, where="chunk")
    whole = len(data) // width * width
    planes = np.frombuffer(data[:whole], np.uint8).reshape(width, -1)
    return memoryview(np.ascontiguousarray(planes.T).tobytes() + bytes(data[whole:]))


def _checked(data: memoryview, offset: int) -> memoryview:
    if len(data) < 4:
        raise WireError("a chunk without its checksum", offset=offset, where="chunk")
    body, wanted = data[:-4], int.from_bytes(data[-4:], "little")
    if fletcher32(body) != wanted:
        raise WireError("a chunk's checksum does not fit", offset=offset, where="chunk")
    return body


def fletcher32(data: memoryview) -> int:
    """HDF5's Fletcher-32: sums modulo 65535 over big-endian words, an odd last byte being the high one."""
    held = bytes(data) + b"\0" * (len(data) % 2)
    words = np.frombuffer(held, ">u2").astype(np.int64)
    first = second = 0
    for start in range(0, len(words), 1 << 20):
        part = words[start : start + (1 << 20)]
        weights = np.arange(len(part), 0, -1, dtype=np.int64)
        second = (second + first * len(part) + int((part * weights).sum())) % 65535
        first = (first + int(part.sum())) % 65535
    return _folded(second, bool(words.any())) << 16 | _folded(first, bool(words.any()))


def _folded(total: int, something: bool) -> int:
    """The library's sums stay in 1..65535 once anything was added: a zero residue shows as 65535."""
    return 65535 if total == 0 and something else total
