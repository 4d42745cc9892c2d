"""Operators of our own domain: a source's compound operator kept whole, with its meaning in ONNX operators beside it.

A target that has the operator lowers it as it is; for all others `expand_composites` writes the ONNX operators. A
new one is a module here with a function decorated with `@composite("OpType")`; it writes through `Nodes` and
returns the values that take the place of the node's outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from bessemer.ir.canonical import DOMAIN
from bessemer.passes.expansion import Expansion, expand_node

if TYPE_CHECKING:
    import onnx_ir

MODULES = {"DetectionPostProcess": "detection"}
"""Operator -> module that says what it means."""

_MEANINGS: dict[str, Expansion] = {}


def composite(op_type: str) -> Callable[[Expansion], Expansion]:
    """Register the decorated function as the meaning of an operator of our domain."""

    def register(function: Expansion) -> Expansion:
        _MEANINGS[op_type] = function
        return function

    return register


def expand_composite(node: onnx_ir.Node) -> bool:
    """Replace one node by ONNX operators; False when it is none of ours."""
    if node.domain != DOMAIN or node.op_type not in MODULES:
        return False
    import_module(f"{__name__}.{MODULES[node.op_type]}")
    return expand_node(node, _MEANINGS[node.op_type])


def expand_composites(graph: onnx_ir.Model) -> int:
    """Replace every composite that has a meaning in ONNX; returns how many there were."""
    ours = [node for node in graph.graph.all_nodes() if node.domain == DOMAIN]
    return sum(expand_composite(node) for node in ours)
