"""Matrix products and embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bessemer.sources.tflite.context import Context, Unsupported, options
from bessemer.sources.tflite.ops.common import activate, mark_hybrid
from bessemer.sources.tflite.registry import op

if TYPE_CHECKING:
    from bessemer.wire.tflite.records import Operator


@op("FULLY_CONNECTED")
def fully_connected(context: Context, operator: Operator) -> None:
    """y = x W^T + b over the last axis; x is flattened to rows unless the dims are kept."""
    source, weights, result = operator.inputs[0], operator.inputs[1], operator.outputs[0]
    fields = options(operator)
    if fields.get("weights_format", 0):
        raise Unsupported("shuffled-weights", "the weights are stored shuffled for one CPU kernel")
    depth = context.shape(weights)[1]
    keep = bool(fields.get("keep_num_dims")) and context.rank(source) != 2
    bias = context.optional(operator.inputs, 2)
    if keep:
        made = context.emit("MatMul", [context.value(source), context.value(weights, (1, 0))])
        mark_hybrid(context, operator, made)
        made = made if bias is None else context.emit("Add", [made, bias])
    else:
        rows = context.contiguous(source)
        if context.rank(source) != 2 or context.order(source) != (0, 1) or context.shape(source)[1] != depth:
            rows = context.reshaped(rows, [_rows(context, source, depth), depth])
        operands = [rows, context.value(weights), *([] if bias is None else [bias])]
        made = mark_hybrid(context, operator, context.emit("Gemm", operands, transB=1))
    made = activate(context, made, fields.get("fused_activation_function", 0))
    if not keep and context.rank(result) != 2:
        made = context.reshaped(made, context.shape(result))
    context.result(result, made)


def _rows(context: Context, source: int, depth: int | None) -> int | None:
    dims = context.shape(source)
    if any(dim is None for dim in dims) or not depth:
        return None
    return int(np.prod([dim for dim in dims if dim is not None], dtype=np.int64)) // depth


@op("BATCH_MATMUL")
def batch_matmul(context: Context, operator: Operator) -> None:
    """adj_x, adj_y transpose the last two axes."""
    fields = options(operator)
    values = []
    for index, key in zip(operator.inputs, ("adj_x", "adj_y"), strict=True):
        rank = context.rank(index)
        perm = (*range(rank - 2), rank - 1, rank - 2) if fields.get(key) else tuple(range(rank))
        values.append(context.value(index, perm))
    context.result(operator.outputs[0], context.emit("MatMul", values))


@op("EMBEDDING_LOOKUP")
def embedding_lookup(context: Context, operator: Operator) -> None:
    """Rows of a table by index."""
    ids, table = operator.inputs
    value = context.value(table)
    context.result(operator.outputs[0], context.emit("Gather", [value, context.value(ids)], axis=0))
