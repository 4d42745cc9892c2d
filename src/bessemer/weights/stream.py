"""Many tensors into one file: every core reads, decodes, encodes and writes pieces of rows at known places.

Memory is bounded by the pieces in flight, whatever the size of a tensor or of the model.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bessemer.ir.checkpoint import Bytes, Lazy
from bessemer.ir.errors import UnreadableInput
from bessemer.weights.following import Following
from bessemer.weights.views import floats, row_bytes

ELEMENTS = 1 << 20
"""Elements of a piece: its float32 values fit the second-level caches of a few cores, and a read of it is long enough."""

Done = Callable[[int], None]
"""Told how many elements were written."""


@dataclass(frozen=True)
class Piece:
    """One tensor of the file. offset: of its first byte; type: it is stored as; importance: of its columns, for encoders;
    of stacked experts one row of importance each [experts, columns]."""

    offset: int
    tensor: Lazy
    type: str
    importance: npt.NDArray[np.float32] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return self.tensor.rows * row_bytes(self.type, self.tensor.columns)


def workers() -> int:
    """Threads that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def write(
    path: Path, header: bytes, pieces: Sequence[Piece], total: int, done: Done | None = None, threads: int | None = None
) -> None:
    """Write `header` and every piece at its place into a new file of `total` bytes, and have it on the disk.

    What lies between pieces is zero. Raises OSError, and what reading or encoding raises; the file is then unfinished.
    """
    with path.open("xb") as file:
        _fill(file.fileno(), header, pieces, total, done, threads, None)


def write_hashed(
    path: Path, header: bytes, pieces: Sequence[Piece], total: int, done: Done | None = None, threads: int | None = None
) -> str:
    """As `write`; returns the SHA-256 of the file, which was worked out meanwhile."""
    pieces = sorted(pieces, key=lambda piece: piece.offset)
    with path.open("x+b") as file:
        with Following(file.fileno(), total) as following:
            _fill(file.fileno(), header, pieces, total, done, threads, following.reached)
        return following.digest


def _fill(
    place: int, header: bytes, pieces: Sequence[Piece], total: int, done: Done | None, threads: int | None,
    reached: Done | None,
) -> None:  # fmt: skip
    os.truncate(place, total)
    _write_all(place, header, 0)
    _run(_tasks(place, pieces), threads or workers(), done, reached)
    os.fdatasync(place)


@dataclass(frozen=True)
class _Task:
    place: int
    piece: Piece
    start: int
    stop: int

    @property
    def end(self) -> int:
        """The byte behind it in the file."""
        return self.piece.offset + self.stop * row_bytes(self.piece.type, self.piece.tensor.columns)

    def run(self) -> int:
        """Elements written."""
        piece, tensor = self.piece, self.piece.tensor
        data = _stored(piece, self.start, self.stop)
        _write_all(self.place, data.reshape(-1).data, piece.offset + self.start * data.shape[1])
        return (self.stop - self.start) * tensor.columns


def _tasks(place: int, pieces: Sequence[Piece]) -> Iterator[_Task]:
    for piece in pieces:
        step = max(1, ELEMENTS // max(piece.tensor.columns, 1))
        for first, end in _parts(piece):
            for start in range(first, end, step):
                yield _Task(place, piece, start, min(start + step, end))


def _parts(piece: Piece) -> Iterator[tuple[int, int]]:
    """Ranges of rows that share their importance: all rows, or those of one expert."""
    rows = piece.tensor.rows
    count = len(piece.importance) if piece.importance is not None and piece.importance.ndim == 2 else 1
    each = rows // count
    return ((part * each, (part + 1) * each) for part in range(count))


def _stored(piece: Piece, start: int, stop: int) -> Bytes:
    """Rows as the file holds them."""
    tensor = piece.tensor
    if piece.type == tensor.type:
        return np.ascontiguousarray(tensor.read(start, stop))
    values = floats(tensor, start, stop)
    if piece.type == "F32":
        return np.ascontiguousarray(values).view(np.uint8)
    return _encoded(piece, np.ascontiguousarray(values), start)


def _encoded(piece: Piece, values: npt.NDArray[np.float32], start: int) -> Bytes:
    from bessemer.blocks import encoded
    from bessemer.blocks.sound import fault

    importance = piece.importance
    if importance is not None and importance.ndim == 2:
        importance = importance[start // (piece.tensor.rows // len(importance))]
    data = encoded(values, piece.type, importance)
    if why := fault(values, data, piece.type):
        raise UnreadableInput(
            "A tensor cannot be quantized", where=piece.tensor.name, why=why, fix="Give it another type: F16, BF16 or F32"
        )
    return data


def _run(tasks: Iterator[_Task], threads: int, done: Done | None, reached: Done | None) -> None:
    """A few more tasks than threads are in flight; the first failure ends the others."""
    with ThreadPoolExecutor(threads, "bessemer-stream") as pool:
        flying: set[Future[int]] = set()
        ends: deque[tuple[Future[int], int]] = deque()
        try:
            for task in tasks:
                flying.add(future := pool.submit(task.run))
                ends.append((future, task.end))
                if len(flying) > 2 * threads:
                    flying = _landed(flying, done)
                _tell(ends, reached)
            while flying:
                flying = _landed(flying, done)
                _tell(ends, reached)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _tell(ends: deque[tuple[Future[int], int]], reached: Done | None) -> None:
    """How far the file is finished without a gap."""
    end = None
    while ends and ends[0][0].done():
        end = ends.popleft()[1]
    if end is not None and reached is not None:
        reached(end)


def _landed(flying: set[Future[int]], done: Done | None) -> set[Future[int]]:
    finished, left = wait(flying, return_when=FIRST_COMPLETED)
    for future in finished:
        count = future.result()
        if done is not None:
            done(count)
    return left


def _write_all(place: int, data: bytes | memoryview, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(place, view, offset)
        view, offset = view[written:], offset + written
