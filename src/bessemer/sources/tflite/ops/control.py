"""IF and WHILE: subgraphs become branches and loop bodies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bessemer.sources.tflite.context import Context, Unsupported, options
from bessemer.sources.tflite.registry import op

if TYPE_CHECKING:
    import onnx_ir

    from bessemer.wire.tflite.records import Operator

DEEPEST = 16


class Inner(Context):
    """A subgraph read for an operator of another; names are unique among all of them."""

    def __init__(self, outer: Context, number: int) -> None:
        if not 0 <= number < len(outer.file.subgraphs):
            raise Unsupported("subgraph", f"it calls subgraph {number} of {len(outer.file.subgraphs)}")
        super().__init__(outer.file, outer.file.subgraphs[number], outer.constants, outer.notes)
        self.depth: int = 1 + (outer.depth if isinstance(outer, Inner) else 0)
        self._names, self.resources = outer._names, outer.resources
        self.layer = outer.layer
        if self.depth > DEEPEST:
            raise Unsupported("recursion", f"subgraphs call each other more than {DEEPEST} deep")

    def run(self, values: Sequence[onnx_ir.Value]) -> list[onnx_ir.Value]:
        """Emit the subgraph for `values`; its results, in their own axis order."""
        from bessemer.sources.tflite import read_operators

        if len(values) != len(self.subgraph.inputs):
            raise Unsupported("subgraph", f"{len(values)} operands for {len(self.subgraph.inputs)} inputs")
        for index, value in zip(self.subgraph.inputs, values, strict=True):
            self.register(index, value, tuple(range(self.rank(index))))
        layer = self.layer
        read_operators(self, self.file, Path())
        self.layer = layer
        if self.blockers:
            raise Unsupported("subgraph", "; ".join(blocker.line() for blocker in self.blockers))
        return [self.value(index) for index in self.subgraph.outputs]


def inline(context: Context, number: int, values: Sequence[onnx_ir.Value]) -> list[onnx_ir.Value]:
    """Emit a subgraph's nodes into `context` itself."""
    inner = Inner(context, number)
    inner.nodes, inner.initializers = context.nodes, context.initializers
    return inner.run(values)


@op("IF")
def branch(context: Context, operator: Operator) -> None:
    """Branches read the operands from around them."""
    fields = options(operator)
    values = [context.value(index) for index in operator.inputs[1:]]
    graphs = []
    for key in ("then_subgraph_index", "else_subgraph_index"):
        inner = Inner(context, int(fields[key]))
        graphs.append(inner.body([], inner.run(values)))
    condition = context.reshaped(context.value(operator.inputs[0]), [])
    count = len(operator.outputs)
    made = context.emit("If", [condition], then_branch=graphs[0], else_branch=graphs[1], outputs=count)
    for index, value in zip(operator.outputs, [made] if count == 1 else made, strict=True):
        context.result(index, value)


@op("WHILE")
def loop(context: Context, operator: Operator) -> None:
    """The condition is computed before the loop and at the end of each round."""
    import onnx_ir

    fields = options(operator)
    test, body = int(fields["cond_subgraph_index"]), int(fields["body_subgraph_index"])
    start = [context.value(index) for index in operator.inputs]
    first = context.reshaped(inline(context, test, start)[0], [])
    inner = Inner(context, body)
    state = [
        onnx_ir.Value(name=context.unique(f"{context.layer}/state"), type=value.type, shape=value.shape)
        for value in start
    ]
    round_ = onnx_ir.Value(
        name=context.unique("round"), type=onnx_ir.TensorType(onnx_ir.DataType.INT64), shape=onnx_ir.Shape([])
    )
    going = onnx_ir.Value(
        name=context.unique("going"), type=onnx_ir.TensorType(onnx_ir.DataType.BOOL), shape=onnx_ir.Shape([])
    )
    results = inner.run(state)
    again = inner.reshaped(inline(inner, test, results)[0], [])
    graph = inner.body([round_, going, *state], [again, *results])
    count = len(operator.outputs)
    made = context.emit("Loop", [None, first, *start], body=graph, outputs=count)
    for index, value in zip(operator.outputs, [made] if count == 1 else made, strict=True):
        context.result(index, value)
