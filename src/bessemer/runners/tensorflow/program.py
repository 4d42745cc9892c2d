"""A TensorFlow file as a program: one body to run, the functions it calls, its borders and its variables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from bessemer.runners.tensorflow.results import place
from bessemer.wire.errors import WireError
from bessemer.wire.savedmodel.node import Node
from bessemer.wire.savedmodel.records import Function

VARIABLES = ("VarHandleOp", "VariableV2", "Variable")
ASSIGNS = ("AssignVariableOp", "Assign")
FRAMED = frozenset({"Enter", "Merge", "Switch", "RefEnter", "RefMerge", "RefSwitch"})
DEEPEST = 64
"""Calls inside calls."""


@dataclass(frozen=True)
class Body:
    """What a function does. arguments: refs that the caller feeds; returns: refs of the results, in order.

    A ref is 'node' or 'node:1'. controls: nodes that run for what they do.
    """

    name: str
    arguments: tuple[str, ...]
    nodes: Mapping[str, Node]
    returns: tuple[str, ...]
    controls: tuple[str, ...] = ()
    attrs: Mapping[str, Any] = field(default_factory=dict)

    def order(self) -> list[Node]:
        """Nodes that the results need, operands first. Raises WireError for refs to nothing and for circles."""
        return self._order

    @cached_property
    def _order(self) -> list[Node]:
        return sorted_nodes(self, self.returns)

    @cached_property
    def framed(self) -> bool:
        """Whether it has control flow of the first version."""
        return any(node.op in FRAMED for node in self.nodes.values())


@dataclass(frozen=True)
class Border:
    """An input or an output of the program. dtype: numpy; shape None: the rank is not known."""

    name: str
    ref: str
    dtype: Any
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class Program:
    """body: its arguments are `inputs` in order, its returns `outputs`.

    variables: values by the name of the node that stands for the variable in the main graph.
    """

    body: Body
    functions: Mapping[str, Body]
    inputs: tuple[Border, ...]
    outputs: tuple[Border, ...]
    variables: Mapping[str, Any]
    details: Mapping[str, Any] = field(default_factory=dict)


class Bodies(Mapping[str, Body]):
    """Functions of a file by name, their refs made flat when somebody asks."""

    def __init__(self, functions: Mapping[str, Function]) -> None:
        self._functions = functions
        self._made: dict[str, Body] = {}

    def __getitem__(self, name: str) -> Body:
        if name not in self._made:
            self._made[name] = flat(self._functions[name])
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._functions)

    def __len__(self) -> int:
        return len(self._functions)

    def add(self, body: Body) -> None:
        """A function that stands in no file."""
        self._made[body.name] = body

    def made(self, name: str) -> Body | None:
        """A function that was asked for before, or added."""
        return self._made.get(name)


def ref_of(text: str) -> str:
    """A ref of a graph in one spelling: 'node:0' is 'node'."""
    return text[:-2] if text.endswith(":0") else text


def split_ref(ref: str) -> tuple[str, int]:
    """Node and number of the result."""
    name, colon, number = ref.rpartition(":")
    return (name, int(number)) if colon and number.isdigit() else (ref, 0)


def flat(function: Function) -> Body:
    """The body of a function of the library."""
    by_name = {node.name: node for node in function.nodes}

    def one(text: str) -> str:
        parts = text.split(":")
        if len(parts) < 3 or parts[0] not in by_name or not parts[2].isdigit():
            return parts[0]
        node = by_name[parts[0]]
        number = place(node.op, node.attrs, parts[1], int(parts[2]))
        return f"{parts[0]}:{number}" if number else parts[0]

    nodes = {
        node.name: replace(node, inputs=tuple(map(one, node.inputs))) for node in function.nodes
    }
    missing = [item.name for item in function.results if item.name not in function.returns]
    if missing:
        raise WireError(f"function '{function.name}' says nowhere what it returns as '{missing[0]}'")
    return Body(
        function.name,
        tuple(item.name for item in function.arguments),
        nodes,
        tuple(one(function.returns[item.name]) for item in function.results),
        function.controls,
        function.attrs,
    )


def main_body(nodes: Sequence[Node], arguments: Sequence[str], returns: Sequence[str]) -> Body:
    """The main graph between given refs."""
    held = {node.name: replace(node, inputs=tuple(map(ref_of, node.inputs))) for node in nodes}
    return Body("", tuple(map(ref_of, arguments)), held, tuple(map(ref_of, returns)))


def sorted_nodes(body: Body, wanted: Sequence[str]) -> list[Node]:
    """Nodes that refs need, operands first; what the caller feeds is not walked into.

    Loops of the first version of control flow run through NextIteration, whose operands come later than itself.
    Raises WireError for refs to nothing and for circles.
    """
    fed = set(body.arguments)
    done: set[str] = set()
    open_: set[str] = set()
    found: list[Node] = []
    stack = [(ref, False) for ref in reversed(wanted)]
    late: list[str] = []
    while stack or late:
        if not stack:
            stack = [(late.pop(), False)]
        ref, ready = stack.pop()
        name = split_ref(ref)[0]
        if ready:
            open_.discard(name)
            done.add(name)
            found.append(body.nodes[name])
            continue
        if ref in fed or name in done:
            continue
        if name in open_:
            raise WireError(f"node '{name}' needs its own result", where=f"function '{body.name}'" if body.name else "")
        node = body.nodes.get(name)
        if node is None:
            raise WireError(f"'{ref}' is read, and no node makes it", where=f"function '{body.name}'" if body.name else "")
        open_.add(name)
        stack.append((ref, True))
        if node.op in ("NextIteration", "RefNextIteration"):
            late += node.inputs
        else:
            stack += [(item, False) for item in reversed(node.inputs)]
    return found


# -- which key of the checkpoint a variable has -------------------------------------------------------------------------


@dataclass(frozen=True)
class Saved:
    """A key, and which part of that tensor ('' for all of it)."""

    key: str
    part: str = ""


class Variables(Mapping[str, Any]):
    """Values by variable node, read from the checkpoint when asked for."""

    def __init__(self, places: Mapping[str, Saved], values: Mapping[str, Any]) -> None:
        self._places, self._values = places, values

    def __getitem__(self, name: str) -> Any:
        held = self._places[name]
        whole = self._values[held.key]
        spec = held.part.split()
        return whole[part_of(spec[-1])] if spec else whole

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def part_of(spec: str) -> tuple[slice, ...]:
    """A slice as 'start,length:-': a pair per axis, '-' for all of it. Raises WireError."""
    found = []
    for item in spec.split(":"):
        start, comma, length = item.partition(",")
        if item == "-":
            found.append(slice(None))
        elif comma and start.isdigit() and length.isdigit():
            found.append(slice(int(start), int(start) + int(length)))
        else:
            raise WireError(f"'{spec}' is no part of a tensor", where="RestoreV2")
    return tuple(found)


def restored(main: Body, functions: Mapping[str, Body], operation: str) -> dict[str, Saved]:
    """Which key every variable of the main graph is restored from, by the graph's own restoring operation."""
    if not operation:
        return {}
    walk = _Restoring(functions)
    walk.run(main, {}, _effects(main, [operation]), 0)
    return walk.found


