"""Normalization of groups of channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bessemer.passes.expansion import Nodes
from bessemer.targets.tflite.expand.registry import expand

if TYPE_CHECKING:
    import onnx_ir as ir


@expand("GroupNormalization", needs="known sizes")
def group_normalization(nodes: Nodes, node: ir.Node) -> Sequence[ir.Value] | None:
    """Groups as the channels of an InstanceNormalization; scale and bias per channel after it."""
    from bessemer.passes.rewrite import dims

    x, groups = node.inputs[0], node.attributes.get_int("num_groups", 1)
    shape = dims(x)
    if shape is None or x is None or x.dtype is None:
        return None
    kind = x.dtype.numpy()
    grouped = nodes("Reshape", x, nodes.constant(np.array([shape[0], groups, -1]), "grouped"))
    ones, zeros = nodes.constant(np.ones(groups, kind), "ones"), nodes.constant(np.zeros(groups, kind), "zeros")
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    unit = nodes("InstanceNormalization", grouped, ones, zeros, epsilon=epsilon)
    back = nodes("Reshape", unit, nodes.constant(np.array(shape), "shape"))
    column = nodes.constant(np.array([shape[1], *[1] * (len(shape) - 2)]), "column")
    scale, bias = (nodes("Reshape", vector, column) for vector in node.inputs[1:3])
    return [nodes("Add", nodes("Mul", back, scale), bias)]
