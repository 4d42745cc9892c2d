"""Tensors that lie in a file: each read takes the wanted rows alone, from any thread."""

from __future__ import annotations

import os
import weakref
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from threading import Lock

import numpy as np

from bessemer.ir.checkpoint import Bytes, Lazy
from bessemer.ir.errors import UnreadableInput
from bessemer.weights.views import row_bytes

CHUNK = 1 << 22


class FileBytes:
    """A file that is open as long as something reads from it. Raises OSError where it cannot be opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._place = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        weakref.finalize(self, os.close, self._place)

    def read(self, offset: int, size: int) -> Bytes:
        """Bytes as uint8 [size]. Raises UnreadableInput where the file has become shorter than it was."""
        found = np.empty(size, np.uint8)
        view, at = found.data, offset
        while view:
            count = os.preadv(self._place, [view], at)
            if not count:
                raise UnreadableInput(f"{self.path} ends at byte {at}, {len(view)} bytes too early", why="it has changed")
            view, at = view[count:], at + count
        return found


def stored_at(
    file: FileBytes, name: str, shape: Sequence[int], kind: str, offset: int, change: Callable[[Bytes], Bytes] | None = None
) -> Lazy:
    """The tensor whose rows begin at byte `offset`; `change` is applied to rows that were read (a byte order)."""
    width = row_bytes(kind, shape[-1] if shape else 1)
    rows = prod(shape[:-1])

    def read(start: int, stop: int) -> Bytes:
        start, stop = min(start, rows), min(stop, rows)
        data = file.read(offset + start * width, (stop - start) * width).reshape(stop - start, width)
        return data if change is None else change(data)

    return Lazy(name, tuple(shape), kind, width, read)


class Checksum:
    """Of a run of bytes in a file, compared once, before any of it is used."""

    def __init__(self, file: FileBytes, offset: int, size: int, wanted: int, what: str) -> None:
        self._file, self._run, self._wanted, self._what = file, (offset, size), wanted, what
        self._lock, self._done = Lock(), False

    def compare(self) -> None:
        """Raises UnreadableInput for other bytes than were written."""
        with self._lock:
            if not self._done and self._found() != self._wanted:
                why = f"the checksum of '{self._what}' does not fit its bytes"
                raise UnreadableInput(f"{self._file.path} is damaged", why=why)
            self._done = True

    def guarding(self, tensor: Lazy) -> Lazy:
        """The tensor, whose first read compares."""

        def read(start: int, stop: int) -> Bytes:
            if not self._done:
                self.compare()
            return tensor.read(start, stop)

        return replace(tensor, read=read)

    def _found(self) -> int:
        value, (offset, size) = 0, self._run
        for start in range(0, size, CHUNK):
            value = zlib.crc32(self._file.read(offset + start, min(CHUNK, size - start)).data, value)
        return value
