"""TensorFlow programs evaluated in numpy, straight from their records: functions are called, branches taken, loops run.

Values are asked for backwards from the results. Control flow of the first version (Switch, Merge, Enter, Exit,
NextIteration) runs as TensorFlow's executor defines it: a value belongs to an iteration of a frame, and what a Switch
does not choose is dead (Abadi et al. 2016, "TensorFlow: a system for large-scale machine learning", 3.4).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bessemer.ir.errors import UsageError
from bessemer.ir.types import Array
from bessemer.runners.tensorflow.program import DEEPEST, VARIABLES, Body, Program, sorted_nodes, split_ref
from bessemer.wire.savedmodel.node import Node

Context = tuple[tuple[str, int], ...]
"""Frames around a value, and the iteration of each."""


class Dead:
    """What a Switch did not choose."""


DEAD = Dead()
AGAIN = object()
"""A loop goes on: ask for the next iteration."""
NEXT = ("NextIteration", "RefNextIteration")


@dataclass
class Items:
    """A TensorList, or the tensors of a TensorArray."""

    held: list[Any]
    shape: tuple[int, ...] | None = None
    dtype: Any = np.float32

    def stacked(self) -> Array:
        """All items; zeros where none was set."""
        shape = next((np.shape(item) for item in self.held if item is not None), self.shape)
        if shape is None or any(dim < 0 for dim in shape):
            raise UsageError("A list of tensors of unknown shape is stacked before anything is in it")
        blank = np.zeros(shape, self.dtype)
        return np.array([blank if item is None else item for item in self.held], self.dtype).reshape(-1, *shape)


@dataclass
class Activation:
    """One call of a body: what its nodes made, by node and frame."""

    body: Body
    made: dict[tuple[str, Context], Any] = field(default_factory=dict)
    rounds: dict[tuple[str, Context], int] = field(default_factory=dict)


class Interpreter:
    """Evaluates a program. Raises UsageError for an operator without an evaluator.

    watched: refs to keep the values of, in `seen`; those of a function are called as the reader names them, by the
    path of calls.
    """

    def __init__(
        self, program: Program, watched: Collection[str] = (), seen: dict[str, Array] | None = None
    ) -> None:
        from bessemer.runners.tensorflow.registry import evaluators

        self.program = program
        self._watched, self._seen = watched, {} if seen is None else seen
        self._path = ""
        self._evaluators = evaluators()
        self._depth = 0

    def call(self, body: Body, arguments: Sequence[Any], wanted: Sequence[str] | None = None) -> list[Any]:
        """Results of a body (or other refs in it) for values of its arguments."""
        if len(arguments) != len(body.arguments):
            raise UsageError(f"Function '{body.name}' takes {len(body.arguments)} arguments, not {len(arguments)}")
        if self._depth >= DEEPEST:
            raise UsageError(f"Functions call each other more than {DEEPEST} deep")
        self._depth += 1
        try:
            if not body.framed:
                return self._straight(body, arguments, body.returns if wanted is None else wanted)
            activation = Activation(body)
            for ref, value in zip(body.arguments, arguments, strict=True):
                activation.made[ref, ()] = [value]
            return [self._value(activation, ref, ()) for ref in (body.returns if wanted is None else wanted)]
        finally:
            self._depth -= 1

    def function(self, name: Any) -> Body:
        """A function by name."""
        found = self.program.functions.get(str(name))
        if found is None:
            raise UsageError(f"The program calls the function '{name}', which it does not have")
        return found

    def _straight(self, body: Body, arguments: Sequence[Any], wanted: Sequence[str]) -> list[Any]:
        """A body without control flow of the first version: node by node, values forgotten after their last reader."""
        order = body.order() if wanted is body.returns else sorted_nodes(body, wanted)
        held: dict[str, Any] = dict(zip(body.arguments, arguments, strict=True))
        readers = Counter(ref for node in order for ref in node.inputs)
        readers.update(wanted)
        for node in order:
            made = self._results(node, [_kept(held, ref) for ref in node.inputs])
            if self._watched:
                self._watch(node, made)
            for number, value in enumerate(made):
                ref = f"{node.name}:{number}" if number else node.name
                if readers[ref]:
                    held.setdefault(ref, value)
            for ref in node.inputs:
                readers[ref] -= 1
                if not readers[ref]:
                    held.pop(ref, None)
        return [_kept(held, ref) for ref in wanted]

    def _value(self, activation: Activation, ref: str, context: Context) -> Any:
        stack = [_key(activation, ref, context)]
        while stack:
            key = stack[-1]
            if key in activation.made:
                stack.pop()
                continue
            node = _node(activation.body, key[0])
            needs = [_key_at(activation, item, at) for item, at in self._needs(activation, node, key[1])]
            missing = [item for item, _ in needs if item not in activation.made]
            if missing:
                stack += missing
                continue
            made = self._compute(activation, node, key[1], [_pick(activation, *item) for item in needs])
            if self._watched and made is not AGAIN and made is not DEAD:
                self._watch(node, made)
            if made is not AGAIN:
                activation.made[key] = made
                stack.pop()
        return _pick(activation, *_key_at(activation, ref, context))

    def _needs(self, activation: Activation, node: Node, context: Context) -> list[tuple[str, Context]]:
        """Refs, and where, that a node's values follow from."""
        if node.op in ("Merge", "RefMerge") and context:
            later = [ref for ref in node.inputs if _node(activation.body, split_ref(ref)[0]).op in NEXT]
            if later:
                first = context[-1][1] == 0
                return [(ref, context) for ref in node.inputs if (ref in later) != first]
        if node.op in NEXT:
            frame, number = context[-1]
            return [(node.inputs[0], (*context[:-1], (frame, number - 1)))]
        if node.op in ("Enter", "RefEnter"):
            late = context[-1][1] > 0 and not node.attrs.get("is_constant")
            return [] if late else [(node.inputs[0], context[:-1])]
        if node.op in ("Exit", "RefExit"):
            number = activation.rounds.setdefault((node.name, context), 0)
            return [(node.inputs[0], (*context, (_frame(activation.body, node), number)))]
        return [(ref, context) for ref in node.inputs]

    def _compute(self, activation: Activation, node: Node, context: Context, values: list[Any]) -> Any:
        """Results of a node; DEAD for a node that was not chosen."""
        if node.op in ("Merge", "RefMerge"):
            live = [(number, value) for number, value in enumerate(values) if value is not DEAD]
            return [live[0][1], np.int32(live[0][0])] if live else DEAD
        if node.op in ("Exit", "RefExit") and values[0] is DEAD:
            self._forget(activation, _frame(activation.body, node), activation.rounds[node.name, context])
            activation.rounds[node.name, context] += 1
            return AGAIN
        if any(value is DEAD for value in values) or (node.op in ("Enter", "RefEnter") and not values):
            return DEAD
        return self._results(node, values)

    def _results(self, node: Node, values: list[Any]) -> Sequence[Any]:
        """Results of a node that runs."""
        if node.op in VARIABLES:
            return [self._variable(node)]
        special = SPECIAL.get(node.op)
        if special is not None:
            results: Sequence[Any] = special(self, node, values)
            return results
        if node.op in self.program.functions:
            return self.inline(node, self.function(node.op), values)
        return self.evaluate(node, values)

    def _watch(self, node: Node, made: Sequence[Any]) -> None:
        for number, value in enumerate(made):
            ref = f"{self._path}{node.name}:{number}" if number else f"{self._path}{node.name}"
            if ref in self._watched and isinstance(value, np.ndarray | np.generic):
                self._seen[ref] = np.asarray(value)

    def inline(self, node: Node, body: Body, values: Sequence[Any]) -> list[Any]:
        """Call a function from a node: refs inside are known by the path of calls."""
        before = self._path
        self._path = before + inside(node.name)
        try:
            return self.call(body, values)
        finally:
            self._path = before

    def evaluate(self, node: Node, values: Sequence[Any]) -> list[Any]:
        """Results of an operator on arrays."""
        run = self._evaluators.get(node.op)
        if run is None:
            raise UsageError(
                f"The reference evaluator has no {node.op} (node '{node.name}')",
                fix="Run the original with --original runtime",
            )
        made = run(node, [np.asarray(value) for value in values])
        return list(made) if isinstance(made, list | tuple) else [made]

    def _variable(self, node: Node) -> Array:
        if node.name not in self.program.variables:
            raise UsageError(f"Variable '{node.name}' has no value in the checkpoint")
        return np.asarray(self.program.variables[node.name])

    @staticmethod
    def _forget(activation: Activation, frame: str, before: int) -> None:
        """Values of iterations that nothing reads any more; an iteration reads the one before it."""
        old = [key for key in activation.made if key[1] and key[1][-1][0] == frame and key[1][-1][1] < before]
        for key in old:
            del activation.made[key]


