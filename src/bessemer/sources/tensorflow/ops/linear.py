"""Matrix products."""

from __future__ import annotations

from collections.abc import Sequence

from bessemer.sources.channels_last import matmul as products
from bessemer.sources.drawing import Canvas, Ordered
from bessemer.sources.tensorflow.node import Node
from bessemer.sources.tensorflow.registry import op


@op("MatMul")
def matmul(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Two matrices, either of which may stand transposed."""
    return products.matmul(
        canvas, *inputs, transpose_first=bool(node.attrs.get("transpose_a")),
        transpose_second=bool(node.attrs.get("transpose_b")),
    )  # fmt: skip


@op("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
def batch_matmul(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Matrices along the last two axes; the others broadcast."""
    return products.matmul(
        canvas, *inputs, transpose_first=bool(node.attrs.get("adj_x")),
        transpose_second=bool(node.attrs.get("adj_y")),
    )  # fmt: skip


@op("Einsum")
def einsum(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Einstein's sum; an ellipsis broadcasts."""
    return products.einsum(canvas, str(node.attrs["equation"]), inputs)
