"""TFLite flatbuffers: records to a canonical, channels-first graph; quantized tensors become encodings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bessemer.ir.canonical import OPSET
from bessemer.ir.errors import Blocker, Declined, UnreadableInput, UsageError
from bessemer.ir.model import Model, Origin
from bessemer.sources.base import OpenOptions

if TYPE_CHECKING:
    from bessemer.runners.base import Runner
    from bessemer.sources.tflite.context import Context
    from bessemer.wire.tflite.records import Model as File
    from bessemer.wire.tflite.records import Operator, SubGraph


class TfliteSource:
    """Reads .tflite; see `Source`."""

    def open(self, path: Path, options: OpenOptions) -> Model:
        """Parse `path`; raises UnreadableInput for broken files, Declined for operators with no meaning in ONNX."""
        file = parse(path)
        subgraph = choose(file, path, options.signature)
        try:
            return build(file, subgraph, path)
        except (IndexError, KeyError, OverflowError, MemoryError) as error:
            why = f"{type(error).__name__}: {error}"
            raise UnreadableInput(f"{path} is broken or hostile", why=f"its records contradict each other ({why})") from None

    def runner(self, path: Path, options: OpenOptions) -> Runner:
        """The file in LiteRT."""
        from bessemer.runners.litert import LiteRTRunner

        parse(path)
        return LiteRTRunner(path)


def parse(path: Path) -> File:
    """Records of the file; raises UnreadableInput saying where it is broken."""
    from bessemer.wire.errors import WireError
    from bessemer.wire.tflite import read

    try:
        return read(path)
    except WireError as error:
        raise UnreadableInput(f"{path} is broken or hostile", why=str(error)) from None


def choose(file: File, path: Path, signature: str | None) -> SubGraph:
    """The subgraph of the named signature, else the main one."""
    if not file.subgraphs:
        raise UnreadableInput(f"{path} is broken or hostile", why="it has no subgraph")
    keys = {item.signature_key: item for item in file.signature_defs or []}
    if signature is None:
        return file.subgraphs[0]
    if signature not in keys:
        known = ", ".join(str(key) for key in keys) or "none"
        raise UsageError(f"{path} has no signature '{signature}'", fix=f"Its signatures: {known}")
    return file.subgraphs[keys[signature].subgraph_index]


def build(file: File, subgraph: SubGraph, path: Path) -> Model:
    """The canonical graph of one subgraph."""
    import onnx_ir

    from bessemer.sources.tflite.context import Context
    from bessemer.sources.tflite.tensors import Constants

    notes: list[str] = []
    context = Context(file, subgraph, Constants(file), notes)
    inputs = [read_input(context, index) for index in subgraph.inputs]
    read_operators(context, file, path)
    outputs = [] if context.blockers else [read_output(context, index) for index in subgraph.outputs]
    if context.blockers:
        raise Declined(f"Reading {path.name}: ONNX", context.blockers)
    graph = onnx_ir.Graph(
        inputs, outputs, nodes=context.nodes, initializers=context.initializers,
        opset_imports={"": OPSET}, name=subgraph.name or path.stem,
    )  # fmt: skip
    model = onnx_ir.Model(graph, ir_version=11, producer_name="bessemer")
    return Model(model, Origin("tflite", path, details(file)), notes)


def read_input(context: Context, index: int) -> Any:
    """A graph input in the file's own order and type; integers are dequantized behind it."""
    import onnx_ir

    from bessemer.sources.tflite.context import TENSOR_KEY
    from bessemer.sources.tflite.ops.quantization import dequantize
    from bessemer.sources.tflite.tensors import dtype_of, is_quantized

    record = context.tensor(index)
    shape = [f"{context.name(index)}_{i}" if dim is None else dim for i, dim in enumerate(context.shape(index))]
    value = onnx_ir.Value(
        name=context.unique(context.name(index)),
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


def read_output(context: Context, index: int) -> Any:
    """A graph output in the file's own order and type, under its own name."""
    from bessemer.sources.tflite.ops.quantization import quantize
    from bessemer.sources.tflite.tensors import dtype_of, is_quantized

    record, name = context.tensor(index), context.name(index)
    context.layer = name
    value = context.value(index)
    if is_quantized(record):
        value = quantize(context, index, value)
    elif value.is_graph_input() or value.is_initializer() or value.producer() is None or value.name != name:
        value = context.emit("Identity", [value], shape=context.shape(index), dtype=dtype_of(record))
    old = next((n for node in context.nodes for n in node.outputs if n.name == name and n is not value), None)
    if old is not None:
        old.name = context.unique(f"{name}_inner")
    value.name = name
    return value


def read_operators(context: Context, file: File, path: Path) -> None:
    """Every operator in order; what cannot be read is remembered, so that all blockers come at once."""
    from bessemer.sources.tflite.context import Unsupported
    from bessemer.sources.tflite.registry import readers

    known = readers()
    for number, operator in enumerate(context.subgraph.operators):
        name = operator_name(file, operator)
        context.layer = next((context.name(i) for i in operator.outputs if i >= 0), f"{name}_{number}")
        reader = known.get(name)
        try:
            if reader is None:
                raise Unsupported("no-reader", f"the operator {name} has no reading in ONNX here")
            reader(context, operator)
        except Unsupported as problem:
            context.block(name, problem)
            for index in operator.outputs:
                stand_in(context, index)


def stand_in(context: Context, index: int) -> None:
    """Something for later operators to read, so that they can be judged too; the model is declined anyway."""
    import onnx_ir

    value = onnx_ir.Value(name=context.unique(context.name(index)), shape=onnx_ir.Shape(context.shape(index)))
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
