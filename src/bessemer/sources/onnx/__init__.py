"""ONNX files: parsed by the onnx package after a bounded scan, weights memory-mapped, nothing decided."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bessemer.ir.errors import Blocker, Declined, UnreadableInput
from bessemer.ir.model import Model, Origin
from bessemer.sources.base import OpenOptions
from bessemer.sources.onnx.guard import check_proto, check_wire
from bessemer.sources.onnx.sparse import densify

if TYPE_CHECKING:
    from bessemer.runners.base import Runner


class OnnxSource:
    """Reads .onnx; see `Source`."""

    def open(self, path: Path, options: OpenOptions) -> Model:
        """Parse `path`; raises UnreadableInput for broken or hostile files."""
        import onnx_ir

        proto = load_proto(path)
        _refuse_foreign_values(proto)
        dense = densify(proto, path)
        try:
            graph = onnx_ir.serde.deserialize_model(proto)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError) as error:
            raise UnreadableInput(f"{path} is not a consistent ONNX graph", why=_cause(error)) from None
        _refuse_contradictions(graph, path)
        onnx_ir.external_data.set_base_dir(graph.graph, path.parent)
        for node in graph.graph.all_nodes():  # ONNX Runtime lets its own domains go without an import
            graph.graph.opset_imports.setdefault("" if node.domain == "ai.onnx" else node.domain, 1)
        for function in graph.functions.values():
            function.sort()
        graph.graph.sort()  # some producers write nodes in any order
        details = {
            "producer": f"{proto.producer_name} {proto.producer_version}".strip(),
            "ir_version": proto.ir_version,
            "opset": ", ".join(f"{item.domain or 'ai.onnx'} {item.version}" for item in proto.opset_import),
        }
        notes = [f"{dense} sparse constants are stored dense"] if dense else []
        return Model(graph, Origin("onnx", path, details), notes)

    def runner(self, path: Path, options: OpenOptions) -> Runner:
        """The file in ONNX Runtime, unoptimised; in the reference evaluator where that has no kernel."""
        from bessemer.runners.onnx_reference import StandardRunner

        proto = load_proto(path)
        return StandardRunner(path, beside=beside(proto))


def load_proto(path: Path) -> Any:
    """The ModelProto of a file, its external data left on disk; checked before it is trusted."""
    import onnx
    from google.protobuf.message import DecodeError

    size = path.stat().st_size
    if size > 2**31 - 1:
        raise UnreadableInput(
            f"{path} has {size} bytes", why="protobuf ends at 2 GiB: weights belong into external data"
        )
    data = path.read_bytes()
    check_wire(data, path)
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except (DecodeError, RuntimeError) as error:
        raise UnreadableInput(
            f"{path} is not a readable ONNX file", why=f"protobuf: {_cause(error)}"
        ) from None
    check_proto(proto, path)
    return proto


def beside(proto: Any) -> int:
    """Bytes of the main graph's weights in files of their own, as it declares them."""
    lengths = (entry for tensor in proto.graph.initializer for entry in tensor.external_data if entry.key == "length")
    return sum(int(entry.value) for entry in lengths if entry.value.isdecimal())


def _refuse_foreign_values(proto: Any) -> None:
    """Values that are maps (ZipMap's dictionaries), sparse or opaque have no place in the hub's graph: all are named."""
    makers = {name: node for node in proto.graph.node for name in node.output}
    values = {value.name: value for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info)}
    blockers = []
    for value in values.values():
        kind = _foreign_kind(value.type)
        if not kind:
            continue
        node = makers.get(value.name)
        reason = f"'{value.name}' is {kind}, and only tensors, sequences and optionals can be held"
        name, op = (node.name, node.op_type) if node is not None else (value.name, "input")
        rewrite = "the tensor that it is made from"
        blockers.append(Blocker(name, op, FOREIGN[kind], reason, rewrite=rewrite))
    if blockers:
        raise Declined("the canonical graph", blockers)


def _refuse_contradictions(graph: Any, path: Path) -> None:
    """An output declared with a type that its operator never gives: runtimes would read its bytes as something else."""
    opset = graph.graph.opset_imports.get("", graph.graph.opset_imports.get("ai.onnx", 1))
    for value in graph.graph.outputs:
        node = value.producer()
        if node is None or node.domain not in ("", "ai.onnx") or value.dtype is None:
            continue
        if value.index() != 0 or node.op_identifier() in graph.functions:
            continue
        given, said = _only_type(node.op_type, opset), f"tensor({value.dtype.name.lower()})"
        if given and given != said:
            raise UnreadableInput(
                f"{path} is not a consistent ONNX graph",
                where=f"output '{value.name}'",
                why=f"it is declared {said}, {node.op_type} gives {given}",
            )


def _only_type(op: str, opset: int) -> str:
    """The type of the operator's first output where there is but one ('tensor(int64)'); else empty."""
    import onnx.defs

    try:
        schema = onnx.defs.get_schema(op, opset)
    except onnx.defs.SchemaError:
        return ""
    kind = schema.outputs[0].type_str
    several = [item.allowed_type_strs for item in schema.type_constraints if item.type_param_str == kind]
    kinds = list(several[0]) if several else [kind]
    return kinds[0] if len(kinds) == 1 and kinds[0].startswith("tensor(") else ""


FOREIGN = {"a map": "no-map-values", "a sparse tensor": "no-sparse-values", "opaque": "no-opaque-values"}
"""What a value may be that the hub cannot hold -> the rule that says so."""


def _foreign_kind(kind: Any) -> str:
    """The key of FOREIGN; empty for tensors, and for sequences and optionals of them."""
    while kind.WhichOneof("value") in ("sequence_type", "optional_type"):
        kind = (kind.sequence_type if kind.HasField("sequence_type") else kind.optional_type).elem_type
    names = {"map_type": "a map", "sparse_tensor_type": "a sparse tensor", "opaque_type": "opaque"}
    return names.get(kind.WhichOneof("value") or "", "")


def _cause(error: BaseException) -> str:
    """First line of the innermost reason."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


SOURCE = OnnxSource()
