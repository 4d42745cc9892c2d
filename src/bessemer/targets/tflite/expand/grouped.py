"""Convolutions over three axes in groups: LiteRT's CONV_3D has none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.types import Array
from bessemer.passes.expansion import Nodes
from bessemer.passes.rewrite import is_constant
from bessemer.targets.tflite.expand.registry import expand

if TYPE_CHECKING:
    import onnx_ir as ir


@expand("Conv", needs="nothing")
def grouped(nodes: Nodes, node: ir.Node) -> Sequence[ir.Value] | None:
    """Each group by itself: channels and kernels are split, results joined."""
    x, kernel, group = node.inputs[0], node.inputs[1], node.attributes.get_int("group", 1) or 1
    if x is None or kernel is None or x.shape is None or kernel.shape is None or len(x.shape) != 5 or group == 1:
        return None
    channels, outputs = kernel.shape[1], kernel.shape[0]
    if not isinstance(channels, int) or not isinstance(outputs, int):
        return None
    parts = nodes.several(group, "Split", x, np.array([channels] * group), axis=1)
    shares = np.array([outputs // group] * group)
    kernels = _parts(nodes, kernel, group, shares)
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    biases = [None] * group if bias is None else _parts(nodes, bias, group, shares)
    made = [nodes.copy(list(given), group=1)[0] for given in zip(parts, kernels, biases, strict=True)]
    return [nodes("Concat", *made, axis=1)]


def _parts(nodes: Nodes, value: ir.Value, group: int, shares: Array) -> Sequence[ir.Value]:
    if is_constant(value) and value.const_value is not None:
        array = value.const_value.numpy()
        return [nodes.constant(part, "group") for part in np.split(array, group, axis=0)]
    return nodes.several(group, "Split", value, shares, axis=0)
