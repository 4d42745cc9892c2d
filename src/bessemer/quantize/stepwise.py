"""Run a graph piece by piece over many samples: what layer-wise algorithms stand on.

A piece ends with a stop (a node whose raw result somebody wants to see or correct). Between pieces only the values
that later nodes read are kept, so memory is samples x the widest cut of the graph, never samples x all layers.
Encodings act where a value is read: each piece quantizes what it is fed, so a result is seen as the node made it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bessemer.ir.encoding import WEIGHT_KEY, encoding_of, set_encoding
from bessemer.ir.types import Array
from bessemer.passes.materialize import MaterializeQdq
from bessemer.quantize.observe import Sample
from bessemer.runners.graph import GraphRunner

if TYPE_CHECKING:
    import onnx_ir

Arrays = list[Array]
"""One array for each sample."""


@dataclass
class Stop:
    """Where a walk stands: `node` has run, `results` are its raw outputs, one per sample.

    What is written into `results` is what the following pieces read.
    """

    node: onnx_ir.Node
    results: Arrays


class Walk:
    """A pass over `graph` that stops behind each of `stops`. Weights may be changed at a stop for nodes ahead."""

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
            self._run(nodes[start : place + 1], nodes[place + 1 :])
            start = place + 1
            yield Stop(node, self.kept[node.outputs[0].name or ""])

    def inputs_of(self, node: onnx_ir.Node, place: int = 0) -> Arrays:
        """What `node` will read (before its quantization), when the walk stands right before it."""
        value = node.inputs[place]
        return self.kept[(value.name or "") if value is not None else ""]

    def _run(self, nodes: list[onnx_ir.Node], later: list[onnx_ir.Node]) -> None:
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
                fresh[name].append(array)
        alive = {value.name for value in wanted}
        self.kept = {name: arrays for name, arrays in self.kept.items() if name in alive} | fresh


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
