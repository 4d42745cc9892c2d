"""Scan and Loop: their bodies written out once per step; where that is too much, results that grow become states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bessemer.passes.expansion import Nodes
from bessemer.passes.rewrite import constant, dims
from bessemer.targets.tflite.expand.loop_rows import goes_on, loop_with_rows, scan_as_loop
from bessemer.targets.tflite.expand.registry import expand

if TYPE_CHECKING:
    import onnx_ir as ir

NODES = 20000
"""Nodes that writing out a body may make at most."""
FEW = 2048
"""The same where WHILE could take the loop, too."""


class Body:
    """A subgraph that can be written out several times."""

    def __init__(self, nodes: Nodes, graph: ir.Graph) -> None:
        self.nodes, self.graph = nodes, graph
        self.held = {
            id(value): nodes.held(value, name)
            for name, value in graph.initializers.items()
            if value.const_value is not None
        }

    def write(self, arguments: Sequence[ir.Value]) -> list[ir.Value]:
        """One copy on `arguments`; its results. Values of the outer graph are read as they are."""
        table = dict(self.held)
        table.update((id(v), given) for v, given in zip(self.graph.inputs, arguments, strict=True))
        for node in self.graph:
            inputs = [None if v is None else table.get(id(v), v) for v in node.inputs]
            outputs = self.nodes.clone(node, inputs)
            table.update((id(old), new) for old, new in zip(node.outputs, outputs, strict=True))
        return [table.get(id(v), v) for v in self.graph.outputs]


def writable(graph: ir.Graph, steps: int, states: Sequence[ir.Value], after: Sequence[ir.Value]) -> bool:
    """Whether a body is small enough and holds no further subgraphs (those refer to values by identity).

    states: before the loop; after: what a step returns, states first.
    """
    import onnx_ir as ir

    nested = any(
        attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
        for node in graph
        for attribute in node.attributes.values()
    )
    most = FEW if _steady(states, after) else NODES
    return not nested and len(list(graph)) * steps <= most


def _steady(states: Sequence[ir.Value], after: Sequence[ir.Value]) -> bool:
    """Whether all sizes are known and the states keep theirs: WHILE could take the loop."""
    kept = all(dims(x) == dims(y) for x, y in zip(states, after, strict=False))
    return kept and all(dims(value) is not None for value in after)


@expand("Scan", needs="operands of known rank")
def scan(nodes: Nodes, node: ir.Node) -> Sequence[ir.Value] | None:
    """Slices of the scanned inputs go in, scanned outputs are put together again."""
    return _written_scan(nodes, node) or scan_as_loop(nodes, node)


def _written_scan(nodes: Nodes, node: ir.Node) -> Sequence[ir.Value] | None:
    count, graph = node.attributes.get_int("num_scan_inputs"), node.attributes["body"].as_graph()
    given = [v for v in node.inputs if v is not None]
    states, scanned = given[: len(given) - count], given[len(given) - count :]
    axes = list(node.attributes.get_ints("scan_input_axes", [0] * count))
    turned = list(node.attributes.get_ints("scan_input_directions", [0] * count))
    shape = dims(scanned[0])
    if shape is None or len(given) != len(node.inputs) or not writable(graph, shape[axes[0]], states, graph.outputs):
        return None
    steps, body = shape[axes[0]], Body(nodes, graph)
    if steps == 0:
        return None
    seen: list[list[ir.Value]] = []
    for step in range(steps):
        parts = [
            _taken(nodes, v, axis, steps - 1 - step if back else step)
            for v, axis, back in zip(scanned, axes, turned, strict=True)
        ]
        results = body.write([*states, *parts])
        states = results[: len(states)]
        seen.append(results[len(states) :])
    return [*states, *_joined(nodes, node, seen)]


def _taken(nodes: Nodes, v: ir.Value, axis: int, place: int) -> ir.Value:
    return nodes("Gather", v, nodes.constant(np.array(place, np.int64), "step"), axis=axis)


def _joined(nodes: Nodes, node: ir.Node, seen: list[list[ir.Value]]) -> list[ir.Value]:
    """Each scanned output along its axis, from the end where its direction says so."""
    count = len(seen[0])
    axes = list(node.attributes.get_ints("scan_output_axes", [0] * count))
    turned = list(node.attributes.get_ints("scan_output_directions", [0] * count))
    joined = []
    for place in range(count):
        values = [results[place] for results in seen]
        values = values[::-1] if turned[place] else values
        where = nodes.constant(np.array([axes[place]], np.int64), "axis")
        joined.append(
            nodes("Concat", *(nodes("Unsqueeze", v, where) for v in values), axis=axes[place])
        )
    return joined


@expand("Loop", needs="a known number of steps, a condition that stays true, and a body without subgraphs")
def loop(nodes: Nodes, node: ir.Node) -> Sequence[ir.Value] | None:
    """A loop that runs a known number of times is written out, another one keeps its results in states."""
    return _written_loop(nodes, node) or loop_with_rows(nodes, node)


def _written_loop(nodes: Nodes, node: ir.Node) -> Sequence[ir.Value] | None:
    trips = constant(node.inputs[0])
    start = (
        constant(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1] is not None else np.array(True)
    )
    graph = node.attributes["body"].as_graph()
    if trips is None or start is None or int(trips) < 1 or not start.all():
        return None
    states = [v for v in node.inputs[2:] if v is not None]
    if not writable(graph, int(trips), states, graph.outputs[1:]) or not goes_on(graph):
        return None
    body = Body(nodes, graph)
    yes, seen = nodes.constant(np.array(True), "condition"), list[list["ir.Value"]]()
    for step in range(int(trips)):
        results = body.write([nodes.constant(np.array(step, np.int64), "step"), yes, *states])
        states = results[1 : 1 + len(states)]
        seen.append(results[1 + len(states) :])
    return [*states, *_joined(nodes, node, seen)]
