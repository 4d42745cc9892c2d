"""One node becomes several: the tool that rewrites of a single operator write with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from bessemer.ir.encoding import encoding_of, set_encoding
from bessemer.ir.model import layer_of, tag
from bessemer.passes.rewrite import make_constant, owner, replace_value

if TYPE_CHECKING:
    import onnx_ir as ir

    from bessemer.ir.types import Array

Expansion = Callable[["Nodes", "ir.Node"], "Sequence[ir.Value] | None"]
"""Writes nodes and returns what takes the place of the node's outputs; None where it does not apply."""


class Nodes:
    """Nodes to be put before `node`."""

    def __init__(self, node: ir.Node) -> None:
        self.node, self.made = node, list[Any]()

    def op(self, op_type: str, *inputs: ir.Value | None, outputs: int = 1, **attributes: Any) -> ir.Value:
        """A new node of ai.onnx; its first output."""
        return self.ops(op_type, *inputs, outputs=outputs, **attributes)[0]

    def ops(
        self, op_type: str, *inputs: ir.Value | None, outputs: int = 1, **attributes: Any
    ) -> Sequence[ir.Value]:
        """A new node of ai.onnx; all its outputs."""
        import onnx_ir as ir

        return self._added(ir.node(op_type, inputs, attributes, num_outputs=outputs))

    def copy(self, node: ir.Node, inputs: Sequence[ir.Value | None]) -> Sequence[ir.Value]:
        """The same operator on other inputs; its outputs, of the same types and shapes."""
        import onnx_ir as ir

        attributes = list(node.attributes.values())
        made = ir.Node(node.domain, node.op_type, inputs, attributes, num_outputs=len(node.outputs))
        for old, new in zip(node.outputs, made.outputs, strict=True):
            new.shape, new.type, new.const_value = old.shape, old.type, old.const_value
        return self._added(made)

    def _added(self, node: ir.Node) -> Sequence[ir.Value]:
        tag(node, *layer_of(self.node).split(";"))
        base = self.node.outputs[0].name or self.node.op_type
        for place, value in enumerate(node.outputs):
            value.name = f"{base}/{len(self.made)}_{place}"
        self.made.append(node)
        return node.outputs

    def const(self, array: Array, name: str = "const") -> ir.Value:
        """A constant of the node's graph."""
        return make_constant(owner(self.node), array, f"{self.node.outputs[0].name}/{name}")


def expand_node(node: ir.Node, expansion: Expansion) -> bool:
    """Replace `node` by what `expansion` writes; False where it does not apply."""
    nodes = Nodes(node)
    results = expansion(nodes, node)
    if results is None:
        return False
    graph = owner(node)
    graph.insert_before(node, nodes.made)
    for old, new in zip(node.outputs, results, strict=False):
        _hand_over(node, old, new)
    graph.remove(node, safe=True)
    return True


def _hand_over(node: ir.Node, old: ir.Value, new: ir.Value) -> None:
    """`new` takes every use of `old`, through an Identity where the border needs a value of its own."""
    import onnx_ir as ir

    if new.producer() is None or new.is_graph_output():
        through = ir.node("Identity", [new])
        owner(node).insert_before(node, [through])
        new = through.outputs[0]
        new.name = f"{old.name}/same"
    if new.shape is None:
        new.shape = old.shape
    if new.type is None:
        new.type = old.type
    if encoding_of(new) is None:
        set_encoding(new, encoding_of(old))
    replace_value(old, new)
