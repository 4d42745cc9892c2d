"""Transposes that need not be: each travels down its chain of users if it meets its end there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bessemer.ir.encoding import encoding_of
from bessemer.ir.layout import (
    apply,
    compose,
    inverse,
    is_identity,
    merged_last,
    moves_data,
    through_reshape,
)
from bessemer.ir.types import Perm
from bessemer.passes.base import PassResult
from bessemer.passes.dense import dense_after, reorder_rows
from bessemer.passes.rewrite import bypass, constant, drop, make_constant, owner

if TYPE_CHECKING:
    import onnx_ir

ELEMENTWISE = frozenset({
    "Abs", "Cast", "Celu", "Clip", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu",
    "Log", "Mish", "Neg", "Reciprocal", "Relu", "Selu", "Sigmoid", "Sign", "Softplus", "Softsign", "Sqrt", "Tanh",
    "ThresholdedRelu",
})  # fmt: skip
"""One tensor in, the same shape out; further operands are scalars."""

RESHAPES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})


@dataclass(frozen=True)
class SettleTransposes:
    """A Transpose goes through elementwise operators and reshapes until

    it meets another one (they become one, or none), no longer moves data (a Reshape), or meets a flatten before a dense
    layer with constant weights (their rows take the order). Where no such end is in sight it stays where it is.
    """

    name: ClassVar[str] = "settle-transposes"

    def run(self, graph: onnx_ir.Model) -> PassResult:
        """In place."""
        changed = 0
        for part in (graph.graph, *graph.graph.subgraphs()):
            for node in list(part):
                if node.graph is part and _perm(node) is not None:
                    changed += _settle(node)
            changed += sum(_join_reshapes(node) for node in list(part) if node.graph is part)
        return PassResult(changed)


@dataclass
class Journey:
    """Nodes that a Transpose passes, each with the axis order in which its result then stands.

    value: where the Transpose has arrived: `value` is `transpose(physical, perm)`.
    """

    value: onnx_ir.Value
    perm: Perm
    passed: list[tuple[onnx_ir.Node, Perm]] = field(default_factory=list)

    @property
    def shape(self) -> tuple[Any, ...]:
        """Of the physical tensor."""
        return apply(inverse(self.perm), _dims(self.value))


def _perm(node: onnx_ir.Node) -> Perm | None:
    if node.op_type != "Transpose" or node.domain not in ("", "ai.onnx") or node.inputs[0] is None:
        return None
    shape, order = node.outputs[0].shape, node.attributes.get_ints("perm", None)
    if shape is None or node.inputs[0].shape is None:
        return None
    return tuple(reversed(range(len(shape)))) if order is None else tuple(order)


def _dims(value: onnx_ir.Value) -> tuple[Any, ...]:
    return tuple(value.shape) if value.shape is not None else ()


def _only_user(value: onnx_ir.Value) -> onnx_ir.Node | None:
    """The one node of the same graph that reads `value` as its first operand."""
    uses, encoding, maker = list(value.uses()), encoding_of(value), value.producer()
    if len(uses) != 1 or uses[0].idx != 0 or value.is_graph_output():
        return None
    if encoding is not None and not encoding.per_tensor:
        return None
    node = uses[0].node
    same = maker is not None and node.graph is maker.graph
    return node if same and node.domain in ("", "ai.onnx") and node.outputs[0].shape is not None else None


def _settle(node: onnx_ir.Node) -> int:
    """Find the end of the journey; go there if it is one."""
    source, result, perm = node.inputs[0], node.outputs[0], _perm(node)
    if source is None or perm is None or encoding_of(result) not in (None, encoding_of(source)):
        return 0
    way = Journey(result, perm)
    while True:
        if not moves_data(way.perm, way.shape):
            return _arrive_still(node, way)
        user = _only_user(way.value)
        if user is None:
            return 0
        if user.op_type == "Transpose":
            return _arrive_at_transpose(node, way, user)
        if user.op_type in ELEMENTWISE and all(_scalar(value) for value in user.inputs[1:]):
            new: Perm | None = way.perm
        elif user.op_type in RESHAPES and _one_unknown(user.outputs[0]):
            new = through_reshape(way.perm, _dims(way.value), _dims(user.outputs[0]))
            if new is None:
                return _arrive_at_dense(node, way, user)
        else:
            return 0
        if new is None or encoding_of(user.outputs[0]) not in (None, encoding_of(source)):
            return 0
        way.passed.append((user, new))
        way.value, way.perm = user.outputs[0], new


def _scalar(value: onnx_ir.Value | None) -> bool:
    return value is None or (value.shape is not None and len(value.shape) == 0)


def _one_unknown(value: onnx_ir.Value) -> bool:
    return sum(not isinstance(dim, int) for dim in _dims(value)) <= 1


def _travel(node: onnx_ir.Node, way: Journey) -> onnx_ir.Value:
    """Let what is passed work on the physical tensor; that tensor where the journey ends. `node` is left unused."""
    import onnx_ir

    current = node.inputs[0]
    if current is None:
        raise ValueError(f"{node.name} has no operand")
    for passed, perm in way.passed:
        result = passed.outputs[0]
        shape = apply(inverse(perm), _dims(result))
        if passed.op_type in RESHAPES:
            made = _reshape_before(passed, current, shape)
        else:
            passed.replace_input_with(0, current)
            made = result
            made.shape, made.name = onnx_ir.Shape(shape), f"{made.name}/as_it_lies"
        made.meta.update(result.meta)
        current = made
    return current


def _reshape_before(place: onnx_ir.Node, source: onnx_ir.Value, shape: Sequence[Any]) -> onnx_ir.Value:
    """A Reshape of `source` to `shape`, of which at most one dim is unknown, put before `place`."""
    import onnx_ir

    graph, name = owner(place), f"{place.outputs[0].name}/as_it_lies"
    target = np.array([dim if isinstance(dim, int) else -1 for dim in shape], np.int64)
    node = onnx_ir.node("Reshape", [source, make_constant(graph, target, f"{name}_shape")], name=name)
    made: onnx_ir.Value = node.outputs[0]
    made.name, made.type, made.shape = name, place.outputs[0].type, onnx_ir.Shape(shape)
    node.metadata_props.update(place.metadata_props)
    graph.insert_before(place, node)
    return made


def _arrive_still(node: onnx_ir.Node, way: Journey) -> int:
    """Only axes of one move: a Reshape."""
    if not _one_unknown(way.value):
        return 0
    maker = way.value.producer()
    uses, output = list(way.value.uses()), way.value.is_graph_output()
    if maker is None or (output and way.passed):
        return 0
    last, shape = maker, _dims(way.value)
    name, result = way.value.name, way.value
    current = _travel(node, way)
    made = _reshape_after(last, current, shape)
    made.meta.update(result.meta)
    if output:
        result.replace_all_uses_with(made, replace_graph_outputs=True)
        result.name, made.name = f"{name}/moved", name
    for use in uses:
        use.node.replace_input_with(use.idx, made)
    _forget(node, way)
    return 1


def _reshape_after(place: onnx_ir.Node, source: onnx_ir.Value, shape: Sequence[Any]) -> onnx_ir.Value:
    import onnx_ir

    made = _reshape_before(place, source, shape)
    node, graph = made.producer(), owner(place)
    if node is not None:
        graph.remove(node)
        graph.insert_after(place, node)
        made.shape = onnx_ir.Shape(shape)
    return made


def _arrive_at_transpose(node: onnx_ir.Node, way: Journey, user: onnx_ir.Node) -> int:
    """Two become one, or none."""
    import onnx_ir

    order = _perm(user)
    if order is None or encoding_of(user.outputs[0]) not in (None, encoding_of(way.value)):
        return 0
    whole = compose(way.perm, order)
    user.replace_input_with(0, _travel(node, way))
    user.attributes["perm"] = onnx_ir.AttrInt64s("perm", whole)
    _forget(node, way)
    if is_identity(whole):
        bypass(user)
    return 1


def _arrive_at_dense(node: onnx_ir.Node, way: Journey, user: onnx_ir.Node) -> int:
    """A flatten merges what the Transpose moved: the weights behind it take their rows in that order."""
    before, layer = _dims(way.value), dense_after(user.outputs[0])
    lying = merged_last(way.perm, before, _dims(user.outputs[0]))
    if lying is None or layer is None or not all(isinstance(before[axis], int) for axis in lying):
        return 0
    reorder_rows(layer, [before[axis] for axis in sorted(lying)], [sorted(lying).index(axis) for axis in lying])
    shape, result = _dims(user.outputs[0]), user.outputs[0]
    made = _reshape_before(user, _travel(node, way), shape)
    made.meta.update(result.meta)
    result.replace_all_uses_with(made)
    drop(user)
    _forget(node, way)
    return 1


def _forget(node: onnx_ir.Node, way: Journey) -> None:
    """Remove what nobody reads any more, from the end."""
    for passed in (*(item for item, _ in reversed(way.passed)), node):
        unused = not any(value.uses() or value.is_graph_output() for value in passed.outputs)
        if unused and passed.graph is not None:
            drop(passed)


def _join_reshapes(node: onnx_ir.Node) -> int:
    """A Reshape of a reshape is one; only between those whose target says all sizes, or all but one."""
    source = node.inputs[0] if node.op_type == "Reshape" and node.inputs else None
    maker = None if source is None else source.producer()
    if source is None or maker is None or maker.op_type not in RESHAPES or maker.graph is not node.graph:
        return 0
    target = constant(node.inputs[1])
    if target is None or not (target != 0).all() or len(source.uses()) != 1 or source.is_graph_output():
        return 0
    if encoding_of(source) not in (None, encoding_of(maker.inputs[0])):
        return 0
    node.replace_input_with(0, maker.inputs[0])
    drop(maker)
    return 1
