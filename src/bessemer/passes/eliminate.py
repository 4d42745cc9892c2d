"""Remove nodes that change nothing: one rule per operator, each a function of the node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bessemer.ir.encoding import encoding_of
from bessemer.passes.base import PassResult
from bessemer.passes.rewrite import bypass, constant, dims, sole_use

if TYPE_CHECKING:
    import onnx_ir

Rule = Callable[["onnx_ir.Node"], bool]


def _same_shape(node: onnx_ir.Node) -> bool:
    """Also true for one unbound dim when all others agree and the ranks do: a no-op reshape keeps the count."""
    source, result = node.inputs[0], node.outputs[0]
    mine, theirs = dims(source), dims(result)
    return mine is not None and mine == theirs


def _slice(node: onnx_ir.Node) -> bool:
    """The whole, in the same order: a negative step keeps the shape and turns the data around."""
    given = len(node.inputs) > 4 and node.inputs[4] is not None
    steps = constant(node.inputs[4]) if given else None
    return _same_shape(node) and (not given or (steps is not None and bool((steps > 0).all())))


def _dropout(node: onnx_ir.Node) -> bool:
    training = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    given = len(node.inputs) > 2 and node.inputs[2] is not None
    mask_used = len(node.outputs) > 1 and (node.outputs[1].uses() or node.outputs[1].is_graph_output())
    return not mask_used and (not given or (training is not None and not training.any()))


def _cast(node: onnx_ir.Node) -> bool:
    source = node.inputs[0]
    return (
        source is not None
        and source.dtype is not None
        and int(source.dtype) == node.attributes.get_int("to", 0)
    )


def _cast_like(node: onnx_ir.Node) -> bool:
    """The second operand only gives its type: a plain Cast, or nothing, once that is known."""
    import onnx_ir

    like = node.inputs[1]
    if like is None or like.dtype is None or node.attributes.get_int("saturate", 1) != 1:
        return False
    node.op_type = "Cast"
    node.resize_inputs(1)
    node.attributes.pop("saturate", None)
    node.attributes["to"] = onnx_ir.AttrInt64("to", int(like.dtype))
    return _cast(node)


def _transpose(node: onnx_ir.Node) -> bool:
    perm = node.attributes.get_ints("perm", None)
    return perm is not None and list(perm) == sorted(perm)


def _pad(node: onnx_ir.Node) -> bool:
    pads = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    return pads is not None and not pads.any()


def _expand(node: onnx_ir.Node) -> bool:
    return _same_shape(node)


def _neutral(value: float, *, both: bool) -> Rule:
    """x + 0, x * 1, x - 0, x / 1, where the constant does not broadcast x."""

    def matches(node: onnx_ir.Node) -> bool:
        places = (1, 0) if both else (1,)
        for place in places:
            array = constant(node.inputs[place])
            if array is None or array.dtype.kind != "f" or not np.all(array == value):
                continue
            other = node.inputs[1 - place]
            if dims(other) is None or dims(other) != dims(node.outputs[0]):
                continue
            if place == 0:
                node.replace_input_with(1, node.inputs[0])
                node.replace_input_with(0, other)
            return True
        return False

    return matches


RULES: dict[str, Rule] = {
    "Identity": lambda node: True,
    "Dropout": _dropout,
    "Cast": _cast,
    "CastLike": _cast_like,
    "Transpose": _transpose,
    "Pad": _pad,
    "Expand": _expand,
    "Reshape": _same_shape,
    "Flatten": _same_shape,
    "Squeeze": _same_shape,
    "Unsqueeze": _same_shape,
    "Slice": _slice,
    "Tile": _same_shape,
    "Concat": lambda node: len(node.inputs) == 1,
    "Sum": lambda node: len(node.inputs) == 1,
    "Max": lambda node: len(node.inputs) == 1,
    "Min": lambda node: len(node.inputs) == 1,
    "Add": _neutral(0.0, both=True),
    "Sub": _neutral(0.0, both=False),
    "Mul": _neutral(1.0, both=True),
    "Div": _neutral(1.0, both=False),
}


@dataclass(frozen=True)
class Eliminate:
    """Identity, inference Dropout, casts to the same type, reshapes to the same shape, x + 0, x * 1, ..."""

    name: ClassVar[str] = "eliminate"

    def run(self, graph: onnx_ir.Model) -> PassResult:
        """Rewrite in place."""
        changed = 0
        for subgraph in (graph.graph, *graph.graph.subgraphs()):
            for node in list(subgraph):
                changed += self._visit(node)
        return PassResult(changed)

    def _visit(self, node: onnx_ir.Node) -> int:
        if node.domain not in ("", "ai.onnx") or node.graph is None:
            return 0
        rule = RULES.get(node.op_type)
        if rule is not None and rule(node):
            return int(bypass(node))
        return _merge_transposes(node) if node.op_type == "Transpose" else 0


def _merge_transposes(node: onnx_ir.Node) -> int:
    """Transpose of a Transpose is one Transpose."""
    import onnx_ir

    before = node.inputs[0].producer() if node.inputs[0] is not None else None
    if before is None or before.op_type != "Transpose" or not sole_use(before.outputs[0]):
        return 0
    first, second = before.attributes.get_ints("perm", None), node.attributes.get_ints("perm", None)
    if first is None or second is None or encoding_of(before.outputs[0]) is not None:
        return 0
    node.attributes["perm"] = onnx_ir.AttrInt64s("perm", [first[axis] for axis in second])
    node.replace_input_with(0, before.inputs[0])
    graph = before.graph
    if isinstance(graph, onnx_ir.Graph):
        graph.remove(before, safe=True)
    return 1
