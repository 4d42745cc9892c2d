"""Rewrites of the canonical graph that this target wants before lowering."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bessemer.targets.tflite.registry import find

if TYPE_CHECKING:
    import onnx_ir as ir

ROUNDS = 8
"""Bodies may use operators that have bodies themselves; the standard nests them at most three deep."""


def legalize(graph: ir.Model) -> None:
    """Replace operators that have no lowering by the standard's function bodies, as far as those exist."""
    from bessemer.passes.canonicalize import Canonicalize
    from bessemer.passes.fold import FoldConstants
    from bessemer.passes.shapes import InferShapes

    changed = False
    for _ in range(ROUNDS):
        if not _decompose(graph):
            break
        changed = True
        for step in (Canonicalize(), InferShapes(), FoldConstants(), InferShapes()):
            step.run(graph)
    if changed:
        Canonicalize().run(graph)


def _decompose(graph: ir.Model) -> int:
    from bessemer.passes.decompose import inline_function_body

    count = 0
    for node in list(graph.graph.all_nodes()):
        opset = graph.opset_imports.get(node.domain)
        if opset is not None and find(node) is None:
            count += inline_function_body(node, opset)
    return count
