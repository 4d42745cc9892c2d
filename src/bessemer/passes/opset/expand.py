"""Before a canonical graph goes down: what the old opset cannot say becomes other canonical operators.

First our own expansions, then the standard's function bodies; both leave computed shapes, types and axes behind, which
are settled before the adapters look for constants.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bessemer.passes.opset.schemas import exists

if TYPE_CHECKING:
    import onnx_ir

ROUNDS = 8
"""Expansions are written in operators with expansions of their own; none nests deeper."""


def expand(graph: onnx_ir.Model, have: int, want: int) -> int:
    """Expand in place until nothing more can be; returns the number of nodes replaced."""
    from bessemer.passes.opset import nodes_of

    changed = 0
    for _ in range(ROUNDS):
        now = sum(_expand(node, have, want) for node in list(nodes_of(graph)))
        now = now or _inline_refused(graph, have, want)
        if not now:
            break
        changed += now
        _settle(graph)
    return changed


def _expand(node: onnx_ir.Node, have: int, want: int) -> bool:
    from bessemer.passes.decompose import inline_function_body
    from bessemer.passes.opset.expansions import rewrite

    if rewrite(node, want):
        return True
    return not exists(node.op_type, want) and inline_function_body(node, have)


def _inline_refused(graph: onnx_ir.Model, have: int, want: int) -> int:
    """Nodes that exist at the old opset but not in this form or type may still have a body there: tried on a copy."""
    from bessemer.passes.decompose import inline_function_body
    from bessemer.passes.opset import convert_nodes, nodes_of, refusable

    if not any(refusable(node, have, want) for node in list(nodes_of(graph))):
        return 0
    trial = graph.clone()
    places = {node: place for place, node in enumerate(nodes_of(trial))}
    refused = {places[node] for node, _ in convert_nodes(trial, have, want).refused if node in places}
    nodes = [node for place, node in enumerate(nodes_of(graph)) if place in refused]
    return sum(inline_function_body(node, have) for node in nodes)


def _settle(graph: onnx_ir.Model) -> None:
    """Bodies compute shapes and types at run time that are known here."""
    from bessemer.passes.base import Repeat
    from bessemer.passes.canonicalize import Canonicalize
    from bessemer.passes.eliminate import Eliminate
    from bessemer.passes.fold import FoldConstants
    from bessemer.passes.shapes import InferShapes

    Repeat((Canonicalize(), InferShapes(), FoldConstants(), Eliminate())).run(graph)
