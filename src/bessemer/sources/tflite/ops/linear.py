"""Matrix products, embeddings and recurrent layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.types import Array, int64s
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


@op("UNIDIRECTIONAL_SEQUENCE_LSTM")
def sequence_lstm(context: Context, operator: Operator) -> None:
    """A whole LSTM layer from zero state, as ONNX LSTM (gates i, o, f, c; TFLite stores i, f, c, o)."""
    fields, inputs, result = options(operator), operator.inputs, operator.outputs[0]
    _refuse_lstm_extras(context, operator)
    weights = _stack(context, [inputs[place] for place in (1, 4, 2, 3)])
    recurrent = _stack(context, [inputs[place] for place in (5, 8, 6, 7)])
    biases = [context.known(inputs[place]) for place in (12, 15, 13, 14)]
    hidden = recurrent.shape[2]
    rows = [np.zeros(hidden, np.float32) if row is None else row.astype(np.float32) for row in biases]
    bias = np.concatenate([*rows, np.zeros(4 * hidden, np.float32)])[None]
    source = inputs[0]
    time_major = bool(fields.get("time_major"))
    value = context.value(source, (0, 1, 2) if time_major else (1, 0, 2))
    clip = float(fields.get("cell_clip") or 0.0)
    if clip:
        raise Unsupported("lstm-clip", "ONNX clips the gates' input, TFLite the cell state")
    outputs = context.emit(
        "LSTM",
        [value, context.literal(weights, "W"), context.literal(recurrent, "R"), context.literal(bias, "B")],
        hidden_size=hidden, outputs=3,
    )  # fmt: skip
    steps = context.emit("Squeeze", [outputs[0], context.literal(int64s([1]), "axes")])
    context.notes.append(
        f"'{context.layer}': TFLite keeps the LSTM state between calls; here every call starts from zero state"
    )
    context.result(result, steps, (0, 1, 2) if time_major else (1, 0, 2))


def _refuse_lstm_extras(context: Context, operator: Operator) -> None:
    names = {
        9: "peephole",
        10: "peephole",
        11: "peephole",
        16: "projection",
        17: "projection",
        20: "layer norm",
    }
    for place, name in names.items():
        if place < len(operator.inputs) and operator.inputs[place] >= 0:
            raise Unsupported("lstm-variant", f"the LSTM has {name} weights")
    if operator.inputs[1] < 0:
        raise Unsupported("lstm-variant", "the LSTM couples its input and forget gates (CIFG)")
    if context.tensor(operator.inputs[0]).type != 0:
        raise Unsupported(
            "lstm-quantized", "the LSTM is quantized: its integer cell has no counterpart in ONNX"
        )


def _stack(context: Context, indices: list[int]) -> Array:
    gates = [context.known(index) for index in indices]
    if any(gate is None for gate in gates):
        raise Unsupported("constant-operand", "the LSTM's weights are computed")
    return np.concatenate([np.asarray(gate, np.float32) for gate in gates])[None]
