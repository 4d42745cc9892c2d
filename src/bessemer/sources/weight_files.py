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
        """The graph that the table of its architecture draws. Raises UsageError where nothing says what the weights are of,
        Declined where no graph of it can be drawn."""
        from bessemer.sources.decoder.companions import accompany
        from bessemer.sources.decoder.model import model_of

        held = self._known(path, options)
        model = model_of(held, options.task, options.shapes)
        if not held.companions:
            accompany(model, held)
        return model

    def runner(self, path: Path, options: OpenOptions) -> Runner:
        """The reference evaluator: no runtime of such files shows keys and values. Raises as `open`."""
        from bessemer.sources.decoder.model import session_of

        if options.original == "runtime":
            raise UsageError(
                f"No runtime of {self.name} files answers what the graph does, keys and values among it",
                fix="Leave --original away; the report of a GGUF target compares with llama.cpp",
            )  # fmt: skip
        return session_of(self._known(path, options), options.task)

    def _known(self, path: Path, options: OpenOptions) -> Checkpoint:
        held = self.checkpoint(path, options)
        if not held.config:
            why = f"{self.name} stores tensors by name, and here no settings of an architecture"
            raise UsageError(
                f"{path} holds weights and no graph", why=held.notes[0] if held.notes else why,
                fix="Convert it to a format of weights (`bessemer targets` lists them)",
            )  # fmt: skip
        return held
