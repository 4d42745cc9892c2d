"""Pooling by a norm: an average of powers, times the window's size, and its root."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bessemer.passes.expansion import Nodes
from bessemer.targets.tflite.expand.registry import expand

if TYPE_CHECKING:
    import onnx_ir as ir


def _powered(nodes: Nodes, x: ir.Value, p: int) -> ir.Value:
    if p == 2:
        return nodes("Mul", x, x)
    size = nodes("Abs", x)
    return size if p == 1 else nodes("Pow", size, nodes.constant(np.array(p, np.float32), "p"))


def _root(nodes: Nodes, x: ir.Value, p: int) -> ir.Value:
    if p == 2:
        return nodes("Sqrt", x)
    return x if p == 1 else nodes("Pow", x, nodes.constant(np.array(1 / p, np.float32), "root"))


@expand("LpPool", needs="output sizes that are rounded down")
def lp_pool(nodes: Nodes, node: ir.Node) -> Sequence[ir.Value] | None:
    """Padding counts as zeros, so that the average is over the whole window."""
    x, p = node.inputs[0], node.attributes.get_int("p", 2)
    rounded_up: int = node.attributes.get_int("ceil_mode", 0)
    if x is None or rounded_up:
        return None
    attributes = {name: item.value for name, item in node.attributes.items() if name != "p"}
    window = float(np.prod(node.attributes.get_ints("kernel_shape")))
    mean = nodes("AveragePool", _powered(nodes, x, p), count_include_pad=1, **attributes)
    return [_root(nodes, nodes("Mul", mean, nodes.constant(np.array(window, np.float32), "window")), p)]


@expand("GlobalLpPool", needs="a known rank")
def global_lp_pool(nodes: Nodes, node: ir.Node) -> Sequence[ir.Value] | None:
    """A sum over the spatial axes."""
    x, p = node.inputs[0], node.attributes.get_int("p", 2)
    if x is None or x.shape is None:
        return None
    axes = nodes.constant(np.arange(2, len(x.shape)), "axes")
    return [_root(nodes, nodes("ReduceSum", _powered(nodes, x, p), axes, keepdims=1), p)]
