"""Adapters by operator and the opset at which its meaning changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.encoding import encoding_of, set_encoding
from bessemer.ir.model import layer_of, tag
from bessemer.ir.types import Array
from bessemer.passes.rewrite import constant, make_constant, owner

if TYPE_CHECKING:
    import onnx_ir

Adapter = Callable[["onnx_ir.Node"], str]
"""Rewrites a node (its inserted neighbours included); returns '' or why it cannot be said."""

UPGRADES: dict[tuple[str, int], Adapter] = {}
DOWNGRADES: dict[tuple[str, int], Adapter] = {}


def upgrade(version: int, *ops: str) -> Callable[[Adapter], Adapter]:
    """From the meaning below `version` to that from `version` on."""
    return _register(UPGRADES, version, ops)


def downgrade(version: int, *ops: str) -> Callable[[Adapter], Adapter]:
    """From the meaning of `version` to that below it."""
    return _register(DOWNGRADES, version, ops)


def _register(
    table: dict[tuple[str, int], Adapter], version: int, ops: Sequence[str]
) -> Callable[[Adapter], Adapter]:
    def remember(adapter: Adapter) -> Adapter:
        for op in ops:
            table[op, version] = adapter
        return adapter

    return remember


def pop(node: onnx_ir.Node, name: str) -> Any:
    """Remove an attribute and return its value; None when it is absent."""
    attribute = node.attributes.pop(name, None)
    return None if attribute is None else attribute.value


def put(node: onnx_ir.Node, **values: Any) -> None:
    """Set attributes; None leaves one out."""
    import onnx_ir

    for name, value in values.items():
        if value is not None:
            (attribute,) = onnx_ir.convenience.convert_attributes({name: value})
            node.attributes[name] = attribute


def set_input(node: onnx_ir.Node, place: int, array: Array, name: str) -> None:
    """Make input `place` a new constant."""
    if len(node.inputs) <= place:
        node.resize_inputs(place + 1)
    node.replace_input_with(place, make_constant(owner(node), array, f"{node.outputs[0].name}_{name}"))


def attribute_to_input(node: onnx_ir.Node, name: str, place: int, dtype: type = np.int64) -> str:
    """Move an attribute to an input, if it is there."""
    value = pop(node, name)
    if value is not None:
        set_input(node, place, np.array(value, dtype), name)
    return ""


def input_to_attribute(node: onnx_ir.Node, place: int, name: str, *, scalar: bool = False) -> str:
    """Move a constant input to an attribute and cut the inputs there; the reason when it is computed."""
    if len(node.inputs) <= place or node.inputs[place] is None:
        return ""
    array = constant(node.inputs[place], limit=1 << 20)
    if array is None:
        return f"its input '{name}' is computed, and below this opset it is an attribute"
    flat = [item.item() for item in array.reshape(-1)]
    put(node, **{name: flat[0] if scalar else flat})
    if all(value is None for value in node.inputs[place + 1 :]):
        node.resize_inputs(place)
    else:
        node.replace_input_with(place, None)
    return ""


def around(
    node: onnx_ir.Node,
    op: str,
    inputs: Sequence[onnx_ir.Value | None],
    after: bool = False,
    suffix: str = "",
    **attributes: Any,
) -> onnx_ir.Value:
    """A new node just before `node` (or after it); returns its value, whose name `suffix` tells from others."""
    import onnx_ir

    made = onnx_ir.node(op, list(inputs), attributes=attributes)
    tag(made, *layer_of(node).split(";"))
    made.outputs[0].type = inputs[0].type if inputs and inputs[0] is not None else None
    graph = owner(node)
    if after:
        graph.insert_after(node, made)
    else:
        graph.insert_before(node, made)
    made.outputs[0].name = f"{node.outputs[0].name}_{op.lower()}{suffix}"
    return made.outputs[0]


def take_over(node: onnx_ir.Node, place: int, value: onnx_ir.Value) -> None:
    """`value` (made from output `place` of `node`) becomes what everybody else reads under the output's name."""
    old = node.outputs[place]
    maker = value.producer()
    name = old.name
    value.shape, value.type = old.shape, old.type
    set_encoding(value, encoding_of(old))
    set_encoding(old, None)
    users = [(user, index) for user, index in old.uses() if user is not maker]
    for user, index in users:
        user.replace_input_with(index, value)
    graph = owner(node)
    for index, output in enumerate(graph.outputs):
        if output is old:
            graph.outputs[index] = value
    old.name, value.name = f"{name}_before", name
    old.shape = None
