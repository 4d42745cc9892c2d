"""A checkpoint of a known causal architecture as a graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bessemer.architectures.base import Family, find
from bessemer.ir.checkpoint import Checkpoint, Lazy
from bessemer.ir.decoder import Decoder
from bessemer.ir.errors import Blocker, Declined, UsageError
from bessemer.ir.model import Model
from bessemer.ir.signature import TensorSpec
from bessemer.passes.half import note_half
from bessemer.runners.decoder.border import border
from bessemer.runners.decoder.wiring import Wiring
from bessemer.sources.decoder.operations import Drawn
from bessemer.sources.decoder.weights import most_stored
from bessemer.sources.drawing import Drawing

if TYPE_CHECKING:
    import onnx_ir

TASKS = {"text-generation-with-past": True, "text-generation": False}
"""Tasks that a causal decoder is drawn for -> whether keys and values of earlier tokens go in and come out."""


def decoder_of(checkpoint: Checkpoint) -> tuple[Family, Decoder]:
    """The table and what it computes. Raises Declined for an architecture that is unknown or no causal decoder."""
    family = find(checkpoint.config)
    decoder = family.decoder(checkpoint.config)
    if decoder is None or not decoder.causal:
        why = "its layers are no attention and feed-forward" if decoder is None else "it is no model that generates text"
        blocker = Blocker("", family.name, "no-decoder", f"the table draws no graph of it: {why}")
        raise Declined("Bessemer", [blocker])
    return family, decoder


def model_of(checkpoint: Checkpoint, task: str | None = None) -> Model:
    """The graph of a task of `TASKS`. Raises Declined, and UsageError for another task."""
    name = task or "text-generation-with-past"
    if name not in TASKS:
        raise UsageError(f"--task {name} is none that a table of an architecture draws", fix=f"Choose {' or '.join(TASKS)}")
    family, decoder = decoder_of(checkpoint)
    roles = family.roles(checkpoint)
    graph = draw(decoder, roles, past=TASKS[name])
    said = "asked for" if task else "what the architecture is for"
    note = f"Task: {name} ({said}); the graph is drawn from the table of the architecture '{family.name}'"
    return Model(graph, checkpoint.origin, [note, *decoder.notes, *checkpoint.notes], companions=checkpoint.companions)


def draw(decoder: Decoder, roles: Mapping[str, Lazy], *, past: bool) -> onnx_ir.Model:
    """A canonical graph with the border of `runners.decoder.border`. Raises KeyError for a role without weights."""
    import onnx_ir

    drawing, signature = Drawing([]), border(decoder, past=past)
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
