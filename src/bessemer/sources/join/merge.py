"""Members of a join as one graph: names kept apart, sizes that wires make equal made equal, tensors never copied."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bessemer.ir.canonical import OPSET, TENSOR_KEY
from bessemer.ir.errors import Blocker, Declined, UnreadableInput
from bessemer.ir.layout import apply, identity
from bessemer.ir.model import Model, tag
from bessemer.sources.join.records import Plan, Scale, Wire

if TYPE_CHECKING:
    import onnx_ir

Dim = int | str


def merge(plan: Plan, models: Mapping[str, Model], path: Path) -> tuple[onnx_ir.Model, list[str]]:
    """The joined graph, and the members' notes. Raises Declined for a member that has no form in the canonical opset."""
    import onnx_ir

    for label, model in models.items():
        _canonical(label, model)
    ends = {label: _Ends(label, model.graph.graph, path) for label, model in models.items()}
    inputs = [ends[border.place.model].input(border.place.tensor) for border in plan.inputs]
    outputs = [ends[border.place.model].output(border.place.tensor) for border in plan.outputs]
    for label, model in models.items():
        _mark(label, model)
    _keep_apart([border.name for border in (*plan.inputs, *plan.outputs)], models)
    sizes = _Sizes()
    for label, model in models.items():
        sizes.prefix(label, model.graph.graph)
    sources = [ends[w.source.model].output(w.source.tensor) if w.output else ends[w.source.model].input(w.source.tensor)
               for w in plan.wires]  # fmt: skip
    targets = [ends[wire.to.model].input(wire.to.tensor) for wire in plan.wires]
    nodes, initializers = _taken(models.values())
    moved: dict[onnx_ir.Value, onnx_ir.Value] = {}
    for wire, source, target in zip(plan.wires, sources, targets, strict=True):
        source = moved.get(source, source)  # a model may hand an input on
        sizes.equal(source, target, wire)
        arriving, made, constants = _carried(wire, source)
        nodes += made
        initializers += constants
        onnx_ir.convenience.replace_all_uses_with(target, arriving)
        moved[target] = arriving
    graph = onnx_ir.Graph(
        inputs, [moved.get(value, value) for value in outputs], nodes=nodes, initializers=initializers,
        opset_imports=_imports(models.values()), name=path.stem,
    )  # fmt: skip
    joined = onnx_ir.Model(graph, ir_version=11, producer_name="bessemer")
    _name_borders(plan, graph)
    for model in models.values():
        joined.metadata_props.update(model.graph.metadata_props)
    sizes.settle(joined)
    joined.graph.sort()
    return joined, [f"{label}: {note}" for label, model in models.items() for note in model.notes]


def _canonical(label: str, model: Model) -> None:
    """One opset and one form, or nothing can stand in one graph."""
    from bessemer.passes.base import run_passes
    from bessemer.passes.canonicalize import Canonicalize
    from bessemer.passes.opset import opset_of
    from bessemer.passes.shapes import InferShapes
    from bessemer.passes.standard import ToCanonicalOpset

    records = run_passes(model.graph, [InferShapes(), ToCanonicalOpset(), Canonicalize(), InferShapes()])
    if opset_of(model.graph) not in (0, OPSET):
        reasons = [reason for record in records for reason in record.declined]
        raise Declined("Joining", [Blocker(label, "opset", "opset", reason) for reason in reasons])


class _Ends:
    """The borders of one member by name, as they were before anything moved."""

    def __init__(self, label: str, graph: onnx_ir.Graph, path: Path) -> None:
        self._label, self._path = label, path
        self._inputs = {value.name: value for value in graph.inputs if value.name not in graph.initializers}
        self._outputs = {value.name: value for value in graph.outputs}

    def input(self, name: str) -> onnx_ir.Value:
        """Raises UnreadableInput for a name that the member does not have."""
        return self._of(self._inputs, name, "input")

    def output(self, name: str) -> onnx_ir.Value:
        """Raises UnreadableInput for a name that the member does not have."""
        return self._of(self._outputs, name, "output")

    def _of(self, held: Mapping[str | None, onnx_ir.Value], name: str, kind: str) -> onnx_ir.Value:
        if name not in held:
            why = f"{self._label} has no {kind} '{name}'"
            raise UnreadableInput(f"{self._path} is no consistent plan of a join", why=why)
        return held[name]


