"""Rewrites of the canonical graph that this target wants before lowering."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bessemer.targets.tflite.registry import find

if TYPE_CHECKING:
    import onnx_ir as ir


def legalize(graph: ir.Model) -> None:
    """Decompose operators that have no lowering but a function body in the standard."""
    unknown = [node for node in graph.graph.all_nodes() if find(node) is None]
    if unknown:
        decompose(graph, unknown)


def decompose(graph: ir.Model, nodes: list[ir.Node]) -> None:
    """Replace nodes by the standard's function bodies, as far as those exist."""
