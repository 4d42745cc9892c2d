"""Sequences that only carry tensors from one place to another become tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bessemer.ir.model import layer_of, tag
from bessemer.passes.base import PassResult
from bessemer.passes.rewrite import constant, drop, make_constant, owner, replace_value

if TYPE_CHECKING:
    import onnx_ir


@dataclass(frozen=True)
class UnpackSequences:
    """SplitToSequence whose parts are only read by SequenceAt with constant places becomes Split."""

    name: ClassVar[str] = "unpack-sequences"

    def run(self, graph: onnx_ir.Model) -> PassResult:
        """Rewrite in place."""
        splits = [node for node in list(graph.graph.all_nodes()) if node.op_type == "SplitToSequence"]
        return PassResult(sum(_unpack(node) for node in splits))


def _unpack(node: onnx_ir.Node) -> bool:
    sequence = node.outputs[0]
    readers = [user for user, _ in sequence.uses()]
    places = [_place(user) for user in readers]
    sizes = _sizes(node)
    if sequence.is_graph_output() or sizes is None or any(place is None for place in places):
        return False
    known = [place for place in places if place is not None]
    if (
        any(not -len(sizes) <= place < len(sizes) for place in known)
        or node.attributes.get_int("keepdims", 1) != 1
    ):
        return False
    parts = _split(node, sizes)
    for user, place in zip(readers, known, strict=True):
        part = parts[place]
        part.shape, part.type = user.outputs[0].shape, user.outputs[0].type
        if not replace_value(user.outputs[0], part):
            return False
        drop(user)
    drop(node)
    return True


def _place(user: onnx_ir.Node) -> int | None:
    array = constant(user.inputs[1]) if user.op_type == "SequenceAt" else None
    return None if array is None else int(array.reshape(-1)[0])


def _sizes(node: onnx_ir.Node) -> list[int] | None:
    """Size of every part; a scalar split is the size of all but the last."""
    source, axis = node.inputs[0], node.attributes.get_int("axis", 0) or 0
    total = source.shape[axis] if source is not None and source.shape is not None else None
    split = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if split is None or not isinstance(total, int):
        return None
    if split.ndim:
        return [int(size) for size in split]
    size = int(split)
    return [min(size, total - start) for start in range(0, total, size)] if size > 0 else None


def _split(node: onnx_ir.Node, sizes: list[int]) -> list[onnx_ir.Value]:
    import onnx_ir

    graph = owner(node)
    lengths = make_constant(graph, np.array(sizes, np.int64), f"{node.outputs[0].name}_sizes")
    made = onnx_ir.node(
        "Split", [node.inputs[0], lengths], attributes={"axis": node.attributes.get_int("axis", 0) or 0},
        num_outputs=len(sizes),
    )  # fmt: skip
    tag(made, *layer_of(node).split(";"))
    for number, value in enumerate(made.outputs):
        value.name = f"{node.outputs[0].name}_{number}"
    graph.insert_before(node, made)
    return list(made.outputs)
