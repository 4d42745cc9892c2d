"""Values by the names that people know: of the graph, of the original's tensors, of nodes and layers."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING

from bessemer.ir.canonical import TENSOR_KEY
from bessemer.ir.errors import UsageError
from bessemer.ir.model import layer_of

if TYPE_CHECKING:
    import onnx_ir

def tensor_of(value: onnx_ir.Value) -> str:
    """What the original calls a value: its own name where nothing else was recorded."""
    held = value.meta.get(TENSOR_KEY)
    return str(held[0] if held is not None else value.name or "")


def operands(node: onnx_ir.Node) -> Iterator[onnx_ir.Value]:
    """What a node reads, its branches and bodies included (values of their own among it)."""
    yield from (value for value in node.inputs if value is not None)
    for graph in inner_graphs(node):
        for inner in graph.all_nodes():
            yield from (value for value in inner.inputs if value is not None)
        yield from graph.outputs


def inner_graphs(node: onnx_ir.Node) -> Iterator[onnx_ir.Graph]:
    """Branches and bodies that a node holds."""
    import onnx_ir

    for attribute in node.attributes.values():
        if attribute.type == onnx_ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == onnx_ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


class Names:
    """What the values of a graph are called. A value's own name goes before a tensor's, that before a layer's."""

    def __init__(self, graph: onnx_ir.Graph) -> None:
        self._graph = graph
        self.made = [value for node in graph for value in node.outputs if value.name]
        self.values = {str(value.name): value for value in (*graph.inputs, *self.made)}

    @cached_property
    def tensors(self) -> dict[str, onnx_ir.Value]:
        """By the original's name for the tensor; the first value that holds it."""
        found: dict[str, onnx_ir.Value] = {}
        for value in self.values.values():
            if TENSOR_KEY in value.meta:
                found.setdefault(tensor_of(value), value)
        return found

    @cached_property
    def layers(self) -> dict[str, list[onnx_ir.Value]]:
        """Results of nodes by the node's name, and of layers: what others than the layer itself read."""
        members: dict[str, list[onnx_ir.Node]] = {}
        for node in self._graph:
            for name in {node.name or "", *layer_of(node).split(";")} - {""}:
                members.setdefault(name, []).append(node)
        return {name: _results(nodes) for name, nodes in members.items()}

    def find(self, name: str, option: str) -> list[onnx_ir.Value]:
        """The values that `name` means, usually one. Raises UsageError that says what is near."""
        held = self.values.get(name) or self.tensors.get(name)
        if held is not None:
            return [held]
        found = self.layers.get(name)
        if found:
            return found
        raise UsageError(f"{option} names '{name}', {self._why(name)}", fix=self._near(name))

    def shown(self, value: onnx_ir.Value) -> str:
        """The name by which a user finds `value` again: the original's where that is unambiguous."""
        name = tensor_of(value)
        return name if self.find(name, "")[0] is value else str(value.name)

    def _why(self, name: str) -> str:
        if name in self._graph.initializers:
            return "which is a constant of the model"
        inner = (value for graph in self._graph.subgraphs() for node in graph for value in node.outputs)
        if any(name in (value.name, tensor_of(value)) for value in inner):
            return "which lies inside a branch or a loop's body, where a model cannot be cut"
        return "and no tensor, node or layer of the model is called so"

    def _near(self, name: str) -> str:
        known = list(dict.fromkeys((*self.tensors, *self.values, *self.layers)))
        near = get_close_matches(name, known, n=4, cutoff=0.5) or _containing(name, known)
        if near:
            return f"Near to it: {', '.join(near)}"
        few = ", ".join(known[:6])
        return f"The model has {len(known)} names: {few}{', ...' if len(known) > 6 else ''}"


def _containing(name: str, known: list[str]) -> list[str]:
    """Names that hold the text as typed, or end as it does."""
    last = name.rpartition("/")[2].casefold()
    return [item for item in known if last and last in item.casefold()][:4]


def _results(nodes: list[onnx_ir.Node]) -> list[onnx_ir.Value]:
    """Tensors of the original among what these nodes make; else what other nodes or nobody read."""
    made = [value for node in nodes for value in node.outputs if value.name]
    known = [value for value in made if TENSOR_KEY in value.meta]
    if known:
        return known
    own = set(nodes)
    left = [value for value in made if any(node not in own for node, _ in value.uses()) or value.is_graph_output()]
    return left or made[-1:]
