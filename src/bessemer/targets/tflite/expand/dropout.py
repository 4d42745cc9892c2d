"""Dropout where nothing is dropped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bessemer.passes.expansion import Nodes
from bessemer.passes.rewrite import constant
from bessemer.targets.tflite.expand.registry import expand

if TYPE_CHECKING:
    import onnx_ir as ir


@expand("Dropout", needs="inference mode: in training mode values are drawn")
def dropout(nodes: Nodes, node: ir.Node) -> Sequence[ir.Value] | None:
    """The input itself, and a mask of ones; not in training mode, where values are drawn."""
    x, ratio, training = (node.inputs[place] if place < len(node.inputs) else None for place in range(3))
    if x is None or (training is not None and not _off(training) and not _off(ratio)):
        return None
    same = nodes("Identity", x)
    if len(node.outputs) == 1:
        return [same]
    yes = nodes.constant(np.array(True), "kept")
    return [same, nodes("Expand", yes, nodes("Shape", x))]


def _off(value: ir.Value | None) -> bool:
    array = constant(value)
    return array is not None and not array.any()
