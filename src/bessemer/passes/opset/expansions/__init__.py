"""Operators in other words, for opsets that lack them or the form they are in; one module for each family.

A new one is a function decorated with `@expansion(below, "Op")`: for opsets under `below` it writes canonical nodes
through the `Nodes` it is given and returns the values that replace the outputs, or None where it does not apply.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir


def rewrite(node: onnx_ir.Node, want: int) -> bool:
    """Replace `node` by an expansion for opset `want`; False when there is none or it does not apply."""
    from bessemer.passes.opset.expansions import arithmetic, layout, products, quantized, sampling  # noqa: F401  # registers
    from bessemer.passes.opset.expansions.nodes import EXPANSIONS, Nodes

    for below, function in EXPANSIONS.get(node.op_type, ()):
        if want >= below:
            continue
        nodes = Nodes(node, want)
        results = function(nodes, node)
        if results is not None:
            nodes.replace(results)
            return True
    return False
