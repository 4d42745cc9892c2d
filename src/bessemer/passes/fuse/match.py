"""What the rules share: their table, reading neighbours, and putting one operator in the place of several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.canonical import FUSED_KEY, HYBRID_KEY
from bessemer.ir.encoding import encoding_of
from bessemer.ir.model import layer_of, tag
from bessemer.ir.types import Array
from bessemer.passes.rewrite import constant, make_constant, owner

if TYPE_CHECKING:
    import onnx_ir

CLOSE = 1e-6
"""Relative distance up to which a constant is the one that a formula asks for."""


@dataclass(frozen=True)
class Fusion:
    """`op(*inputs)` computes what `last` gives; `swallowed` are the other nodes of the spelling, in their order.

    An array among `inputs` becomes a constant of the graph.
    """

    op: str
    last: onnx_ir.Node
    inputs: Sequence[onnx_ir.Value | Array | None]
    swallowed: Iterable[onnx_ir.Node]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def apply(self) -> str:
        """Rewrite `last` in place and remove the others; returns '' or why not."""
        import onnx_ir

        inner = [node for node in dict.fromkeys(self.swallowed) if node is not self.last]
        reason = _seen_from_outside(inner, {*inner, self.last})
        if reason:
            return f"{self.op} at '{self.last.name}': {reason}"
        layers = [name for node in (*inner, self.last) for name in layer_of(node).split(";")]
        last = self.last
        last.op_type = self.op
        last.resize_inputs(len(self.inputs))
        for place, value in enumerate(self.inputs):
            last.replace_input_with(place, self._made(value, place))
        last.attributes.clear()
        for attribute in onnx_ir.convenience.convert_attributes(dict(self.attributes)):
            last.attributes[attribute.name] = attribute
        last.meta[FUSED_KEY] = True
        for node in inner:
            if HYBRID_KEY in node.metadata_props:
                last.metadata_props[HYBRID_KEY] = node.metadata_props[HYBRID_KEY]
        tag(last, *layers)
        remove_unused(inner)
        return ""

    def _made(self, value: onnx_ir.Value | Array | None, place: int) -> onnx_ir.Value | None:
        if not isinstance(value, np.ndarray):
            return value
        return make_constant(owner(self.last), value, f"{self.last.outputs[0].name}.input{place}")


def remove_unused(nodes: Sequence[onnx_ir.Node]) -> None:
    """Remove nodes that only fed each other, readers before what they read."""
    import onnx_ir

    left = list(nodes)
    while ready := [node for node in left if not any(value.uses() for value in node.outputs)]:
        for node in ready:
            if isinstance(node.graph, onnx_ir.Graph):
                node.graph.remove(node, safe=True)
        left = [node for node in left if node not in ready]


def _seen_from_outside(inner: Sequence[onnx_ir.Node], region: set[onnx_ir.Node]) -> str:
    """Why an intermediate value may not go away; '' when nobody else knows it."""
    for value in (value for node in inner for value in node.outputs):
        if value.is_graph_output():
            return f"'{value.name}' is an output"
        if encoding_of(value) is not None:
            return f"'{value.name}' is quantized"
        if any(user not in region for user, _ in value.uses()):
            return f"others read '{value.name}' too"
    return ""


Rule = Callable[["onnx_ir.Node"], "Fusion | str | None"]
"""None: not this spelling; a string: almost, and why not."""

RULES: dict[str, list[Rule]] = {}


def fuses(*anchors: str) -> Callable[[Rule], Rule]:
    """Register the decorated rule for nodes of these operators."""

    def register(rule: Rule) -> Rule:
        for anchor in anchors:
            RULES.setdefault(anchor, []).append(rule)
        return rule

    return register


def rules() -> dict[str, list[Rule]]:
    """All rules by anchor, every family imported once."""
    if not RULES:
        package = __name__.rpartition(".")[0]
        for module in iter_modules(import_module(package).__path__):
            import_module(f"{package}.{module.name}")
    return RULES


def near(found: float, wanted: float) -> bool:
    """Equal within CLOSE of `wanted`; of zero exactly."""
    return abs(found - wanted) <= CLOSE * abs(wanted)


def number(value: onnx_ir.Value | None, rank: int) -> float | None:
    """A floating-point constant of one element that adds no axes to data of `rank`; None for anything else."""
    array = constant(value, limit=1)
    if array is None or array.size != 1 or array.ndim > rank or array.dtype.kind != "f":
        return None
    return float(array.reshape(-1)[0])


def is_float32(value: onnx_ir.Value | None) -> bool:
    """Whether kernels exist everywhere: narrower types come later, wider ones stay as they are written."""
    import onnx_ir

    return value is not None and value.dtype == onnx_ir.DataType.FLOAT


def rank_of(value: onnx_ir.Value | None) -> int | None:
    """Number of axes, where known."""
    return None if value is None or value.shape is None else len(value.shape)


def maker(value: onnx_ir.Value | None, *ops: str) -> onnx_ir.Node | None:
    """The node that makes `value`, when it is one of `ops`."""
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type in ops and node.domain in ("", "ai.onnx") else None


def sole_user(value: onnx_ir.Value, *ops: str) -> onnx_ir.Node | None:
    """The one node that reads `value`, when it is one of `ops`."""
    users = list({user for user, _ in value.uses()})
    if len(users) != 1 or value.is_graph_output() or users[0].domain not in ("", "ai.onnx"):
        return None
    return users[0] if users[0].op_type in ops else None


def other(node: onnx_ir.Node, value: onnx_ir.Value) -> onnx_ir.Value | None:
    """The operand of a binary node that is not `value`."""
    return node.inputs[1] if node.inputs[0] is value else node.inputs[0]
