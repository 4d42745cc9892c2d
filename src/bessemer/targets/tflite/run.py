"""An artifact in LiteRT."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bessemer.runners.base import Runner


def runner(artifact: Path) -> Runner:
    """The file in LiteRT. Raises MissingExtra."""
    from bessemer.runners.litert import LiteRTRunner

    return LiteRTRunner(artifact)
