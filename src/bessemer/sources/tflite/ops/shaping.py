"""Operators that move, cut and join data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.layout import compose, identity, inverse, is_identity
from bessemer.ir.types import Perm, int64s
from bessemer.sources.tflite.context import Context, Unsupported, options
from bessemer.sources.tflite.ops.common import activate
from bessemer.sources.tflite.ops.quantization import cast
from bessemer.sources.tflite.registry import op
from bessemer.sources.tflite.tensors import dtype_of

if TYPE_CHECKING:
    from bessemer.wire.tflite.records import Operator


@op("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
def reshape(context: Context, operator: Operator) -> None:
    """To the result's dims. One unbound dim is inferred; the tensor's own order is asked for only if data moves."""
    source, result = operator.inputs[0], operator.outputs[0]
    value = context.contiguous(source)
    shape: list[int | None] = list(context.shape(result))
    if (
        len(operator.inputs) > 1
        and context.known(operator.inputs[1]) is None
        and sum(d is None for d in shape) > 1
    ):
        target = cast(context, context.value(operator.inputs[1]), _int64())
        context.result(result, context.emit("Reshape", [value, target]))
        return
    if all(dim is not None for dim in shape) and None in context.shape(source) and shape and shape[0] == 1:
        shape[0] = None  # a batch that the file wrote as one
    context.result(result, context.reshaped(value, shape))


def _int64() -> Any:
    import onnx_ir

    return onnx_ir.DataType.INT64


@op("TRANSPOSE")
def transpose(context: Context, operator: Operator) -> None:
    """Only renames axes: result = transpose(source, perm), so the value serves under another order."""
    source, result = operator.inputs[0], operator.outputs[0]
    perm = tuple(context.integers(operator.inputs[1]))
    order = compose(inverse(perm), context.order(source))
    made = context.emit("Identity", [context.value(source, context.order(source))])
    context.result(result, made, order)


@op("CONCATENATION")
def concatenation(context: Context, operator: Operator) -> None:
    """Along one axis, in the order most operands were made in."""
    result, fields = operator.outputs[0], options(operator)
    orders = [context.order(index) for index in operator.inputs if context.known(index) is None]
    order = next((perm for perm in orders if not is_identity(perm)), identity(context.rank(result)))
    axis = order.index(int(fields["axis"]) % context.rank(result))
    made = context.emit("Concat", [context.value(index, order) for index in operator.inputs], axis=axis)
    context.result(result, activate(context, made, fields.get("fused_activation_function", 0)), order)


@op("PACK")
def pack(context: Context, operator: Operator) -> None:
    """Stack along a new axis."""
    result = operator.outputs[0]
    axis = int(options(operator)["axis"]) % context.rank(result)
    axes = context.literal(int64s([axis]), "axes")
    parts = [context.emit("Unsqueeze", [context.value(index), axes]) for index in operator.inputs]
    context.result(result, context.emit("Concat", parts, axis=axis))


@op("UNPACK")
def unpack(context: Context, operator: Operator) -> None:
    """Split along an axis and remove it."""
    source = operator.inputs[0]
    axis = int(options(operator)["axis"]) % context.rank(source)
    for place, result in enumerate(operator.outputs):
        index = context.literal(np.array(place, np.int64), "index")
        context.result(result, context.emit("Gather", [context.value(source), index], axis=axis))


@op("SPLIT")
def split(context: Context, operator: Operator) -> None:
    """Equal parts; operands: axis, input."""
    axis, source = operator.inputs
    _split(context, operator, source, context.integers(axis)[0], None)


@op("SPLIT_V")
def split_v(context: Context, operator: Operator) -> None:
    """Parts of given sizes; one may be -1."""
    source, sizes, axis = operator.inputs
    _split(context, operator, source, context.integers(axis)[0], context.integers(sizes))


def _split(context: Context, operator: Operator, source: int, axis: int, sizes: list[int] | None) -> None:
    order = context.order(source)
    axis %= context.rank(source)
    value, count = context.value(source, order), len(operator.outputs)
    if sizes is not None and -1 in sizes:
        total = context.static(source)[axis]
        sizes[sizes.index(-1)] = total - sum(size for size in sizes if size >= 0)
    if count == 1:
        context.result(operator.outputs[0], context.emit("Identity", [value]), order)
        return
    if sizes is None:
        made = context.emit("Split", [value], axis=order.index(axis), num_outputs=count, outputs=count)
    else:
        parts = context.literal(int64s(sizes), "sizes")
        made = context.emit("Split", [value, parts], axis=order.index(axis), outputs=count)
    for index, part in zip(operator.outputs, made, strict=True):
        context.result(index, part, order)


def slice_value(
    context: Context,
    value: Any,
    starts: Sequence[int],
    ends: Sequence[int],
    axes: Sequence[int],
    steps: Sequence[int],
) -> Any:
    """ONNX Slice with constant operands."""
    lists = [context.literal(int64s(items), name) for items, name in
             ((starts, "starts"), (ends, "ends"), (axes, "axes"), (steps, "steps"))]  # fmt: skip
    return context.emit("Slice", [value, *lists])


@op("SLICE")
def read_slice(context: Context, operator: Operator) -> None:
    """begin and size; size -1 reaches the end."""
    source, result = operator.inputs[0], operator.outputs[0]
    order = context.order(source)
    if context.known(operator.inputs[1]) is None or context.known(operator.inputs[2]) is None:
        _computed_slice(context, operator)
        return
    begin, size = context.integers(operator.inputs[1]), context.integers(operator.inputs[2])
    ends = [
        np.iinfo(np.int64).max if count < 0 else start + count
        for start, count in zip(begin, size, strict=True)
    ]
    axes = [order.index(axis) for axis in range(len(begin))]
    context.result(
        result, slice_value(context, context.value(source, order), begin, ends, axes, [1] * len(axes)), order
    )


def _computed_slice(context: Context, operator: Operator) -> None:
    source, result = operator.inputs[0], operator.outputs[0]
    begin, size = (cast(context, context.value(index), _int64()) for index in operator.inputs[1:3])
    known = context.known(operator.inputs[2])
    if known is None or (np.asarray(known) < 0).any():
        raise Unsupported("slice-size", "a slice of computed begin needs constant, non-negative sizes")
    made = context.emit("Slice", [context.value(source), begin, context.emit("Add", [begin, size])])
    context.result(result, made)


@op("STRIDED_SLICE")
def strided_slice(context: Context, operator: Operator) -> None:
    """begin, end, strides with masks (begin, end, ellipsis, new axis, shrink)."""
    source, result, fields = operator.inputs[0], operator.outputs[0], options(operator)
    begin, end, strides = (context.integers(index) for index in operator.inputs[1:4])
    if fields.get("ellipsis_mask") or fields.get("new_axis_mask"):
        raise Unsupported("strided-slice-mask", "ellipsis and new-axis masks are not read yet")
    if fields.get("offset"):
        end = [start + size for start, size in zip(begin, end, strict=True)]
    shrink = [axis for axis in range(len(begin)) if int(fields.get("shrink_axis_mask", 0)) >> axis & 1]
    starts, ends = _bounds(fields, begin, end, strides, shrink)
    order = context.order(source) if not shrink else identity(context.rank(source))
    axes = [order.index(axis) for axis in range(len(begin))]
    steps = [1 if axis in shrink else stride for axis, stride in enumerate(strides)]
    made = slice_value(context, context.value(source, order), starts, ends, axes, steps)
    if shrink:
        made = context.emit("Squeeze", [made, context.literal(int64s(shrink), "axes")])
    context.result(result, made, order if not shrink else None)


def _bounds(
    fields: dict[str, Any], begin: list[int], end: list[int], strides: list[int], shrink: list[int]
) -> tuple[list[int], list[int]]:
    far = int(np.iinfo(np.int64).max)
    starts, ends = list(begin), list(end)
    for axis, stride in enumerate(strides):
        if int(fields.get("begin_mask", 0)) >> axis & 1:
            starts[axis] = 0 if stride > 0 else far
        if int(fields.get("end_mask", 0)) >> axis & 1:
            ends[axis] = far if stride > 0 else -far
        if axis in shrink:
            starts[axis] = begin[axis]
            ends[axis] = begin[axis] + 1 if begin[axis] != -1 else far
    return starts, ends


@op("PAD", "PADV2", "MIRROR_PAD")
def pad(context: Context, operator: Operator) -> None:
    """Constant (zero or given) or mirrored."""
    source, result = operator.inputs[0], operator.outputs[0]
    table = np.array(context.integers(operator.inputs[1]), np.int64).reshape(-1, 2)
    order = context.order(source)
    moved = table[list(order)]
    pads = context.literal(np.concatenate([moved[:, 0], moved[:, 1]]), "pads")
    value = context.value(source, order)
    mode = options(operator).get("mode")
    if mode is not None:
        if mode == 1:
            raise Unsupported("symmetric-pad", "ONNX mirrors without the edge only", "REFLECT mode")
        context.result(result, context.emit("Pad", [value, pads], mode="reflect"), order)
        return
    filler = [context.value(operator.inputs[2])] if len(operator.inputs) > 2 else []
    if filler and context.rank(operator.inputs[2]):
        filler = [context.reshaped(filler[0], [])]
    context.result(result, context.emit("Pad", [value, pads, *filler]), order)


@op("TILE")
def tile(context: Context, operator: Operator) -> None:
    """Repeat along axes."""
    repeats = cast(context, context.value(operator.inputs[1]), _int64())
    context.result(operator.outputs[0], context.emit("Tile", [context.value(operator.inputs[0]), repeats]))


@op("BROADCAST_TO")
def broadcast_to(context: Context, operator: Operator) -> None:
    """Expand to a shape."""
    shape = cast(context, context.value(operator.inputs[1]), _int64())
    context.result(operator.outputs[0], context.emit("Expand", [context.value(operator.inputs[0]), shape]))


@op("FILL")
def fill(context: Context, operator: Operator) -> None:
    """A shape full of one value."""
    shape = cast(context, context.value(operator.inputs[0]), _int64())
    context.result(operator.outputs[0], context.emit("Expand", [context.value(operator.inputs[1]), shape]))


@op("SHAPE")
def shape_of(context: Context, operator: Operator) -> None:
    """Dims in the tensor's own order."""
    made = context.emit("Shape", [context.value(operator.inputs[0])], dtype=_int64())
    context.result(operator.outputs[0], cast(context, made, dtype_of(context.tensor(operator.outputs[0]))))


