"""Operators in other words, for opsets that lack them or the form they are in; one module for each family.

A new one is a function decorated with `@expansion(below, "Op")`: for opsets under `below` it writes canonical nodes
through the `Nodes` it is given and returns the values that replace the outputs, or None where it does not apply.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from bessemer.ir.canonical import FUSED_KEY

if TYPE_CHECKING:
    import onnx_ir

MODULES = ("arithmetic", "attention", "fused", "layout", "products", "quantized", "sampling")

SPELLED = {"Swish": 23, "GroupNormalization": 20}
"""Operators that ONNX Runtime 1.31 has no kernel for, with the opset they are written out for: it takes the standard's
body, which for GroupNormalization needs twice the time, and of Swish it knows none from opset 25 on.
"""


def rewrite(node: onnx_ir.Node, want: int) -> bool:
    """Replace `node` by an expansion for opset `want`; False when there is none or it does not apply."""
    from bessemer.passes.expansion import expand_node
    from bessemer.passes.opset.expansions.nodes import EXPANSIONS

    for module in MODULES:
        import_module(f"{__name__}.{module}")
    found = EXPANSIONS.get(node.op_type, ())
    return any(expand_node(node, function, want) for below, function in found if want < below)


def spell_fused(graph: onnx_ir.Model) -> int:
    """What a pass joined and no runtime would gain from is written as the source had it; returns the number."""
    from bessemer.passes.shapes import InferShapes

    joined = [node for node in graph.graph.all_nodes() if FUSED_KEY in node.meta and node.op_type in SPELLED]
    count = sum(rewrite(node, SPELLED[node.op_type]) for node in joined)
    if count:
        InferShapes().run(graph)
    return count
