"""A task of a model as a canonical-to-be graph: traced with free axes where the model allows them.

The graph computes in float32 even where the weights are half as wide: ONNX runtimes on CPUs have few kernels for bfloat16.
Its parameters are then placeholders that nobody touches, and the stored halves are widened when they are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bessemer.ir.canonical import COMPUTED_KEY, LAYER_KEY, SIZES_KEY
from bessemer.ir.errors import Blocker, Declined
from bessemer.ir.model import Model, Origin
from bessemer.passes.half import note_half
from bessemer.sources.huggingface.mapped import Mapped
from bessemer.sources.huggingface.tasks.base import BATCH, Plan, Port, sized
from bessemer.sources.huggingface.tracing import Bounds, bounded, trace

if TYPE_CHECKING:
    import onnx_ir

HALVES = {"torch.float16": "FLOAT16", "torch.bfloat16": "BFLOAT16"}
WRAPPED = "wrapped"
"""What the wrapper calls the model."""
SPATIAL = {"height": 224, "width": 224}
"""Sides of an image where a model takes one size and says none."""


@dataclass
class Wide:
    """A model whose narrow parameters became float32 placeholders. stored: address of one -> what it stands for."""

    kind: str = ""
    stored: dict[int, Any] = field(default_factory=dict)


def export(plan: Plan, origin: Origin, mapped: Mapped) -> Model:
    """The graph of a plan. Raises Declined with what torch cannot trace or its exporter cannot write."""
    model = plan.model
    wide = widen(model)
    refused: Declined | None = None
    for ports, note in _attempts(plan):
        try:
            found = _exported(plan, ports, origin)
        except Declined as refusal:
            refused = refused or refusal
            continue
        why = f": {refused.blockers[0].reason}" if refused is not None and refused.blockers else ""
        found.notes += [*plan.notes, *([note + why] if note else [])]
        _restore(found.graph, wide, mapped)
        return found
    raise refused or Declined("torch.export", [Blocker("", type(model).__name__, "torch-export", "nothing to trace")])


def _attempts(plan: Plan) -> Iterator[tuple[tuple[Port, ...], str]]:
    """The ports as they are; with fixed sides of images; with all sizes fixed."""
    yield plan.ports, ""
    free = {axis for port in plan.ports for axis in port.axes if isinstance(axis, str)}
    if free & set(SPATIAL):
        said = " x ".join(str(SPATIAL[axis]) for axis in SPATIAL)
        note = f"Height and width are fixed at {said} (--shape says others), since they cannot be free"
        yield _fixed(plan.ports, SPATIAL), note
    if any(name.endswith(BATCH) for name in free):
        sizes = {name: 1 if name.endswith(BATCH) else SPATIAL.get(name, plan.sizes.get(name, 8)) for name in free}
        said = ", ".join(f"{name} {size}" for name, size in sorted(sizes.items()))
        note = f"All sizes are fixed ({said}; --shape says others), since they cannot be free"
        yield _fixed(plan.ports, sizes), note


def _fixed(ports: Sequence[Port], sizes: Mapping[str, int]) -> tuple[Port, ...]:
    return tuple(Port(port.name, port.kind, tuple(sized(axis, sizes) for axis in port.axes), port.rows) for port in ports)


def _exported(plan: Plan, ports: Sequence[Port], origin: Origin) -> Model:
    from bessemer.sources.torch.export import to_model

    answers: list[str] = []
    program, bounds = trace(flat(plan, ports, answers), ports, example(ports, plan.sizes))
    names = _symbols(program, ports)
    found = to_model(
        program, origin=origin, input_names=[port.name for port in ports], output_names=answers, axis_names=names
    )
    _unwrap(found.graph)
    found.notes += [note] if (note := bounded(bounds)) else []
    for value, port in zip(found.graph.graph.inputs, ports, strict=True):
        value.meta[SIZES_KEY] = _tried(port, bounds, plan.sizes)
    return found


def _unwrap(graph: onnx_ir.Model) -> None:
    """Weights and layers are called as the checkpoint calls them, without the wrapper around the model."""
    for value in list(graph.graph.initializers.values()):
        own = (value.name or "").removeprefix(f"{WRAPPED}.")
        if own != value.name and own not in graph.graph.initializers:
            graph.graph.initializers.pop(value.name or "")
            value.name = own
            graph.graph.initializers.add(value)
    parts = (graph.graph, *(function.graph for function in graph.functions.values()))
    for node in (node for part in parts for node in part.all_nodes()):
        layers = node.metadata_props.get(LAYER_KEY, "")
        if layers:
            own = ";".join(layer.removeprefix(f"{WRAPPED}.") for layer in layers.split(";") if layer != WRAPPED)
            node.metadata_props[LAYER_KEY] = own or _called(node)


def _called(node: onnx_ir.Node) -> str:
    """What a node of no layer is called after."""
    return node.name or node.op_type


def _tried(port: Port, bounds: Bounds, sizes: Mapping[str, int]) -> dict[int, tuple[int, int]]:
    """Two sizes of each axis that does not take small ones."""
    low = {place: bounds.get(str(axis), (None, None))[0] or 0 for place, axis in enumerate(port.axes)}
    first = {place: max(least, sizes.get(str(port.axes[place]), 0)) for place, least in low.items() if least > 2}
    return {place: (size, size * 3 // 2) for place, size in first.items()}


def flat(plan: Plan, ports: Sequence[Port], answers: list[str]) -> Any:
    """A module from tensors in the order of the ports to a tuple of answers; it writes their names into `answers`,
    which is none of its own (torch takes back what tracing does to a module)."""
    import torch

    class Flat(torch.nn.Module):  # type: ignore[misc]  # torch is untyped here
        def __init__(self) -> None:
            super().__init__()
            self.wrapped = plan.model

        def forward(self, *tensors: Any) -> tuple[Any, ...]:
            answer = plan.call({port.name: tensor for port, tensor in zip(ports, tensors, strict=True)})
            answers[:] = answer
            return tuple(answer.values())

    return Flat().eval()


def example(ports: Sequence[Port], sizes: Mapping[str, int]) -> tuple[Any, ...]:
    """Tensors to trace with: ids in range, masks of ones, positions in order, noise."""
    import torch

    generator = torch.Generator().manual_seed(0)
    found = []
    for port in ports:
        shape = [sized(axis, sizes) for axis in port.axes]
        if port.kind == "float32":
            found.append(torch.randn(shape, generator=generator))
        elif "mask" in port.name:
            found.append(torch.ones(shape, dtype=torch.int64))
        elif port.name == "position_ids":
            found.append(torch.arange(shape[1]).expand(shape).contiguous())
        else:
            found.append(torch.randint(0, max(port.rows, 2), shape, generator=generator))
    return tuple(found)


def _symbols(program: Any, ports: Sequence[Port]) -> dict[str, str]:
    """What the program calls an axis -> what we call it."""
    inputs = [spec.arg.name for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"]
    held = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    found: dict[str, str] = {}
    for name, port in zip(inputs, ports, strict=True):
        for dim, axis in zip(held[name].shape, port.axes, strict=True):
            if isinstance(axis, str) and not isinstance(dim, int) and str(dim).isidentifier():
                found.setdefault(str(dim), axis)
    return found


def widen(model: Any) -> Wide:
    """Narrow parameters become float32 ones whose memory is reserved, never touched; narrow tables are converted."""
    import torch

    wide = Wide()
    for parameter in model.parameters():
        kind = HALVES.get(str(parameter.dtype), "")
        if kind:
            stored = parameter.data
            parameter.data = torch.empty(stored.shape, dtype=torch.float32)
            wide.stored[parameter.data_ptr()] = stored
            wide.kind = kind
    for module in model.modules():
        for name, table in list(module._buffers.items()):
            if table is not None and str(table.dtype) in HALVES:
                module._buffers[name] = table.float()
    return wide


def _restore(graph: onnx_ir.Model, wide: Wide, mapped: Mapped) -> None:
    """Initializers read the mapped files: the placeholders' stored halves, and what lies there as it is."""
    for value in graph.graph.initializers.values():
        raw: Any = getattr(value.const_value, "raw", None)
        if not hasattr(raw, "data_ptr"):
            continue
        stored = wide.stored.get(raw.data_ptr())
        if stored is not None or (mapped.holds(raw) and raw.is_contiguous()):
            value.const_value = mapped.lazy(raw.detach() if stored is None else stored)
    if wide.kind:
        note_half(graph.graph, wide.kind)
        graph.graph.meta[COMPUTED_KEY] = wide.kind