@op("RANK")
def rank(context: Context, operator: Operator) -> None:
    """A constant."""
    context.result(
        operator.outputs[0], context.literal(np.array(context.rank(operator.inputs[0]), np.int32), "rank")
    )


@op("RANGE")
def range_of(context: Context, operator: Operator) -> None:
    """start, limit, delta."""
    context.result(
        operator.outputs[0], context.emit("Range", [context.value(index) for index in operator.inputs])
    )


@op("ZEROS_LIKE")
def zeros_like(context: Context, operator: Operator) -> None:
    """x * 0 would keep NaN: built from the shape."""
    import onnx_ir

    order = context.order(operator.inputs[0])
    shape = context.emit("Shape", [context.value(operator.inputs[0], order)], dtype=_int64())
    kind = dtype_of(context.tensor(operator.outputs[0]))
    zero = onnx_ir.tensor(np.zeros(1, kind.numpy()))
    context.result(
        operator.outputs[0], context.emit("ConstantOfShape", [shape], value=zero, dtype=kind), order
    )


@op("REVERSE_V2")
def reverse(context: Context, operator: Operator) -> None:
    """Along constant axes."""
    source = operator.inputs[0]
    order: Perm = context.order(source)
    axes = [order.index(axis % context.rank(source)) for axis in context.integers(operator.inputs[1])]
    far = int(np.iinfo(np.int64).max)
    count = len(axes)
    made = slice_value(
        context, context.value(source, order), [-1] * count, [-far] * count, axes, [-1] * count
    )
    context.result(operator.outputs[0], made, order)
