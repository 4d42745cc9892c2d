"""What the targets that end in an ONNX file share: options, lowering to an opset, writing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from bessemer.ir.canonical import DOMAIN, FUSED_KEY, STREAMED_KEY
from bessemer.ir.encoding import WEIGHT_KEY, Encoding, set_encoding, weight_of
from bessemer.ir.errors import Blocker, Declined, UsageError
from bessemer.ir.model import Model, layer_of
from bessemer.targets.base import HALVES, INTEGERS, Border, Prepared, source_bound

if TYPE_CHECKING:
    import onnx_ir

    from bessemer.passes.base import Pass

DEFAULT_OPSET = 21
LARGE = 1_500_000_000
"""Bytes of constants from which on they are written beside the graph."""
STREAMED = 1 << 28
"""The same for weights that the source gives one at a time (`STREAMED_KEY`)."""

MIN_IR = 4
"""The first IR version whose constants need not be inputs too."""

CLOSENESS = {
    "float32": "close(1e-4, 1e-5) or snr(80)",
    "float16": HALVES["FLOAT16"],
    "mixed": HALVES["FLOAT16"],
    "bfloat16": HALVES["BFLOAT16"],
    **dict.fromkeys(("int8", "int16x8", "int4", "int8-weights", "int8-dynamic", "fp8"), INTEGERS),
}
QUANTIZED = "close(1e-4, 1e-5) or steps(1)"
CROSSED = "steps(1) or snr(20)"
"""A quantized TFLite model in another runtime: LiteRT's integer kernels round between layers where Q/DQ does
not, and its hybrid kernels quantize activations on the fly; both differences add up over depth. Seven of
ten real models are exact or beyond 40 dB; what asks for 20 dB is depth: yolox_nano_dynamic_range_quantize (20.4 dB,
hybrid), tf2_mobilenet_v2_1.0_224_ptq (21 dB, 53 integer layers), mobilenet_v1_0.25_128_quant (26 dB)."""


class GraphOptions(BaseModel):
    """Options that every target with an ONNX file understands."""

    model_config = ConfigDict(extra="forbid")

    precision: Literal[
        "float32", "float16", "bfloat16", "mixed", "int8", "int16x8", "int4", "int8-weights", "int8-dynamic", "fp8"
    ] = Field(
        "float32",
        description="mixed: float16, with sums, powers and normalisations in float32; int8: weights and activations, "
        "from calibration data; int16x8: activations in 16 bits, weights in 8; "
        "int4, int8-weights: weights only; int8-dynamic: activations are quantized as the model "
        "runs; fp8: float8 weights and activations, from calibration data",
    )
    block: int = Field(
        32, ge=0, description="int4, int8-weights: weights in a row that share a scale; 0: each output channel has one"
    )
    symmetric: bool = Field(False, description="int4, int8-weights: no zero points")
    algorithm: Literal["rtn", "gptq", "awq", "awq+gptq"] = Field(
        "rtn", description="how int4 and int8-weights are rounded: to nearest, or better by calibration data"
    )
    clip: Literal["disabled", "mmse"] = Field(
        "disabled", description="int4, int8-weights: mmse: integers reach where the squared error is least, not extremes"
    )
    smooth: float = Field(
        0.0, ge=0, le=1, description="int8-dynamic: SmoothQuant's strength (0.5 is usual); needs calibration data"
    )
    float8: Literal["e4m3fn", "e5m2"] = Field("e4m3fn", description="fp8: which one")
    form: Literal["qdq", "qoperator"] = Field(
        "qdq",
        description="8-bit integers as Q/DQ pairs around float operators, or as operators on integers where there are some",
    )
    activations: Literal["uint8", "int8"] = Field(
        "uint8",
        description="int8: the type that holds 8-bit activations; the numbers are the same, and x86 multiplies unsigned by "
        "signed bytes several times faster",
    )
    weights: Literal["stored", "float32"] = Field(
        "stored",
        description="weights that the source stores as float16, or a GGUF file as Q4_0 or Q8_0, stay so, or become float32",
    )
    keep: tuple[str, ...] = Field((), description="globs of node, layer or operator names that stay float32")
    opset: int | None = Field(
        None,
        ge=7,
        description=f"ai.onnx opset; by default {DEFAULT_OPSET}, or the lowest above that can say the model",
    )
    external_data: Literal["auto", "always", "never"] = Field("auto", description="auto: above 1.5 GB")
    io: Literal["original", "nchw", "nhwc"] = Field(
        "original", description="axis order of rank-4 inputs and outputs"
    )
    keep_io_types: bool = Field(True, description="inputs and outputs stay float32 in a narrower model")


@dataclass
class Lowered:
    """A graph as it will be written, and what became of its borders."""

    graph: onnx_ir.Model
    opset: int
    inputs: dict[str, Border] = field(default_factory=dict)
    outputs: dict[str, Border] = field(default_factory=dict)
    values: dict[str, Border] = field(default_factory=dict)
    encodings: dict[str, Encoding] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    quantized: bool = False
    origin: str = ""


def lower(model: Model, options: GraphOptions, target: str, spelling: Sequence[Pass] = ()) -> Lowered:
    """Axis order, precision, opset, encodings: in this order, in place. Raises Declined with all blockers.

    spelling: passes that state encodings in the target's own operators; the others become Q/DQ pairs.
    """
    from bessemer.passes.border_order import order_borders
    from bessemer.passes.composites import expand_composites
    from bessemer.passes.dynamic import DynamicInt8
    from bessemer.passes.half import half_kind, store_half
    from bessemer.passes.materialize import STANDS_FOR, MaterializeQdq, needed_opset
    from bessemer.passes.opset.expansions import spell_fused
    from bessemer.passes.qdq import KERNELS_KEY
    from bessemer.passes.shapes import InferShapes
    from bessemer.passes.shield import ShieldFloats
    from bessemer.passes.transposes import SettleTransposes

    graph = model.graph
    signature = model.signature
    names = [value.name for node in graph.graph for value in node.outputs if value.name]
    quantized, half = bool(needed_opset(graph)), half_kind(graph.graph)
    notes = list(model.notes)
    if expand_composites(graph):
        InferShapes().run(graph)
    blockers = _foreign_nodes(graph)
    perms_in, perms_out = order_borders(graph.graph, options.io)
    SettleTransposes().run(graph)
    notes += _narrow(graph, options)
    for step in (*spelling, *([DynamicInt8()] if options.precision == "int8-dynamic" else [])):
        step.run(graph)
    spell_fused(graph)
    graph, opset = at_opset(graph, options.opset, target, blockers)
    MaterializeQdq(opset, contrib=target == "ort").run(graph)
    if graph.metadata_props.get(KERNELS_KEY):
        ShieldFloats().run(graph)
    if half and options.precision == "float32" and options.weights == "stored":
        store_half(graph.graph, half)
    _set_versions(graph, opset)
    after = Model(graph, model.origin).signature
    made = {value.name for node in graph.graph for value in node.outputs}
    integers = {
        held[0]: (Border(value.name or "", ""), held[1])
        for node in graph.graph
        for value in node.outputs
        if (held := value.meta.get(STANDS_FOR)) is not None and held[0] not in perms_out
    }
    return Lowered(
        graph,
        opset,
        {
            spec.name: Border(spec.name, _type_of(after.inputs, i), perms_in.get(spec.name))
            for i, spec in enumerate(signature.inputs)
        },
        {
            spec.name: Border(spec.name, _type_of(after.outputs, i), perms_out.get(spec.name))
            for i, spec in enumerate(signature.outputs)
        },
        {name: Border(name, "") for name in names if name in made and name not in perms_out}
        | {name: border for name, (border, _) in integers.items()},
        {name: encoding for name, (_, encoding) in integers.items()},
        notes,
        quantized,
        model.origin.format,
    )


def widen_blocks(graph: onnx_ir.Model) -> int:
    """Weights that the source stores as integers in blocks become the floats that they stand for; how many."""
    blocked = [
        value
        for value in graph.graph.initializers.values()
        if (weight := weight_of(value)) is not None and weight.encoding.block_size
    ]
    for value in blocked:
        set_encoding(value, None)
        del value.meta[WEIGHT_KEY]
    return len(blocked)


def integer_form(options: GraphOptions, *, contrib: bool) -> list[Pass]:
    """The passes that state encodings as the options say. Raises UsageError for a form that the precision has not."""
    from bessemer.passes.to_qoperator import QOperators, SaturatingClips
    from bessemer.passes.unsigned import UnsignedActivations

    chosen = options.precision == "int8"
    steps: list[Pass] = [UnsignedActivations()] if chosen and options.activations == "uint8" else []
    if options.form == "qdq":
        return [*steps, SaturatingClips()] if chosen else steps
    if options.precision not in ("int8", "float32"):
        raise UsageError(
            f"There are no operators on integers for {options.precision}", fix="Leave form=qoperator out, or ask for int8"
        )
    return [*steps, QOperators(contrib)]


def _type_of(specs: tuple[Any, ...], index: int) -> str:
    return str(specs[index].dtype)


def _foreign_nodes(graph: onnx_ir.Model) -> list[Blocker]:
    """Nodes of our own domain: no ONNX runtime knows them."""
    return [
        Blocker(
            node=node.name or "",
            op=node.op_type,
            layer=layer_of(node),
            rule="no-onnx-operator",
            reason="no ONNX operator means this",
        )
        for node in graph.graph.all_nodes()
        if node.domain == DOMAIN
    ]


def _narrow(graph: onnx_ir.Model, options: GraphOptions) -> list[str]:
    from bessemer.passes.narrow import NarrowFloats

    if options.precision not in ("float16", "bfloat16", "mixed"):
        return []
    step = NarrowFloats(
        dtype="bfloat16" if options.precision == "bfloat16" else "float16",
        keep=options.keep,
        sensitive=options.precision == "mixed",
        keep_io=options.keep_io_types,
    )
    return list(step.run(graph).declined)


def at_opset(
    graph: onnx_ir.Model, wanted: int | None, target: str, blockers: list[Blocker]
) -> tuple[onnx_ir.Model, int]:
    """The graph at `wanted`, or at the lowest opset from the default on that can say it.

    Raises Declined with `blockers` and everything that the opset cannot say.
    """
    from bessemer.passes.materialize import encoding_blockers, needed_opset

    newest = newest_opset()
    if wanted is not None and wanted > newest:
        raise UsageError(f"There is no opset {wanted}", fix=f"Choose 7 to {newest}")
    first = wanted if wanted is not None else max(DEFAULT_OPSET, needed_opset(graph), _native_opset(graph))
    last = wanted if wanted is not None else newest
    refused: list[Blocker] = []
    for opset in range(first, last + 1):
        copy = graph.clone() if opset < last else graph
        found = [*blockers, *encoding_blockers(copy, opset, target == "ort"), *convert_opset(copy, opset)]
        if not found:
            return copy, opset
        refused = refused or found
    raise Declined(target, refused)


def newest_opset() -> int:
    """The newest opset that is released (a runtime may be behind)."""
    import onnx

    known = onnx.helper.OP_SET_ID_VERSION_MAP
    return max(
        version
        for domain, version in known
        if domain == "ai.onnx" and version <= onnx.defs.onnx_opset_version()
    )


def _native_opset(graph: onnx_ir.Model) -> int:
    """The lowest opset that has every operator of the source itself: a decomposition is only for those who ask for
    less. What a pass fused does not count: it never makes a file newer than its source.
    """
    from bessemer.passes.opset.schemas import history

    used = (
        node.op_type
        for node in graph.graph.all_nodes()
        if node.domain in ("", "ai.onnx") and FUSED_KEY not in node.meta
    )
    return max((history(op)[0] for op in set(used) if history(op)), default=0)


def convert_opset(graph: onnx_ir.Model, opset: int) -> list[Blocker]:
    """Rewrite the graph from its opset to `opset`, in place; returns what cannot be said there."""
    from bessemer.passes.opset import ConvertOpset

    layers = {(node.op_type, node.name or ""): layer_of(node) for node in graph.graph.all_nodes()}
    blockers = []
    for line in ConvertOpset(opset).run(graph).declined:
        said = re.fullmatch(r"(\S+) '(.*?)': (.*)", line, re.DOTALL)
        op, name, reason = said.groups() if said else ("", "", line)
        name = "" if name == "None" else name
        blockers.append(Blocker(name, op, "opset", reason, layers.get((op, name), ""), "a newer --opset"))
    return blockers


def _set_versions(graph: onnx_ir.Model, opset: int) -> None:
    import onnx

    graph.graph.opset_imports[""] = opset
    graph.graph.opset_imports.pop("ai.onnx", None)
    used = {node.domain for node in graph.graph.all_nodes()} | {
        function.domain for function in graph.functions.values()
    }
    for domain in list(graph.graph.opset_imports):
        if domain and domain not in used:
            del graph.graph.opset_imports[domain]
    for domain in used - {"", "ai.onnx"}:
        graph.graph.opset_imports.setdefault(domain, 1)
    known = onnx.helper.OP_SET_ID_VERSION_MAP
    domains = [(name or "ai.onnx", version) for name, version in graph.graph.opset_imports.items()]
    graph.ir_version = max(MIN_IR, *(known.get(item, MIN_IR) for item in domains))
    graph.producer_name, graph.producer_version = "bessemer", None


def describe(lowered: Lowered, options: GraphOptions, payload: Any) -> Prepared:
    """The Prepared of a lowered graph."""
    from bessemer.passes.qdq import KERNELS_KEY
    from bessemer.passes.stats import operator_counts

    notes = list(lowered.notes)
    if lowered.graph.metadata_props.get(KERNELS_KEY) and options.precision == "float32":
        notes.append(
            "the source's integer operators became Q/DQ pairs, which ONNX Runtime joins into integer kernels"
        )
    closeness = CLOSENESS[options.precision]
    if options.precision == "float32":
        closeness = source_bound(lowered.graph, closeness)
    if lowered.quantized and options.precision == "float32":
        closeness = CROSSED if lowered.origin == "tflite" else QUANTIZED
    return Prepared(
        payload=payload,
        precision=options.precision,
        closeness=closeness,
        inputs=lowered.inputs,
        outputs=lowered.outputs,
        operators=operator_counts(lowered.graph),
        notes=notes,
        values=lowered.values,
        encodings=lowered.encodings,
    )


def constant_bytes(graph: onnx_ir.Model) -> int:
    """Bytes of all constants as they will be stored."""
    return sum(
        value.const_value.nbytes
        for part in graph.graphs()
        for value in part.initializers.values()
        if value.const_value is not None
    )


def write_graph(graph: onnx_ir.Model, path: Path, external: str) -> tuple[Path, ...]:
    """Write `graph`; external weights are copied file to file. Returns the files."""
    import onnx_ir

    size = constant_bytes(graph)
    if external == "never" and size > 2**31 - 1:
        raise UsageError(
            f"The constants take {size} bytes and protobuf ends at 2 GiB", fix="Leave --external-data at auto"
        )
    if external == "always" or (external == "auto" and (size > LARGE or keeps_external(graph))):
        beside = f"{path.name}.data"
        onnx_ir.save(
            graph,
            path,
            external_data=beside,
            size_threshold_bytes=1024,
            max_workers=1,
            max_in_flight_bytes=1 << 26,
        )
        data = path.with_name(beside)
        return (path, data) if data.exists() else (path,)
    onnx_ir.external_data.load_to_model(graph)
    onnx_ir.save(graph, path)
    return (path,)


def keeps_external(graph: onnx_ir.Model) -> bool:
    """Whether constants still lie in the source's own files: a large model stays in two parts."""
    import onnx_ir

    if graph.graph.meta.get(STREAMED_KEY) and constant_bytes(graph) > STREAMED:
        return True
    return any(
        isinstance(value.const_value, onnx_ir.ExternalTensor)
        for part in graph.graphs()
        for value in part.initializers.values()
    )
