"""What a source is, and the registry of known ones (names are listed without importing their modules)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bessemer.ir.model import Model
from bessemer.runners.base import Runner


@dataclass(frozen=True)
class OpenOptions:
    """What a caller may say while opening a model.

    shapes: input name -> dims; an int binds the axis, a str names it, (low, high) is a range.
    signature: which signature of a file that holds several.
    """

    shapes: Mapping[str, tuple[int | str | tuple[int, int], ...]] = field(default_factory=dict)
    signature: str | None = None


class Source(Protocol):
    """A readable format: the implementation behind a `SourceEntry`."""

    def open(self, path: Path, options: OpenOptions) -> Model:
        """Parse `path`. Raises UnreadableInput, UsageError or Declined (operators with no meaning in the hub)."""
        ...

    def runner(self, path: Path, options: OpenOptions) -> Runner:
        """The original in its own runtime. Raises MissingExtra."""
        ...


@dataclass(frozen=True)
class SourceEntry:
    """Declaration of a format: everything that lists, sniffs or documents formats reads this.

    sniff: whether these first bytes (up to 4 KiB) of a file look like the format.
    module: where `SOURCE: Source` lives; imported on use.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    module: str
    sniff: Callable[[bytes], bool]
    summary: str
    reads: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    runtime: str = ""
    extra: str = ""
    warm: tuple[str, ...] = ()
    """Modules that running the original needs: imported in a child while the file is read."""
    arbiter: str = ""
    """'module:function' of the format's reference evaluator (a path to its Runner): it has the last word on what a
    file means where the runtime's answer and an artifact's differ."""
    checker: str = ""
    """'module:function' of the format's own checker (a path to why it refuses the file, or '')."""

    def load(self) -> Source:
        """The implementation."""
        from importlib import import_module

        source: Source = import_module(self.module).SOURCE
        return source
