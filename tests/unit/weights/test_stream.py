"""Files written by many threads: their bytes, their hash worked out meanwhile, and what is left when something fails."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import numpy as np
import pytest

from bessemer.ir.checkpoint import Bytes, Lazy
from bessemer.weights import stream
from bessemer.weights.stream import Piece, write, write_hashed
from bessemer.weights.views import from_array


def _pieces(count: int = 7) -> tuple[list[Piece], int]:
    """Tensors of several types with gaps between them, out of order."""
    draw = np.random.default_rng(1)
    pieces, at = [], 100
    for index in range(count):
        tensor = from_array(f"t{index}", draw.standard_normal((33 + index, 256)).astype(np.float32))
        pieces.append(Piece(at, tensor, ("F32", "F16", "Q8_0")[index % 3]))
        at += pieces[-1].nbytes + 40 * index
    return pieces[::-1], at + 64


@pytest.mark.parametrize("threads", [1, 4])
def test_the_hash_is_that_of_the_file(threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "ELEMENTS", 2000)
    pieces, total = _pieces()
    counted: list[int] = []
    digest = write_hashed(tmp_path / "hashed", b"header", pieces, total, counted.append, threads)
    write(tmp_path / "plain", b"header", pieces, total, threads=threads)
    written = (tmp_path / "hashed").read_bytes()
    assert len(written) == total and written == (tmp_path / "plain").read_bytes()
    assert digest == hashlib.sha256(written).hexdigest()
    assert sum(counted) == sum(piece.tensor.size for piece in pieces)


def test_pieces_that_finish_late_are_waited_for(tmp_path: Path) -> None:
    """The first piece is written when all others are: its bytes are hashed, not the zeros that lay there."""
    pieces, total = _pieces(4)
    first, others = pieces[-1], pieces[:-1]
    gate = threading.Event()

    def late(start: int, stop: int) -> Bytes:
        assert gate.wait(60)
        return first.tensor.read(start, stop)

    held = Lazy("late", first.tensor.shape, first.tensor.type, first.tensor.row_bytes, late)
    left = sum(piece.tensor.size for piece in others)

    def done(count: int) -> None:
        nonlocal left
        left -= count
        if left <= 0:
            gate.set()

    digest = write_hashed(tmp_path / "file", b"", [*others, Piece(first.offset, held, first.type)], total, done, 4)
    assert digest == hashlib.sha256((tmp_path / "file").read_bytes()).hexdigest()


def test_a_failure_ends_the_writing(tmp_path: Path) -> None:
    pieces, total = _pieces(3)

    def broken(start: int, stop: int) -> Bytes:
        raise OSError("the disk is gone")

    pieces[1] = Piece(pieces[1].offset, Lazy("broken", (3, 256), "F32", 1024, broken), "F32")
    before = threading.active_count()
    with pytest.raises(OSError, match="gone"):
        write_hashed(tmp_path / "file", b"", pieces, total)
    assert threading.active_count() == before