def _keep_apart(borders: Iterable[str], models: Mapping[str, Model]) -> None:
    """A name that stands for something else already gets the member's label before it."""
    taken, called = set(borders), set[str]()
    for label, model in models.items():
        for graph in model.graph.graphs():
            values = (*graph.inputs, *graph.initializers.values(), *(value for node in graph for value in node.outputs))
            for value in dict.fromkeys(values):
                if value.name:
                    value.name = _free(value.name, label, taken)
            for node in graph:
                node.name = _free(node.name, label, called) if node.name else None


def _free(name: str, label: str, taken: set[str]) -> str:
    candidate, count = name, 0
    while candidate in taken:
        candidate = f"{label}/{name}" if not count else f"{label}/{name}_{count}"
        count += 1
    taken.add(candidate)
    return candidate


def _mark(label: str, model: Model) -> None:
    """What the chain of originals calls each value: 'label:name', in the original's own axis order."""
    from bessemer.passes.named import tensor_of

    graph = model.graph.graph
    for value in (*graph.inputs, *(value for node in graph for value in node.outputs)):
        held = value.meta.get(TENSOR_KEY)
        if value.name and (held is not None or value.shape is not None):
            order = held[1] if held is not None else identity(len(value.shape or ()))
            value.meta[TENSOR_KEY] = (f"{label}:{tensor_of(value)}", order)


def _taken(models: Iterable[Model]) -> tuple[list[onnx_ir.Node], list[onnx_ir.Value]]:
    """Nodes and constants, out of their graphs."""
    nodes: list[onnx_ir.Node] = []
    initializers: list[onnx_ir.Value] = []
    for model in models:
        graph = model.graph.graph
        graph.outputs.clear()
        own = list(graph)
        graph.remove(own)
        held = list(graph.initializers.values())
        graph.initializers.clear()
        graph.inputs.clear()
        nodes += own
        initializers += held
    return nodes, initializers


def _carried(
    wire: Wire, source: onnx_ir.Value
) -> tuple[onnx_ir.Value, list[onnx_ir.Node], list[onnx_ir.Value]]:
    """The source as the input wants it, and the nodes and constants that make it so."""
    import numpy as np
    import onnx_ir

    from bessemer.ir.types import named_dtype

    made: list[onnx_ir.Node] = []
    constants: list[onnx_ir.Value] = []
    for op, attributes, held in _steps(wire):
        name = f"{wire.to.model}/{wire.to.tensor}/{op}"
        value = onnx_ir.Value(name=name, type=source.type)
        operands = [source]
        if held is not None:
            zero = np.array(held.zero_point, held.dtype)
            operands += [_constant(f"{name}/scale", np.float32(held.scale)), _constant(f"{name}/zero_point", zero)]
            kind = "float32" if op == "DequantizeLinear" else held.dtype
            value.type = onnx_ir.TensorType(onnx_ir.DataType.from_numpy(np.dtype(kind)))
        if op == "Cast":
            target = onnx_ir.DataType.from_numpy(np.dtype(named_dtype(wire.cast)))
            value.type, attributes = onnx_ir.TensorType(target), {"to": int(target)}
        if source.shape is not None:
            dims = source.shape.dims
            value.shape = onnx_ir.Shape(apply(wire.order, dims) if op == "Transpose" and wire.order else dims)
        node = onnx_ir.node(op, operands, attributes=attributes, outputs=[value])
        node.name = value.name
        made.append(tag(node, f"{wire.to.model}:{wire.to.tensor}"))
        constants += operands[1:]
        source = value
    return source, made, constants


def _constant(name: str, number: Any) -> onnx_ir.Value:
    import onnx_ir

    tensor = onnx_ir.tensor(number, name=name)
    return onnx_ir.Value(name=name, shape=onnx_ir.Shape([]), type=onnx_ir.TensorType(tensor.dtype), const_value=tensor)


def _steps(wire: Wire) -> list[tuple[str, dict[str, Any], Scale | None]]:
    """Operators on the way, with their attributes and what integers mean there."""
    steps: list[tuple[str, dict[str, Any], Scale | None]] = []
    if wire.order is not None:
        steps.append(("Transpose", {"perm": list(wire.order)}, None))
    if wire.dequantize is not None:
        steps.append(("DequantizeLinear", {}, wire.dequantize))
    if wire.quantize is not None:
        steps.append(("QuantizeLinear", {}, wire.quantize))
    return [*steps, ("Cast", {}, None)] if wire.cast else steps


