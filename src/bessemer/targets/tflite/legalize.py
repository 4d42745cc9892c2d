"""Rewrites of the canonical graph that this target wants before lowering."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bessemer.targets.tflite.registry import find

if TYPE_CHECKING:
    import onnx_ir as ir

ROUNDS = 5
"""Bodies call operators with bodies of their own; the standard nests them at most so deep."""


def legalize(graph: ir.Model) -> None:
    """Decompose operators that have no lowering but a rewrite or a function body in the standard, until none is left."""
    from bessemer.passes.composites import expand_composite
    from bessemer.passes.decompose import inline_function_body
    from bessemer.targets.tflite.expand.registry import rewrite

    for _ in range(ROUNDS):
        opset = graph.graph.opset_imports.get("", 0)
        unknown = [node for node in graph.graph.all_nodes() if _wants_rewrite(node)]
        changed = [
            node
            for node in unknown
            if node.graph is not None
            and (expand_composite(node) or rewrite(node) or inline_function_body(node, opset))
        ]
        if not changed:
            return
        tidy(graph)


PREFERRED = frozenset({"Loop", "RNN", "GRU", "LSTM", "Conv"})
"""Operators whose rewrite goes first: WHILE takes only loops that cannot be written out, and recurrences that can be
written out are no loops; convolutions over three axes have no groups."""


def _wants_rewrite(node: ir.Node) -> bool:
    return find(node) is None or (node.op_type in PREFERRED and node.domain in ("", "ai.onnx"))


def tidy(graph: ir.Model) -> None:
    """Function bodies compute shapes and types at run time that are known here."""
    from bessemer.passes.base import Repeat
    from bessemer.passes.branches import TakeBranches
    from bessemer.passes.canonicalize import Canonicalize
    from bessemer.passes.eliminate import Eliminate
    from bessemer.passes.fold import FoldConstants
    from bessemer.passes.shapes import InferShapes

    Repeat((Canonicalize(), InferShapes(), FoldConstants(), TakeBranches(), Eliminate())).run(graph)
