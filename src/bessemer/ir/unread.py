"""Operators that a source could not read: they stand in the graph as nodes of a domain of their own.

A model that holds one is declined. What does not depend on it is readable all the same: a cut that leaves it out
converts, and the suggestion of such a cut is computed on this graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bessemer.ir.errors import Blocker, Declined

if TYPE_CHECKING:
    import onnx_ir

    from bessemer.ir.model import Model

UNREAD = "bessemer.unread"
"""Domain of the stand-ins; the operator's name is the original's."""

BLOCKER_KEY = "bessemer.blocker"
"""In `Node.meta` of a stand-in: the `Blocker`s that say why, as a tuple."""


class Unread(Declined):
    """A source read a model but for some operators; `model` has stand-ins in their places."""

    def __init__(self, title: str, blockers: Sequence[Blocker], model: Model) -> None:
        super().__init__(title, blockers)
        self.model = model

    def __str__(self) -> str:
        return f"{super().__str__()}\n  `bessemer check MODEL --to TARGET` says where the model can be cut."

    def __reduce__(self) -> tuple[object, ...]:
        """Across process borders goes what is said; the graph stays."""
        return Declined, (self.target, self.blockers)


def unread(graph: onnx_ir.Graph) -> list[onnx_ir.Node]:
    """The stand-ins of a graph, its branches and bodies included."""
    return [node for node in graph.all_nodes() if node.domain == UNREAD]


def refuse_unread(model: Model) -> None:
    """Raises Declined with the blockers of all stand-ins that a model still holds."""
    blockers = [blocker for node in unread(model.graph.graph) for blocker in node.meta[BLOCKER_KEY]]
    if blockers:
        raise Declined(f"Reading {model.origin.path.name}: ONNX", list(dict.fromkeys(blockers)))
