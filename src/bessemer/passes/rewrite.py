"""Small tools that every pass uses: replacing values, making constants, reading them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from bessemer.ir.encoding import encoding_of
from bessemer.ir.model import layer_of, tag
from bessemer.ir.types import Array

if TYPE_CHECKING:
    import onnx_ir

SMALL = 4096
"""Elements up to which a constant is looked into (shapes, axes, scalars)."""
LARGE = 1 << 16
"""Elements from which on a rewritten constant exists only while it is read: weights are not held twice."""


def constant(value: onnx_ir.Value | None, limit: int = SMALL) -> Array | None:
    """The array behind a constant value of at most `limit` elements; None when it is no constant."""
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    return value.const_value.numpy() if value.const_value.size <= limit else None


def is_constant(value: onnx_ir.Value | None) -> bool:
    """Whether a value is known before the model runs."""
    return value is not None and value.const_value is not None and not value.is_graph_input()


def make_constant(graph: onnx_ir.Graph, array: Array, name: str) -> onnx_ir.Value:
    """A new initializer of `graph` holding `array`; its name is made unique."""
    import onnx_ir

    return hold_constant(graph, onnx_ir.tensor(array), name)


def hold_constant(graph: onnx_ir.Graph, tensor: onnx_ir.TensorProtocol, name: str) -> onnx_ir.Value:
    """A new initializer of `graph` for a tensor of our own; its name is made unique."""
    import onnx_ir

    unique, count = name, 0
    while unique in graph.initializers:
        count += 1
        unique = f"{name}_{count}"
    tensor.name = unique
    value = onnx_ir.Value(
        name=unique,
        type=onnx_ir.TensorType(tensor.dtype),
        shape=onnx_ir.Shape(tensor.shape.numpy()),
        const_value=tensor,
    )
    graph.register_initializer(value)
    return value


def release(tensor: onnx_ir.TensorProtocol) -> None:
    """Let go of the pages of a memory-mapped tensor that was read through; they come back when it is read again."""
    import onnx_ir

    if isinstance(tensor, onnx_ir.ExternalTensor):
        with suppress(BufferError):  # somebody else still looks at them
            tensor.release()


def owner(node: onnx_ir.Node) -> onnx_ir.Graph:
    """The graph (or subgraph) that holds `node`."""
    import onnx_ir

    if not isinstance(node.graph, onnx_ir.Graph):
        raise ValueError(f"node {node.name} stands in no graph")
    return node.graph


def replace_value(old: onnx_ir.Value, new: onnx_ir.Value) -> bool:
    """Make every use of `old` use `new`; a graph output keeps its name. False when the border forbids it."""
    if old.is_graph_output():
        if (
            new.is_graph_output()
            or new.is_graph_input()
            or new.is_initializer()
            or new.graph is not old.graph
        ):
            return False
        if encoding_of(old) != encoding_of(new):
            return False
        name = old.name
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        old.name = f"{name}_replaced"
        new.name = name
        return True
    old.replace_all_uses_with(new)
    return True


def drop(node: onnx_ir.Node) -> None:
    """Remove a node that nobody uses."""
    owner(node).remove(node, safe=True)


def bypass(node: onnx_ir.Node) -> bool:
    """Remove a node whose output equals its first input; its layer name goes to the producer."""
    source, result = node.inputs[0], node.outputs[0]
    if source is None or (encoding_of(result) is not None and encoding_of(source) != encoding_of(result)):
        return False
    if not replace_value(result, source):
        return False
    producer = source.producer()
    if producer is not None:
        tag(producer, *layer_of(producer).split(";"), *layer_of(node).split(";"))
    drop(node)
    return True


def sole_use(value: onnx_ir.Value) -> bool:
    """Whether exactly one node input reads `value`, and no border or encoding holds it."""
    return len(value.uses()) == 1 and not value.is_graph_output() and encoding_of(value) is None


def dims(value: onnx_ir.Value | None) -> tuple[int, ...] | None:
    """Static shape; None when any dimension is unbound."""
    if value is None or value.shape is None:
        return None
    found = tuple(dim for dim in value.shape if isinstance(dim, int))
    return found if len(found) == len(value.shape) else None
