"""Outputs that random operators make: no two runs agree on values, but both sides must draw from one distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.types import Array

if TYPE_CHECKING:
    import onnx_ir

RANDOM = frozenset(
    {
        "Bernoulli", "BiasDropout", "BitmaskBiasDropout", "BitmaskDropout", "Dropout", "Multinomial", "RandomNormal",
        "RandomNormalLike", "RandomUniform", "RandomUniformLike",
    }
)  # fmt: skip
"""Operators that draw. A Dropout of the canonical graph trains: the others were removed."""

CHANCE = 1e-6
"""How often the test below may call two samples of one distribution different."""


def drawn_outputs(graph: onnx_ir.Graph) -> frozenset[str]:
    """Names of the graph's outputs that depend on a random operator, through subgraphs too."""
    drawn: set[onnx_ir.Value] = set()
    _spread(graph, drawn)
    return frozenset(value.name for value in graph.outputs if value in drawn and value.name)


def _spread(graph: onnx_ir.Graph, drawn: set[onnx_ir.Value]) -> bool:
    """Add what the nodes of `graph` draw; whether there is anything."""
    found = False
    for node in graph:
        bodies = [_spread(body, drawn) for body in _bodies(node)]
        if node.op_type in RANDOM or any(bodies) or any(value in drawn for value in node.inputs):
            drawn.update(node.outputs)
            found = True
    return found


def _bodies(node: onnx_ir.Node) -> list[onnx_ir.Graph]:
    from onnx_ir import AttributeType

    return [item.as_graph() for item in node.attributes.values() if item.type == AttributeType.GRAPH]


def same_distribution(ref: Array, got: Array) -> bool:
    """Two-sample Kolmogorov-Smirnov test over all elements, shapes being equal (Smirnov 1948, asymptotic form).

    The largest gap of the empirical distributions stays below sqrt(-ln(CHANCE / 2) / 2) sqrt((n + m) / (n m)).
    """
    if ref.shape != got.shape or ref.dtype.kind not in "biufV" or got.dtype.kind not in "biufV":
        return False
    if ref.size == 0:
        return True
    a, b = np.sort(ref.astype(np.float64), axis=None), np.sort(got.astype(np.float64), axis=None)
    both = np.concatenate([a, b])
    gap = np.searchsorted(a, both, "right") / a.size - np.searchsorted(b, both, "right") / b.size
    return bool(np.abs(gap).max() <= np.sqrt(-np.log(CHANCE / 2) / a.size))
