"""What every hostile file of weights must meet: refused in one paragraph, at once and in bounds, or read to the end."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterable
from pathlib import Path

from bessemer.ir.errors import BessemerError
from bessemer.opening import open_checkpoint
from bessemer.sources.base import OpenOptions

SECONDS = 3.0
BYTES = 500_000_000
ROWS = 4096


def road(path: Path) -> BessemerError | None:
    """Open `path` and read all tensors; any exception but a Bessemer error fails the test by escaping."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    start, error = time.process_time(), None
    try:
        for tensor in open_checkpoint(path, OpenOptions()).tensors.values():
            for first in range(0, tensor.rows, ROWS):
                tensor.read(first, min(first + ROWS, tensor.rows))
    except BessemerError as caught:
        error = caught
    spent = time.process_time() - start
    assert spent < SECONDS, f"{spent:.1f} s"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before < BYTES
    if error is not None:
        assert error.exit_code in (3, 5), f"exit code {error.exit_code}: {error}"
        assert len(str(error)) < 20_000
    return error


def refused(path: Path, content: bytes, *words: str) -> None:
    """The file is refused (exit code 5), and the reason holds these words."""
    path.write_bytes(content)
    error = road(path)
    assert error is not None, "it was read"
    assert error.exit_code == 5, str(error)
    assert "\n" not in str(error), str(error)
    for word in (path.name, *words):
        assert word in str(error), str(error)


def survives(path: Path, contents: Iterable[bytes]) -> int:
    """How many of these are refused; the others are read to their last row."""
    count = 0
    for content in contents:
        path.write_bytes(content)
        count += road(path) is not None
    return count
