"""If and Loop as LiteRT's IF and WHILE: bodies become subgraphs, outer values that they read become operands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bessemer.targets.tflite.builder import Tensor
from bessemer.targets.tflite.context import Blocked, Context, Placed
from bessemer.targets.tflite.driver import lower_body
from bessemer.targets.tflite.ops.common import optional, value
from bessemer.targets.tflite.registry import lower

if TYPE_CHECKING:
    import onnx_ir as ir


def captures(ctx: Context, bodies: Sequence[ir.Graph]) -> list[ir.Value]:
    """Computed values of outer graphs that the bodies read, each once; constants are copied instead."""
    found: dict[int, ir.Value] = {}
    for body in bodies:
        own = {id(v) for v in _made(body)}
        for v in _read(body):
            if id(v) not in own and not ctx.is_const(v):
                found[id(v)] = v
    return list(found.values())


def _made(body: ir.Graph) -> Iterator[ir.Value]:
    for graph in (body, *body.subgraphs()):
        yield from graph.inputs
        yield from graph.initializers.values()
        for node in graph:
            yield from node.outputs


def _read(body: ir.Graph) -> Iterator[ir.Value]:
    for graph in (body, *body.subgraphs()):
        for node in graph:
            yield from (v for v in node.inputs if v is not None)
        yield from graph.outputs


def scalar(ctx: Context, v: ir.Value) -> int:
    """A tensor of one element, as a scalar."""
    index = ctx.tensor(v)
    return ctx.reshape(index, ()) if ctx.rank(v) else index


def fresh(child: Context, indices: Sequence[int]) -> list[int]:
    """Results of a subgraph that are none of its operands, no constant and no result twice: those are copied."""
    seen, made = set(child.sub.inputs), []
    for index in indices:
        if index in seen or child.sub.tensors[index].data is not None:
            shape = child.sub.tensors[index].shape
            zero = child.constant(np.zeros((), _number(child, index)), "nothing")
            index = _copied(child, index, zero, shape)
        seen.add(index)
        made.append(index)
    return made


def _number(child: Context, index: int) -> np.dtype[np.generic]:
    kind = child.sub.tensors[index].type
    numbers = {"FLOAT32": np.float32, "INT32": np.int32, "INT64": np.int64, "BOOL": np.bool_}
    if kind not in numbers:
        raise Blocked("type", f"a subgraph cannot hand {kind} through")
    return np.dtype(numbers[kind])


def _copied(child: Context, index: int, zero: int, shape: tuple[int | None, ...]) -> int:
    """The same values in a tensor of their own."""
    kind = child.sub.tensors[index].type
    out = child.temp(kind, shape, f"{child.sub.tensors[index].name}/copy")
    return child.emit("LOGICAL_OR" if kind == "BOOL" else "ADD", [index, zero], [out])


@lower("If")
def if_(ctx: Context, node: ir.Node) -> None:
    """IF: only the branch taken runs."""
    bodies = [node.attributes[name].as_graph() for name in ("then_branch", "else_branch")]
    outer = captures(ctx, bodies)
    operands = [scalar(ctx, value(node, 0)), *(ctx.tensor(v) for v in outer)]
    numbers = [
        _branch(ctx, body, outer, f"{node.name or 'If'}/{name}")
        for body, name in zip(bodies, ("then", "else"), strict=True)
    ]
    results = [ctx.out(v) for v in node.outputs]
    ctx.emit("IF", operands, results, then_subgraph_index=numbers[0], else_subgraph_index=numbers[1])


def _branch(ctx: Context, body: ir.Graph, outer: Sequence[ir.Value], name: str) -> int:
    child = lower_body(ctx, body, outer, ctx.blockers, name)
    child.sub.outputs = fresh(child, child.sub.outputs)
    return child.subgraph_index


@lower("Loop")
def loop(ctx: Context, node: ir.Node) -> None:
    """WHILE over (step, condition, states..., captured values...)."""
    body = node.attributes["body"].as_graph()
    states = [v for v in node.inputs[2:] if v is not None]
    if len(body.outputs) != 1 + len(states):
        raise Blocked("scan-outputs", "WHILE keeps states of one size; results that grow with each step have no place")
    for before, after in zip(states, body.outputs[1:], strict=True):
        if not _keeps(ctx.shape(before), ctx.shape(after)):
            raise Blocked("dynamic-state", f"the state '{before.name}' must keep its size")
    outer = captures(ctx, [body])
    trips = _trips(ctx, node)
    start = optional(node, 1)
    going = ctx.constant(np.array(True), "go") if start is None else scalar(ctx, start)
    kept = [going, *(ctx.tensor(v) for v in states), trips, *(ctx.tensor(v) for v in outer)]
    step = ctx.constant(np.int64(0), "step")
    types = [(ctx.sub.tensors[i].type, ctx.sub.tensors[i].shape) for i in (step, *kept)]
    condition = _condition(ctx, node, types, 2 + len(states))
    number = _body(ctx, node, body, outer, types)
    unused = [ctx.temp(kind, shape, "spent") for kind, shape in types]
    results = [*unused[:2], *(ctx.out(v) for v in node.outputs), *unused[2 + len(states) :]]
    ctx.emit(
        "WHILE", [step, *kept], results, cond_subgraph_index=condition, body_subgraph_index=number
    )


def _keeps(before: Sequence[int | None], after: Sequence[int | None]) -> bool:
    """Whether a state's tensor holds what a step makes of it: only sizes that are unknown may change."""
    return len(before) == len(after) and all(x is None or x == y for x, y in zip(before, after, strict=True))


