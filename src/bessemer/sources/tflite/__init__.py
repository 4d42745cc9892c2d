"""TFLite flatbuffers: records to a canonical, channels-first graph; quantized tensors become encodings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bessemer.ir.canonical import RANGE_KEY
from bessemer.ir.errors import UnreadableInput, UsageError
from bessemer.ir.model import Model, Origin
from bessemer.ir.unread import Unread
from bessemer.sources.base import OpenOptions

if TYPE_CHECKING:
    from bessemer.runners.base import Runner
    from bessemer.sources.tflite.context import Context, Unsupported
    from bessemer.wire.tflite.records import Model as File
    from bessemer.wire.tflite.records import Operator, SubGraph


class TfliteSource:
    """Reads .tflite; see `Source`."""

    def open(self, path: Path, options: OpenOptions) -> Model:
        """Parse `path`; raises UnreadableInput for broken files, Declined for operators with no meaning in ONNX."""
        file = parse(path)
        subgraph, names = choose(file, path, options.signature)
        try:
            return build(file, subgraph, names, path)
        except (IndexError, KeyError, OverflowError, MemoryError) as error:
            why = f"{type(error).__name__}: {error}"
            raise UnreadableInput(
                f"{path} is broken or hostile", why=f"its records contradict each other ({why})"
            ) from None

    def runner(self, path: Path, options: OpenOptions) -> Runner:
        """The file in LiteRT."""
        from bessemer.runners.litert import LiteRTRunner

        parse(path)
        return LiteRTRunner(path, options.signature)


def parse(path: Path) -> File:
    """Records of the file; raises UnreadableInput saying where it is broken."""
    from bessemer.wire.errors import WireError
    from bessemer.wire.tflite import read

    try:
        return read(path)
    except WireError as error:
        raise UnreadableInput(f"{path} is broken or hostile", why=str(error)) from None


def choose(file: File, path: Path, signature: str | None) -> tuple[SubGraph, dict[int, str]]:
    """The subgraph of the named signature (None: the first), and the names its borders go by there."""
    if not file.subgraphs:
        raise UnreadableInput(f"{path} is broken or hostile", why="it has no subgraph")
    keys = {item.signature_key: item for item in file.signature_defs or []}
    if signature is None and not keys:
        return file.subgraphs[0], {}
    chosen = keys.get(signature) if signature is not None else next(iter(keys.values()))
    if chosen is None:
        known = ", ".join(str(key) for key in keys) or "none"
        raise UsageError(f"{path} has no signature '{signature}'", fix=f"Its signatures: {known}")
    borders = [*(chosen.inputs or []), *(chosen.outputs or [])]
    return file.subgraphs[chosen.subgraph_index], {
        item.tensor_index: item.name for item in borders if item.name
    }


def build(file: File, subgraph: SubGraph, names: dict[int, str], path: Path) -> Model:
    """The canonical graph of one subgraph."""
    import onnx_ir

    from bessemer.ir.encoding import encoding_of
    from bessemer.passes.half import note_half
    from bessemer.passes.qdq import KERNELS_KEY
    from bessemer.sources.tflite.context import Context
    from bessemer.sources.tflite.tensors import Constants

    notes: list[str] = []
    context = Context(file, subgraph, Constants(file), notes)
    inputs = [read_input(context, index, names.get(index)) for index in subgraph.inputs]
    read_operators(context, file, path)
    outputs = read_outputs(context, names)
    graph = context.graph(inputs, outputs, subgraph.name or path.stem)
    if context.constants.half:
        note_half(graph)
    for value, span in zip(graph.inputs, stated_ranges(file, subgraph), strict=False):
        if span is not None:
            value.meta[RANGE_KEY] = span
    model = onnx_ir.Model(graph, ir_version=11, producer_name="bessemer")
    if any(encoding_of(value) is not None for node in context.nodes for value in node.outputs):
        model.metadata_props[KERNELS_KEY] = "integer"
    read = Model(model, Origin("tflite", path, details(file)), notes)
    if context.blockers:
        raise Unread(f"Reading {path.name}: ONNX", context.blockers, read)
    return read


def stated_ranges(file: File, subgraph: SubGraph) -> list[tuple[float, float] | None]:
    """What the file's metadata says of the inputs of its first subgraph; broken metadata says nothing."""
    from bessemer.wire.errors import WireError
    from bessemer.wire.tflite import metadata

    place = next((item.buffer for item in file.metadata if item.name == metadata.NAME), None)
    held = None if place is None else file.buffers[place].data
    if not isinstance(held, bytes | memoryview) or subgraph is not file.subgraphs[0]:
        return []
    try:
        return metadata.input_ranges(held)
    except WireError:
        return []


