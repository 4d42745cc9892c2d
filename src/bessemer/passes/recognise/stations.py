"""Where a graph meets its weights: products, norms and tables, and what lies between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from bessemer.passes.rewrite import is_constant

if TYPE_CHECKING:
    import onnx_ir

NORMS = ("RMSNormalization", "LayerNormalization", "SimplifiedLayerNormalization")
LEAST = 16
"""Elements from which on a matrix is a weight."""


@dataclass(frozen=True, eq=False)
class Station:
    """A node with weights. data: what comes in; result: what goes on, the bias added; turned: the matrix stands as
    [columns, results]; bias: a vector, or None."""

    kind: Literal["product", "norm", "table"]
    node: onnx_ir.Node
    data: onnx_ir.Value
    weight: onnx_ir.Value
    result: onnx_ir.Value
    bias: onnx_ir.Value | None = None
    turned: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weight; of a matrix [results, columns]."""
        dims = shape_of(self.weight)
        return dims[::-1] if self.turned else dims

    @property
    def epsilon(self) -> float:
        """Of a norm."""
        return self.node.attributes.get_float("epsilon", 1e-5) or 0.0


@dataclass
class Stations:
    """All of a graph in its order."""

    every: list[Station]
    _made: dict[int, Station] = field(default_factory=dict)
    _nodes: dict[int, Station] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for station in self.every:
            self._nodes[id(station.node)] = station
            for value in (station.result, *station.node.outputs):
                self._made[id(value)] = station

    def behind(self, value: onnx_ir.Value | None) -> tuple[list[Station], list[onnx_ir.Node]]:
        """The stations whose results reach `value` through other nodes, the nearest first; and those nodes."""
        found: list[Station] = []
        crossed: list[onnx_ir.Node] = []
        _walk(value, self._back(found, crossed))
        return found, crossed

    def ahead(self, value: onnx_ir.Value) -> list[Station]:
        """The stations that `value` reaches through other nodes, the nearest first."""
        found: list[Station] = []

        def onward(item: onnx_ir.Value) -> list[onnx_ir.Value]:
            after: list[onnx_ir.Value] = []
            for user, place in item.uses():
                station = self._nodes.get(id(user))
                if station is None:
                    after += user.outputs
                elif station not in found and user.inputs[place] is station.data:
                    found.append(station)
            return after

        _walk(value, onward)
        return found

    def _back(self, found: list[Station], crossed: list[Any]) -> Callable[[Any], list[Any]]:
        def before(item: onnx_ir.Value) -> list[onnx_ir.Value]:
            station = self._made.get(id(item))
            if station is not None:
                if station not in found:
                    found.append(station)
                return []
            node = item.producer()
            if node is None or node.op_type in ("Shape", "Size"):
                return []
            crossed.append(node)
            return [value for value in node.inputs if value is not None]

        return before


def stations(graph: onnx_ir.Graph) -> Stations:
    """Of a canonical graph."""
    found = [station for node in graph if (station := _station(node)) is not None]
    return Stations(found)


def shape_of(value: onnx_ir.Value) -> tuple[int, ...]:
    """Of a constant."""
    held = value.const_value
    return () if held is None else tuple(int(dim) for dim in held.shape.numpy())


def _walk(start: Any, follow: Callable[[Any], list[Any]]) -> None:
    """Follow values from `start` on, each once, the nearest first."""
    pending, seen = [start] if start is not None else [], {id(start)}
    while pending:
        level, pending = pending, []
        for other in (after for value in level for after in follow(value)):
            if id(other) not in seen:
                seen.add(id(other))
                pending.append(other)


def _station(node: onnx_ir.Node) -> Station | None:
    if node.op_type in NORMS:
        return _norm(node)
    if node.op_type == "Gather":
        return _table(node)
    if node.op_type in ("MatMul", "Gemm"):
        return _product(node)
    return None


def _norm(node: onnx_ir.Node) -> Station | None:
    data, weight = node.inputs[:2]
    if data is None or weight is None or not is_constant(weight):
        return None
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    return Station("norm", node, data, weight, node.outputs[0], bias)


def _table(node: onnx_ir.Node) -> Station | None:
    table, indices = node.inputs[:2]
    known = table is not None and is_constant(table) and len(shape_of(table)) == 2
    if table is None or indices is None or not known or is_constant(indices) or node.attributes.get_int("axis", 0) != 0:
        return None
    kind = table.dtype
    floating = kind is not None and kind.is_floating_point()
    return Station("table", node, indices, table, node.outputs[0]) if floating else None


def _product(node: onnx_ir.Node) -> Station | None:
    data, weight = node.inputs[:2]
    if data is None or weight is None or not is_constant(weight) or is_constant(data):
        return None
    if len(shape_of(weight)) != 2 or _elements(weight) < LEAST:
        return None
    if node.op_type == "Gemm":
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        return Station("product", node, data, weight, node.outputs[0], bias, node.attributes.get_int("transB", 0) == 0)
    result, bias = _added(node.outputs[0], shape_of(weight)[1])
    return Station("product", node, data, weight, result, bias, turned=True)


def _added(value: onnx_ir.Value, size: int) -> tuple[onnx_ir.Value, onnx_ir.Value | None]:
    """The sum with a constant vector behind a product, if that is all that uses it."""
    users = list(value.uses())
    if len(users) != 1 or users[0][0].op_type != "Add":
        return value, None
    other = users[0][0].inputs[1 - users[0][1]]
    if other is None or not is_constant(other) or shape_of(other)[-1:] != (size,) or _elements(other) != size:
        return value, None
    return users[0][0].outputs[0], other


def _elements(value: onnx_ir.Value) -> int:
    count = 1
    for dim in shape_of(value):
        count *= dim
    return count
