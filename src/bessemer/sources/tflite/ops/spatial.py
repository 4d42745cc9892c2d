"""Image geometry: resizing, space and depth, space and batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.layout import channels_first
from bessemer.ir.types import int64s
from bessemer.sources.tflite.context import Context, options
from bessemer.sources.tflite.registry import op

if TYPE_CHECKING:
    from bessemer.wire.tflite.records import Operator

NCHW = channels_first(4)


@op("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
def resize(context: Context, operator: Operator) -> None:
    """To a size, constant or computed, with TensorFlow's three ways to place pixels."""
    from bessemer.sources.tflite import operator_name

    source, result = operator.inputs[0], operator.outputs[0]
    fields = options(operator)
    linear = operator_name(context.file, operator) == "RESIZE_BILINEAR"
    sizes = _sizes(context, source, operator.inputs[1])
    align, half = bool(fields.get("align_corners")), bool(fields.get("half_pixel_centers"))
    place = "align_corners" if align else "half_pixel" if half else "asymmetric"
    if not linear and half:
        place = "tf_half_pixel_for_nn"
    rounding = None if linear else "round_prefer_ceil" if align else "floor"
    made = context.emit(
        "Resize", [context.value(source, NCHW), None, None, sizes], mode="linear" if linear else "nearest",
        coordinate_transformation_mode="half_pixel" if place == "tf_half_pixel_for_nn" else place,
        nearest_mode="round_prefer_ceil" if place == "tf_half_pixel_for_nn" else rounding,
    )  # fmt: skip
    context.result(result, made, NCHW)


def _sizes(context: Context, source: int, size: int) -> Any:
    """All four, in the order of the value."""
    import onnx_ir

    kind, (batch, _, _, channels) = onnx_ir.DataType.INT64, context.shape(source)
    held = context.known(size)
    if held is not None and batch is not None and channels is not None:
        return context.literal(int64s([batch, channels, *context.integers(size)]), "sizes")
    front = context.emit("Shape", [context.value(source, NCHW)], start=0, end=2, dtype=kind)
    if held is not None:
        place = context.literal(int64s(context.integers(size)), "size")
    else:
        place = context.emit("Cast", [context.value(size)], to=int(kind), dtype=kind)
    return context.emit("Concat", [front, place], axis=0)


@op("DEPTH_TO_SPACE")
def depth_to_space(context: Context, operator: Operator) -> None:
    """TensorFlow's order is ONNX's DCR."""
    made = context.emit(
        "DepthToSpace",
        [context.value(operator.inputs[0], NCHW)],
        blocksize=int(options(operator)["block_size"]),
        mode="DCR",
    )
    context.result(operator.outputs[0], made, NCHW)


@op("SPACE_TO_DEPTH")
def space_to_depth(context: Context, operator: Operator) -> None:
    """Blocks of pixels become channels."""
    made = context.emit(
        "SpaceToDepth",
        [context.value(operator.inputs[0], NCHW)],
        blocksize=int(options(operator)["block_size"]),
    )
    context.result(operator.outputs[0], made, NCHW)


@op("SPACE_TO_BATCH_ND")
def space_to_batch(context: Context, operator: Operator) -> None:
    """Pad, then move blocks of pixels to the batch (in the tensor's own order)."""
    source, result = operator.inputs[0], operator.outputs[0]
    block = context.integers(operator.inputs[1])
    pads = np.array(context.integers(operator.inputs[2]), np.int64).reshape(-1, 2)
    count, rank = len(block), context.rank(source)
    full = np.zeros((rank, 2), np.int64)
    full[1 : 1 + count] = pads
    value = context.emit("Pad", [context.value(source), context.literal(full.T.reshape(-1), "pads")])
    dims = [dim + int(full[axis].sum()) for axis, dim in enumerate(context.static(source))]
    split: list[int | None] = [dims[0]]
    for axis in range(count):
        split += [dims[1 + axis] // block[axis], block[axis]]
    split += dims[1 + count :]
    inner, outer = [2 + 2 * axis for axis in range(count)], [1 + 2 * axis for axis in range(count)]
    order = [*inner, 0, *outer, *range(1 + 2 * count, len(split))]
    moved = context.emit("Transpose", [context.reshaped(value, split)], perm=order)
    context.result(result, context.reshaped(moved, context.static(result)))


@op("BATCH_TO_SPACE_ND")
def batch_to_space(context: Context, operator: Operator) -> None:
    """Move blocks back from the batch, then crop."""
    source, result = operator.inputs[0], operator.outputs[0]
    block = context.integers(operator.inputs[1])
    crops = np.array(context.integers(operator.inputs[2]), np.int64).reshape(-1, 2)
    count, dims = len(block), context.static(source)
    batch = dims[0] // int(np.prod(block))
    split = [*block, batch, *dims[1:]]
    order = [count]
    for axis in range(count):
        order += [count + 1 + axis, axis]
    order += range(2 * count + 1, len(split))
    moved = context.emit("Transpose", [context.reshaped(context.value(source), split)], perm=order)
    whole = [batch, *(dims[1 + axis] * block[axis] for axis in range(count)), *dims[1 + count :]]
    value = context.reshaped(moved, whole)
    axes = context.literal(int64s(range(1, 1 + count)), "axes")
    starts = context.literal(crops[:, 0], "starts")
    ends = context.literal(int64s([whole[1 + axis] - crops[axis, 1] for axis in range(count)]), "ends")
    context.result(result, context.emit("Slice", [value, starts, ends, axes]))
