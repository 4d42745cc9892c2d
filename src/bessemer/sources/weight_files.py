"""Formats of weights without a graph: what they are as a `Source` of graphs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bessemer.ir.checkpoint import Checkpoint
from bessemer.ir.errors import UsageError
from bessemer.sources.base import OpenOptions

if TYPE_CHECKING:
    from bessemer.ir.model import Model
    from bessemer.runners.base import Runner


@dataclass(frozen=True)
class WeightFiles:
    """See `Source`. name: the format's; checkpoint: what reads it."""

    name: str
    checkpoint: Callable[[Path, OpenOptions], Checkpoint]

    def open(self, path: Path, options: OpenOptions) -> Model:
        """Raises UsageError: weights alone compute nothing."""
        raise self._graphless(path)

    def runner(self, path: Path, options: OpenOptions) -> Runner:
        """Raises UsageError: see `open`."""
        raise self._graphless(path)

    def _graphless(self, path: Path) -> UsageError:
        return UsageError(
            f"{path} holds weights and no graph", why=f"{self.name} stores tensors by name, and this asks for a computation",
            fix="Convert it to a format of weights (`bessemer targets` lists them)",
        )  # fmt: skip
