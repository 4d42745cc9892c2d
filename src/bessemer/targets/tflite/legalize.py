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
        unknown = [node for node in graph.graph if find(node) is None]
        if not sum(expand_composite(node) or rewrite(node) or inline_function_body(node, opset) for node in unknown):
            return
        tidy(graph)


def tidy(graph: ir.Model) -> None:
    """Function bodies compute shapes and types at run time that are known here."""
    from bessemer.passes.canonicalize import Canonicalize
    from bessemer.passes.eliminate import Eliminate
    from bessemer.passes.fold import FoldConstants
    from bessemer.passes.shapes import InferShapes
    from bessemer.passes.standard import Repeat

    Repeat((Canonicalize(), InferShapes(), FoldConstants(), Eliminate())).run(graph)
