"""Gathering, scattering, choosing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bessemer.sources.tflite.context import Context, Unsupported, options
from bessemer.sources.tflite.ops.common import broadcast
from bessemer.sources.tflite.ops.quantization import cast
from bessemer.sources.tflite.registry import op
from bessemer.sources.tflite.tensors import dtype_of

if TYPE_CHECKING:
    from bessemer.wire.tflite.records import Operator


@op("GATHER")
def gather(context: Context, operator: Operator) -> None:
    """Along one axis; batch dims are declined."""
    source, indices = operator.inputs
    fields = options(operator)
    if fields.get("batch_dims"):
        raise Unsupported("gather-batch-dims", "GATHER with batch_dims has no direct form in ONNX")
    axis = int(fields.get("axis", 0)) % context.rank(source)
    made = context.emit("Gather", [context.value(source), context.value(indices)], axis=axis)
    context.result(operator.outputs[0], made)


@op("GATHER_ND")
def gather_nd(context: Context, operator: Operator) -> None:
    """Slices by index tuples."""
    import onnx_ir

    indices = cast(context, context.value(operator.inputs[1]), onnx_ir.DataType.INT64)
    context.result(
        operator.outputs[0], context.emit("GatherND", [context.value(operator.inputs[0]), indices])
    )


@op("SCATTER_ND")
def scatter_nd(context: Context, operator: Operator) -> None:
    """Sums updates into zeros."""
    import onnx_ir

    indices, updates, shape = operator.inputs
    dims = np.array(context.integers(shape), np.int64)
    kind = dtype_of(context.tensor(updates)).numpy()
    zeros = context.emit(
        "ConstantOfShape", [context.literal(dims, "shape")], value=onnx_ir.tensor(np.zeros(1, kind)),
        dtype=dtype_of(context.tensor(updates)),
    )  # fmt: skip
    places = cast(context, context.value(indices), onnx_ir.DataType.INT64)
    made = context.emit("ScatterND", [zeros, places, context.value(updates)], reduction="add")
    context.result(operator.outputs[0], made)


@op("SELECT_V2")
def select_v2(context: Context, operator: Operator) -> None:
    """Broadcasting choice."""
    values, order = broadcast(context, operator.inputs)
    context.result(operator.outputs[0], context.emit("Where", values, dtype=values[1].dtype), order)


@op("SELECT")
def select(context: Context, operator: Operator) -> None:
    """As SELECT_V2, but a condition of rank one chooses rows."""
    condition, yes, no = operator.inputs
    if context.rank(condition) not in (0, context.rank(yes)):
        mask = context.reshaped(
            context.value(condition), [context.shape(condition)[0]] + [1] * (context.rank(yes) - 1)
        )
        made = context.emit(
            "Where", [mask, context.value(yes), context.value(no)], dtype=context.value(yes).dtype
        )
        context.result(operator.outputs[0], made)
        return
    select_v2(context, operator)


@op("WHERE")
def where(context: Context, operator: Operator) -> None:
    """Coordinates of true elements, one row each."""
    import onnx_ir

    found = context.emit("NonZero", [context.value(operator.inputs[0])], dtype=onnx_ir.DataType.INT64)
    context.result(operator.outputs[0], context.emit("Transpose", [found], perm=[1, 0]))


@op("ONE_HOT")
def one_hot(context: Context, operator: Operator) -> None:
    """Depth, on and off values are constant; an index outside the depth gives a row of off."""
    import onnx_ir

    indices, depth, on, off = operator.inputs
    on_value, off_value = context.known(on), context.known(off)
    if on_value is None or off_value is None:
        raise Unsupported("constant-operand", "on and off values must be constant")
    # Not ONNX OneHot: it wraps negative indices, which are all off here, and has few kernels.
    count, rank = context.integers(depth)[0], context.rank(indices)
    axis = int(options(operator).get("axis", -1)) % (rank + 1)
    classes = np.arange(count, dtype=dtype_of(context.tensor(indices)).numpy())
    classes = classes.reshape([count if i == axis else 1 for i in range(rank + 1)])
    column = context.emit(
        "Unsqueeze", [context.value(indices), context.literal(np.array([axis], np.int64), "axes")]
    )
    hit = context.emit("Equal", [column, context.literal(classes, "classes")], dtype=onnx_ir.DataType.BOOL)
    pair = [context.literal(held.reshape(()), name) for held, name in ((on_value, "on"), (off_value, "off"))]
    made = context.emit("Where", [hit, *pair], dtype=dtype_of(context.tensor(operator.outputs[0])))
    context.result(operator.outputs[0], made)