class _Restoring:
    """Follows RestoreV2's results to the assignments. What is followed: ('saved', Saved) and ('variable', node name)."""

    def __init__(self, functions: Mapping[str, Body]) -> None:
        self._functions = functions
        self.found: dict[str, Saved] = {}

    def run(self, body: Body, known: dict[str, Any], nodes: Sequence[Node], depth: int) -> None:
        """Walk nodes in order; known: what arguments mean."""
        for node in nodes:
            if node.op in VARIABLES:
                known[node.name] = ("variable", node.name)
            elif node.op == "Const":
                known[node.name] = node.attrs.get("value")
            elif node.op == "Identity" and node.inputs:
                known[node.name] = known.get(node.inputs[0])
            elif node.op in ("RestoreV2", "RestoreSlice"):
                self._restore(node, known)
            elif node.op in ASSIGNS and len(node.inputs) > 1:
                self._assign(known.get(node.inputs[0]), known.get(node.inputs[1]))
            elif node.op in ("PartitionedCall", "StatefulPartitionedCall") and depth < DEEPEST:
                inner = self._functions.get(str(node.attrs.get("f")))
                if inner is not None:
                    given = {key: known.get(ref) for key, ref in zip(inner.arguments, node.inputs, strict=False)}
                    self.run(inner, given, _effects(inner, inner.controls), depth + 1)

    def _restore(self, node: Node, known: dict[str, Any]) -> None:
        names, parts = (_texts(known.get(ref)) for ref in node.inputs[1:3])
        for number, (key, part) in enumerate(zip(names, parts, strict=False)):
            known[f"{node.name}:{number}" if number else node.name] = ("saved", Saved(key, part))

    def _assign(self, target: Any, value: Any) -> None:
        if isinstance(target, tuple) and isinstance(value, tuple) and (target[0], value[0]) == ("variable", "saved"):
            self.found[target[1]] = value[1]


def _texts(array: Any) -> list[str]:
    return [] if array is None else [bytes(item).decode("utf-8", "surrogateescape") for item in np.ravel(array)]


def _effects(body: Body, wanted: Sequence[str]) -> list[Node]:
    """Nodes that run before others, by data or control; operands first."""
    order: list[Node] = []
    seen: set[str] = set(body.arguments)
    stack = [(name, False) for name in reversed(wanted)]
    while stack:
        ref, ready = stack.pop()
        name = split_ref(ref)[0]
        node = body.nodes.get(name)
        if ready and node is not None:
            order.append(node)
        elif node is not None and name not in seen:
            seen.add(name)
            stack.append((ref, True))
            stack += [(item, False) for item in (*node.inputs, *node.controls)]
    return order


def assigned(body: Body) -> list[Node]:
    """Nodes that run for their effects alone or beside the results: assignments to variables among them."""
    wanted = (*body.returns, *body.controls)
    return [node for node in _effects(body, wanted) if node.op.startswith(("Assign", "ResourceScatter", "Scatter"))]
