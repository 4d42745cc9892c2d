"""Resize: the two kernels where they agree with ONNX, else one matrix per axis (sizes known) or a gather."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.layout import channels_first
from bessemer.ir.types import Array
from bessemer.targets.tflite.builder import Dims
from bessemer.targets.tflite.context import Blocked, Context
from bessemer.targets.tflite.ops.common import (
    need_type,
    optional,
    required_const,
    same_encoding,
    value,
)
from bessemer.targets.tflite.ops.resize_unknown import resize_unknown, same_dim, unknown_sizes
from bessemer.targets.tflite.registry import lower

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class Axis:
    """One resized axis: sizes and the scale that ONNX computes coordinates with."""

    size: int
    out: int
    scale: float


def _static(ctx: Context, node: ir.Node) -> list[Axis]:
    """Per logical axis. Batch may be unknown when it is not resized."""
    before, after = ctx.shape(value(node, 0)), ctx.shape(node.outputs[0])
    scales = _scales(ctx, node, before)
    _check_sizes(ctx, node, after)
    found, names = [], zip(value(node, 0).shape or (), node.outputs[0].shape or (), strict=True)
    for size, out, given, (one, other) in zip(before, after, scales, names, strict=True):
        if size is None and (given == 1.0 or (given is None and same_dim(one, other))):
            found.append(Axis(1, 1, 1.0))
        elif size is None or out is None:
            raise Blocked("dynamic-shape", "Resize needs known sizes", "bind them with --shape")
        else:
            found.append(Axis(size, out, out / size if given is None else given))
    return found


def _check_sizes(ctx: Context, node: ir.Node, after: Dims) -> None:
    """Declared shapes may lie; the sizes that the node itself names do not."""
    sizes = ctx.const(optional(node, 3))
    if sizes is None or node.attributes.get_string("keep_aspect_ratio_policy", "stretch") != "stretch":
        return
    axes = node.attributes.get_ints("axes", list(range(len(after))))
    if any(after[axis] not in (None, int(size)) for axis, size in zip(axes, sizes, strict=True)):
        raise Blocked(
            "contradictory-shape", f"the result is declared as {after}, resized to {sizes.tolist()}"
        )


def _scales(ctx: Context, node: ir.Node, before: Dims) -> list[float | None]:
    """The scale of each axis; None where it is the ratio of the sizes."""
    rank = len(before)
    axes = [int(a) % rank for a in node.attributes.get_ints("axes", list(range(rank)))]
    given, found = optional(node, 2), [None if axis in axes else 1.0 for axis in range(rank)]
    policy = node.attributes.get_string("keep_aspect_ratio_policy", "stretch")
    if given is not None and ctx.shape(given) != (0,):
        for axis, scale in zip(axes, required_const(ctx, node, 2), strict=True):
            found[axis] = float(scale)
    elif policy != "stretch":
        sizes = [before[axis] for axis in axes]
        ratios = [
            int(want) / size for want, size in zip(required_const(ctx, node, 3), sizes, strict=True) if size
        ]
        if None in sizes:
            raise Blocked(
                "dynamic-shape", "Resize that keeps its aspect needs known sizes", "bind them with --shape"
            )
        for axis in axes:
            found[axis] = min(ratios) if policy == "not_larger" else max(ratios)
    return found


def _integer(ctx: Context, node: ir.Node) -> bool:
    """A kernel; that of INT16 rounds the shares of neighbours to ten bits, which costs it its precision elsewhere."""
    if not same_encoding(ctx, node) or unknown_sizes(ctx, node) or kernel_of(ctx, node) is None:
        return False
    encoding = ctx.encoding(node.inputs[0])
    if encoding is None or encoding.dtype != "INT16" or node.attributes.get_string("mode", "nearest") != "linear":
        return True
    places = [coordinates(node, axis) * 1024 for axis in _static(ctx, node)[2:]]
    return all(np.array_equal(place, np.rint(place)) for place in places)


@lower("Resize", integer=_integer)
def resize(ctx: Context, node: ir.Node) -> None:
    """RESIZE_NEAREST_NEIGHBOR or RESIZE_BILINEAR, else exact arithmetic per axis."""
    source, result = value(node, 0), node.outputs[0]
    if unknown_sizes(ctx, node):
        resize_unknown(ctx, node)
        return
    kernel = kernel_of(ctx, node)
    if kernel is not None:
        if not ctx.integer:
            need_type(ctx, source, "FLOAT32")
        last = channels_first(4)
        size = ctx.constant(np.array(ctx.shape(result)[2:], np.int32), "size")
        code, options = kernel
        ctx.emit(code, [ctx.tensor(source, last), size], [ctx.out(result, last)], **options)
        return
    _per_axis(ctx, node)


def kernel_of(ctx: Context, node: ir.Node) -> tuple[str, dict[str, bool]] | None:
    """The kernel that computes exactly this resize, found by comparing source positions."""
    source = value(node, 0)
    if ctx.rank(source) != 4:
        return None
    axes = _static(ctx, node)
    if any(axis.size != axis.out for axis in axes[:2]):
        return None
    mode = node.attributes.get_string("mode", "nearest")
    if mode == "linear" and node.attributes.get_int("antialias", 0) == 0:
        for corners, half in ((False, True), (True, False), (False, False)):
            if all(_same_linear(node, axis, corners, half) for axis in axes[2:]):
                return "RESIZE_BILINEAR", {"align_corners": corners, "half_pixel_centers": half}
    if mode == "nearest":
        for corners, half in ((False, False), (False, True), (True, False)):
            if all(_same_nearest(node, axis, corners, half) for axis in axes[2:]):
                return "RESIZE_NEAREST_NEIGHBOR", {"align_corners": corners, "half_pixel_centers": half}
    return None


def _ratio(axis: Axis, corners: bool) -> float:
    return (axis.size - 1) / (axis.out - 1) if corners and axis.out > 1 else axis.size / axis.out


def _same_linear(node: ir.Node, axis: Axis, corners: bool, half: bool) -> bool:
    here = np.clip(coordinates(node, axis), 0, axis.size - 1)
    if _outside(node):
        return False
    ratio, x = _ratio(axis, corners), np.arange(axis.out)
    there = (x + 0.5) * ratio - 0.5 if half else x * ratio
    return bool(np.allclose(here, np.clip(there, 0, axis.size - 1), atol=1e-5))


def _outside(node: ir.Node) -> bool:
    return bool(
        node.attributes.get_string("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"
    )


def _same_nearest(node: ir.Node, axis: Axis, corners: bool, half: bool) -> bool:
    if _outside(node):
        return False
    ratio = np.float32(_ratio(axis, corners))
    x = np.arange(axis.out, dtype=np.float32)
    there = (x + np.float32(0.5 if half else 0)) * ratio
    picked = np.floor(there + 0.5) if corners else np.floor(there)
    return bool(np.array_equal(nearest(node, axis), np.clip(picked, 0, axis.size - 1).astype(np.int64)))


def coordinates(node: ir.Node, axis: Axis) -> Array:
    """Source coordinate of each output position, as the ONNX specification of Resize defines them."""
    mode = node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
    x, scale, size, out = np.arange(axis.out, dtype=np.float64), axis.scale, axis.size, axis.out
    if mode == "half_pixel":
        return (x + 0.5) / scale - 0.5
    if mode == "asymmetric":
        return x / scale
    if mode == "align_corners":
        return x * (size - 1) / (out - 1) if out > 1 else np.zeros(1)
    if mode == "pytorch_half_pixel":
        return (x + 0.5) / scale - 0.5 if out > 1 else np.zeros(1)
    if mode == "half_pixel_symmetric":
        adjustment = out / (scale * size)
        centre = size / 2
        return centre * (1 - adjustment) + (x + 0.5) / scale - 0.5
    raise Blocked("resize-coordinates", f"LiteRT has no Resize with coordinates '{mode}'")


def nearest(node: ir.Node, axis: Axis) -> Array:
    """Source index of each output position."""
    mode = node.attributes.get_string("nearest_mode", "round_prefer_floor")
    x = coordinates(node, axis)
    rounded = {
        "floor": np.floor(x),
        "ceil": np.ceil(x),
        "round_prefer_ceil": np.floor(x + 0.5),
        "round_prefer_floor": np.ceil(x - 0.5),
    }[mode]
    return np.clip(rounded, 0, axis.size - 1).astype(np.int64)


def _per_axis(ctx: Context, node: ir.Node) -> None:
    """GATHER for nearest; for linear and cubic a product with the interpolation matrix of each axis."""
    source, result = value(node, 0), node.outputs[0]
    mode = node.attributes.get_string("mode", "nearest")
    perm = ctx.perm(source)
    index = ctx.tensor(source, perm)
    axes = _static(ctx, node)
    if mode != "nearest":
        need_type(ctx, source, "FLOAT32")
    for logical, axis in enumerate(axes):
        identical = axis.size == axis.out and axis.scale == 1.0
        if identical:
            continue
        if mode == "nearest":
            index = _gather(ctx, index, perm[logical], nearest(node, axis))
        else:
            index = _product(ctx, index, perm[logical], matrix(node, axis, mode))
    ctx.alias(result, index, perm)


def _gather(ctx: Context, index: int, at: int, positions: Array) -> int:
    tensor = ctx.sub.tensors[index]
    shape = (*tensor.shape[:at], len(positions), *tensor.shape[at + 1 :])
    where = ctx.constant(positions.astype(np.int32), "positions")
    return ctx.emit(
        "GATHER", [index, where], [ctx.temp(tensor.type, shape, "resized", tensor.encoding)], axis=at
    )


def _product(ctx: Context, index: int, at: int, weights: Array) -> int:
    """Contract one axis with `weights` (out, in): that axis last, then FULLY_CONNECTED."""
    rank = len(ctx.sub.tensors[index].shape)
    order = (*(a for a in range(rank) if a != at), at)
    moved = ctx.move(index, order)
    shape = (*ctx.sub.tensors[moved].shape[:-1], len(weights))
    out = ctx.temp("FLOAT32", shape, "resized")
    table = ctx.constant(weights.astype(np.float32), "interpolation")
    ctx.emit("FULLY_CONNECTED", [moved, table, -1], [out], keep_num_dims=True, weights_format=0)
    back = tuple(order.index(a) for a in range(rank))
    return ctx.move(out, back)


def matrix(node: ir.Node, axis: Axis, mode: str) -> Array:
    """(out, in) interpolation weights, after the ONNX specification of Resize."""
    x = coordinates(node, axis)
    antialias = node.attributes.get_int("antialias", 0) == 1 and axis.scale < 1
    stretch = axis.scale if antialias else 1.0
    alpha = float(node.attributes.get_float("cubic_coeff_a", -0.75))
    reach = 1.0 if mode == "linear" else 2.0
    found = np.zeros((axis.out, axis.size))
    exclude = node.attributes.get_int("exclude_outside", 0) == 1
    for row, position in enumerate(x):
        low = int(np.floor(position - reach / stretch)) + 1
        high = int(np.ceil(position + reach / stretch))
        taps = np.arange(low, high) if high > low else np.array([int(np.floor(position))])
        weights = _kernel(mode, (taps - position) * stretch, alpha)
        if exclude:
            weights = np.where((taps >= 0) & (taps < axis.size), weights, 0)
        total = weights.sum()
        weights = weights / total if total else weights
        np.add.at(found[row], np.clip(taps, 0, axis.size - 1), weights)
    return found


def _kernel(mode: str, distance: Array, a: float) -> Array:
    d = np.abs(distance)
    if mode == "linear":
        return np.asarray(np.maximum(1 - d, 0))
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return np.asarray(np.where(d <= 1, near, np.where(d < 2, far, 0)))