def _kept(held: dict[str, Any], ref: str) -> Any:
    if ref not in held:
        raise UsageError(f"'{ref}' is read, and nothing makes it")
    return held[ref]


def inside(name: str) -> str:
    """What the refs of a function that a node calls are prefixed by: names that TensorFlow gives calls are left out."""
    parts = name.split("/")
    kept = parts[:-1] if parts[-1] in ("PartitionedCall", "StatefulPartitionedCall") else parts
    return "/".join([*kept, ""]) if kept else ""


def _key(activation: Activation, ref: str, context: Context) -> tuple[str, Context]:
    return _key_at(activation, ref, context)[0]


def _key_at(activation: Activation, ref: str, context: Context) -> tuple[tuple[str, Context], int]:
    """Under which key a ref's node keeps its results, and which of them it is. Arguments stand outside of all frames."""
    if (ref, ()) in activation.made and ref in activation.body.arguments:
        return (ref, ()), 0
    name, number = split_ref(ref)
    return (name, context), number


def _pick(activation: Activation, key: tuple[str, Context], number: int) -> Any:
    held = activation.made[key]
    if held is DEAD:
        return DEAD
    if number >= len(held):
        raise UsageError(f"Node '{key[0]}' has {len(held)} results, and number {number} is read")
    return held[number]


