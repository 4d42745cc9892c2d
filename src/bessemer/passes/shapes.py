"""Shapes and types: bind what the user says, infer the rest. Weights are never serialised."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from bessemer.ir.errors import UsageError
from bessemer.passes.base import PassResult
from bessemer.passes.rewrite import SMALL

if TYPE_CHECKING:
    import onnx_ir

ITEM_MAKERS = frozenset(
    {"Optional", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceMap", "SplitToSequence"}
)
"""Operators whose outputs are sequences or optionals."""

Dims = tuple[int | str | tuple[int, int], ...]


@dataclass(frozen=True)
class BindShapes:
    """Give inputs the dims that the user said: a number binds, a name or a range stays symbolic.

    Artifacts are verified at both ends of a range.
    """

    name: ClassVar[str] = "bind-shapes"
    shapes: Mapping[str, Dims] = field(default_factory=dict)

    def run(self, graph: onnx_ir.Model) -> PassResult:
        """Raises UsageError for an unknown input, a wrong rank or a dim that contradicts the model."""
        if not self.shapes:
            return PassResult()
        inputs = {value.name: value for value in graph.graph.inputs}
        for name, wanted in self.shapes.items():
            if name not in inputs:
                raise UsageError(
                    f"--shape names the input '{name}', which the model does not have",
                    fix=f"Its inputs are: {', '.join(map(str, inputs))}",
                )
            _bind(inputs[name], wanted)
        for node in graph.graph.all_nodes():
            for value in node.outputs:
                if not value.is_graph_output():
                    value.shape = None
        for part in (graph.graph, *graph.graph.subgraphs()):
            for value in part.outputs:
                _forget(value)
        return PassResult(len(self.shapes))


def _bind(value: onnx_ir.Value, wanted: Dims) -> None:
    import onnx_ir

    held = value.shape
    if held is not None and len(held) != len(wanted):
        raise UsageError(
            f"--shape gives '{value.name}' {len(wanted)} dims, the model says {len(held)}: {held}"
        )
    new: list[int | str] = []
    for axis, dim in enumerate(wanted):
        fixed = held[axis] if held is not None else None
        if isinstance(fixed, int) and isinstance(dim, int) and fixed != dim and fixed > 0:
            raise UsageError(
                f"--shape gives axis {axis} of '{value.name}' the size {dim}, the model fixes it to {fixed}",
                fix="Leave a fixed axis as it is",
            )
        if isinstance(fixed, int) and isinstance(dim, tuple) and fixed > 0:
            raise UsageError(
                f"--shape gives axis {axis} of '{value.name}' the range {dim[0]}..{dim[1]}, "
                f"the model fixes it to {fixed}",
                fix="Leave a fixed axis as it is",
            )
        new.append(fixed if isinstance(fixed, int) and fixed > 0 else _open(value, axis, dim))
    value.shape = onnx_ir.Shape(new)


def _open(value: onnx_ir.Value, axis: int, dim: int | str | tuple[int, int]) -> int | str:
    """A range leaves the axis open under the model's own name for it, which other inputs may share."""
    if not isinstance(dim, tuple):
        return dim
    own = None if value.shape is None else value.shape[axis]
    name = getattr(own, "value", None)
    return name if isinstance(name, str) else f"{value.name}_{axis}"


def _forget(value: onnx_ir.Value) -> None:
    """Outputs keep their rank; their dims are inferred again."""
    import onnx_ir

    if value.shape is not None:
        value.shape = onnx_ir.Shape([None] * len(value.shape))


@dataclass(frozen=True)
class InferShapes:
    """Types and shapes of all values by ONNX's own inference, with data propagation."""

    name: ClassVar[str] = "infer-shapes"

    def run(self, graph: onnx_ir.Model) -> PassResult:
        """Shapes only become more precise; a model that inference cannot follow keeps what it says."""
        import logging

        from onnx_ir.passes.common import ShapeInferencePass

        logging.getLogger("onnx_ir").setLevel(logging.CRITICAL)  # it prints a traceback where inference gives up
        untyped = [value for node in graph.graph.all_nodes() for value in node.outputs if value.type is None]
        with _constants_in_reach(graph):
            inference = ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)
            modified = inference(graph).modified
            while sum(_learnt(node) for node in graph.graph.all_nodes()):
                modified = inference(graph).modified or modified
        _forget_item_types(untyped)
        return PassResult(int(modified))


KEEPING = frozenset({"GroupNormalization", "MeanVarianceNormalization", "RMSNormalization"})
"""Operators whose result has the shape of their first operand, of which ONNX's inference tells nothing where their
function bodies compute shapes."""


def _learnt(node: Any) -> int:
    """How many results of `node` have a shape now that inference did not find."""
    if node.op_type == "Loop":
        return _loop_states(node)
    kept = node.op_type in KEEPING and node.outputs[0].shape is None and node.inputs[0].shape is not None
    if kept:
        node.outputs[0].shape = node.inputs[0].shape.copy()
    return int(kept)


def _loop_states(node: Any) -> int:
    """ONNX's inference tells nothing of a Loop's results: a state that each step leaves in its size has it at the end.

    Its rank is known where each step leaves that.
    """
    import onnx_ir

    states, learnt = node.inputs[2:], 0
    for before, after, result in zip(states, node.attributes["body"].as_graph().outputs[1:], node.outputs, strict=False):
        if before is None or before.shape is None or after.shape is None or len(before.shape) != len(after.shape):
            continue
        pairs = list(zip(before.shape, after.shape, strict=True))
        same = [x if _symbol(x) is not None and _symbol(x) == _symbol(y) else None for x, y in pairs]
        if result.shape is None:
            result.shape, learnt = onnx_ir.Shape(same), learnt + 1
    return learnt


def _symbol(dim: Any) -> Any:
    return dim if isinstance(dim, int) else dim.value


@contextmanager
def _constants_in_reach(graph: onnx_ir.Model) -> Iterator[None]:
    """Inference looks for constants in the graph of the node only: small ones of outer graphs are lent to subgraphs."""
    import onnx_ir

    lent: list[tuple[onnx_ir.Graph, str]] = []
    for part in graph.graph.subgraphs():
        for value in {value for node in part for value in node.inputs if value is not None}:
            outer = value.is_initializer() and value.graph is not part and value.name not in part.initializers
            if not outer or value.name is None or value.const_value is None or value.const_value.size > SMALL:
                continue
            copy = onnx_ir.Value(name=value.name, shape=value.shape, type=value.type, const_value=value.const_value)
            part.register_initializer(copy)
            lent.append((part, value.name))
    try:
        yield
    finally:
        for part, name in lent:
            del part.initializers[name]


def _forget_item_types(values: list[onnx_ir.Value]) -> None:
    """onnx-ir copies only the element type of what was inferred: a sequence without a type would become a tensor."""
    pending, sequences = True, set[Any]()
    while pending:
        found = {value for value in values if value not in sequences and _holds_items(value.producer(), sequences)}
        sequences |= found
        pending = bool(found)
    for value in sequences:
        value.type = value.shape = None


def _holds_items(node: Any, sequences: set[Any]) -> bool:
    """Whether the first output of `node` is a sequence or an optional, by its operator or by what it hands on."""
    import onnx_ir

    if node.op_type in ITEM_MAKERS:
        return True
    if node.op_type == "Identity":
        source = node.inputs[0]
        return source in sequences or isinstance(source.type, (onnx_ir.SequenceType, onnx_ir.OptionalType))
    return False
