"""A checkpoint of a known causal architecture as a graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bessemer.architectures.base import Family, find
from bessemer.ir.canonical import STREAMED_KEY
from bessemer.ir.checkpoint import Checkpoint, Lazy
from bessemer.ir.decoder import Decoder
from bessemer.ir.errors import Blocker, Declined, UnreadableInput, UsageError
from bessemer.ir.model import Model
from bessemer.ir.signature import Signature, TensorSpec
from bessemer.passes.half import note_half
from bessemer.runners.decoder.border import border
from bessemer.runners.decoder.checking import Contradiction, check
from bessemer.runners.decoder.runner import DecoderRunner
from bessemer.runners.decoder.session import DecoderSession
from bessemer.runners.decoder.wiring import Wiring
from bessemer.sources.decoder.operations import Drawn
from bessemer.sources.decoder.weights import most_stored
from bessemer.sources.drawing import Drawing

if TYPE_CHECKING:
    import onnx_ir

Shapes = Mapping[str, tuple[int | str | tuple[int, int], ...]]
TASKS = {"text-generation-with-past": True, "text-generation": False}
"""Tasks that a causal decoder is drawn for -> whether keys and values of earlier tokens go in and come out."""


@dataclass(frozen=True)
class Known:
    """A checkpoint of an architecture that has a table, as a decoder and its weights by role."""

    family: Family
    decoder: Decoder
    roles: dict[str, Lazy]


def known(checkpoint: Checkpoint) -> Known:
    """Raises Declined for an architecture that is unknown or no causal decoder, UnreadableInput for weights that contradict
    the settings."""
    family = find(checkpoint.config)
    roles = family.roles(checkpoint)  # first: it takes no more layers than there are weights for
    decoder = family.decoder(checkpoint.config)
    if decoder is None or not decoder.causal:
        why = "its layers are no attention and feed-forward" if decoder is None else "it is no model that generates text"
        blocker = Blocker("", family.name, "no-decoder", f"the table draws no graph of it: {why}")
        raise Declined("Bessemer", [blocker])
    try:
        check(decoder, {role: tensor.shape for role, tensor in roles.items()})
    except Contradiction as error:
        where = checkpoint.origin.path
        raise UnreadableInput(f"The weights of {where} contradict its settings", why=str(error)) from None
    return Known(family, decoder, roles)


def model_of(checkpoint: Checkpoint, task: str | None = None, shapes: Shapes | None = None) -> Model:
    """The graph of a task of `TASKS`. shapes: input -> sizes; a name that gets one has it everywhere.

    Raises Declined, and UsageError for another task or an input that is not there.
    """
    past = _past(task)
    held = known(checkpoint)
    graph = draw(held.decoder, held.roles, bound(border(held.decoder, past=past), shapes or {}))
    graph.graph.name = checkpoint.origin.path.resolve().stem or "decoder"  # `ort` names the file of the weights after it
    said = f"{task} (asked for)" if task else f"{next(iter(TASKS))} (what the architecture is for)"
    note = f"Task: {said}; the graph is drawn from the table of the architecture '{held.family.name}'"
    return Model(graph, checkpoint.origin, [note, *held.decoder.notes, *checkpoint.notes], companions=checkpoint.companions)


def session_of(checkpoint: Checkpoint, task: str | None = None) -> DecoderSession:
    """The reference evaluator behind the graph's border. Raises as `model_of`."""
    held = known(checkpoint)
    return DecoderSession(DecoderRunner(held.decoder, held.roles), past=_past(task))


def _past(task: str | None) -> bool:
    name = task or next(iter(TASKS))
    if name not in TASKS:
        raise UsageError(f"--task {name} is none that a table of an architecture draws", fix=f"Choose {' or '.join(TASKS)}")
    return TASKS[name]


def bound(signature: Signature, shapes: Shapes) -> Signature:
    """With the sizes that a user fixed: the same name means the same size everywhere, in sums as well. Raises UsageError."""
    known = {spec.name: spec.shape for spec in signature.inputs}
    for name in shapes:
        if name not in known:
            raise UsageError(f"--shape {name} fits no input of this model", fix=f"It has: {', '.join(known)}")
    said = {
        axis: size
        for name, sizes in shapes.items()
        for axis, size in zip(known[name], sizes, strict=False)
        if isinstance(axis, str) and isinstance(size, int)
    }
    return Signature(*(tuple(_sized(spec, said) for spec in side) for side in (signature.inputs, signature.outputs)))


def _sized(spec: TensorSpec, sizes: Mapping[str, int]) -> TensorSpec:
    def one(axis: int | str | None) -> int | str | None:
        if not isinstance(axis, str) or axis in sizes:
            return sizes.get(str(axis), axis)
        terms = [sizes.get(term, term) for term in axis.split(" + ")]
        numbers = [term for term in terms if isinstance(term, int)]
        return sum(numbers) if len(numbers) == len(terms) else " + ".join(map(str, terms))

    return TensorSpec(spec.name, spec.dtype, tuple(map(one, spec.shape)))


def draw(decoder: Decoder, roles: Mapping[str, Lazy], signature: Signature) -> onnx_ir.Model:
    """A canonical graph between a border of `runners.decoder.border`. Raises KeyError for a role without weights."""
    import onnx_ir

    drawing = Drawing([])
    inputs = {spec.name: _input(drawing, spec) for spec in signature.inputs}
    drawn = Drawn(decoder, drawing, inputs, roles)
    wiring = Wiring(decoder, drawn)
    hidden = wiring.hidden()
    drawing.layer = "output"
    answers = [wiring.logits(hidden), *drawn.attention.present]
    for value, spec in zip(answers, signature.outputs, strict=True):
        value.name, value.shape = spec.name, onnx_ir.Shape(list(spec.shape))
        value.type = onnx_ir.TensorType(onnx_ir.DataType.FLOAT)
    graph = drawing.graph(list(inputs.values()), answers, "decoder")
    graph.meta[STREAMED_KEY] = True
    kind = most_stored(roles)
    if kind:
        note_half(graph, kind)
    return onnx_ir.Model(graph, ir_version=11, producer_name="bessemer")


def _input(drawing: Drawing, spec: TensorSpec) -> onnx_ir.Value:
    import onnx_ir

    kind = onnx_ir.DataType.INT64 if spec.dtype == "int64" else onnx_ir.DataType.FLOAT
    return onnx_ir.Value(
        name=drawing.unique(spec.name), shape=onnx_ir.Shape(list(spec.shape)), type=onnx_ir.TensorType(kind)
    )
