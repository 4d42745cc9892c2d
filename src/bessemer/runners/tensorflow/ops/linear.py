"""Matrix products."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bessemer.ir.types import Array
from bessemer.runners.tensorflow.registry import evaluates
from bessemer.wire.savedmodel.node import Node


def _wide(x: Array) -> Array:
    return x.astype(np.float64) if x.dtype.kind in "fV" or x.dtype.name == "bfloat16" else x


@evaluates("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
def matmul(node: Node, inputs: Sequence[Array]) -> Array:
    """Reals add up in float64."""
    flags = ("transpose_a", "transpose_b") if node.op == "MatMul" else ("adj_x", "adj_y")
    sides = [np.swapaxes(x, -1, -2) if node.attrs.get(flag) else x for x, flag in zip(inputs, flags, strict=True)]
    kind = np.dtype(node.attrs.get("Tout", inputs[0].dtype))
    return np.asarray(np.matmul(_wide(sides[0]), _wide(sides[1]))).astype(kind)


@evaluates("Einsum")
def einsum(node: Node, inputs: Sequence[Array]) -> Array:
    """Einstein's sum."""
    made = np.einsum(str(node.attrs["equation"]), *(_wide(x) for x in inputs), optimize=False)
    return np.asarray(made).astype(inputs[0].dtype)