def _node(body: Body, name: str) -> Node:
    found = body.nodes.get(name)
    if found is None:
        raise UsageError(f"'{name}' is read, and no node of '{body.name}' makes it")
    return found


def _frame(body: Body, node: Node) -> str:
    """The frame that an Exit leaves: that of the Enter of its loop variable."""
    switch = _node(body, split_ref(node.inputs[0])[0])
    merge = _node(body, split_ref(switch.inputs[0])[0])
    for ref in merge.inputs:
        enter = _node(body, split_ref(ref)[0])
        if enter.op in ("Enter", "RefEnter"):
            return str(enter.attrs["frame_name"])
    raise UsageError(f"'{node.name}' leaves a loop that was never entered")


# -- operators on other things than arrays ------------------------------------------------------------------------------

Special = Callable[[Interpreter, Node, list[Any]], Any]
SPECIAL: dict[str, Special] = {}


def special(*names: str) -> Callable[[Special], Special]:
    """Register an operator that calls functions or handles lists."""

    def register(run: Special) -> Special:
        for name in names:
            SPECIAL[name] = run
        return run

    return register


@special("Identity", "ReadVariableOp", "Enter", "Exit", "NextIteration", "LoopCond", "RefEnter", "RefExit", "StopGradient",
         "RefNextIteration", "PreventGradient", "Snapshot", "RefIdentity")  # fmt: skip
def _pass(run: Interpreter, node: Node, values: list[Any]) -> Any:
    return values[:1]


@special("IdentityN")
def _pass_all(run: Interpreter, node: Node, values: list[Any]) -> Any:
    return values


@special("PlaceholderWithDefault")
def _default(run: Interpreter, node: Node, values: list[Any]) -> Any:
    return values[:1]


@special("Switch", "RefSwitch")
def _switch(run: Interpreter, node: Node, values: list[Any]) -> Any:
    return [DEAD, values[0]] if bool(values[1]) else [values[0], DEAD]


@special("PartitionedCall", "StatefulPartitionedCall")
def _call(run: Interpreter, node: Node, values: list[Any]) -> Any:
    return run.inline(node, run.function(node.attrs["f"]), values)


@special("If", "StatelessIf")
def _if(run: Interpreter, node: Node, values: list[Any]) -> Any:
    return run.inline(node, run.function(node.attrs["then_branch" if _truth(values[0]) else "else_branch"]), values[1:])


@special("Case", "StatelessCase")
def _case(run: Interpreter, node: Node, values: list[Any]) -> Any:
    branches = node.attrs["branches"]
    number = int(values[0])
    return run.inline(node, run.function(branches[number if 0 <= number < len(branches) else -1]), values[1:])


@special("While", "StatelessWhile")
def _while(run: Interpreter, node: Node, values: list[Any]) -> Any:
    test, body = run.function(node.attrs["cond"]), run.function(node.attrs["body"])
    while _truth(run.inline(node, test, values)[0]):
        values = run.inline(node, body, values)
    return values


def _truth(value: Any) -> bool:
    """What a condition of any type means: numbers are true unless zero, tensors of a rank unless empty."""
    array = np.asarray(value)
    return bool(array) if array.ndim == 0 else array.size > 0


@special("DeviceIndex")
def _device(run: Interpreter, node: Node, values: list[Any]) -> Any:
    names = node.attrs.get("device_names") or []
    return [np.int32(names.index("CPU") if "CPU" in names else len(names))]


