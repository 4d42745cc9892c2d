"""Records of saved_model.pb, meta graphs and GraphDefs; functions are decoded when somebody asks for one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bessemer.wire.errors import WireError
from bessemer.wire.protobuf import Bytes, fields
from bessemer.wire.savedmodel.node import Node
from bessemer.wire.savedmodel.scalars import (
    dtype_of,
    entries,
    last,
    message,
    real,
    signed,
    text,
    unsigned,
    varints,
)
from bessemer.wire.savedmodel.tensors import Dims, shape, tensor


@dataclass(frozen=True)
class Argument:
    """An argument or a result of a function; `type` is a numpy dtype (void: a resource or a variant)."""

    name: str
    type: Any


@dataclass(frozen=True)
class Function:
    """A function: nodes read each other and the arguments as 'name', 'node:output:0'; returns: refs by result.

    controls: nodes that run for what they do, not for what they return.
    """

    name: str
    arguments: tuple[Argument, ...]
    results: tuple[Argument, ...]
    nodes: tuple[Node, ...]
    returns: Mapping[str, str]
    controls: tuple[str, ...]
    attrs: Mapping[str, Any]


class Library(Mapping[str, Function]):
    """Functions by name, decoded when asked for."""

    def __init__(self, data: list[Bytes]) -> None:
        self._raw = {text(last(message(last(message(item), 1)), 1)): item for item in data}
        self._made: dict[str, Function] = {}

    def __getitem__(self, name: str) -> Function:
        if name not in self._made:
            self._made[name] = function(self._raw[name])
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)


@dataclass(frozen=True)
class Graph:
    """A GraphDef: nodes read each other as 'node' and 'node:1'."""

    nodes: tuple[Node, ...]
    functions: Mapping[str, Function]
    producer: int = 0


@dataclass(frozen=True)
class TensorInfo:
    """A border of a signature. name: 'node:0'; empty for a sparse or composite tensor."""

    name: str
    type: Any
    shape: Dims | None


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs by their public names."""

    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]
    method: str


@dataclass(frozen=True)
class SavedObject:
    """An object that TensorFlow tracks. kind: 'variable', 'function', 'asset', ... ; children: node ids by name.

    functions: names of concrete functions of a function; operation: the node of a captured constant.
    """

    children: Mapping[str, int]
    kind: str
    name: str = ""
    functions: tuple[str, ...] = ()


@dataclass(frozen=True)
class ConcreteFunction:
    """bound: objects whose tensors are passed after the arguments.

    inputs: (name, shape) of the tensors among the arguments; outputs: names of the results, by their place in the
    structure that the function returns.
    """

    bound: tuple[int, ...]
    inputs: tuple[tuple[str, Dims | None], ...] = ()
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class MetaGraph:
    """A graph for one set of tags."""

    tags: tuple[str, ...]
    version: str
    graph: Graph
    signatures: Mapping[str, Signature]
    restore: str = ""
    assets: Mapping[str, str] = field(default_factory=dict)
    objects: tuple[SavedObject, ...] = ()
    concrete: Mapping[str, ConcreteFunction] = field(default_factory=dict)


def saved_model(data: Bytes) -> list[MetaGraph]:
    """Meta graphs of a saved_model.pb. Raises WireError."""
    return [meta_graph(payload) for number, payload in fields(data) if number == 2]


def meta_graph(data: Bytes) -> MetaGraph:
    """A MetaGraphDef. Raises WireError."""
    held = message(data)
    info, objects = message(last(held, 1)), message(last(held, 7))
    return MetaGraph(
        tags=tuple(map(text, info.get(4, []))),
        version=text(last(info, 5)),
        graph=graph(last(held, 2)),
        signatures={name: _signature(payload) for name, payload in entries(held.get(5, []))},
        restore=text(last(message(last(held, 3)), 3)),
        assets=dict(_asset(payload) for payload in held.get(6, [])),
        objects=tuple(_saved_object(payload) for payload in objects.get(1, [])),
        concrete={name: _concrete(payload) for name, payload in entries(objects.get(2, []))},
    )


def graph(data: Bytes) -> Graph:
    """A GraphDef. Raises WireError."""
    held = message(data)
    library = message(last(held, 2))
    versions = message(last(held, 4))
    nodes = tuple(node(payload) for payload in held.get(1, []))
    return Graph(nodes, Library(library.get(1, [])), signed(last(versions, 1)))


def node(data: Bytes) -> Node:
    """A NodeDef; attributes whose names start with '_' say nothing about what it computes and are left out."""
    name = op = ""
    inputs: list[str] = []
    attrs: dict[str, Any] = {}
    for number, payload in fields(data):
        if number == 1:
            name = text(payload)
        elif number == 2:
            op = text(payload)
        elif number == 3:
            inputs.append(text(payload))
        elif number == 5:
            _attribute(payload, attrs)
    controls = tuple(item[1:] for item in inputs if item.startswith("^"))
    return Node(name, op, tuple(item for item in inputs if not item.startswith("^")), attrs, controls)


