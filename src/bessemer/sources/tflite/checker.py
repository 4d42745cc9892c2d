"""LiteRT itself, in a child process: a file that it cannot set up is no valid model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bessemer.runners.litert import LiteRTRunner

LIMIT = 60.0
"""Seconds that loading may take."""


def refusal(path: Path) -> str:
    """What LiteRT says against a file; empty when it says nothing, or is not installed."""
    from bessemer.ir.errors import BessemerError, MissingExtra
    from bessemer.runners.isolated import IsolatedRunner

    try:
        with IsolatedRunner("bessemer.sources.tflite.checker:allocated", str(path), limit=LIMIT) as runner:
            runner.signature  # noqa: B018  # waits until it is set up
    except MissingExtra:
        return ""
    except BessemerError as error:
        return str(error)[:400]
    return ""


def allocated(path: str) -> LiteRTRunner:
    """The file with its tensors set up, which is where LiteRT looks at ranks and types. Raises RuntimeRefused."""
    from bessemer.runners.litert import LiteRTRunner

    runner = LiteRTRunner(Path(path))
    runner.allocate()
    return runner
