"""The TFLite target: lower, write, run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bessemer.ir.errors import Blocker, Declined, UsageError
from bessemer.ir.model import Model
from bessemer.targets.base import HALVES, INTEGERS, Artifact, Prepared, source_bound
from bessemer.targets.tflite.options import TFLiteOptions

if TYPE_CHECKING:
    import onnx_ir as ir

    from bessemer.runners.base import Runner

CLOSENESS = {
    "float32": "close(1e-4, 1e-4)",
    "float16": HALVES["FLOAT16"],
    "int8": INTEGERS,
    "int16x8": "snr(20) or top1(0.95)",
    "int8x4": INTEGERS,
    "int8-dynamic": "snr(20) or top1(0.95)",
}

INTEGER = {"tflite": "steps(1) or snr(45)", "": "steps(2) or snr(15)"}
"""Bounds of integer models. LiteRT's own integers come back as they were (every real model measured: exact); what is
left is for cells emulated in floats. Another runtime's integers come back but for ties: ONNX Runtime scales its sums
in floats and rounds halves to even, LiteRT in fixed point and upwards. Layer by layer of mobilenet_v2_quant.onnx one
element in 100,000 is a step off behind the first convolution, one in 600 behind the tenth, two in three behind the
last: 16.2 dB on noise, all of it ties (a requantization to blame would show as a layer that departs at once)."""

REROUNDED = "snr(20)"
"""A hybrid recurrent layer written in other operators: its kernel rounds the float activations of every step to eight
bits, the operators that stand for it do so elsewhere or not at all (32 to 53 dB on single layers)."""


class TFLiteTarget:
    """Writes .tflite files for LiteRT."""

    options = TFLiteOptions

    def prepare(self, model: Model, options: Any) -> Prepared:
        """Lower `model`, which is consumed. Raises Declined with all blockers."""
        from bessemer.passes.half import half_kind
        from bessemer.targets.tflite.borders import landmarks, place_inputs, place_outputs
        from bessemer.targets.tflite.builder import Module
        from bessemer.targets.tflite.context import Context
        from bessemer.targets.tflite.driver import lower_nodes
        from bessemer.targets.tflite.legalize import legalize
        from bessemer.targets.tflite.reshapes import join_reshapes

        graph = model.graph.graph
        legalize(model.graph)
        if options.precision == "int8-dynamic":
            _need_hybrid(model)
        closeness = source_bound(model.graph, CLOSENESS[options.precision])
        prepared = Prepared(Module(description=options.description), options.precision, closeness)
        prepared.notes.extend(model.notes)
        ctx = Context(prepared.payload, options, graph.name or "main")
        ctx.narrow = narrow_encodings(graph)
        ctx.half = half_kind(graph) == "float16" and options.weights == "stored"
        blockers: list[Blocker] = ctx.blockers
        place_inputs(ctx, graph, blockers, prepared)
        if not blockers:
            lower_nodes(ctx, graph, blockers)
            place_outputs(ctx, graph, blockers, prepared)
        if blockers:
            raise Declined("tflite", blockers)
        ctx.forget(join_reshapes(ctx.sub))
        landmarks(ctx, graph, prepared)
        if options.precision.startswith("int"):
            prepared.closeness = CLOSENESS[options.precision]
            prepared.notes.extend(_in_float(ctx))
        elif any(value_encoded(ctx, value) for node in graph for value in node.outputs):
            prepared.closeness = INTEGER["tflite" if model.origin.format == "tflite" else ""]
        elif any(rerounded(node) for node in model.graph.graph.all_nodes()):
            prepared.closeness = REROUNDED
        prepared.operators = prepared.payload.counts()
        return prepared

    def write(self, prepared: Prepared, out: Path, stem: str) -> Artifact:
        """Write `stem`.tflite. Raises Declined when the file would pass 2 GiB."""
        from bessemer.targets.tflite.write import to_records
        from bessemer.wire.errors import WireError
        from bessemer.wire.tflite import write

        path = out / f"{stem}.tflite"
        try:
            write(to_records(prepared.payload), path)
        except WireError as error:
            blocker = Blocker("", "File", "file-size", str(error), rewrite="store weights as float16 or int8")
            raise Declined("tflite", [blocker]) from error
        return Artifact("tflite", path, (path,))

    def runner(self, artifact: Path) -> Runner:
        """See `run`."""
        from bessemer.targets.tflite.run import runner

        return runner(artifact)


def _need_hybrid(model: Model) -> None:
    """Raise UsageError for a model whose weights nobody made integers."""
    from bessemer.ir.canonical import HYBRID_KEY

    if not any(HYBRID_KEY in node.metadata_props for node in model.graph.graph.all_nodes()):
        raise UsageError("int8-dynamic asks for integer weights, and the model has none", fix="Quantize them first")


def _in_float(ctx: Any) -> list[str]:
    """A note on operators between integers that compute in float."""
    if not ctx.floated:
        return []
    names = ", ".join(f"{node.op_type} '{node.name or node.outputs[0].name}'" for node in ctx.floated[:5])
    more = f" and {len(ctx.floated) - 5} more" if len(ctx.floated) > 5 else ""
    return [f"LiteRT has no integer kernel for {names}{more}: computed in float between DEQUANTIZE and QUANTIZE."]


def value_encoded(ctx: Any, value: ir.Value) -> bool:
    """Whether a computed value is written as integers."""
    return ctx.encoding(value) is not None and not ctx.is_const(value)


def rerounded(node: ir.Node) -> bool:
    """Whether the original quantizes the activations of this step of a layer where the artifact does not."""
    from bessemer.ir.canonical import HYBRID_KEY, STATE_KEY

    return HYBRID_KEY in node.metadata_props and node.metadata_props.get(STATE_KEY) == "zero"


def narrow_encodings(graph: ir.Graph) -> bool:
    """Whether UINT8 values should be written as INT8: no when the weights themselves are asymmetric UINT8."""
    from bessemer.ir.encoding import weight_of

    weights = (weight_of(value) for node in graph for value in node.inputs)
    kinds = {weight.encoding.dtype for weight in weights if weight is not None}
    return "INT8" in kinds and "UINT8" not in kinds


TARGET = TFLiteTarget()
