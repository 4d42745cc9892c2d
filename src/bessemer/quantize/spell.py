"""Operators in the words of integer kernels, before anything is observed: each changes no more than a last digit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bessemer.passes.expansion import Expansion, Nodes, expand_node
from bessemer.passes.rewrite import constant

if TYPE_CHECKING:
    import onnx_ir


def spell(graph: onnx_ir.Model, activations: str = "INT8") -> int:
    """Rewrite in place for kernels of these activations, or of those that a node is marked with; the number of nodes
    that were replaced.
    """
    from bessemer.passes.shapes import InferShapes

    found = [node for node in graph.graph if node.domain in ("", "ai.onnx")]
    count = sum(_spell_node(node, activations) for node in found)
    if count:
        InferShapes().run(graph)
    return count


def _spell_node(node: onnx_ir.Node, activations: str) -> bool:
    from bessemer.quantize.precision import KEY, carry

    marked = node.meta.get(KEY)
    kind = activations if marked is None else marked.activations
    expansion = (WORDS | WIDER if kind == "INT16" else WORDS).get(node.op_type)
    if expansion is None:
        return False

    def spelled(nodes: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
        results = expansion(nodes, node)
        carry(node, nodes.made)
        return results

    return expand_node(node, spelled)


def _float32(node: onnx_ir.Node) -> onnx_ir.Value | None:
    import onnx_ir

    x = node.inputs[0]
    return x if x is not None and x.dtype == onnx_ir.DataType.FLOAT else None


def swish(nodes: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """x sigmoid(alpha x)."""
    from bessemer.passes.opset.expansions.fused import swish as spelled

    return None if _float32(node) is None else spelled(nodes, node)


def hard_sigmoid(nodes: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """clip(x + 3, 0, 6) / 6, whose clip is drawn into the addition; other slopes have no such form."""
    x, alpha, beta = _float32(node), node.attributes.get_float("alpha", 0.2), node.attributes.get_float("beta", 0.5)
    if x is None or not math.isclose(alpha, 1 / 6, rel_tol=1e-6) or beta != 0.5:
        return None
    return [_share(nodes, x)]


def _share(nodes: Nodes, x: onnx_ir.Value) -> onnx_ir.Value:
    three, low, high, sixth = (np.asarray(number, np.float32) for number in (3, 0, 6, 1 / 6))
    return nodes("Mul", nodes("Clip", nodes("Add", x, three), low, high), sixth)


def hard_swish(nodes: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """x clip(x + 3, 0, 6) / 6."""
    x = _float32(node)
    return None if x is None else [nodes("Mul", x, _share(nodes, x))]


def divided(nodes: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """A quotient by a constant is a product with its inverse."""
    x, divisor = _float32(node), constant(node.inputs[1])
    if x is None or constant(x) is not None or divisor is None or not np.all(divisor):
        return None
    with np.errstate(over="ignore"):
        inverse = (1 / divisor.astype(np.float64)).astype(np.float32)
    return [nodes("Mul", x, inverse)] if np.all(np.isfinite(inverse)) else None


WORDS: dict[str, Expansion] = {"Swish": swish, "HardSigmoid": hard_sigmoid, "Div": divided}

WIDER: dict[str, Expansion] = {"HardSwish": hard_swish}
"""What only 8-bit activations have a kernel for."""