def _imports(models: Iterable[Model]) -> dict[str, int]:
    """Every domain that a member uses; of two versions the newer (only the canonical one is checked to agree)."""
    found: dict[str, int] = {"": OPSET}
    for model in models:
        for domain, version in model.graph.graph.opset_imports.items():
            name = "" if domain == "ai.onnx" else domain
            found[name] = max(version, found.get(name, 0))
    return found


def _name_borders(plan: Plan, graph: onnx_ir.Graph) -> None:
    """Inputs and outputs under the plan's names; an output that is given twice, or is an input, gets a node of its own."""
    import onnx_ir

    for border, value in zip(plan.inputs, graph.inputs, strict=True):
        value.name = border.name
    seen: set[onnx_ir.Value] = set()
    for place, border in enumerate(plan.outputs):
        value = graph.outputs[place]
        if value in seen or value.is_graph_input() or value.is_initializer():
            copy = onnx_ir.Value(name=border.name, shape=value.shape, type=value.type)
            copy.meta.update(value.meta)
            node = onnx_ir.node("Identity", [value], outputs=[copy])
            node.name = border.name
            graph.append(node)
            graph.outputs[place] = value = copy
        value.name = border.name
        seen.add(value)


class _Sizes:
    """Names of unbound dims: a member's own until a wire says that two are one."""

    def __init__(self) -> None:
        self._is: dict[str, Dim] = {}

    def prefix(self, label: str, graph: onnx_ir.Graph) -> None:
        """Names of different members mean different sizes."""
        _rename(graph, lambda name: f"{label}/{name}")

    def equal(self, source: onnx_ir.Value, target: onnx_ir.Value, wire: Wire) -> None:
        """What flows has one shape at both ends."""
        if source.shape is None or target.shape is None:
            return
        if len({len(source.shape), len(target.shape), len(wire.order or source.shape)}) > 1:
            why = f"{wire.to.model}:{wire.to.tensor} has other axes than what feeds it"
            raise UnreadableInput("The plan of the join is not consistent", why=why)
        dims = tuple(source.shape) if wire.order is None else apply(wire.order, tuple(source.shape))
        for mine, theirs in zip(dims, target.shape, strict=True):
            self._unite(_dim(mine), _dim(theirs))

    def settle(self, model: onnx_ir.Model) -> None:
        """Every size under its final name; a name that only one member uses loses its label."""
        _rename(model.graph, self._found)
        left = sorted({dim for value in _values(model.graph) for dim in _names(value)})
        plain: dict[str, str] = {}
        for name in left:
            short = name.partition("/")[2] or name
            plain[name] = name if short in plain.values() else short
        _rename(model.graph, plain.__getitem__)

    def _unite(self, mine: Dim | None, theirs: Dim | None) -> None:
        mine, theirs = (self._found(dim) if isinstance(dim, str) else dim for dim in (mine, theirs))
        if mine is None or theirs is None or mine == theirs:
            return
        if isinstance(theirs, str):
            self._is[theirs] = mine
        elif isinstance(mine, str):
            self._is[mine] = theirs

    def _found(self, name: str) -> Dim:
        dim: Dim = name
        while isinstance(dim, str) and dim in self._is:
            dim = self._is[dim]
        return dim


def _values(graph: onnx_ir.Graph) -> Iterator[onnx_ir.Value]:
    for part in (graph, *graph.subgraphs()):
        yield from part.inputs
        for node in part:
            yield from node.outputs


def _dim(dim: Any) -> Dim | None:
    return dim if isinstance(dim, int) else dim.value


def _names(value: onnx_ir.Value) -> list[str]:
    dims = () if value.shape is None else tuple(map(_dim, value.shape))
    return [dim for dim in dims if isinstance(dim, str)]


def _rename(graph: onnx_ir.Graph, renamed: Callable[[str], Dim]) -> None:
    import onnx_ir

    for value in _values(graph):
        if value.shape is not None and _names(value):
            dims = map(_dim, value.shape)
            value.shape = onnx_ir.Shape([renamed(dim) if isinstance(dim, str) else dim for dim in dims])
