"""Loops whose results grow with each step, for WHILE, whose states keep their size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.passes.expansion import Nodes
from bessemer.passes.rewrite import constant
from bessemer.targets.tflite.expand.accumulate import Dim, Rows

if TYPE_CHECKING:
    import onnx_ir as ir

MOST = 1 << 28
"""Elements that rows may take before the loop: a trip count that only guards against endless loops names more."""


def goes_on(graph: ir.Graph) -> bool:
    """Whether the body's condition stays true: a constant, or the condition it was given."""
    condition = graph.outputs[0]
    if condition is graph.inputs[1]:
        return True
    producer = condition.producer()
    if producer is not None and producer.op_type == "Identity":
        return producer.inputs[0] is graph.inputs[1]
    array = constant(condition)
    return array is not None and bool(array.all())


def loop_with_rows(nodes: Nodes, node: ir.Node) -> Sequence[ir.Value] | None:
    """A Loop with scan outputs: as many rows as steps there may be (one at least: DYNAMIC_UPDATE_SLICE asks for it even
    where it never runs), cut to the steps that there were.

    None without such outputs, without a bound on the steps, or where a row's size is not known outside the body.
    """
    import onnx_ir as ir

    body = node.attributes["body"].as_graph()
    states = [value for value in node.inputs[2:] if value is not None]
    grown = list(body.outputs[1 + len(states) :])
    trips = node.inputs[0]
    if not grown or trips is None or len(states) != len(node.inputs) - 2:
        return None
    sizes = [_row(nodes, node, value) for value in grown]
    known = constant(trips)
    most = max((_elements(value) for value in grown), default=1)
    if any(size is None for size in sizes) or (known is not None and int(known.reshape(-1)[0]) * most > MOST):
        return None
    count = nodes("Reshape", trips, np.array([1])) if known is None else nodes.constant(known.reshape(1))
    room = nodes("Max", count, np.array([1])) if known is None else nodes.constant(np.maximum(known.reshape(1), 1))
    rows = [
        Rows(nodes, room, size, _dims(value), value.dtype or ir.DataType.FLOAT)
        for value, size in zip(grown, sizes, strict=True)
        if size is not None
    ]
    early = not goes_on(body)
    _grow(nodes, body, len(states), rows, early)
    start = [nodes.constant(np.zeros((), np.int64), "steps")] if early else []
    given = [trips, node.inputs[1], *states, *start, *(item.empty() for item in rows)]
    results = nodes.several(len(given) - 2, "Loop", *given, body=body)
    made = [item.whole(value) for item, value in zip(rows, results[len(states) + len(start) :], strict=True)]
    if early or known is None or int(known.reshape(-1)[0]) < 1:
        end = nodes("Reshape", results[len(states)], np.array([1])) if early else nodes("Max", count, np.array([0]))
        made = [nodes("Slice", value, np.array([0]), end, np.array([0])) for value in made]
    return [*results[: len(states)], *made]


def _grow(nodes: Nodes, body: ir.Graph, states: int, rows: Sequence[Rows], early: bool) -> None:
    """Turn the body's scan outputs into states; where it may stop early, a state counts its steps before them."""
    import onnx_ir as ir

    grown = list(body.outputs[1 + states :])
    del body.outputs[1 + states :]
    step, inner = body.inputs[0], nodes.inside()
    if early:
        count = nodes.argument("steps", ir.DataType.INT64, ())
        body.inputs.append(count)
        body.outputs.append(inner("Add", count, inner.constant(np.array(1), "one")))
    for item, value in zip(rows, grown, strict=True):
        held = nodes.argument("rows", item.dtype, item.dims)
        body.inputs.append(held)
        body.outputs.append(item.write(inner, held, step, value))
    body.extend(inner.made)


def _elements(value: ir.Value) -> int:
    return int(np.prod([dim for dim in _dims(value) if isinstance(dim, int)], initial=1))


def _dims(value: ir.Value) -> tuple[Dim, ...]:
    if value.shape is None:
        return ()
    return tuple(dim if isinstance(dim, int) else dim.value for dim in value.shape)


