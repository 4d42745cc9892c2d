"""The older files of llama-imatrix (.dat): sums of squares per column, little endian.

    file  = count of entries, entries, and in newer ones: chunks, length of the data set's name, name
    entry = length of the name, name, calls, count of values, values (float32)

All counts and lengths are 32-bit integers. Values are mean squares times calls.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bessemer.wire.errors import WireError


@dataclass(frozen=True)
class Entry:
    """Of one tensor. values: float32, of all its experts one after another."""

    calls: int
    values: npt.NDArray[np.float32]


@dataclass(frozen=True)
class File:
    """chunks, dataset: 0 and '' where the file does not say."""

    entries: dict[str, Entry]
    chunks: int
    dataset: str


class _Cursor:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def take(self, size: int, what: str) -> bytes:
        if not 0 <= size <= self.left:
            raise WireError(f"{size} bytes where {self.left} are left", offset=self.at, where=what)
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, what: str) -> int:
        found: int = struct.unpack("<i", self.take(4, what))[0]
        return found

    def text(self, what: str) -> str:
        return self.take(self.number(f"{what}.length"), what).decode("utf-8", "replace")


def parse(data: bytes) -> File:
    """The file's entries. Raises WireError for what is none."""
    cursor = _Cursor(data)
    count = cursor.number("entries")
    if not 0 < count <= cursor.left // 12:
        raise WireError(f"{count} entries in {len(data)} bytes", offset=0, where="entries")
    entries = dict(_entry(cursor) for _ in range(count))
    if cursor.left < 8:
        return File(entries, 0, "")
    return File(entries, cursor.number("chunks"), cursor.text("dataset"))


def _entry(cursor: _Cursor) -> tuple[str, Entry]:
    name = cursor.text("entry.name")
    calls, count = cursor.number("entry.calls"), cursor.number("entry.count")
    if count < 1:
        raise WireError(f"{count} values", offset=cursor.at, where=name[:100])
    values = np.frombuffer(cursor.take(4 * count, "entry.values"), "<f4")
    return name, Entry(calls, values)
