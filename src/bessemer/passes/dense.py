"""A flatten before a dense layer: the axis order that it asks for goes into the layer's constant weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.encoding import QuantizedWeight, set_weight, weight_of
from bessemer.ir.types import Array
from bessemer.passes.rewrite import is_constant

if TYPE_CHECKING:
    import onnx_ir


def dense_after(value: onnx_ir.Value) -> onnx_ir.Node | None:
    """The Gemm or MatMul with a constant matrix that is all that sees `value`, as rows."""
    uses = list(value.uses())
    if len(uses) != 1 or value.is_graph_output() or uses[0].idx != 0:
        return None
    node = uses[0].node
    if node.op_type not in ("Gemm", "MatMul") or node.domain not in ("", "ai.onnx"):
        return None
    matrix = node.inputs[1]
    if not is_constant(matrix) or matrix is None or matrix.shape is None or len(matrix.shape) != 2:
        return None
    return None if node.attributes.get_int("transA", 0) or _encoded_along(node, matrix) else node


def _encoded_along(node: onnx_ir.Node, matrix: onnx_ir.Value) -> bool:
    """Whether the matrix has scales of its own along the axis that is summed over."""
    weight = weight_of(matrix)
    if weight is None or weight.encoding.per_tensor:
        return False
    return bool(weight.encoding.block_size) or weight.encoding.axis == _summed(node)


def _summed(node: onnx_ir.Node) -> int:
    return 1 if node.attributes.get_int("transB", 0) else 0


def reorder_rows(node: onnx_ir.Node, dims: Sequence[int], order: Sequence[int]) -> None:
    """Make the dense layer take its columns, merged from axes of `dims`, as merged in `order` (places in `dims`)."""
    import onnx_ir

    matrix, axis = node.inputs[1], _summed(node)
    if matrix is None or matrix.const_value is None or math.prod(dims) != matrix.const_value.shape[axis]:
        raise ValueError(f"{node.name}: {tuple(dims)} is not what its weights sum over")

    def moved(array: Array) -> Array:
        swapped = array.swapaxes(0, axis)
        rows = swapped.reshape(*dims, swapped.shape[1]).transpose(*order, len(dims))
        return np.ascontiguousarray(rows.reshape(swapped.shape).swapaxes(0, axis))

    held, weight = matrix.const_value, weight_of(matrix)
    made = onnx_ir.Value(name=f"{matrix.name}/{node.name}_rows", shape=matrix.shape, type=matrix.type)
    if weight is None:
        made.const_value = onnx_ir.LazyTensor(
            lambda: onnx_ir.tensor(moved(np.asarray(held.numpy()))),
            dtype=held.dtype,
            shape=onnx_ir.Shape(held.shape.numpy()),
            name=made.name,
        )
    else:
        set_weight(made, QuantizedWeight(moved(weight.integers), weight.encoding))
    graph = node.graph
    if isinstance(graph, onnx_ir.Graph):
        graph.register_initializer(made)
    node.replace_input_with(1, made)
    home = matrix.graph
    if isinstance(home, onnx_ir.Graph) and not matrix.uses() and not matrix.is_graph_output():
        home.initializers.pop(matrix.name or "", None)
