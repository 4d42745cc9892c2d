"""Run a graph piece by piece over many samples: what layer-wise algorithms stand on.

A walk stops before nodes whose weights somebody wants to choose, or whose raw result to correct. Between pieces only
the values that later nodes read are kept, so memory is samples x the widest cut of the graph, never samples x all layers.
Encodings act where a value is read: each piece quantizes what it is fed, so a result is seen as the node made it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.encoding import WEIGHT_KEY, encoding_of, set_encoding
from bessemer.ir.types import Array
from bessemer.passes.materialize import MaterializeQdq
from bessemer.quantize.observe import Sample
from bessemer.runners.graph import GraphRunner

if TYPE_CHECKING:
    import onnx_ir

Arrays = list[Array]
"""One array for each sample."""


SPILL = 1 << 27
"""Bytes of one value over all samples from which on it is kept in a file."""


class Stop:
    """Where a walk stands: right before `node`."""

    def __init__(self, walk: Walk, node: onnx_ir.Node, later: list[onnx_ir.Node]) -> None:
        self.node, self._walk, self._later, self._done = node, walk, later, False

    def inputs(self, place: int = 0) -> Arrays:
        """What the node will read as input `place`, one array per sample, not quantized yet."""
        value = self.node.inputs[place]
        return self._walk.kept[(value.name or "") if value is not None else ""]

    def beside(self, value: onnx_ir.Value) -> Arrays | None:
        """A value that nodes ahead read too, one array per sample, not quantized yet; None if it is not computed yet."""
        return self._walk.kept.get(value.name or "")

    def run(self) -> Arrays:
        """The node's raw outputs, one per sample, with the weights that it has now; computed once.

        The list may be written to: the walk goes on with what it holds.
        """
        if not self._done:
            self._walk.advance([self.node], self._later)
            self._done = True
        return self._walk.kept[self.node.outputs[0].name or ""]


class Walk:
    """A pass over `graph` that stops before each of `stops`; weights may be changed there for nodes ahead."""

    def __init__(
        self, graph: onnx_ir.Model, stops: Sequence[onnx_ir.Node], samples: Sequence[Sample]
    ) -> None:
        self.graph, self.stops, self.samples = graph, set(stops), samples
        self.kept: dict[str, Arrays] = {}

    def __iter__(self) -> Iterator[Stop]:
        names = [value.name or "" for value in self.graph.graph.inputs]
        self.kept = {name: [sample[name] for sample in self.samples] for name in names}
        nodes = list(self.graph.graph)
        start = 0
        for place, node in enumerate(nodes):
            if node not in self.stops:
                continue
            if start < place:
                self.advance(nodes[start:place], nodes[place:])
            start = place + 1
            stop = Stop(self, node, nodes[start:])
            yield stop
            stop.run()

    def advance(self, nodes: list[onnx_ir.Node], later: list[onnx_ir.Node]) -> None:
        """Run `nodes` on what is kept; keep what the later ones read, and the last node's result."""
        made = {value for node in nodes for value in node.outputs}
        wanted = _read(later) | {nodes[-1].outputs[0]}
        results = [value for value in made if value in wanted]
        feeds = [value for value in _read(nodes) if value.name in self.kept and value not in made]
        runner = GraphRunner(piece(self.graph, nodes, feeds, results), optimize=False)
        fresh: dict[str, Arrays] = {value.name or "": [] for value in results}
        for index in range(len(self.samples)):
            found = runner.run({value.name or "": self.kept[value.name or ""][index] for value in feeds})
            for name, array in found.items():
                fresh[name].append(self._stored(array))
        alive = {value.name for value in wanted}
        self.kept = {name: arrays for name, arrays in self.kept.items() if name in alive} | fresh

    def _stored(self, array: Array) -> Array:
        """In memory, or in a file that nobody names where all samples together are large."""
        if array.nbytes * len(self.samples) < SPILL:
            return array
        with tempfile.TemporaryFile(prefix="bessemer-walk-") as file:
            held: Array = np.memmap(file, array.dtype, "w+", shape=array.shape)
        held[...] = array
        return held


def _read(nodes: Sequence[onnx_ir.Node]) -> set[onnx_ir.Value]:
    return {value for node in nodes for value in node.inputs if value is not None}


def piece(
    graph: onnx_ir.Model,
    nodes: Sequence[onnx_ir.Node],
    feeds: Sequence[onnx_ir.Value],
    results: Sequence[onnx_ir.Value],
) -> onnx_ir.Model:
    """A model of some nodes of `graph`; encodings of everything but the results become Q/DQ pairs."""
    import onnx_ir

    copies: dict[onnx_ir.Value | None, onnx_ir.Value | None] = {None: None}
    constants: list[onnx_ir.Value] = []
    for value in (*feeds, *_read(nodes), *(output for node in nodes for output in node.outputs)):
        if value in copies:
            continue
        copies[value] = copy = onnx_ir.Value(
            name=value.name, shape=value.shape, type=value.type, const_value=value.const_value
        )
        copy.meta.update({key: item for key, item in value.meta.items() if key == WEIGHT_KEY})
        set_encoding(copy, encoding_of(value))
        if value.const_value is not None and value.producer() is None:
            constants.append(copy)
    for value in results:
        copied = copies[value]
        if copied is not None:
            set_encoding(copied, None)
    made = [
        onnx_ir.Node(
            node.domain,
            node.op_type,
            [copies[value] for value in node.inputs],
            list(node.attributes.values()),
            outputs=[output for value in node.outputs if (output := copies[value]) is not None],
            name=node.name,
        )
        for node in nodes
    ]
    inputs = [twin for value in feeds if (twin := copies[value]) is not None]
    outputs = [twin for value in results if (twin := copies[value]) is not None]
    imports = dict(graph.graph.opset_imports)
    part = onnx_ir.Graph(inputs, outputs, nodes=made, initializers=constants, opset_imports=imports, name="piece")
    model = onnx_ir.Model(part, ir_version=10)
    MaterializeQdq(imports.get("", 0)).run(model)
    return model
