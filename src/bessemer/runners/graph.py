"""Execute a graph that is in memory: written beside, run in ONNX Runtime, removed."""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from bessemer.ir.types import Array

if TYPE_CHECKING:
    import onnx_ir

LARGE = 1 << 26
"""Bytes of constants from which on they are written beside the graph, one after another (protobuf holds all at once)."""


ROOM = 1 << 26
"""Bytes of outputs from which on `each` runs no more samples at once."""


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

    def each(self, samples: Iterable[Mapping[str, Array]]) -> Iterator[dict[str, Array]]:
        """The outputs for each sample, in order; several samples run beside each other.

        Made with threads=1, every sample has one thread: less work in all than threads that share one sample and wait
        for each other at every operator. How many run at once follows from the size of the first one's outputs.
        """
        waiting: deque[Future[dict[str, Array]]] = deque()
        lanes = 1
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for sample in samples:
                waiting.append(pool.submit(self.run, sample))
                if len(waiting) < lanes:
                    continue
                found = waiting.popleft().result()
                lanes = min(os.cpu_count() or 1, 1 + ROOM // max(1, sum(item.nbytes for item in found.values())))
                yield found
                del found  # not held while the next one is waited for
            while waiting:
                yield waiting.popleft().result()


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
