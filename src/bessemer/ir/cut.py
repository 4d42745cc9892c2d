"""What a cut remembers: which part of a model is meant, and what the original calls the tensors at its borders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bessemer.ir.model import Model


@dataclass(frozen=True)
class Tap:
    """A border of the part. name: of the graph's input or output; tensor: what the original's runtime calls it.

    The border has the tensor's own type and axis order: what is tapped is fed as it is.
    """

    name: str
    tensor: str


@dataclass(frozen=True)
class Taps:
    """All borders of the part, in order, and how many nodes of how many it has (as they were read)."""

    inputs: tuple[Tap, ...]
    outputs: tuple[Tap, ...]
    nodes: int
    of: int

    def __str__(self) -> str:
        """For notes: 'from 'a' to 'b' (3 of 9 nodes)'."""
        inputs, outputs = (", ".join(f"'{tap.name}'" for tap in side) for side in (self.inputs, self.outputs))
        return f"from {inputs or 'nothing'} to {outputs} ({self.nodes} of {self.of} nodes)"


@dataclass(frozen=True)
class Cut:
    """The part's borders, and the whole that it was taken from (read again where nobody kept it)."""

    taps: Taps
    opened: Callable[[], Model]

    @cached_property
    def whole(self) -> Model:
        """The model before the cut, as it was read, with the user's shapes bound."""
        return self.opened()

    @property
    def moved(self) -> bool:
        """Whether an input of the part is a value inside the whole."""
        given = {spec.name for spec in self.whole.signature.inputs}
        return any(tap.name not in given for tap in self.taps.inputs)
