"""While: the rounds are counted where they are known, recurrent layers recognised, short loops unrolled, others drawn.

A loop variable that the body returns as it got it is a value from around the loop. A variable that is a list is no state:
what a round sets in it is collected by the loop (a scan output).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bessemer.ir.errors import UsageError
from bessemer.runners.tensorflow.program import Body, split_ref
from bessemer.sources.channels_last.dims import Dim
from bessemer.sources.drawing import Canvas, Ordered, Unsupported
from bessemer.sources.tensorflow.branches import merged
from bessemer.sources.tensorflow.lists import scanned
from bessemer.sources.tensorflow.node import Node
from bessemer.sources.tensorflow.partial import known_dims
from bessemer.sources.tensorflow.reading import Reading, inside, structure
from bessemer.sources.tensorflow.values import (
    Handle,
    Items,
    Nothing,
    Stack,
    Value,
    Written,
    borrowed,
    standing,
)

MOST_ROUNDS = 20_000
"""Rounds that are counted by going through them."""
UNROLLED = 600
"""Nodes that a loop may become when it is unrolled."""
PASSING = ("Identity", "StopGradient", "Snapshot", "PreventGradient")


@dataclass(frozen=True)
class Rounds:
    """How often a loop runs. count: where it is known; symbol: the dim that it is, otherwise.

    states: of variables that follow from constants, the values at the start of each round; last: after the last one.
    """

    count: int | None
    symbol: Dim = None
    states: dict[int, list[Any]] | None = None
    last: dict[int, Any] | None = None


@structure("While", "StatelessWhile")
def loop(reading: Reading, canvas: Canvas, node: Node, inputs: list[Value], name: str) -> Sequence[Value]:
    """See the module."""
    test, body = reading.function(node.attrs.get("cond")), reading.function(node.attrs.get("body"))
    if len(body.arguments) != len(inputs) or len(body.returns) != len(inputs) or len(test.arguments) != len(inputs):
        raise Unsupported("function", f"{len(inputs)} loop variables for a body of {len(body.arguments)}")
    fixed = {place for place in range(len(inputs)) if passes(body, place)}
    rounds = counted(reading, test, body, inputs, fixed)
    found = _recurrent(reading, canvas, body, inputs, fixed, rounds, name)
    if found is not None:
        return found
    if rounds.count is not None and rounds.count * len(body.order()) <= UNROLLED:
        return _unrolled(reading, canvas, body, inputs, rounds.count, name)
    return _drawn(reading, canvas, test, body, inputs, fixed, rounds, name)


def passes(body: Body, place: int) -> bool:
    """Whether the body returns an argument as it got it."""
    return origin(body, body.returns[place]) == body.arguments[place]


def origin(body: Body, ref: str) -> str:
    """The ref behind operators that pass their operand on."""
    for _ in range(len(body.nodes) + 1):
        node = None if ref in body.arguments else body.nodes.get(split_ref(ref)[0])
        if node is None or node.op not in PASSING or not node.inputs:
            break
        ref = node.inputs[0]
    return ref


# -- how often ---------------------------------------------------------------------------------------------------------


def counted(reading: Reading, test: Body, body: Body, inputs: Sequence[Value], fixed: set[int]) -> Rounds:
    """Go through the rounds with what the condition needs, where that follows from constants; else see what bounds it."""
    used = _deciding(test, body, fixed)
    held = [_constant(value) for value in inputs]
    if any(held[place] is None for place in used):
        return Rounds(None, _bound(test, body, inputs))
    more = [place for place in range(len(inputs)) if place not in fixed and held[place] is not None]
    known = _closed(body, sorted({*used, *more}), held, fixed)
    states: dict[int, list[Any]] = {place: [] for place in known if place not in fixed}
    values = list(held)
    for count in range(MOST_ROUNDS):
        try:
            if not bool(np.asarray(reading.interpreter.call(test, values)[0])):
                return Rounds(count, None, states, {place: values[place] for place in states})
            after = reading.interpreter.call(body, values, [body.returns[place] for place in states])
        except UsageError:
            return Rounds(None, _bound(test, body, inputs))
        for place, value in zip(list(states), after, strict=True):
            states[place].append(values[place])
            values[place] = value
    raise Unsupported("loop", f"it runs more than {MOST_ROUNDS:,} rounds")


def _deciding(test: Body, body: Body, fixed: set[int]) -> set[int]:
    """Loop variables that the condition follows from."""
    used = _read(test, test.returns)
    while True:
        more = used | {p for place in used - fixed for p in _read(body, [body.returns[place]])}
        if more == used:
            return used
        used = more


def _closed(body: Body, places: Sequence[int], held: Sequence[Any], fixed: set[int]) -> list[int]:
    """Those of the variables whose next values follow from constants."""
    found = set(places)
    while True:
        good = {p for p in found if p in fixed or all(q in found or (q in fixed and held[q] is not None)
                                                      for q in _read(body, [body.returns[p]]))}  # fmt: skip
        if good == found:
            return sorted(found)
        found = good


def _read(body: Body, refs: Sequence[str]) -> set[int]:
    from bessemer.runners.tensorflow.program import sorted_nodes

    read = {ref for node in sorted_nodes(body, refs) for ref in node.inputs} | set(refs)
    return {place for place, ref in enumerate(body.arguments) if ref in read}


def _constant(value: Value) -> Any:
    return value.known if isinstance(value, Ordered) else None


def _bound(test: Body, body: Body, inputs: Sequence[Value]) -> Dim:
    """The dim that a loop counts up to from zero, one by one; None where its condition is another one."""
    found: list[Dim] = []
    for ref in _conjuncts(test, test.returns[0]):
        node = test.nodes.get(split_ref(ref)[0])
        if node is None or node.op != "Less":
            return None
        counter, limit = (origin(test, item) for item in node.inputs)
        if counter not in test.arguments or limit not in test.arguments:
            return None
        place, bound = test.arguments.index(counter), inputs[test.arguments.index(limit)]
        if not counts(body, place, inputs[place]) or not isinstance(bound, Ordered):
            return None
        found.append((known_dims(bound) or (None,))[0])
    return found[0] if found and all(dim == found[0] for dim in found) else None


def _conjuncts(test: Body, ref: str) -> list[str]:
    ref = origin(test, ref)
    node = test.nodes.get(split_ref(ref)[0])
    if node is None or node.op != "LogicalAnd":
        return [ref]
    return [item for part in node.inputs for item in _conjuncts(test, part)]


def counts(body: Body, place: int, start: Value) -> bool:
    """Whether a loop variable counts rounds: 0, 1, 2, ..."""
    held = _constant(start)
    node = body.nodes.get(split_ref(origin(body, body.returns[place]))[0])
    if held is None or np.ndim(held) or int(held) != 0 or node is None or node.op not in ("Add", "AddV2"):
        return False
    refs = [origin(body, item) for item in node.inputs]
    one = [body.nodes.get(split_ref(ref)[0]) for ref in refs if ref != body.arguments[place]]
    if body.arguments[place] not in refs or len(one) != 1 or one[0] is None or one[0].op != "Const":
        return False
    return bool(np.all(one[0].attrs.get("value") == 1))


# -- unrolled ----------------------------------------------------------------------------------------------------------


def _unrolled(reading: Reading, canvas: Canvas, body: Body, inputs: list[Value], count: int, name: str) -> list[Value]:
    state = list(inputs)
    for number in range(count):
        state = reading.run(canvas, body, state, f"{name}/{number}")
        if any(isinstance(value, Nothing) for value in state):
            return [Nothing(name)]
    return state


# -- recurrent layers --------------------------------------------------------------------------------------------------


def _recurrent(
    reading: Reading, canvas: Canvas, body: Body, inputs: list[Value], fixed: set[int], rounds: Rounds, name: str
) -> list[Value] | None:
    """The results of a loop that is an LSTM, a GRU or a plain recurrent layer; None for any other one."""
    from bessemer.sources.tensorflow import cells

    layer = cells.recognised(reading, body, inputs, fixed, rounds)
    if layer is None:
        return None
    canvas.layer = name
    return cells.draw(reading, canvas, layer, inputs, rounds)


# -- drawn -------------------------------------------------------------------------------------------------------------


@dataclass
class _Inner:
    """A body that was read: its drawing, its states (place -> value inside) and results by place."""

    canvas: Canvas
    states: dict[int, Ordered]
    results: list[Value]
    round: Any
    going: Any


def _drawn(
    reading: Reading, canvas: Canvas, test: Body, body: Body, inputs: list[Value], fixed: set[int], rounds: Rounds, name: str
) -> Sequence[Value]:
    lists = {place for place, value in enumerate(inputs) if isinstance(value, Items) and place not in fixed}
    for place, value in enumerate(inputs):
        if place not in fixed and place not in lists and not isinstance(value, Ordered):
            raise Unsupported("list", "a list made from a tensor changes from round to round")
    start = {place: value for place, value in enumerate(inputs)
             if isinstance(value, Ordered) and place not in fixed}  # fmt: skip
    shapes = {place: value.shape for place, value in start.items()}
    for _ in range(3):
        inner = _body(reading, canvas, body, inputs, fixed, lists, shapes, name)
        if any(isinstance(value, Nothing) for value in inner.results):
            return [Nothing(name)]
        after = {place: merged(dims, _ordered(inner.results[place]).shape) for place, dims in shapes.items()}
        if after == shapes:
            break
        shapes = after
    else:
        raise Unsupported("loop", "the shapes of its variables change from round to round")
    return _emitted(reading, canvas, (test, body), inner, inputs, start, rounds, fixed, lists, name)


def _body(
    reading: Reading, canvas: Canvas, body: Body, inputs: list[Value], fixed: set[int], lists: set[int],
    shapes: dict[int, tuple[Dim, ...]], name: str,
) -> _Inner:  # fmt: skip
    import onnx_ir

    inner = Canvas(canvas.notes, canvas)
    states: dict[int, Ordered] = {}
    arguments: list[Value] = []
    for place, value in enumerate(inputs):
        if place in fixed:
            arguments.append(borrowed(value))
        elif place in lists:
            assert isinstance(value, Items)
            if value.items and any(item is not None for item in value.items):
                raise Unsupported("list", "it goes on filling a list that has items already")
            arguments.append(Written(value))
        else:
            held = onnx_ir.Value(
                name=canvas.unique(f"{name}/state"), shape=onnx_ir.Shape(list(shapes[place])),
                type=onnx_ir.TensorType(_ordered(value).dtype),
            )  # fmt: skip
            states[place] = standing(str(held.name), held, shapes[place])
            arguments.append(states[place])
    results = reading.run(inner, body, arguments, inside(name))
    canvas.layer = inner.layer = name
    types = (("round", onnx_ir.DataType.INT64), ("going", onnx_ir.DataType.BOOL))
    border = [onnx_ir.Value(name=canvas.unique(what), type=onnx_ir.TensorType(kind), shape=onnx_ir.Shape([]))
              for what, kind in types]  # fmt: skip
    return _Inner(inner, states, results, *border)


def _emitted(
    reading: Reading, canvas: Canvas, bodies: tuple[Body, Body], inner: _Inner, inputs: list[Value],
    start: dict[int, Ordered], rounds: Rounds, fixed: set[int], lists: set[int], name: str,
) -> list[Value]:  # fmt: skip

    test, body = bodies
    places = sorted(start)
    carried = [inner.canvas.at(_ordered(inner.results[place])) for place in places]
    scans = {place: _set_once(inner.results[place], inputs[place]) for place in sorted(lists)}
    kept = {place: found for place, found in scans.items() if found is not None}
    collected = [inner.canvas.at(made, made.made) for _, made in kept.values()]
    if rounds.count is not None:
        trips, first = canvas.literal(np.array(rounds.count, np.int64), "rounds"), None
        again = inner.canvas.emit("Identity", [inner.going])
    else:
        trips, first = None, canvas.at(_truth(reading.run(canvas, test, inputs, inside(name))[0]))
        state = [borrowed(value) if place in fixed else inner.results[place] for place, value in enumerate(inputs)]
        again = inner.canvas.at(_truth(reading.run(inner.canvas, test, state, inside(name))[0]))
    canvas.layer = inner.canvas.layer = name
    entering = [next(iter(inner.states[place].orders.values())) for place in places]
    graph = inner.canvas.body([inner.round, inner.going, *entering], [again, *carried, *collected])
    count = len(carried) + len(collected)
    if not count:
        return list(inputs)
    made = canvas.emit("Loop", [trips, first, *(canvas.at(start[place]) for place in places)], body=graph, outputs=count)
    values = [made] if count == 1 else made
    for value, source in zip(values, [*carried, *collected], strict=True):
        value.type = source.type
    results: list[Value] = list(inputs)
    for place, value in zip(places, values, strict=False):
        shape = inner.states[place].shape
        last = (rounds.last or {}).get(place)
        results[place] = canvas.constant(np.asarray(last), name) if last is not None else canvas.result(value, shape)
    for (place, (where, item)), value in zip(kept.items(), values[len(carried) :], strict=True):
        length = rounds.count if rounds.count is not None else rounds.symbol
        whole = scanned(canvas, value, (length, *item.shape), item.made)
        rows = _places(where, inner.states, rounds, inputs, body)
        results[place] = placed(canvas, whole, rows, _items(inputs[place]), rounds)
    return results


def _set_once(value: Value, start: Value) -> tuple[Ordered | None, Ordered] | None:
    """Where a round sets an item of a list, and which; None where it sets none."""
    if not isinstance(value, Written) or value.start is not start:
        raise Unsupported("list", "a list becomes another one in a loop")
    if len(value.sets) > 1:
        raise Unsupported("list", f"a round sets {len(value.sets)} items of one list")
    return value.sets[0] if value.sets else None


def _places(
    where: Ordered | None, states: dict[int, Ordered], rounds: Rounds, inputs: Sequence[Value], body: Body
) -> Any:
    """The places that rounds set items at: numbers, 'counting' for 0, 1, 2, ..., or 'first' for that one only."""
    if where is None:
        return "counting"
    if where.known is not None:
        return "first" if int(where.known) == 0 else None
    place = next((place for place, state in states.items() if state is where), None)
    if place is not None and rounds.states is not None and place in rounds.states:
        return [int(np.asarray(number)) for number in rounds.states[place]]
    return "counting" if place is not None and counts(body, place, inputs[place]) else None


def placed(canvas: Canvas, whole: Ordered, places: Any, start: Items, rounds: Rounds) -> Value:
    """A list from what rounds made, in the order of the rounds. places: where each was set."""
    if places == "first":
        return Stack(_rows(canvas, whole, np.array([-1])))
    count = rounds.count
    if count is None or isinstance(places, str):
        length = count if count is not None else rounds.symbol
        if places != "counting" or length is None or (not start.grows and start.length != length):
            raise Unsupported("list", "a loop fills a list at places, or so often, that neither is known",
                              "bind the length with --shape")  # fmt: skip
        return Stack(whole)
    length = start.length if isinstance(start.length, int) else max(places, default=-1) + 1
    last = {place: number for number, place in enumerate(places)}
    if sorted(last) != list(range(length)):
        raise Unsupported("list", f"a loop sets {len(last)} of {length} items of a list, and all are read")
    order = np.array([last[place] for place in range(length)], np.int64)
    return Stack(whole if np.array_equal(order, np.arange(count)) else _rows(canvas, whole, order))


def _rows(canvas: Canvas, whole: Ordered, rows: Any) -> Ordered:
    made = canvas.emit("Gather", [canvas.at(whole, whole.made), canvas.literal(rows.astype(np.int64))],
                       axis=whole.made.index(0))  # fmt: skip
    return canvas.result(made, (len(rows), *whole.shape[1:]), whole.made)


def _ordered(value: Value) -> Ordered:
    if isinstance(value, Handle):
        return value.tensor
    if not isinstance(value, Ordered):
        raise Unsupported("list", "a loop variable is a tensor in one round and a list in another")
    return value


def _items(value: Value) -> Items:
    assert isinstance(value, Items)
    return value


def _truth(value: Value) -> Ordered:
    """A condition of a loop as a scalar of type bool."""
    import onnx_ir

    if not isinstance(value, Ordered):
        raise Unsupported("loop", "its condition cannot be read")
    if value.rank or value.dtype != onnx_ir.DataType.BOOL:
        raise Unsupported("loop", f"its condition is a tensor {list(value.shape)} of {value.dtype.name}")
    return value


