"""Constant folding, bounded: what is known before the model runs is computed once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bessemer.ir.encoding import encoding_of, weight_of
from bessemer.ir.types import Array
from bessemer.passes.base import PassResult
from bessemer.passes.half import note_half, widened
from bessemer.passes.rewrite import LARGE, constant, drop, hold_constant, is_constant, owner, release

if TYPE_CHECKING:
    import onnx_ir

NEVER = {
    "RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial",
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "If", "Loop", "Scan", "SequenceMap",
    "Optional", "OptionalGetElement", "OptionalHasElement", "SequenceEmpty", "SequenceConstruct",
    "SplitToSequence", "SequenceAt", "SequenceInsert", "SequenceErase", "SequenceLength",
    "ConcatFromSequence", "ImageDecoder", "Dropout",
}  # fmt: skip


@dataclass(frozen=True)
class FoldConstants:
    """Evaluate nodes whose inputs are all constant, and shapes that are already known.

    growth: all folding together may add at most this share of the model's constants ...
    slack: ... plus so many bytes.
    """

    name: ClassVar[str] = "fold-constants"
    growth: float = 0.05
    slack: int = 1 << 20

    def run(self, graph: onnx_ir.Model) -> PassResult:
        """Nodes whose result would break the bound are left, and said."""
        held = sum(
            v.const_value.nbytes for v in graph.graph.initializers.values() if v.const_value is not None
        )
        opset = graph.graph.opset_imports.get("", 0)
        folder = _Folder(graph.graph, int(held * self.growth) + self.slack, opset)
        for subgraph in (graph.graph, *graph.graph.subgraphs()):
            for node in list(subgraph):
                folder.visit(node)
        return PassResult(folder.changed, tuple(folder.declined))


class _Folder:
    def __init__(self, root: onnx_ir.Graph, budget: int, opset: int) -> None:
        self.root, self.budget, self.opset, self.changed = root, budget, opset, 0
        self.declined: list[str] = []

    def visit(self, node: onnx_ir.Node) -> None:
        if node.domain not in ("", "ai.onnx") or node.op_type in NEVER or not node.outputs:
            return
        if any(encoding_of(value) is not None for value in node.outputs):
            return
        if node.op_type == "Cast" and self._widen(node):
            return
        results = _known_shape(node)
        if results is None and node.inputs and all(v is None or is_constant(v) for v in node.inputs):
            results = self._evaluate(node)
        if results is not None:
            self._replace(node, results)

    def _widen(self, node: onnx_ir.Node) -> bool:
        """A narrow constant cast to float32 is read wide: no copy is kept, so the bound does not matter."""
        import onnx_ir

        source, result = node.inputs[0], node.outputs[0]
        wanted = node.attributes.get_int("to", 0) == int(onnx_ir.DataType.FLOAT)
        lazy = widened(source) if wanted and source is not None and not result.is_graph_output() else None
        if lazy is None or source is None or source.const_value is None:
            return False
        result.replace_all_uses_with(hold_constant(owner(node), lazy, result.name or f"{node.name}_wide"))
        drop(node)
        note_half(self.root, source.const_value.dtype.name)
        self.changed += 1
        return True

    def _evaluate(self, node: onnx_ir.Node) -> list[Array] | None:
        if any(weight_of(value) is not None for value in node.inputs):
            return None  # quantized constants stay integers
        if any(isinstance(attr.value, _graph_type()) for attr in node.attributes.values()):
            return None
        size = _expected_bytes(node)
        if size is not None and size > self.budget + _freed(node):
            self._decline(node, size)
            return None
        return evaluate(node, self.opset)

    def _decline(self, node: onnx_ir.Node, size: int) -> None:
        self.declined.append(
            f"{node.op_type} '{node.name}' is constant but {size} bytes large: over the bound"
        )

    def _replace(self, node: onnx_ir.Node, results: list[Array]) -> None:
        added = sum(array.nbytes for array in results) - _freed(node)
        if added > self.budget:
            self._decline(node, added)
            return
        if any(value.is_graph_output() for value in node.outputs):
            return  # the border's name belongs to a node
        self.budget -= max(added, 0)
        graph = owner(node)
        for place, (value, array) in enumerate(zip(node.outputs, results, strict=True)):
            tensor = _held(node, place, array, self.opset)
            value.replace_all_uses_with(hold_constant(graph, tensor, value.name or f"{node.name}_folded"))
        drop(node)
        self.changed += 1


def _held(node: onnx_ir.Node, place: int, array: Array, opset: int) -> onnx_ir.TensorProtocol:
    """The result, or for a large one the recipe: weights that were only moved are not held a second time."""
    import onnx_ir

    known = onnx_ir.tensor(array)
    if array.size <= LARGE or not array.shape:
        return known
    call = Call.of(node, opset)

    def again() -> onnx_ir.TensorProtocol:
        found = call.results()
        if found is None:
            raise ValueError(f"{node.op_type} gave a result once and now gives none")
        result = _copied(found[place])  # no view: the source is let go
        del found
        call.release()
        return onnx_ir.tensor(result)

    call.release()
    return onnx_ir.LazyTensor(again, known.dtype, onnx_ir.Shape(array.shape))


BAND = 16
"""Columns that are written at a time where a matrix is turned over: its rows stay in the cache."""


def _copied(array: Array) -> Array:
    """A copy in C order."""
    if array.ndim != 2 or array.flags.c_contiguous or not array.flags.f_contiguous:
        return np.array(array, order="C")
    result = np.empty(array.shape, array.dtype)
    for start in range(0, array.shape[1], BAND):
        result[:, start : start + BAND] = array[:, start : start + BAND]
    return result


def _graph_type() -> type:
    import onnx_ir

    return onnx_ir.Graph


def _freed(node: onnx_ir.Node) -> int:
    """Bytes of constants that only this node reads: they go with it."""
    sole = {value.name: value for value in node.inputs if value is not None and len(value.uses()) == 1}
    return sum(value.const_value.nbytes for value in sole.values() if value.const_value is not None)


def _expected_bytes(node: onnx_ir.Node) -> int | None:
    total = 0
    for value in node.outputs:
        if value.shape is None or value.dtype is None or any(not isinstance(dim, int) for dim in value.shape):
            return None
        total += int(np.prod([dim for dim in value.shape if isinstance(dim, int)], dtype=np.int64)) * 8
    return total // 2


def _known_shape(node: onnx_ir.Node) -> list[Array] | None:
    """Shape and Size of values whose dims are bound; Gather of bound dims from a Shape with unbound ones."""
    if node.op_type in ("Shape", "Size"):
        kept = _kept_dims(node)
        if kept is None or not all(isinstance(dim, int) for dim in kept):
            return None
        array = np.array(kept, np.int64)
        return [array if node.op_type == "Shape" else np.array(array.prod(), np.int64)]
    if node.op_type in ("Gather", "Slice") and node.inputs[0] is not None:
        producer = node.inputs[0].producer()
        if producer is not None and producer.op_type == "Shape":
            return _part_of_shape(node, producer)
    return None


def _kept_dims(node: onnx_ir.Node) -> list[Any] | None:
    source = node.inputs[0]
    if source is None or source.shape is None:
        return None
    rank = len(source.shape)
    start, end = node.attributes.get_int("start", 0) or 0, node.attributes.get_int("end", rank)
    return list(source.shape)[slice(start, rank if end is None else end)]


def _part_of_shape(node: onnx_ir.Node, producer: onnx_ir.Node) -> list[Array] | None:
    kept = _kept_dims(producer)
    if kept is None:
        return None
    picked: Any
    if node.op_type == "Gather":
        indices = constant(node.inputs[1])
        if indices is None or indices.size == 0 or np.abs(indices).max() > len(kept):
            return None
        picked = np.array([d if isinstance(d, int) else None for d in kept], object)[indices]
    else:
        bounds = [constant(value) for value in node.inputs[1:]]
        if len(bounds) not in (2, 3) or any(b is None or b.size != 1 for b in bounds):
            return None
        start, end = (int(b.reshape(-1)[0]) for b in bounds[:2] if b is not None)
        picked = np.array([d if isinstance(d, int) else None for d in kept[start:end]], object)
    array = np.asarray(picked, object)
    return None if any(dim is None for dim in array.reshape(-1)) else [array.astype(np.int64)]


def evaluate(node: onnx_ir.Node, opset: int) -> list[Array] | None:
    """Outputs of a node on its constant inputs by the standard's evaluator; None when it has no such operator.

    opset: the model's; subgraphs do not carry it.
    """
    arrays = Call.of(node, opset).results()
    if arrays is None or len(arrays) != len(node.outputs) or not _types_agree(node, arrays):
        return None
    return arrays


@dataclass(frozen=True)
class Call:
    """A node with what it reads, free of the graph that it stood in."""

    proto: Any
    opset: int
    fed: dict[str, onnx_ir.TensorProtocol]

    @classmethod
    def of(cls, node: onnx_ir.Node, opset: int) -> Call:
        """All inputs must be constant."""
        import onnx_ir

        values = [value for value in node.inputs if value is not None]
        fed = {value.name or "": value.const_value for value in values if value.const_value is not None}
        return cls(onnx_ir.serde.serialize_node(node), opset, fed)

    def results(self) -> list[Array] | None:
        """One array for each output; they may be views of the inputs. None where there is no evaluator."""
        import onnx
        from onnx.reference import ReferenceEvaluator

        fed = {name: tensor.numpy() for name, tensor in self.fed.items()}
        if any(array.dtype.kind in "OV" for array in fed.values()):
            return None
        proto = onnx.GraphProto(name="fold")
        proto.node.append(self.proto)
        proto.input.extend(onnx.ValueInfoProto(name=name) for name in fed)
        proto.output.extend(onnx.ValueInfoProto(name=name) for name in self.proto.output if name)
        model = onnx.helper.make_model(proto, opset_imports=[onnx.helper.make_opsetid("", self.opset)])
        try:
            with np.errstate(all="ignore"):
                found = ReferenceEvaluator(model).run(None, fed)
        except Exception:  # noqa: BLE001  # numpy code of 200 operators raises anything; an unfolded node is right too
            return None
        return [np.asarray(item) for item in found]

    def release(self) -> None:
        """Let go of memory-mapped inputs."""
        for tensor in self.fed.values():
            release(tensor)


def _types_agree(node: onnx_ir.Node, arrays: list[Array]) -> bool:
    """The evaluator may widen a type; then the node stays."""
    return all(
        value.dtype is None or (array.dtype.kind not in "OV" and value.dtype.numpy() == array.dtype)
        for value, array in zip(node.outputs, arrays, strict=True)
    )
