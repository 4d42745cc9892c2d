"""Weights as members of a zip archive, streamed: checksums of pieces are joined once all are written."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from bessemer.ir.checkpoint import Bytes, Lazy
from bessemer.weights.stream import Done, Piece
from bessemer.weights.stream import write as write_pieces
from bessemer.wire.zipstore import Member, Places, headers, joined, layout


@dataclass(frozen=True)
class Content:
    """A member: bytes, then a tensor's rows, if there is one."""

    name: str
    head: bytes
    tensor: Lazy | None = None

    @property
    def size(self) -> int:
        """Bytes of both."""
        return len(self.head) + (self.tensor.nbytes if self.tensor else 0)


@dataclass(frozen=True)
class Archive:
    """A planned archive."""

    contents: tuple[Content, ...]
    places: Places

    @property
    def total(self) -> int:
        """Bytes of the file."""
        return self.places.total


def planned(contents: Sequence[Content], alignment: int = 64) -> Archive:
    """Where everything goes."""
    return Archive(tuple(contents), layout([Member(item.name, item.size) for item in contents], alignment))


@dataclass
class _Summed:
    """A tensor whose pieces leave their checksums behind as they are read. sums: first row -> (rows' bytes, CRC-32)."""

    tensor: Lazy
    sums: dict[int, tuple[int, int]] = field(default_factory=dict)

    def read(self, start: int, stop: int) -> Bytes:
        """Rows; each range is read once."""
        data = np.ascontiguousarray(self.tensor.read(start, stop))
        self.sums[start] = (data.nbytes, zlib.crc32(data.reshape(-1).data))
        return data

    def total(self, before: bytes) -> int:
        """Checksum of `before` and all rows."""
        value = zlib.crc32(before)
        for _, (size, part) in sorted(self.sums.items()):
            value = joined(value, part, size)
        return value


def write(path: Path, archive: Archive, done: Done | None = None) -> None:
    """The whole file, and have it on the disk. Raises OSError, and what reading raises; the file is then unfinished."""
    summed = {item.name: _Summed(item.tensor) for item in archive.contents if item.tensor is not None}
    pieces = [
        Piece(place + len(item.head), replace(item.tensor, read=summed[item.name].read), item.tensor.type)
        for item, place in zip(archive.contents, archive.places.contents, strict=True)
        if item.tensor is not None
    ]
    write_pieces(path, b"", pieces, archive.total, done)
    checksums = [
        summed[item.name].total(item.head) if item.tensor is not None else zlib.crc32(item.head) for item in archive.contents
    ]
    with path.open("r+b") as file:
        for place, data in headers(archive.places, checksums):
            file.seek(place)
            file.write(data)
        for item, place in zip(archive.contents, archive.places.contents, strict=True):
            file.seek(place)
            file.write(item.head)
        file.flush()
        os.fsync(file.fileno())
