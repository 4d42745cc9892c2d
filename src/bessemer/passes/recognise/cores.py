"""Attention in a graph: the operator, or a softmax between two products of values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bessemer.passes.rewrite import is_constant

if TYPE_CHECKING:
    import onnx_ir

DEEPEST = 12
"""Nodes between a softmax and its products."""
THROUGH = frozenset({
    "Add", "Mul", "Div", "Where", "Tanh", "Cast", "Reshape", "Transpose", "Sub", "Clip", "Identity", "Max", "IsNaN", "Not",
})  # fmt: skip


@dataclass(frozen=True)
class Core:
    """One layer's attention. heads, kept, width: heads of queries, of keys, columns of a query's head; 0: not seen."""

    query: onnx_ir.Value
    key: onnx_ir.Value
    value: onnx_ir.Value
    result: onnx_ir.Value
    heads: int = 0
    kept: int = 0
    width: int = 0


def cores(graph: onnx_ir.Graph) -> list[Core]:
    """In the graph's order."""
    found = []
    for node in graph:
        core = _operator(node) if node.op_type == "Attention" else _spelled(node) if node.op_type == "Softmax" else None
        if core is not None:
            found.append(core)
    return found


def _operator(node: onnx_ir.Node) -> Core | None:
    query, key, value = node.inputs[:3]
    if query is None or key is None or value is None:
        return None
    heads = node.attributes.get_int("q_num_heads", 0) or _dim(query, 1)
    kept = node.attributes.get_int("kv_num_heads", 0) or _dim(key, 1)
    flat = query.shape is not None and len(query.shape) == 3
    width = _dim(query, -1) // max(heads, 1) if flat else _dim(query, -1)
    return Core(query, key, value, node.outputs[0], heads, kept, width)


def _spelled(node: onnx_ir.Node) -> Core | None:
    """softmax(q k^T ...) v; k^T is no constant, nor is v."""
    scores = _scores(node.inputs[0])
    mixed = _mixed(node.outputs[0])
    if scores is None or mixed is None:
        return None
    query, key, value = scores.inputs[0], scores.inputs[1], mixed.inputs[1]
    if query is None or key is None or value is None:
        return None
    grouped = query.shape is not None and len(query.shape) == 5  # [batch, key's heads, queries of each, tokens, columns]
    heads = _dim(query, 1) * (_dim(query, 2) if grouped else 1)
    return Core(query, key, value, mixed.outputs[0], heads, _dim(key, 1), _dim(query, -1))


def _scores(value: onnx_ir.Value | None) -> onnx_ir.Node | None:
    level = [value]
    for _ in range(DEEPEST):
        nodes = [node for item in level if item is not None and (node := item.producer()) is not None]
        for node in nodes:
            if node.op_type == "MatMul" and not any(is_constant(item) for item in node.inputs):
                return node
        level = [item for node in nodes if node.op_type in THROUGH for item in node.inputs]
    return None


def _mixed(value: onnx_ir.Value) -> onnx_ir.Node | None:
    level = [value]
    for _ in range(DEEPEST):
        users = [(user, place) for item in level for user, place in item.uses()]
        for user, place in users:
            if user.op_type == "MatMul" and place == 0 and not is_constant(user.inputs[1]):
                return user
        level = [item for user, _ in users if user.op_type in THROUGH for item in user.outputs]
    return None


def _dim(value: onnx_ir.Value, axis: int) -> int:
    """A known size; 0 where it is not."""
    dims = [] if value.shape is None else list(value.shape)
    size = dims[axis] if -len(dims) <= axis < len(dims) else None
    return size if isinstance(size, int) else 0
