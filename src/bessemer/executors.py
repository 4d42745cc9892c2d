"""Runners by file, for child processes: the original through its source, an artifact through its target."""

from __future__ import annotations

from pathlib import Path

from bessemer.runners.base import Runner
from bessemer.sources.base import OpenOptions


def of_source(path: str, options: OpenOptions) -> Runner:
    """The file in its own runtime. Raises UnreadableInput, MissingExtra."""
    from bessemer.sources.sniff import identify

    file = Path(path)
    return identify(file).load().runner(file, options)


def of_target(name: str, path: str) -> Runner:
    """An artifact in its target's runtime. Raises MissingExtra."""
    from bessemer.targets.registry import find

    return find(name).runner(Path(path))