def _dims(value: Any) -> tuple[int, ...] | None:
    dims = tuple(int(dim) for dim in np.ravel(value))
    return None if -1 in dims or np.ndim(value) == 0 else dims


@special("TensorListReserve", "EmptyTensorList")
def _reserve(run: Interpreter, node: Node, values: list[Any]) -> Any:
    count = int(values[1]) if node.op == "TensorListReserve" else 0
    if count > 1 << 24:
        raise UsageError(f"Node '{node.name}' reserves a list of {count} tensors")
    return [Items([None] * count, _dims(values[0]), node.attrs["element_dtype"])]


@special("TensorListFromTensor")
def _unstack(run: Interpreter, node: Node, values: list[Any]) -> Any:
    array = np.asarray(values[0])
    return [Items(list(array), array.shape[1:], array.dtype)]


@special("TensorListGetItem")
def _get(run: Interpreter, node: Node, values: list[Any]) -> Any:
    held = values[0].held[int(values[1])]
    return [np.zeros(values[0].shape or _dims(values[2]) or (), values[0].dtype) if held is None else held]


@special("TensorListSetItem")
def _set(run: Interpreter, node: Node, values: list[Any]) -> Any:
    held, number = list(values[0].held), int(values[1])
    if node.attrs.get("resize_if_index_out_of_bounds") and number >= len(held):
        held += [None] * (number + 1 - len(held))
    held[number] = np.asarray(values[2])
    return [Items(held, values[0].shape, values[0].dtype)]


@special("TensorListPushBack")
def _push(run: Interpreter, node: Node, values: list[Any]) -> Any:
    return [Items([*values[0].held, np.asarray(values[1])], values[0].shape, values[0].dtype)]


@special("TensorListPopBack")
def _pop(run: Interpreter, node: Node, values: list[Any]) -> Any:
    return [Items(values[0].held[:-1], values[0].shape, values[0].dtype), values[0].held[-1]]


@special("TensorListLength")
def _count(run: Interpreter, node: Node, values: list[Any]) -> Any:
    return [np.int32(len(values[0].held))]


@special("TensorListStack")
def _stack(run: Interpreter, node: Node, values: list[Any]) -> Any:
    held = values[0]
    return [Items(held.held, held.shape or _dims(values[1]), held.dtype).stacked()]


@special("TensorListConcatV2", "TensorListConcat")
def _join(run: Interpreter, node: Node, values: list[Any]) -> Any:
    return [np.concatenate(values[0].held), np.array([len(item) for item in values[0].held], np.int64)]


@special("TensorArrayV3")
def _array(run: Interpreter, node: Node, values: list[Any]) -> Any:
    count = int(values[0])
    if count > 1 << 24:
        raise UsageError(f"Node '{node.name}' makes an array of {count} tensors")
    return [Items([None] * count, None, node.attrs["dtype"]), np.float32(0)]


@special("TensorArrayScatterV3")
def _scatter(run: Interpreter, node: Node, values: list[Any]) -> Any:
    for number, item in zip(values[1], values[2], strict=True):
        _write_at(values[0].held, int(number), item)
    return [values[3]]


def _write_at(held: list[Any], number: int, item: Any) -> None:
    if not 0 <= number < 1 << 24:
        raise UsageError(f"Item {number} of an array of tensors is written")
    held += [None] * (number + 1 - len(held))
    held[number] = item


@special("TensorArrayWriteV3")
def _write(run: Interpreter, node: Node, values: list[Any]) -> Any:
    _write_at(values[0].held, int(values[1]), np.asarray(values[2]))
    return [values[3]]


@special("TensorArrayReadV3")
def _read(run: Interpreter, node: Node, values: list[Any]) -> Any:
    return [values[0].held[int(values[1])]]


@special("TensorArrayGatherV3")
def _gather(run: Interpreter, node: Node, values: list[Any]) -> Any:
    return [Items([values[0].held[int(number)] for number in values[1]], None, values[0].dtype).stacked()]


@special("TensorArraySizeV3")
def _size(run: Interpreter, node: Node, values: list[Any]) -> Any:
    return [np.int32(len(values[0].held))]


@special("TensorArrayConcatV3")
def _concat(run: Interpreter, node: Node, values: list[Any]) -> Any:
    return [np.concatenate(values[0].held), np.array([len(item) for item in values[0].held], np.int64)]


@special("ResourceGather")
def _lookup(run: Interpreter, node: Node, values: list[Any]) -> Any:
    return [np.asarray(values[0])[np.asarray(values[1])]]
