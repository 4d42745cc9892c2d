"""An If whose condition is known before the model runs gives way to the branch that it takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bessemer.passes.base import PassResult
from bessemer.passes.expansion import Nodes, expand_node
from bessemer.passes.rewrite import constant, owner

if TYPE_CHECKING:
    import onnx_ir


@dataclass(frozen=True)
class TakeBranches:
    """Nodes and constants of the branch taken move out to where the If stood, the other branch goes."""

    name: ClassVar[str] = "take-branches"

    def run(self, graph: onnx_ir.Model) -> PassResult:
        """In place; Ifs inside the branch are met in the next round."""
        found = [node for node in graph.graph.all_nodes() if _decided(node)]
        if not found:
            return PassResult()
        taken = _names(graph)
        for node in found:
            expand_node(node, lambda nodes, each: _move(nodes, each, taken))
        return PassResult(len(found))


def _decided(node: onnx_ir.Node) -> bool:
    if node.op_type != "If" or node.domain not in ("", "ai.onnx"):
        return False
    condition = constant(node.inputs[0])
    return condition is not None and condition.size == 1


def _names(graph: onnx_ir.Model) -> Counter[str]:
    """How often each value's name occurs: branches of one model may use a name twice."""
    names: Counter[str] = Counter()
    for part in graph.graphs():
        names.update(part.initializers.keys())
        names.update(value.name for value in part.inputs if value.name)
        names.update(value.name for node in part for value in node.outputs if value.name)
    return names


def _move(nodes: Nodes, node: onnx_ir.Node, taken: Counter[str]) -> Sequence[onnx_ir.Value] | None:
    condition = constant(node.inputs[0])
    if condition is None:
        return None
    branch = node.attributes["then_branch" if condition.all() else "else_branch"].as_graph()
    results = list(branch.outputs)
    branch.outputs.clear()
    for name, value in list(branch.initializers.items()):
        del branch.initializers[name]
        _rename(value, taken)
        owner(node).register_initializer(value)
    inside = list(branch)
    branch.remove(inside)
    for each in inside:
        for value in each.outputs:
            _rename(value, taken)
    nodes.made.extend(inside)
    return results


def _rename(value: onnx_ir.Value, taken: Counter[str]) -> None:
    """Keep the name unless another value has it too."""
    name = value.name or ""
    if not name or taken[name] <= 1:
        return
    taken[name] -= 1
    count = 1
    while taken[f"{name}_{count}"]:
        count += 1
    value.name = f"{name}_{count}"
    taken[value.name] += 1
