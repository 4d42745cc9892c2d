"""Look at a hostile ONNX file before anything is allocated from it.

`check_wire` walks the protobuf wire format (lengths, nesting); `check_proto` checks what the schema cannot
say: graphs, tensors' declared sizes, external data confined to the model's folder.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bessemer.ir.errors import UnreadableInput
from bessemer.sources.onnx.structure import all_graphs, check_graphs, refuse, subgraphs

MAX_RANK = 64
MAX_ELEMENTS = 1 << 40
MAX_INPUT = 1 << 34
MAX_DENSE = 1 << 27
MAX_SHARING = 16
COMPLEX = (14, 15)
"""TensorProto.COMPLEX64 and COMPLEX128."""


def check_wire(data: bytes, path: Path) -> None:
    """The top level must be a sequence of well-formed fields that end where the file ends."""
    from bessemer.wire.errors import WireError
    from bessemer.wire.protobuf import fields

    try:
        for _ in fields(memoryview(data)):
            pass
    except WireError as error:
        raise refuse(path, f"byte {error.offset} of the ModelProto", error.what) from None


def check_proto(proto: Any, path: Path) -> None:
    """Raises UnreadableInput for anything that could not be a real model."""
    if not proto.HasField("graph"):
        raise refuse(path, "ModelProto", "it has no graph")
    if not proto.opset_import:
        raise refuse(path, "ModelProto.opset_import", "it imports no operator set")
    check_graphs(proto, path)
    for graph in all_graphs(proto.graph, path):
        for value in graph.input:
            _check_border(value, path)
    tensors = list(_tensors(proto, path))
    for tensor in tensors:
        _check_tensor(tensor, path)
    _check_total(tensors, path)


def _tensors(proto: Any, path: Path) -> Iterator[Any]:
    bodies = [graph.node for graph in all_graphs(proto.graph, path)]
    for function in proto.functions:
        bodies.append(function.node)
        inner = (graph for node in function.node for graph in subgraphs(node))
        bodies.extend(nested.node for graph in inner for nested in all_graphs(graph, path, 1))
    for graph in all_graphs(proto.graph, path):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from _sparse(sparse, path)
    for attribute in (attribute for nodes in bodies for node in nodes for attribute in node.attribute):
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for sparse in [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []:
            yield from _sparse(sparse, path)


def _sparse(sparse: Any, path: Path) -> tuple[Any, Any]:
    dense = math.prod(sparse.dims)
    if any(dim < 0 for dim in sparse.dims) or dense > MAX_DENSE:
        raise refuse(
            path,
            f"sparse tensor '{sparse.values.name}'",
            f"dims {list(sparse.dims)[:8]} mean {dense} elements",
        )
    return sparse.values, sparse.indices


def _check_border(value: Any, path: Path) -> None:
    """An input that no machine could be fed."""
    dims = [
        dim.dim_value for dim in value.type.tensor_type.shape.dim if dim.WhichOneof("value") == "dim_value"
    ]
    if any(dim < -1 for dim in dims) or math.prod(abs(dim) or 1 for dim in dims) > MAX_INPUT:
        raise refuse(path, f"input '{value.name}'", f"dims {dims[:8]} cannot be")


def _check_total(tensors: list[Any], path: Path) -> None:
    """Tied weights may share bytes of a file, but not so that a small folder becomes a huge model."""
    external = [tensor for tensor in tensors if tensor.data_location == 1]
    if not external:
        return
    locations = {item.value for tensor in external for item in tensor.external_data if item.key == "location"}
    files = sum((path.parent / location).stat().st_size for location in locations)
    total = sum((math.prod(tensor.dims) * _bits(tensor.data_type) + 7) // 8 for tensor in external)
    if total > files * MAX_SHARING:
        raise refuse(path, "external data", f"tensors of {total} bytes share files of {files} bytes")


def _check_tensor(tensor: Any, path: Path) -> None:
    where = f"tensor '{tensor.name}'"
    dims = list(tensor.dims)
    if len(dims) > MAX_RANK or any(dim < 0 for dim in dims):
        raise refuse(path, where, f"dims {dims[:8]} cannot be")
    elements = math.prod(dims)
    if elements > MAX_ELEMENTS:
        raise refuse(path, where, f"dims {dims} mean {elements} elements")
    bits = _bits(tensor.data_type)
    if tensor.data_location == 1:
        _check_external(tensor, (elements * bits + 7) // 8, path)
    elif tensor.HasField("raw_data") and bits and len(tensor.raw_data) != (elements * bits + 7) // 8:
        have, need = len(tensor.raw_data), (elements * bits + 7) // 8
        raise refuse(path, where, f"it holds {have} bytes, dims {dims} need {need}")
    elif not tensor.HasField("raw_data") and not _fits_fields(tensor, elements):
        raise refuse(path, where, f"it holds other than the {elements} values that dims {dims[:8]} need")


def _fits_fields(tensor: Any, elements: int) -> bool:
    """Whether the typed fields hold as many values as the dims mean: complex ones in two, small integers packed."""
    fields = (
        tensor.float_data, tensor.int32_data, tensor.string_data,
        tensor.int64_data, tensor.double_data, tensor.uint64_data,
    )  # fmt: skip
    bits = _bits(tensor.data_type)
    packed = 8 // bits if 0 < bits < 8 else 1
    need = elements * 2 if tensor.data_type in COMPLEX else -(-elements // packed)
    return sum(map(len, fields)) == need


def _bits(data_type: int) -> int:
    """Bits of one element; 0 for strings and undefined."""
    import onnx_ir

    try:
        kind = onnx_ir.DataType(data_type)
    except ValueError:
        return 0
    if kind in (onnx_ir.DataType.STRING, onnx_ir.DataType.UNDEFINED):
        return 0
    return int(kind.itemsize * 8)


def _check_external(tensor: Any, need: int, path: Path) -> None:
    entries = {item.key: item.value for item in tensor.external_data}
    where = f"tensor '{tensor.name}'"
    location = entries.get("location", "")
    file = confined(path.parent, location, path, where)
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", need))
    except ValueError:
        raise refuse(path, where, "offset or length of its external data is no number") from None
    size = file.stat().st_size
    if offset < 0 or length < 0 or offset + length > size:
        raise refuse(path, where, f"bytes {offset}..{offset + length} lie outside {location} ({size} bytes)")
    if length < need:
        raise refuse(path, where, f"it holds {length} bytes, its dims need {need}")


def confined(folder: Path, location: str, path: Path, where: str) -> Path:
    """The file `location` names; it must be a plain file inside `folder`, reached through no link."""
    if not location or Path(location).is_absolute() or "\0" in location or ".." in Path(location).parts:
        raise refuse(path, where, f"its external data '{location}' points outside the model's folder")
    file = folder / location
    root = folder.resolve()
    if not file.resolve().is_relative_to(root) or file.is_symlink():
        raise refuse(path, where, f"its external data '{location}' is a link out of the model's folder")
    if file.is_file() and file.stat().st_nlink > 1:
        raise UnreadableInput(
            f"{path} is broken or hostile",
            where=where,
            why=f"its external data '{location}' has hard links elsewhere: it may be any file",
            fix="Copy the file to have it once",
        )
    if not file.is_file():
        raise UnreadableInput(
            f"{path} needs the file '{location}' beside it", where=where, fix="Copy the external data along"
        )
    return file