def _attribute(data: Bytes, attrs: dict[str, Any]) -> None:
    for key, payload in entries([data]):
        if not key.startswith("_"):
            attrs[key] = attribute(payload)


def attribute(data: Bytes) -> Any:
    """An AttrValue: a Python value, see `Node`; None where nothing is set."""
    value: Any = None
    for number, payload in fields(data):
        if number == 1:
            value = [_ONE[kind](item) for kind, item in _listed(payload) if kind in _ONE]
        elif number in _ONE:
            value = _ONE[number](payload)
        elif number == 9:
            value = text(payload)
    return value


def _listed(data: Bytes) -> Iterator[tuple[int, Bytes]]:
    """Items of a list; numbers may be packed."""
    for number, payload in fields(data):
        if number in (3, 5, 6):
            yield from ((number, _varint(item)) for item in varints(payload))
        elif number == 4:
            yield from ((number, payload[place : place + 4]) for place in range(0, len(payload), 4))
        else:
            yield number, payload


def _varint(value: int) -> bytes:
    made = bytearray()
    while value >= 0x80:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*made, value])


def _called(data: Bytes) -> str:
    return text(last(message(data), 1))


def _type(data: Bytes) -> Any:
    return dtype_of(unsigned(data))


def _flag(data: Bytes) -> bool:
    return bool(unsigned(data))


_ONE: dict[int, Any] = {
    2: text, 3: signed, 4: real, 5: _flag, 6: _type, 7: shape, 8: tensor, 9: _called, 10: _called,
}  # fmt: skip
"""Fields of AttrValue that hold one value; a list's have the same numbers, but for functions (9 there)."""


def function(data: Bytes) -> Function:
    """A FunctionDef. Raises WireError."""
    held = message(data)
    signature = message(last(held, 1))
    attrs: dict[str, Any] = {}
    for payload in held.get(5, []):
        _attribute(payload, attrs)
    return Function(
        name=text(last(signature, 1)),
        arguments=tuple(_argument(item) for item in signature.get(2, [])),
        results=tuple(_argument(item) for item in signature.get(3, [])),
        nodes=tuple(node(item) for item in held.get(3, [])),
        returns={key: text(item) for key, item in entries(held.get(4, []))},
        controls=tuple(text(item) for _, item in entries(held.get(6, []))),
        attrs=attrs,
    )


def _argument(data: Bytes) -> Argument:
    held = message(data)
    return Argument(text(last(held, 1)), dtype_of(unsigned(last(held, 3))))


def _signature(data: Bytes) -> Signature:
    held = message(data)
    inputs, outputs = ({name: _info(item) for name, item in entries(held.get(number, []))} for number in (1, 2))
    return Signature(inputs, outputs, text(last(held, 3)))


def _info(data: Bytes) -> TensorInfo:
    held = message(data)
    known = shape(held[3][-1]) if 3 in held else None
    return TensorInfo(text(last(held, 1)), dtype_of(unsigned(last(held, 2))), known)


def _asset(data: Bytes) -> tuple[str, str]:
    """Node and file name of an asset."""
    held = message(data)
    return _info(last(held, 1)).name.split(":")[0], text(last(held, 2))


KINDS = {4: "object", 5: "asset", 6: "function", 7: "variable", 8: "function", 9: "constant", 10: "resource", 12: "captured"}


def _saved_object(data: Bytes) -> SavedObject:
    held = message(data)
    children = {}
    for item in held.get(1, []):
        reference = message(item)
        children[text(last(reference, 2))] = unsigned(last(reference, 1))
    kind = next((number for number in KINDS if number in held), 4)
    inner = message(last(held, kind))
    name = {7: 6, 9: 1}.get(kind)
    functions = tuple(map(text, inner.get(1, []))) if kind in (6, 8) else ()
    return SavedObject(children, KINDS[kind], text(last(inner, name)) if name else "", functions)


def _concrete(data: Bytes) -> ConcreteFunction:
    held = message(data)
    bound = tuple(item for payload in held.get(2, []) for item in varints(payload))
    inputs = tuple((name, dims) for _, name, dims in _specs(last(held, 3), "", 0))
    return ConcreteFunction(bound, inputs, tuple(place for place, _, _ in _specs(last(held, 4), "", 0)))


DEEPEST = 32
"""Structures inside structures."""


def _specs(data: Bytes, place: str, depth: int) -> Iterator[tuple[str, str, Dims | None]]:
    """Place, name and shape of every tensor in a StructuredValue (struct.proto), in TensorFlow's order."""
    if depth > DEEPEST:
        raise WireError(f"structures inside structures, more than {DEEPEST} deep", where="StructuredValue")
    held = message(data)
    for number in (33, 35):
        if number in held:
            spec = message(held[number][-1])
            yield place, text(last(spec, 1)), shape(spec[2][-1]) if 2 in spec else None
    for number in (51, 52):
        for count, item in enumerate(message(last(held, number)).get(1, [])):
            yield from _specs(item, f"{place}_{count}" if place else str(count), depth + 1)
    for key, item in sorted(entries(message(last(held, 53)).get(1, []))):
        yield from _specs(item, f"{place}_{key}" if place else key, depth + 1)
