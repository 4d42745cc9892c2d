"""The registry of expansions and the tool they write nodes with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.model import layer_of, tag
from bessemer.ir.types import Array
from bessemer.passes.rewrite import make_constant, owner

if TYPE_CHECKING:
    import onnx_ir

Expansion = Callable[["Nodes", "onnx_ir.Node"], "Sequence[onnx_ir.Value] | None"]
EXPANSIONS: dict[str, list[tuple[int, Expansion]]] = {}


def expansion(below: int, *ops: str) -> Callable[[Expansion], Expansion]:
    """Register the decorated function for opsets under `below`."""

    def register(function: Expansion) -> Expansion:
        for op in ops:
            EXPANSIONS.setdefault(op, []).append((below, function))
        return function

    return register


class Nodes:
    """Nodes to be put before `node`, for opset `want`, in canonical words."""

    def __init__(self, node: onnx_ir.Node, want: int) -> None:
        self.node, self.want, self.made = node, want, list[Any]()
        # the operator is in the name: what is made may be expanded again under the same output's name
        self._prefix = f"{node.outputs[0].name}/{node.op_type.lower()}"

    def __call__(self, op: str, *inputs: onnx_ir.Value | Array | None, **attributes: Any) -> onnx_ir.Value:
        """A new node's only output; arrays become constants."""
        return self.several(1, op, *inputs, **attributes)[0]

    def several(
        self, count: int, op: str, *inputs: onnx_ir.Value | Array | None, **attributes: Any
    ) -> Sequence[onnx_ir.Value]:
        """A new node's `count` outputs."""
        import onnx_ir

        values = [self._value(item) for item in inputs]
        made = onnx_ir.node(op, values, attributes, num_outputs=count)
        tag(made, *layer_of(self.node).split(";"))
        for place, value in enumerate(made.outputs):
            value.name = f"{self._prefix}{len(self.made)}_{place}"
        self.made.append(made)
        return made.outputs

    def copy(self, inputs: Sequence[onnx_ir.Value | None], **attributes: Any) -> Sequence[onnx_ir.Value]:
        """The node's own operator on other inputs, with `attributes` changed; None takes one away."""
        kept = {name: item for name, item in self.node.attributes.items() if name not in attributes}
        given = {name: item for name, item in attributes.items() if item is not None}
        return self.several(len(self.node.outputs), self.node.op_type, *inputs, **kept, **given)

    def cast(self, value: onnx_ir.Value, to: onnx_ir.DataType) -> onnx_ir.Value:
        """`value` in another type; itself where it has that type."""
        return value if value.dtype == to else self("Cast", value, to=int(to))

    def constant(self, array: Any) -> onnx_ir.Value:
        """A constant of the node's graph."""
        return make_constant(owner(self.node), np.asarray(array), f"{self.node.outputs[0].name}/const")

    def _value(self, item: onnx_ir.Value | Array | None) -> onnx_ir.Value | None:
        return self.constant(item) if isinstance(item, (np.ndarray, np.generic)) else item

    def replace(self, results: Sequence[onnx_ir.Value]) -> None:
        """The results take every use of the node's outputs, and their names."""
        graph = owner(self.node)
        given = [self._own(value) for value in results]
        graph.insert_before(self.node, self.made)
        for old, new in zip(self.node.outputs, given, strict=False):
            name = old.name
            new.shape, new.type = old.shape, old.type
            new.meta.update(old.meta)
            old.replace_all_uses_with(new, replace_graph_outputs=True)
            old.name, new.name = f"{name}/expanded", name
        graph.remove(self.node, safe=True)

    def _own(self, value: onnx_ir.Value) -> onnx_ir.Value:
        """A value that only these nodes make: one that was there before keeps its name."""
        return value if value.producer() in self.made else self("Identity", value)


def numpy_type(value: onnx_ir.Value | None) -> np.dtype[Any] | None:
    """The numpy type of a tensor; None when it is not known or has none."""
    if value is None or value.dtype is None or value.dtype.name in ("STRING", "UNDEFINED"):
        return None
    return np.dtype(value.dtype.numpy())


def onnx_type(value: onnx_ir.Value) -> onnx_ir.DataType:
    """The type of a value that is known to have one."""
    if value.dtype is None:
        raise ValueError(f"'{value.name}' has no type")
    return value.dtype


def rank_of(value: onnx_ir.Value | None) -> int | None:
    """The number of axes, where it is known."""
    return None if value is None or value.shape is None else len(value.shape)


def given(node: onnx_ir.Node, place: int) -> onnx_ir.Value | None:
    """Input `place`, None where it was left out."""
    return node.inputs[place] if place < len(node.inputs) else None