def _row(nodes: Nodes, node: ir.Node, value: ir.Value) -> ir.Value | None:
    """The sizes of a scan output's row as an INT64 vector; unknown ones are those of outer values of the same name."""
    if value.shape is None:
        return None
    parts = []
    for dim in _dims(value):
        if isinstance(dim, int):
            parts.append(nodes.constant(np.array([dim]), "size"))
            continue
        found = next(_axes_named(node, dim), None) if dim is not None else None
        if found is None:
            return None
        outer, axis = found
        parts.append(nodes("Shape", outer, start=axis, end=axis + 1))
    return nodes("Concat", *parts, axis=0) if parts else nodes.constant(np.zeros(0, np.int64), "scalar")


def _axes_named(node: ir.Node, name: str) -> Iterator[tuple[ir.Value, int]]:
    """Axes of a loop's operands, and of outer values that its body reads, that have this name."""
    body = node.attributes["body"].as_graph()
    own = {id(value) for value in body.inputs} | {id(value) for inner in body for value in inner.outputs}
    for value in (*node.inputs, *(value for inner in body for value in inner.inputs)):
        if value is None or value.shape is None or id(value) in own:
            continue
        yield from ((value, axis) for axis, dim in enumerate(_dims(value)) if dim == name)


def scan_as_loop(nodes: Nodes, node: ir.Node) -> Sequence[ir.Value] | None:
    """A Scan as a Loop with scan outputs: parts are taken by the step's number; what goes backwards is turned after."""
    import onnx_ir as ir

    count, body = node.attributes.get_int("num_scan_inputs"), node.attributes["body"].as_graph()
    given = [value for value in node.inputs if value is not None]
    states, scanned = given[: len(given) - count], given[len(given) - count :]
    if len(given) != len(node.inputs) or any(value.shape is None for value in scanned):
        return None
    axes = [int(axis) % len(_dims(v)) for axis, v in zip(_ints(node, "scan_input_axes", count), scanned, strict=True)]
    turned = _ints(node, "scan_input_directions", count)
    whole = [_reversed(nodes, v, axis) if back else v for v, axis, back in zip(scanned, axes, turned, strict=True)]
    step, going = nodes.argument("step", ir.DataType.INT64, ()), nodes.argument("going", ir.DataType.BOOL, ())
    _take(nodes, body, len(states), whole, axes, step, going)
    trips = nodes("Squeeze", nodes("Shape", scanned[0], start=axes[0], end=axes[0] + 1))
    results = nodes.several(len(node.outputs), "Loop", trips, nodes.constant(np.array(True)), *states, body=body)
    return [*results[: len(states)], *_turned_back(nodes, node, body, results[len(states) :])]


def _take(
    nodes: Nodes, body: ir.Graph, states: int, whole: Sequence[ir.Value], axes: Sequence[int], step: Any, going: Any
) -> None:
    """The body's parts of scanned inputs become nodes that take them."""
    parts, inner = list(body.inputs[states:]), nodes.inside()
    taken = [inner("Gather", value, step, axis=axis) for value, axis in zip(whole, axes, strict=True)]
    still = inner("Identity", going)
    del body.inputs[states:]
    for part, value in zip(parts, taken, strict=True):
        value.type, value.shape = part.type, part.shape
        part.replace_all_uses_with(value, replace_graph_outputs=True)
    first = next(iter(body), None)
    if first is None:
        body.extend(inner.made)
    else:
        body.insert_before(first, inner.made)
    body.inputs.insert(0, going)
    body.inputs.insert(0, step)
    body.outputs.insert(0, still)


def _turned_back(nodes: Nodes, node: ir.Node, body: ir.Graph, grown: Sequence[ir.Value]) -> list[ir.Value]:
    """A Loop stacks along the first axis, forwards."""
    axes, turned = _ints(node, "scan_output_axes", len(grown)), _ints(node, "scan_output_directions", len(grown))
    rows = body.outputs[len(body.outputs) - len(grown) :] if grown else []
    made = []
    for value, axis, back, row in zip(grown, axes, turned, rows, strict=True):
        rank = len(_dims(row)) + 1
        value = _reversed(nodes, value, 0) if back else value
        order = [*range(1, rank)]
        order.insert(axis % rank, 0)
        made.append(value if axis % rank == 0 else nodes("Transpose", value, perm=order))
    return made


def _ints(node: ir.Node, name: str, count: int) -> list[int]:
    return list(node.attributes.get_ints(name, [0] * count))


def _reversed(nodes: Nodes, value: ir.Value, axis: int) -> ir.Value:
    start, stop = np.array([-1]), np.array([np.iinfo(np.int64).min])
    return nodes("Slice", value, start, stop, np.array([axis]), np.array([-1]))
