"""One node becomes several: the tool that rewrites of a single operator write with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.canonical import OPSET
from bessemer.ir.model import layer_of, tag
from bessemer.ir.types import Array
from bessemer.passes.rewrite import hold_constant, make_constant, owner

if TYPE_CHECKING:
    import onnx_ir

Expansion = Callable[["Nodes", "onnx_ir.Node"], "Sequence[onnx_ir.Value] | None"]
"""Writes nodes and returns what takes the place of the node's outputs; None where it does not apply."""


class Nodes:
    """Nodes of ai.onnx to be put before `node`, for a graph that opset `want` must be able to say."""

    def __init__(self, node: onnx_ir.Node, want: int = OPSET) -> None:
        self.node, self.want, self.made, self.arguments = node, want, list[Any](), 0
        # the operator is in the name: what is made may be expanded again under the same output's name
        self._prefix = f"{node.outputs[0].name}/{node.op_type.lower()}"

    def __call__(self, op: str, *inputs: onnx_ir.Value | Array | None, **attributes: Any) -> onnx_ir.Value:
        """A new node's only output; arrays become constants."""
        return self.several(1, op, *inputs, **attributes)[0]

    def several(
        self, count: int, op: str, *inputs: onnx_ir.Value | Array | None, **attributes: Any
    ) -> Sequence[onnx_ir.Value]:
        """A new node's `count` outputs."""
        import onnx_ir

        values = [self._value(item) for item in inputs]
        return self._added(onnx_ir.node(op, values, attributes, num_outputs=count))

    def copy(self, inputs: Sequence[onnx_ir.Value | None], **attributes: Any) -> Sequence[onnx_ir.Value]:
        """The node's own operator on other inputs, with `attributes` changed; None takes one away."""
        kept = {name: item for name, item in self.node.attributes.items() if name not in attributes}
        given = {name: item for name, item in attributes.items() if item is not None}
        return self.several(len(self.node.outputs), self.node.op_type, *inputs, **kept, **given)

    def clone(self, node: onnx_ir.Node, inputs: Sequence[onnx_ir.Value | None]) -> Sequence[onnx_ir.Value]:
        """Any other node on other inputs; its outputs, of the same types and shapes."""
        import onnx_ir

        attributes = list(node.attributes.values())
        made = onnx_ir.Node(node.domain, node.op_type, inputs, attributes, num_outputs=len(node.outputs))
        made.metadata_props.update(node.metadata_props)
        for old, new in zip(node.outputs, made.outputs, strict=True):
            new.shape, new.type, new.const_value = old.shape, old.type, old.const_value
        return self._added(made)

    def cast(self, value: onnx_ir.Value, to: onnx_ir.DataType) -> onnx_ir.Value:
        """`value` in another type; itself where it has that type."""
        return value if value.dtype == to else self("Cast", value, to=int(to))

    def constant(self, array: Any, name: str = "const") -> onnx_ir.Value:
        """A constant of the node's graph."""
        return make_constant(owner(self.node), np.asarray(array), f"{self.node.outputs[0].name}/{name}")

    def body(
        self, inputs: Sequence[onnx_ir.Value], write: Callable[[Nodes], Sequence[onnx_ir.Value]]
    ) -> onnx_ir.Graph:
        """A subgraph of `inputs` with the nodes that `write` makes and the results that it returns.

        Each result is made in it: what is only handed on goes through Identity.
        """
        import onnx_ir

        inner = self.inside()
        results = inner._own(write(inner))
        return onnx_ir.Graph(inputs, results, nodes=inner.made, name=inner._prefix)

    def inside(self) -> Nodes:
        """A writer of nodes for a body, whose constants stand in the node's own graph."""
        inner = Nodes(self.node, self.want)
        self.arguments += 1
        inner._prefix = f"{self._prefix}/body{self.arguments}"
        return inner

    def argument(
        self, name: str, dtype: onnx_ir.DataType, dims: Sequence[int | str | None]
    ) -> onnx_ir.Value:
        """An input of a body."""
        import onnx_ir

        self.arguments += 1
        unique = f"{self._prefix}/{name}{self.arguments}"
        return onnx_ir.Value(name=unique, type=onnx_ir.TensorType(dtype), shape=onnx_ir.Shape(dims))

    def held(self, value: onnx_ir.Value, name: str) -> onnx_ir.Value:
        """A constant of another graph as one of the node's graph, as lazy and as quantized as it was."""
        tensor = value.const_value
        if tensor is None:
            raise ValueError(f"{value.name} is no constant")
        made = hold_constant(owner(self.node), tensor, f"{self.node.outputs[0].name}/{name}")
        made.meta.update(value.meta)
        return made

    def _value(self, item: onnx_ir.Value | Array | None) -> onnx_ir.Value | None:
        return self.constant(item) if isinstance(item, (np.ndarray, np.generic)) else item

    def _added(self, made: onnx_ir.Node) -> Sequence[onnx_ir.Value]:
        tag(made, *layer_of(self.node).split(";"))
        for place, value in enumerate(made.outputs):
            value.name = f"{self._prefix}{len(self.made)}_{place}"
        self.made.append(made)
        return made.outputs

    def replace(self, results: Sequence[onnx_ir.Value]) -> None:
        """The results take every use of the node's outputs, with their names, shapes, types and encodings."""
        graph = owner(self.node)
        given = self._own(results)
        graph.insert_before(self.node, self.made)
        for old, new in zip(self.node.outputs, given, strict=False):
            name = old.name
            new.shape, new.type = old.shape or new.shape, old.type or new.type
            new.meta.update(old.meta)
            old.replace_all_uses_with(new, replace_graph_outputs=True)
            old.name, new.name = f"{name}/expanded", name
        graph.remove(self.node, safe=True)

    def _own(self, results: Sequence[onnx_ir.Value]) -> list[onnx_ir.Value]:
        """Values that only these nodes make, each once: one that was there before keeps its name."""
        given: list[onnx_ir.Value] = []
        for value in results:
            ours = value.producer() in self.made and value not in given
            given.append(value if ours else self("Identity", value))
        return given


def expand_node(node: onnx_ir.Node, expansion: Expansion, want: int = OPSET) -> bool:
    """Replace `node` by what `expansion` writes; False where it does not apply."""
    nodes = Nodes(node, want)
    results = expansion(nodes, node)
    if results is None:
        return False
    nodes.replace(results)
    return True
