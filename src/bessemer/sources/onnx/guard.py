"""Look at a hostile ONNX file before anything is allocated from it.

`check_wire` walks the protobuf wire format (lengths, nesting); `check_proto` checks what the schema cannot say:
graphs, tensors' declared sizes, external data confined to the model's folder.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bessemer.ir.errors import UnreadableInput

MAX_DEPTH = 64
MAX_RANK = 64
MAX_ELEMENTS = 1 << 40


def refuse(path: Path, where: str, why: str) -> UnreadableInput:
    """The one shape of a refusal."""
    return UnreadableInput(f"{path} is broken or hostile", where=where, why=why)


def check_wire(data: bytes, path: Path) -> None:
    """The top level must be a sequence of well-formed fields that end where the file ends."""
    position, size = 0, len(data)
    while position < size:
        start = position
        key, position = _varint(data, position, path)
        kind = key & 7
        if kind == 0:
            _, position = _varint(data, position, path)
        elif kind == 1:
            position += 8
        elif kind == 5:
            position += 4
        elif kind == 2:
            length, position = _varint(data, position, path)
            position += length
        else:
            raise refuse(path, f"byte {start}", f"wire type {kind} does not exist in a ModelProto")
        if position > size:
            raise refuse(
                path,
                f"byte {start}",
                f"field {key >> 3} ends {position - size} bytes after the file: truncated?",
            )


def _varint(data: bytes, position: int, path: Path) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise refuse(path, f"byte {position}", "the file ends inside a number: truncated?")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise refuse(path, f"byte {position}", "a number of more than ten bytes")


def check_proto(proto: Any, path: Path) -> None:
    """Raises UnreadableInput for anything that could not be a real model."""
    if not proto.HasField("graph"):
        raise refuse(path, "ModelProto", "it has no graph")
    if not proto.opset_import:
        raise refuse(path, "ModelProto.opset_import", "it imports no operator set")
    _check_functions(proto, path)
    for graph, depth in _graphs(proto.graph, path):
        _check_graph(graph, path, outer=depth > 0)
    for tensor in _tensors(proto):
        _check_tensor(tensor, path)


def _graphs(graph: Any, path: Path, depth: int = 0) -> Iterator[tuple[Any, int]]:
    if depth > MAX_DEPTH:
        raise refuse(path, f"graph '{graph.name}'", f"subgraphs nest deeper than {MAX_DEPTH}")
    yield graph, depth
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g, path, depth + 1)
            for inner in attribute.graphs:
                yield from _graphs(inner, path, depth + 1)


def _tensors(proto: Any) -> Iterator[Any]:
    for graph, _ in _graphs(proto.graph, Path()):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors
    for function in proto.functions:
        for node in function.node:
            yield from (attribute.t for attribute in node.attribute if attribute.HasField("t"))


def _check_graph(graph: Any, path: Path, *, outer: bool) -> None:
    """Each name is defined once; in a graph of its own, every used name is defined, and before its use."""
    where = f"graph '{graph.name}'"
    borders = [value.name for value in graph.input]
    if len(set(borders)) != len(borders):
        raise refuse(path, where, "two inputs have the same name")
    held = [tensor.name for tensor in graph.initializer]
    if len(set(held)) != len(held):
        raise refuse(path, where, "two initializers have the same name")
    defined = {*borders, *held, *(item.values.name for item in graph.sparse_initializer)}
    made: set[str] = set()
    for index, node in enumerate(graph.node):
        for name in filter(None, node.output):
            if name in made or name in defined:
                raise refuse(
                    path, f"{where}, node {index} ({node.op_type})", f"the value '{name}' is defined twice"
                )
            made.add(name)
    if outer:
        return
    _check_order(graph, defined, made, path, where)


def _check_order(graph: Any, defined: set[str], made: set[str], path: Path, where: str) -> None:
    for value in graph.output:
        if value.name not in made and value.name not in defined:
            raise refuse(path, where, f"the output '{value.name}' is never made")
    waiting: dict[str, int] = {}
    for index, node in enumerate(graph.node):
        for name in filter(None, node.input):
            if name not in made and name not in defined:
                raise refuse(
                    path, f"{where}, node {index} ({node.op_type})", f"the input '{name}' is never made"
                )
        waiting[f"{index}"] = index
    _check_acyclic(graph, defined, path, where)


def _check_acyclic(graph: Any, defined: set[str], path: Path, where: str) -> None:
    """Nodes may stand in any order here, but some order must exist."""
    ready = set(defined)
    pending = list(enumerate(graph.node))
    while pending:
        rest = []
        for index, node in pending:
            if all(not name or name in ready for name in node.input):
                ready.update(node.output)
            else:
                rest.append((index, node))
        if len(rest) == len(pending):
            index, node = rest[0]
            raise refuse(
                path, f"{where}, node {index} ({node.op_type})", "the graph has a cycle through this node"
            )
        pending = rest


def _check_functions(proto: Any, path: Path) -> None:
    """Model-local functions may call each other, never themselves."""
    calls = {
        (function.domain, function.name): {(node.domain, node.op_type) for node in function.node}
        for function in proto.functions
    }
    for start in calls:
        seen, pending = set(), [start]
        while pending:
            for called in calls.get(pending.pop(), ()):
                if called == start:
                    raise refuse(path, f"function '{start[1]}'", "it calls itself")
                if called in calls and called not in seen:
                    seen.add(called)
                    pending.append(called)


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
        raise refuse(path, where, f"it holds fewer values than dims {dims} need")


def _fits_fields(tensor: Any, elements: int) -> bool:
    fields = (
        tensor.float_data, tensor.int32_data, tensor.string_data,
        tensor.int64_data, tensor.double_data, tensor.uint64_data,
    )  # fmt: skip
    held = sum(map(len, fields))
    return elements == 0 or held * 8 >= elements


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
    if not location or os.path.isabs(location) or "\0" in location or ".." in Path(location).parts:
        raise refuse(path, where, f"its external data '{location}' points outside the model's folder")
    file = folder / location
    root = folder.resolve()
    if not file.resolve().is_relative_to(root) or file.is_symlink():
        raise refuse(path, where, f"its external data '{location}' is a link out of the model's folder")
    if not file.is_file():
        raise UnreadableInput(
            f"{path} needs the file '{location}' beside it", where=where, fix="Copy the external data along"
        )
    return file
