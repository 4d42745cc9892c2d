"""Lower a whole graph: every node once, every blocker collected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bessemer.ir.errors import Blocker
from bessemer.ir.layout import identity
from bessemer.ir.model import layer_of
from bessemer.targets.tflite.builder import Tensor
from bessemer.targets.tflite.context import Blocked, Context, Placed
from bessemer.targets.tflite.registry import Entry, find

if TYPE_CHECKING:
    import onnx_ir as ir


def lower_nodes(ctx: Context, graph: ir.Graph, blockers: list[Blocker]) -> None:
    """Lower the nodes of `graph` in order into `ctx`; what cannot be lowered is added to `blockers`."""
    for node in graph:
        if node in ctx.done:
            continue
        try:
            lower_node(ctx, node)
        except Blocked as problem:
            blockers.append(_blocker(node, problem))
            _stand_in(ctx, node)


def lower_node(ctx: Context, node: ir.Node) -> None:
    """Lower one node. Raises Blocked."""
    entry = find(node)
    if entry is None:
        raise _unknown(node)
    for value in (*node.inputs, *node.outputs):
        if value is not None:
            _need_tensor(value)
    for value in node.inputs:
        if value is not None:
            ctx.shape(value)
    _learn_rank(ctx, node)
    if _nothing_to_do(ctx, node):
        return
    ctx.integer = _wants_integers(ctx, node, entry)
    if not ctx.integer and any(ctx.encoding(value) is not None for value in node.outputs):
        ctx.floated.append(node)
    entry.function(ctx, node)
    ctx.flush()
    ctx.integer = False


def _unknown(node: ir.Node) -> Blocked:
    from bessemer.targets.tflite.expand.registry import NEEDS

    name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
    needs = "" if node.domain else NEEDS.get(node.op_type, "")
    reason = f"TFLite has no operator for {name}"
    return Blocked("no-operator", f"{reason}, and rewriting it needs {needs}" if needs else reason)


EMPTY_IS_FINE = frozenset({
    "Concat", "ConcatFromSequence", "Pad", "Shape", "Size", "Split", "ScatterND", "ScatterElements", "If", "Loop", "Scan",
    "ConstantOfShape", "Range", "Reshape", "Resize", "Slice", "Gemm", "MatMul", "Expand", "Tile", "OneHot", "Trilu",
    "ReduceSum", "ReduceMax", "ReduceMin", "ReduceMean", "ReduceProd", "ReduceSumSquare", "ReduceL1", "ReduceL2",
    "ReduceLogSum", "ReduceLogSumExp",
})  # fmt: skip
"""Operators with elements in their results although an operand has none, and LiteRT agrees (ends of slices, pads and
the like are such operands, too)."""


def _nothing_to_do(ctx: Context, node: ir.Node) -> bool:
    """Place results without elements; LiteRT's kernels need not be asked, and some of them answer wrongly.

    Raises Blocked where a result has elements although an operand has none, but for operators known to be fine.
    """
    results = [value for value in node.outputs if value.shape is not None]
    plain = results and not any(_bodies(node)) and len(results) == len(node.outputs)
    if plain and all(_empty(ctx, value) for value in results):
        for value in results:
            dims = ctx.shape(value)
            tensor = Tensor(value.name or "", ctx.type(value), dims, encoding=ctx.encoding(value))
            ctx.placed[value] = Placed(ctx.sub.add(tensor), identity(len(dims)))
        return True
    empty = [value for value in node.inputs[:1] if value is not None and value.shape is not None and _empty(ctx, value)]
    if empty and not any(_bodies(node)) and node.op_type not in EMPTY_IS_FINE:
        raise Blocked("empty-operand", f"'{empty[0].name}' has no elements, and LiteRT's kernel here needs some")
    return False


def _empty(ctx: Context, value: ir.Value) -> bool:
    return 0 in ctx.shape(value)


def _bodies(node: ir.Node) -> list[bool]:
    import onnx_ir as ir

    kinds = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    return [attribute.type in kinds for attribute in node.attributes.values()]


ELEMENTWISE = frozenset({"Sqrt", "Log", "Exp", "Abs", "Neg", "Cast", "Cos", "Sin", "Add", "Sub", "Mul", "Div", "Identity"})


def _learn_rank(ctx: Context, node: ir.Node) -> None:
    """Shape inference stops at axes that are computed; the rank is known again once they are lowered."""
    import onnx_ir as ir

    result = node.outputs[0]
    if result.shape is None and node.op_type in ELEMENTWISE and node.domain in ("", "ai.onnx"):
        rank = max(ctx.rank(value) for value in node.inputs if value is not None)
        result.shape = ir.Shape([None] * rank)


def _wants_integers(ctx: Context, node: ir.Node, entry: Entry) -> bool:
    if entry.integer is None:
        return False
    encoded = any(ctx.encoding(value) is not None for value in (*node.inputs, *node.outputs))
    return encoded and entry.integer(ctx, node)


def _need_tensor(value: ir.Value) -> None:
    import onnx_ir as ir

    if isinstance(value.type, (ir.SequenceType, ir.OptionalType)):
        raise Blocked("no-tensor", f"'{value.name}' is a sequence or an optional; TFLite only has tensors")
    if value.dtype is not None and value.dtype == ir.DataType.STRING:
        raise Blocked("strings", f"'{value.name}' holds strings; LiteRT's kernels compute on numbers")


def _blocker(node: ir.Node, problem: Blocked) -> Blocker:
    return Blocker(
        node=node.name or "",
        op=node.op_type,
        rule=problem.rule,
        reason=problem.reason,
        layer=layer_of(node),
        rewrite=problem.rewrite,
    )


def _stand_in(ctx: Context, node: ir.Node) -> None:
    """Give the results of a blocked node a place, so that the rest is still looked at."""
    ctx.integer = False
    ctx._pending.clear()
    for value in node.outputs:
        if value in ctx.placed:
            continue
        dims = () if value.shape is None else tuple(d if isinstance(d, int) else None for d in value.shape)
        encoding = ctx.encoding(value)
        index = ctx.sub.add(Tensor(value.name or "", ctx.type(value), dims, encoding=encoding))
        ctx.placed[value] = Placed(index, identity(len(dims)))


def lower_body(
    ctx: Context, graph: ir.Graph, captures: Sequence[ir.Value], blockers: list[Blocker], name: str
) -> Context:
    """Lower a subgraph attribute into a subgraph of its own whose inputs are `captures` then `graph.inputs`.

    Everything crosses the border unencoded and in logical order. Returns its context (`.subgraph_index`).
    """
    child = Context(ctx.module, ctx.options, name, parent=ctx)
    child.blockers = blockers
    for value in (*captures, *graph.inputs):
        dims = child.shape(value)
        index = child.sub.add(Tensor(value.name or "", child.type(value), dims))
        child.placed[value] = Placed(index, identity(len(dims)))
        child.sub.inputs.append(index)
    lower_nodes(child, graph, blockers)
    child.sub.outputs = [child.tensor(value) for value in graph.outputs]
    return child
