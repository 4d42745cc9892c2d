"""Reductions, arg-max, cumulative sums and top-k."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.types import Perm, int64s
from bessemer.sources.tflite.context import Context, options
from bessemer.sources.tflite.ops.quantization import cast
from bessemer.sources.tflite.registry import op
from bessemer.sources.tflite.tensors import dtype_of

if TYPE_CHECKING:
    from bessemer.wire.tflite.records import Operator

NAMES = {
    "MEAN": "ReduceMean", "SUM": "ReduceSum", "REDUCE_MAX": "ReduceMax", "REDUCE_MIN": "ReduceMin",
    "REDUCE_PROD": "ReduceProd",
}  # fmt: skip


def reduced_order(order: Perm, axes: list[int], keep: bool) -> Perm:
    """Axis order of a reduction's result: the order without the reduced axes, numbered anew."""
    if keep:
        return order
    kept = [axis for axis in order if axis not in axes]
    return tuple(sorted(kept).index(axis) for axis in kept)


@op(*NAMES)
def reduce(context: Context, operator: Operator) -> None:
    """Axes follow the value's order."""
    from bessemer.sources.tflite import operator_name

    _reduce(context, operator, NAMES[operator_name(context.file, operator)])


def _reduce(context: Context, operator: Operator, name: str) -> None:
    source, result = operator.inputs[0], operator.outputs[0]
    rank, keep = context.rank(source), bool(options(operator).get("keep_dims"))
    axes = sorted({axis % rank for axis in context.integers(operator.inputs[1])}) if rank else []
    order = context.order(source)
    value = context.value(source, order)
    if not axes:
        context.result(result, context.emit("Identity", [value]), order)
        return
    moved = context.literal(int64s(sorted(order.index(axis) for axis in axes)), "axes")
    made = context.emit(name, [value, moved], keepdims=int(keep))
    context.result(result, made, reduced_order(order, axes, keep))


@op("REDUCE_ANY", "REDUCE_ALL")
def reduce_logical(context: Context, operator: Operator) -> None:
    """Any is the maximum, all the minimum of booleans."""
    import onnx_ir

    from bessemer.sources.tflite import operator_name

    name = "ReduceMax" if operator_name(context.file, operator) == "REDUCE_ANY" else "ReduceMin"
    source, result = operator.inputs[0], operator.outputs[0]
    rank, keep = context.rank(source), bool(options(operator).get("keep_dims"))
    axes = sorted({axis % rank for axis in context.integers(operator.inputs[1])})
    order = context.order(source)
    wide = cast(context, context.value(source, order), onnx_ir.DataType.INT32)
    moved = context.literal(int64s(sorted(order.index(axis) for axis in axes)), "axes")
    made = context.emit(name, [wide, moved], keepdims=int(keep))
    context.result(result, cast(context, made, onnx_ir.DataType.BOOL), reduced_order(order, axes, keep))


@op("ARG_MAX", "ARG_MIN")
def arg_extreme(context: Context, operator: Operator) -> None:
    """Index of the first extreme along one axis."""
    import onnx_ir

    from bessemer.sources.tflite import operator_name

    source, result = operator.inputs[0], operator.outputs[0]
    name = "ArgMax" if operator_name(context.file, operator) == "ARG_MAX" else "ArgMin"
    axis = context.integers(operator.inputs[1])[0] % context.rank(source)
    order = context.order(source)
    made = context.emit(
        name, [context.value(source, order)], axis=order.index(axis), keepdims=0, dtype=onnx_ir.DataType.INT64
    )
    kind = dtype_of(context.tensor(result))
    made = made if kind == onnx_ir.DataType.INT64 else cast(context, made, kind)
    context.result(result, made, reduced_order(order, [axis], keep=False))


@op("CUMSUM")
def cumsum(context: Context, operator: Operator) -> None:
    """Along one constant axis."""
    source = operator.inputs[0]
    order, fields = context.order(source), options(operator)
    axis = order.index(context.integers(operator.inputs[1])[0] % context.rank(source))
    made = context.emit(
        "CumSum", [context.value(source, order), context.literal(np.array(axis, np.int64), "axis")],
        exclusive=int(bool(fields.get("exclusive"))), reverse=int(bool(fields.get("reverse"))),
    )  # fmt: skip
    context.result(operator.outputs[0], made, order)


@op("TOPK_V2")
def top_k(context: Context, operator: Operator) -> None:
    """Largest k of the last axis, in falling order."""
    import onnx_ir

    source = operator.inputs[0]
    count = context.literal(int64s(context.integers(operator.inputs[1])), "k")
    values, places = context.emit("TopK", [context.value(source), count], axis=-1, outputs=2)
    context.result(operator.outputs[0], values)
    places.type = onnx_ir.TensorType(onnx_ir.DataType.INT64)
    context.result(operator.outputs[1], cast(context, places, dtype_of(context.tensor(operator.outputs[1]))))
