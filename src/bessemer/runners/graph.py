"""Execute a graph that is in memory: written beside, run in ONNX Runtime, removed."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bessemer.ir.types import Array

if TYPE_CHECKING:
    import onnx_ir

LARGE = 1 << 26
"""Bytes of constants from which on they are written beside the graph, one after another (protobuf holds all at once)."""


class GraphRunner:
    """A canonical graph in ONNX Runtime. It takes a clone: the graph given is not changed.

    outputs: names of values to return instead of the graph's own; optimize: let the runtime join operators (values
    that are returned are computed all the same); without it only constants are computed beforehand; threads: 0 leaves
    the choice to the runtime.
    """

    def __init__(
        self, graph: onnx_ir.Model, outputs: Sequence[str] = (), *, optimize: bool = True, threads: int = 0
    ) -> None:
        from bessemer.runners.onnxruntime import OrtRunner

        with tempfile.TemporaryDirectory(prefix="bessemer-graph-") as folder:
            path = Path(folder) / "graph.onnx"
            write(tapped(graph, outputs) if outputs else graph.clone(), path)
            self._runner = OrtRunner(path, optimize=optimize, fold=not optimize, threads=threads)
        self.names = [spec.name for spec in self._runner.signature.outputs]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by name."""
        return self._runner.run(inputs)


def tapped(graph: onnx_ir.Model, names: Sequence[str]) -> onnx_ir.Model:
    """A clone whose outputs are the named values; what they do not need is gone."""
    import onnx_ir.passes.common as common

    copy = graph.clone()
    values = {value.name: value for node in copy.graph for value in node.outputs}
    values |= {value.name: value for value in copy.graph.inputs}
    copy.graph.outputs.clear()
    for name in dict.fromkeys(names):
        if values[name].is_graph_input():
            continue
        copy.graph.outputs.append(values[name])
    common.RemoveUnusedNodesPass()(copy)
    return copy


def write(graph: onnx_ir.Model, path: Path) -> None:
    """Write a graph that nobody else holds, for the runtime only."""
    import onnx_ir

    size = sum(
        value.const_value.nbytes
        for value in graph.graph.initializers.values()
        if value.const_value is not None
    )
    graph.ir_version = 10
    if size > LARGE:
        onnx_ir.save(graph, path, external_data="graph.data", size_threshold_bytes=1024)
        return
    onnx_ir.external_data.load_to_model(graph)
    onnx_ir.save(graph, path)