def read_input(context: Context, index: int, public: str | None) -> Any:
    """A graph input in the file's own order and type; integers are dequantized behind it."""
    import onnx_ir

    from bessemer.sources.tflite.context import TENSOR_KEY
    from bessemer.sources.tflite.ops.quantization import dequantize
    from bessemer.sources.tflite.tensors import dtype_of, is_quantized

    record = context.tensor(index)
    shape = [
        f"{context.name(index)}_{i}" if dim is None else dim for i, dim in enumerate(context.shape(index))
    ]
    value = onnx_ir.Value(
        name=context.unique(public or context.name(index)),
        shape=onnx_ir.Shape(shape),
        type=onnx_ir.TensorType(dtype_of(record)),
    )
    value.meta[TENSOR_KEY] = (context.name(index), tuple(range(context.rank(index))))
    if is_quantized(record):
        context.layer = context.name(index)
        dequantize(context, index, value)
    else:
        context.register(index, value, tuple(range(context.rank(index))))
    return value


def read_outputs(context: Context, names: dict[int, str]) -> list[Any]:
    """All graph outputs; what nothing makes is a blocker, unless operators were: then that is why."""
    from bessemer.sources.tflite.context import Unsupported
    from bessemer.sources.tflite.ops.signal import refuse_complex_output

    outputs, known = [], list(context.blockers)
    for index in context.subgraph.outputs:
        try:
            refuse_complex_output(context, index)
            outputs.append(read_output(context, index, names.get(index)))
        except Unsupported as problem:
            context.layer = context.name(index)
            own = problem.rule == "complex"
            outputs += context.stand_in("output", problem, [], because=() if own else known)
    return outputs


def read_output(context: Context, index: int, public: str | None) -> Any:
    """A graph output in the file's own order and type, under its own name."""
    from bessemer.sources.tflite.context import TENSOR_KEY
    from bessemer.sources.tflite.ops.quantization import quantize
    from bessemer.sources.tflite.tensors import dtype_of, is_quantized

    record, name = context.tensor(index), public or context.name(index)
    context.layer = context.name(index)
    value = context.value(index)
    if is_quantized(record):
        value = quantize(context, index, value)
    elif value.producer() is None or any(value is output for output in context.outputs):
        value = context.emit("Identity", [value], shape=context.shape(index), dtype=dtype_of(record))
    for other in (v for node in context.nodes for v in node.outputs if v.name == name and v is not value):
        other.name = context.unique(f"{name}_inner")
    context.outputs.append(value)
    value.name = name
    rank = context.rank(index) if value.shape is None else len(value.shape)  # a custom operator's is not in the file
    value.meta[TENSOR_KEY] = (context.name(index), tuple(range(rank)))
    return value


def read_operators(context: Context, file: File, path: Path) -> None:
    """Every operator in order; what cannot be read is remembered, so that all blockers come at once."""
    from bessemer.sources.tflite.context import Unsupported
    from bessemer.sources.tflite.ops.signal import refuse_complex
    from bessemer.sources.tflite.registry import readers

    known = readers()
    for number, operator in enumerate(context.subgraph.operators):
        name = operator_name(file, operator)
        context.layer = next((context.name(i) for i in operator.outputs if i >= 0), f"{name}_{number}")
        reader = known.get(name)
        try:
            if reader is None:
                raise Unsupported("no-reader", f"the operator {name} has no reading in ONNX here")
            refuse_complex(context, name, operator)
            reader(context, operator)
        except Unsupported as problem:
            unread(context, name, operator, problem)


def unread(context: Context, name: str, operator: Operator, problem: Unsupported) -> None:
    """Something for later operators to read, so that they can be judged too; the model is declined, but for a part."""
    from bessemer.sources.tflite.tensors import NUMPY
    from bessemer.wire.tflite.schema import TensorType

    read = [index for index in operator.inputs if index >= 0 and context.made(index)]
    made = [index for index in operator.outputs if index >= 0]
    operands = [context.value(index, context.order(index)) for index in read]
    values = context.stand_in(name, problem, operands, max(1, len(made)))
    for index, value in zip(made, values, strict=False):  # an operator without results stands there all the same
        if context.tensor(index).type in (*NUMPY, TensorType.STRING):
            context.result(index, value)
        else:  # a resource, a complex tensor: no value of the hub has this type
            context.register(index, value, tuple(range(context.rank(index))))


def operator_name(file: File, operator: Operator) -> str:
    """Builtin name as in the schema, or the custom code."""
    from bessemer.wire.tflite.schema import BuiltinOperator

    code = file.operator_codes[operator.opcode_index]
    if code.builtin_code == BuiltinOperator.CUSTOM:
        return code.custom_code or "CUSTOM"
    try:
        return BuiltinOperator(code.builtin_code).name
    except ValueError:
        return f"builtin operator {code.builtin_code}"


def details(file: File) -> dict[str, Any]:
    """What `inspect` shows beyond the graph."""
    signatures = ", ".join(item.signature_key or "?" for item in file.signature_defs or [])
    return {
        "description": file.description or "",
        "version": file.version,
        "subgraphs": len(file.subgraphs),
        "signatures": signatures or "none",
    }


SOURCE = TfliteSource()
