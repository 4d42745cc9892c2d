"""Operators by name, and what a function that computes one is told about its node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bessemer.ir.registry import Registry

if TYPE_CHECKING:
    import onnx_ir

Tensor = Any
"""A torch.Tensor, a list of them (a sequence) or None (an absent input, an empty optional)."""

Compute = Callable[..., Any]
"""Takes a `Call` and the node's inputs; returns the output, or a tuple of several."""


class Unsupported(Exception):
    """A form of an operator that is not executed; its message says which."""


@dataclass(frozen=True)
class Call:
    """One node as it is executed. `run` evaluates a subgraph of it on arguments and returns the results."""

    node: onnx_ir.Node
    run: Callable[[onnx_ir.Graph, Sequence[Tensor]], list[Tensor]]

    def ints(self, name: str, default: Sequence[Any] | None = None) -> list[Any] | None:
        """A list of integers; `default` where it is left out."""
        found = self.node.attributes.get_ints(name, None)
        given = default if found is None else found
        return None if given is None else list(given)

    def has(self, name: str) -> bool:
        """Whether the node states an attribute."""
        return name in self.node.attributes

    def integer(self, name: str, default: int = 0) -> int:
        """An integer attribute."""
        return int(self.node.attributes.get_int(name, default))

    def number(self, name: str, default: float = 0.0) -> float:
        """A float attribute."""
        return float(self.node.attributes.get_float(name, default))

    def string(self, name: str, default: str = "") -> str:
        """A string attribute."""
        return str(self.node.attributes.get_string(name, default))

    def graph(self, name: str) -> onnx_ir.Graph:
        """A subgraph attribute."""
        return self.node.attributes[name].as_graph()

    def type_in(self, place: int) -> str:
        """ONNX type of an input, '' where it is absent or unknown."""
        value = self.node.inputs[place] if place < len(self.node.inputs) else None
        return "" if value is None or value.dtype is None else str(value.dtype.name)


op: Registry[Compute] = Registry("bessemer.runners.torch.ops")
"""Register the decorated function as the operators' meaning."""

operators = op.table
"""All operators of ai.onnx that there are."""
