"""Activations and normalizations for opsets that do not have them yet, shorter than their bodies in the standard.

Only for float32 and narrower, and where nothing but the first output is read; everything else takes the standard's
body (see `decompose`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bessemer.passes.expansion import Nodes
from bessemer.passes.opset.expansions.nodes import expansion, given, onnx_type, rank_of
from bessemer.passes.rewrite import dims

if TYPE_CHECKING:
    import onnx_ir


def _plain(node: onnx_ir.Node) -> onnx_ir.Value | None:
    """The node's data, where it is float32 or narrower and only the first output is read."""
    import onnx_ir

    kinds = (onnx_ir.DataType.FLOAT, onnx_ir.DataType.FLOAT16, onnx_ir.DataType.BFLOAT16)
    x = given(node, 0)
    read = any(value.uses() or value.is_graph_output() for value in node.outputs[1:])
    return None if x is None or x.dtype not in kinds or read else x


@expansion(24, "Swish")
def swish(nodes: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """x sigmoid(alpha x)."""
    x = _plain(node)
    if x is None:
        return None
    alpha = node.attributes.get_float("alpha", 1.0)
    inner = x if alpha == 1.0 else nodes("Mul", x, np.array(alpha, onnx_type(x).numpy()))
    return [nodes("Mul", x, nodes("Sigmoid", inner))]


@expansion(20, "Gelu")
def gelu(nodes: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """x / 2 (1 + erf(x / sqrt(2))), the form that runtimes look for; by tanh likewise."""
    x = _plain(node)
    if x is None:
        return None
    kind = onnx_type(x).numpy()
    if node.attributes.get_string("approximate", "none") == "tanh":
        cube = nodes("Mul", nodes("Mul", nodes("Mul", x, x), x), np.array(0.044715, kind))
        slope = np.array(np.sqrt(2 / np.pi), kind)
        bent = nodes("Tanh", nodes("Mul", nodes("Add", x, cube), slope))
    else:
        bent = nodes("Erf", nodes("Div", x, np.array(np.sqrt(2), kind)))
    share = nodes("Mul", x, nodes("Add", bent, np.array(1.0, kind)))
    return [nodes("Mul", share, np.array(0.5, kind))]


def _trailing(node: onnx_ir.Node, x: onnx_ir.Value) -> list[int]:
    """The axes from the node's axis on, counted from the end; empty when the rank is unknown."""
    axis, rank = node.attributes.get_int("axis", -1) or 0, rank_of(x)
    if axis < 0:
        return list(range(axis, 0))
    return list(range(axis - rank, 0)) if rank is not None else []


@expansion(17, "LayerNormalization")
@expansion(23, "RMSNormalization")
def normalization(nodes: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """(x - mean) / sqrt(mean((x - mean)^2) + epsilon) * scale + bias; of the root mean square without the mean.

    Narrow data is standardized in float32, as the operators do it.
    """
    import onnx_ir

    x = _plain(node)
    axes = _trailing(node, x) if x is not None else []
    wide = onnx_ir.DataType.FLOAT
    if x is None or not axes or node.attributes.get_int("stash_type", 1) != int(wide):
        return None
    along = nodes.constant(np.array(axes, np.int64), "axes")
    epsilon = np.array(node.attributes.get_float("epsilon", 1e-5), np.float32)
    centred = nodes.cast(x, wide)
    if node.op_type == "LayerNormalization":
        centred = nodes("Sub", centred, nodes("ReduceMean", centred, along, keepdims=1))
    variance = nodes("ReduceMean", nodes("Mul", centred, centred), along, keepdims=1)
    unit = nodes("Div", centred, nodes("Sqrt", nodes("Add", variance, epsilon)))
    if x.dtype != wide:
        unit = nodes("Cast", unit, to=int(onnx_type(x)))
    scaled, bias = nodes("Mul", unit, node.inputs[1]), given(node, 2)
    return [scaled if bias is None else nodes("Add", scaled, bias)]


@expansion(21, "GroupNormalization")
def group_normalization(nodes: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """Groups are channels of their own for InstanceNormalization; scale and bias per channel come after it."""
    x, groups = _plain(node), node.attributes.get_int("num_groups", 1) or 1
    rank = rank_of(x)
    if x is None or rank is None:
        return None
    kind, epsilon = onnx_type(x).numpy(), node.attributes.get_float("epsilon", 1e-5)
    grouped = nodes("Reshape", x, np.array([0, groups, -1], np.int64))
    ones, zeros = np.ones(groups, kind), np.zeros(groups, kind)
    unit = nodes("InstanceNormalization", grouped, ones, zeros, epsilon=epsilon)
    known = dims(x)
    shape = nodes("Shape", x) if known is None else nodes.constant(np.array(known, np.int64), "shape")
    column = nodes.constant(np.array([-1] + [1] * (rank - 2), np.int64), "column")
    scale, bias = (nodes("Reshape", value, column) for value in node.inputs[1:3])
    return [nodes("Add", nodes("Mul", nodes("Reshape", unit, shape), scale), bias)]
