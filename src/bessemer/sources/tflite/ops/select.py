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
    """Along one axis; leading axes may be shared with the indices."""
    source, indices = operator.inputs
    fields = options(operator)
    axis = int(fields.get("axis", 0)) % context.rank(source)
    shared = int(fields.get("batch_dims") or 0)
    if shared:
        _batched_gather(context, operator, axis, shared % (context.rank(indices) + 1))
        return
    made = context.emit("Gather", [context.value(source), context.value(indices)], axis=axis)
    context.result(operator.outputs[0], made)


def _batched_gather(context: Context, operator: Operator, axis: int, shared: int) -> None:
    """GatherND picks along the axis behind the shared ones; the axes between go back in front afterwards."""
    import onnx_ir

    source, indices = operator.inputs
    if axis < shared:
        raise Unsupported("gather-batch-dims", f"axis {axis} is one of the {shared} shared axes")
    rank, picked = context.rank(source), context.rank(indices) - shared
    front = (*range(shared), axis, *(a for a in range(shared, rank) if a != axis))
    places = cast(context, context.value(indices), onnx_ir.DataType.INT64)
    column = context.emit("Unsqueeze", [places, context.literal(np.array([-1], np.int64), "axes")])
    made = context.emit("GatherND", [context.value(source, front), column], batch_dims=shared)
    between = axis - shared
    order = (
        *range(shared),
        *(shared + between + i for i in range(picked)),
        *range(shared, axis),
        *range(axis + picked, rank - 1 + picked),
    )
    context.result(operator.outputs[0], made, order)


@op("DYNAMIC_UPDATE_SLICE")
def dynamic_update_slice(context: Context, operator: Operator) -> None:
    """A block written at a computed place, which is moved inside where it would stand out."""
    import onnx_ir

    source, update, start = operator.inputs
    whole, part = context.static(source), context.static(update)
    moving = [axis for axis, dim in enumerate(part) if dim != whole[axis]]
    if not moving:
        context.result(operator.outputs[0], context.value(update))
        return
    order = (*moving, *(axis for axis in range(len(whole)) if axis not in moving))
    first = cast(context, context.value(start), onnx_ir.DataType.INT64)
    chosen = context.emit("Gather", [first, context.literal(np.array(moving, np.int64), "axes")], axis=0)
    room = np.array([whole[axis] - part[axis] for axis in moving], np.int64)
    inside = context.emit("Max", [chosen, context.literal(np.zeros_like(room), "zero")])
    inside = context.emit("Min", [inside, context.literal(room, "room")])
    grid = np.moveaxis(np.indices([part[axis] for axis in moving], np.int64), 0, -1)
    places = context.emit("Add", [context.literal(grid, "grid"), inside])
    made = context.emit("ScatterND", [context.value(source, order), places, context.value(update, order)])
    context.result(operator.outputs[0], made, order)


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
    if context.known(shape) is not None:
        dims = context.literal(np.array(context.integers(shape), np.int64), "shape")
    else:
        dims = cast(context, context.value(shape), onnx_ir.DataType.INT64)
    kind = dtype_of(context.tensor(updates)).numpy()
    zeros = context.emit(
        "ConstantOfShape", [dims], value=onnx_ir.tensor(np.zeros(1, kind)),
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
