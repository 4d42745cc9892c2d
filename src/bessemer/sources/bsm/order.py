"""The order in which reader and writer count a graph's values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir


def values_of(model: onnx_ir.Model) -> Iterator[onnx_ir.Value]:
    """Inputs, constants and results of every graph, outer graphs first."""
    for graph in model.graphs():
        yield from graph.inputs
        yield from graph.initializers.values()
        for node in graph:
            yield from node.outputs