def _trips(ctx: Context, node: ir.Node) -> int:
    most = optional(node, 0)
    return ctx.constant(np.int64(2**62), "trips") if most is None else ctx.cast(scalar(ctx, most), "INT64")


Types = Sequence[tuple[str, tuple[int | None, ...]]]


def _inputs(child: Context, types: Types) -> list[int]:
    child.sub.inputs = [child.sub.add(Tensor(f"operand_{i}", kind, shape)) for i, (kind, shape) in enumerate(types)]
    return child.sub.inputs


def _condition(ctx: Context, node: ir.Node, types: Types, trips: int) -> int:
    """Another step: the condition holds and the count is not reached."""
    child = Context(ctx.module, ctx.options, f"{node.name or 'Loop'}/condition", parent=ctx)
    given = _inputs(child, types)
    left = child.emit("LESS", [given[0], given[trips]], [child.temp("BOOL", (), "left")])
    child.sub.outputs = [child.emit("LOGICAL_AND", [left, given[1]], [child.temp("BOOL", (), "again")])]
    return child.subgraph_index


def _body(ctx: Context, node: ir.Node, body: ir.Graph, outer: Sequence[ir.Value], types: Types) -> int:
    """One step; what it only reads is handed on."""
    from bessemer.ir.layout import identity
    from bessemer.targets.tflite.driver import lower_nodes

    child = Context(ctx.module, ctx.options, f"{node.name or 'Loop'}/body", parent=ctx)
    child.blockers = ctx.blockers
    given = _inputs(child, types)
    states = len(body.outputs) - 1
    for v, index in zip(body.inputs, given[: 2 + states], strict=True):
        rank = ctx.rank(v)
        own = rank == len(child.sub.tensors[index].shape)  # step and condition may be declared as [1]
        child.placed[v] = Placed(index if own else child.reshape(index, (1,) * rank), identity(rank))
    ctx.steps.add(body.inputs[0])
    for v, index in zip(outer, given[3 + states :], strict=True):
        child.placed[v] = Placed(index, identity(ctx.rank(v)))
    lower_nodes(child, body, ctx.blockers)
    following = child.emit(
        "ADD", [given[0], child.constant(np.int64(1), "one")], [child.temp("INT64", (), "next")]
    )
    made = [following, scalar(child, body.outputs[0]), *(child.tensor(v) for v in body.outputs[1:])]
    child.sub.outputs = [*fresh(child, made), *given[2 + states :]]
    return child.subgraph_index
