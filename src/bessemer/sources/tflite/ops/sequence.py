"""Sequences, diagonals, segments and uniqueness."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.sources.tflite.context import Context, Unsupported, options
from bessemer.sources.tflite.ops.quantization import cast
from bessemer.sources.tflite.registry import op
from bessemer.sources.tflite.tensors import dtype_of, is_quantized

if TYPE_CHECKING:
    import onnx_ir

    from bessemer.wire.tflite.records import Operator


@op("REVERSE_SEQUENCE")
def reverse_sequence(context: Context, operator: Operator) -> None:
    """ONNX wants batch and time in front."""
    import onnx_ir

    source, fields = operator.inputs[0], options(operator)
    batch, time = int(fields.get("batch_dim", 0)), int(fields.get("seq_dim", 0))
    order = (batch, time, *(axis for axis in range(context.rank(source)) if axis not in (batch, time)))
    lengths = cast(context, context.value(operator.inputs[1]), onnx_ir.DataType.INT64)
    made = context.emit("ReverseSequence", [context.value(source, order), lengths], batch_axis=0, time_axis=1)
    context.result(operator.outputs[0], made, order)


@op("UNIQUE")
def unique(context: Context, operator: Operator) -> None:
    """Values in order of appearance, and where each element went."""
    import onnx_ir

    value = context.value(operator.inputs[0])
    stored = value.dtype
    # ONNX Runtime has kernels for few types; int32 is not among them.
    narrow = stored is not None and stored.is_integer() and stored != onnx_ir.DataType.INT64
    wide = cast(context, value, onnx_ir.DataType.INT64) if narrow else value
    made = context.emit("Unique", [wide], sorted=0, outputs=4)
    for places in made[1:]:
        places.type = onnx_ir.TensorType(onnx_ir.DataType.INT64)
    context.result(operator.outputs[0], cast(context, made[0], stored) if narrow else made[0])
    _unbound(context, operator.outputs[0])
    kind = dtype_of(context.tensor(operator.outputs[1]))
    places = made[2] if kind == onnx_ir.DataType.INT64 else cast(context, made[2], kind)
    context.result(operator.outputs[1], places)


def _unbound(context: Context, index: int) -> None:
    """The file states no length that could be trusted: it depends on the data."""
    import onnx_ir

    value = context.value(index)
    value.shape = onnx_ir.Shape([None])


def _eye(context: Context, rows: int, columns: int) -> onnx_ir.Value:
    return context.literal(np.eye(rows, columns, dtype=bool), "diagonal")


@op("MATRIX_DIAG")
def matrix_diag(context: Context, operator: Operator) -> None:
    """The last axis on the diagonal of zero matrices."""
    source = operator.inputs[0]
    size = context.static(source)[-1]
    zero = np.zeros(
        (), np.float32 if is_quantized(context.tensor(source)) else dtype_of(context.tensor(source)).numpy()
    )
    row = context.emit(
        "Unsqueeze", [context.value(source), context.literal(np.array([-2], np.int64), "axes")]
    )
    made = context.emit(
        "Where", [_eye(context, size, size), row, context.literal(zero, "zero")], dtype=row.dtype
    )
    context.result(operator.outputs[0], made)


@op("MATRIX_SET_DIAG")
def matrix_set_diag(context: Context, operator: Operator) -> None:
    """Square matrices with another diagonal."""
    rows, columns = context.static(operator.inputs[0])[-2:]
    if rows != columns:
        raise Unsupported("matrix-set-diag", f"matrices of {rows} x {columns} are not square")
    row = context.emit(
        "Unsqueeze", [context.value(operator.inputs[1]), context.literal(np.array([-2], np.int64), "axes")]
    )
    made = context.emit(
        "Where", [_eye(context, rows, columns), row, context.value(operator.inputs[0])], dtype=row.dtype
    )
    context.result(operator.outputs[0], made)


@op("BUCKETIZE")
def bucketize(context: Context, operator: Operator) -> None:
    """The number of boundaries that an element reaches."""
    import onnx_ir

    edges = np.array(options(operator).get("boundaries") or (), np.float32)
    source = operator.inputs[0]
    order = context.order(source)
    value = context.value(source, order)
    real = value if value.dtype == onnx_ir.DataType.FLOAT else cast(context, value, onnx_ir.DataType.FLOAT)
    last = context.literal(np.array([-1], np.int64), "axes")
    column = context.emit("Unsqueeze", [real, last])
    reached = context.emit(
        "GreaterOrEqual", [column, context.literal(edges, "edges")], dtype=onnx_ir.DataType.BOOL
    )
    counted = cast(context, reached, onnx_ir.DataType.INT32)
    context.result(operator.outputs[0], context.emit("ReduceSum", [counted, last], keepdims=0), order)


@op("BROADCAST_ARGS")
def broadcast_args(context: Context, operator: Operator) -> None:
    """The shape that two shapes broadcast to: the larger dim of each pair, except that 0 beats 1."""
    import onnx_ir

    lengths = [context.static(index)[0] for index in operator.inputs[:2]]
    padded = []
    for index, length in zip(operator.inputs[:2], lengths, strict=True):
        lead = np.ones(max(lengths) - length, dtype_of(context.tensor(index)).numpy())
        value = context.value(index)
        padded.append(
            context.emit("Concat", [context.literal(lead, "lead"), value], axis=0) if lead.size else value
        )
    larger, smaller = context.emit("Max", padded), context.emit("Min", padded)
    zero = context.literal(np.zeros((), larger.dtype.numpy()), "zero")
    empty = context.emit("Equal", [smaller, zero], dtype=onnx_ir.DataType.BOOL)
    context.result(operator.outputs[0], context.emit("Where", [empty, smaller, larger], dtype=larger.dtype))


SEGMENT = {
    "SEGMENT_SUM": "add", "UNSORTED_SEGMENT_SUM": "add", "UNSORTED_SEGMENT_PROD": "mul",
    "UNSORTED_SEGMENT_MAX": "max", "UNSORTED_SEGMENT_MIN": "min",
}  # fmt: skip


@op(*SEGMENT)
def segment(context: Context, operator: Operator) -> None:
    """Rows scattered into what leaves them unchanged; the number of segments must be known."""
    import onnx_ir

    from bessemer.sources.tflite import operator_name

    name = operator_name(context.file, operator)
    source, ids = operator.inputs[:2]
    held = context.known(ids)
    if name == "SEGMENT_SUM":
        if held is None:
            raise Unsupported(
                "constant-operand", "the number of segments is the last of the computed segment ids"
            )
        count = int(held.reshape(-1)[-1]) + 1
    else:
        count = context.integers(operator.inputs[2])[0]
    if held is None or (held < 0).any() or (held >= count).any():
        raise Unsupported("segment-ids", "segment ids must be constant and name segments that exist")
    depth = context.rank(ids)
    kind = dtype_of(context.tensor(source)).numpy()
    start = context.literal(
        np.full((count, *context.static(source)[depth:]), _neutral(name, kind), kind), "start"
    )
    places = context.emit(
        "Unsqueeze",
        [
            cast(context, context.value(ids), onnx_ir.DataType.INT64),
            context.literal(np.array([-1], np.int64), "axes"),
        ],
    )
    made = context.emit("ScatterND", [start, places, context.value(source)], reduction=SEGMENT[name])
    context.result(operator.outputs[0], made)


def _neutral(name: str, kind: np.dtype[Any]) -> float:
    """What an empty segment holds."""
    if name.endswith("SUM"):
        return 0
    if name.endswith("PROD"):
        return 1
    limits: Any = np.finfo(kind) if kind.kind == "f" else np.iinfo(kind)
    edge: float = limits.min if name.endswith("MAX") else limits.max
    return edge


@op("SPARSE_TO_DENSE")
def sparse_to_dense(context: Context, operator: Operator) -> None:
    """Values put at constant or computed places of a filled tensor."""
    import onnx_ir

    places, shape, values, default = operator.inputs
    dims = context.integers(shape)
    filled = context.emit(
        "Expand", [context.value(default), context.literal(np.array(dims, np.int64), "shape")]
    )
    where = cast(context, context.value(places), onnx_ir.DataType.INT64)
    rows = [*context.static(places), 1, 1][:1] if context.rank(places) else [1]
    width = len(dims) if context.rank(places) == 2 or not context.rank(places) else 1
    if width != len(dims):
        raise Unsupported("sparse-indices", f"places of {width} coordinate in a tensor of {len(dims)} axes")
    where = context.reshaped(where, [rows[0], width])
    updates = context.value(values)
    if context.rank(values) == 0:
        updates = context.emit("Expand", [updates, context.literal(np.array(rows, np.int64), "rows")])
    context.result(operator.outputs[0], context.emit("ScatterND", [filled, where, updates]))


@op("NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5")
def non_max_suppression(context: Context, operator: Operator) -> None:
    """Boxes [n, 4], scores [n]; results padded with zeros to a constant size; soft ones declined."""
    import onnx_ir

    soft = len(operator.inputs) > 5
    if soft and context.known(operator.inputs[5]) is None:
        raise Unsupported("constant-operand", "the sigma of soft suppression is computed")
    if soft and float(np.asarray(context.known(operator.inputs[5])).reshape(-1)[0]) != 0:
        raise Unsupported("soft-nms", "ONNX has no suppression that lowers scores")
    boxes, scores = (context.value(index) for index in operator.inputs[:2])
    most = context.integers(operator.inputs[2])[0]
    axes = [context.literal(np.array(items, np.int64), "axes") for items in ([0], [0, 1])]
    limits = [context.reshaped(context.value(operator.inputs[i]), [1]) for i in (3, 4)]
    count = context.literal(np.array([most], np.int64), "most")
    operands = [
        context.emit("Unsqueeze", [boxes, axes[0]]),
        context.emit("Unsqueeze", [scores, axes[1]]),
        count,
    ]
    rows = context.emit("NonMaxSuppression", [*operands, *limits], dtype=onnx_ir.DataType.INT64)
    kept = context.emit("Gather", [rows, context.literal(np.array(2, np.int64), "column")], axis=1)
    chosen = [cast(context, kept, onnx_ir.DataType.INT32)]
    if soft:
        chosen.append(context.emit("Gather", [scores, kept], axis=0))
    found = cast(context, context.emit("Shape", [kept], dtype=onnx_ir.DataType.INT64), onnx_ir.DataType.INT32)
    for index, value in zip(operator.outputs, chosen, strict=False):
        kind = (value.dtype or onnx_ir.DataType.FLOAT).numpy()
        padded = context.emit("Concat", [value, context.literal(np.zeros(most, kind), "tail")], axis=0)
        bounds = [context.literal(np.array([item], np.int64), "bound") for item in (0, most)]
        context.result(index, context.emit("Slice", [padded, *bounds]))
        context.value(index).shape = onnx_ir.Shape([most])
    context.result(operator.outputs[-1], context.reshaped(found, []))
