"""Resize of images whose sizes are known when the model runs: only where a kernel agrees with ONNX for every size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.layout import channels_first
from bessemer.targets.tflite.context import Blocked, Context
from bessemer.targets.tflite.ops.common import need_type, optional, required_const, value

if TYPE_CHECKING:
    import onnx_ir as ir

HALF = frozenset({"half_pixel", "half_pixel_symmetric"})
SPATIAL = [2, 3]


def unknown_sizes(ctx: Context, node: ir.Node) -> bool:
    """Whether height or width of a batch of images are unknown, before or after."""
    source = value(node, 0)
    return ctx.rank(source) == 4 and None in (*ctx.shape(source)[2:], *ctx.shape(node.outputs[0])[2:])


def resize_unknown(ctx: Context, node: ir.Node) -> None:
    """RESIZE_BILINEAR or RESIZE_NEAREST_NEIGHBOR to computed sizes. Raises Blocked where they depend on the sizes."""
    source, last = value(node, 0), channels_first(4)
    if not ctx.integer:
        need_type(ctx, source, "FLOAT32")
    factors = _factors(ctx, node)
    kernel = _kernel(node, factors)
    if kernel is None:
        raise Blocked("dynamic-shape", "Resize to sizes that are not known needs whole scales or a linear mode",
                      "bind the sizes with --shape")  # fmt: skip
    index = ctx.tensor(source, last)
    size = _given(ctx, node) if factors is None else _multiplied(ctx, index, factors)
    code, corners, half = kernel
    ctx.emit(code, [index, size], [ctx.out(node.outputs[0], last)], align_corners=corners, half_pixel_centers=half)


def _factors(ctx: Context, node: ir.Node) -> tuple[int, int] | None:
    """Whole scales of height and width; None where sizes are given instead."""
    scales = optional(node, 2)
    if scales is None or ctx.shape(scales) == (0,):
        return None
    held = required_const(ctx, node, 2)
    by_axis = dict(zip(_axes(node, len(held)), held.tolist(), strict=True))
    height, width = (by_axis.pop(axis, 1.0) for axis in SPATIAL)
    if any(scale != 1 for scale in by_axis.values()) or min(height, width) < 1 or height % 1 or width % 1:
        raise Blocked("dynamic-shape", f"Resize by {held.tolist()} needs known sizes", "bind them with --shape")
    return int(height), int(width)


def _axes(node: ir.Node, count: int) -> list[int]:
    return [int(axis) % 4 for axis in node.attributes.get_ints("axes", list(range(count)))]


def _kernel(node: ir.Node, factors: tuple[int, int] | None) -> tuple[str, bool, bool] | None:
    """Code, align_corners and half_pixel_centers of the kernel that agrees whatever the sizes are."""
    attributes = node.attributes
    mode, where = (
        attributes.get_string("mode", "nearest"), attributes.get_string("coordinate_transformation_mode", "half_pixel")
    )  # fmt: skip
    if mode == "linear" and not attributes.get_int("antialias", 0):
        grows = factors is not None and min(factors) > 1
        if where in HALF or (where == "pytorch_half_pixel" and grows):
            return "RESIZE_BILINEAR", False, True
        corners = {"align_corners": True, "asymmetric": False}.get(where)
        return None if corners is None else ("RESIZE_BILINEAR", corners, False)
    if mode != "nearest" or factors is None:
        return None
    rounding = attributes.get_string("nearest_mode", "round_prefer_floor")
    whole = where == "asymmetric" and rounding == "floor"
    # (x + 1/2) / k - 1/2 is never half-way between two pixels: both ways to round pick pixel x // k
    half = where in HALF and rounding.startswith("round")
    return ("RESIZE_NEAREST_NEIGHBOR", False, True) if whole or half else None


def _multiplied(ctx: Context, index: int, factors: tuple[int, int]) -> int:
    """Height and width of an image (channels last), times whole numbers."""
    dims = ctx.emit("SHAPE", [index], [ctx.temp("INT32", (4,), "dims")], out_type=2)
    begin, count = ctx.constant(np.array([1], np.int32), "begin"), ctx.constant(np.array([2], np.int32), "count")
    size = ctx.emit("SLICE", [dims, begin, count], [ctx.temp("INT32", (2,), "size")])
    factor = ctx.constant(np.array(factors, np.int32), "factor")
    return ctx.emit("MUL", [size, factor], [ctx.temp("INT32", (2,), "size")], fused_activation_function=0)


def _given(ctx: Context, node: ir.Node) -> int:
    """Height and width of the sizes that the node is given, of which the others must be what they are."""
    sizes = value(node, 3)
    if node.attributes.get_string("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Blocked("dynamic-shape", "Resize that keeps its aspect needs known sizes", "bind them with --shape")
    count = ctx.shape(sizes)[0]
    axes = [] if count is None else _axes(node, count)
    if axes == SPATIAL:
        return ctx.int32(sizes)
    before, after = value(node, 0).shape, node.outputs[0].shape
    kept = before is not None and after is not None and all(same_dim(before[at], after[at]) for at in (0, 1))
    if axes != [0, 1, *SPATIAL] or not kept:
        raise Blocked("dynamic-shape", "Resize of batch or channels needs known sizes", "bind them with --shape")
    begin, size = ctx.constant(np.array([2], np.int32), "begin"), ctx.constant(np.array([2], np.int32), "count")
    return ctx.emit("SLICE", [ctx.int32(sizes), begin, size], [ctx.temp("INT32", (2,), "size")])


def same_dim(before: object, after: object) -> bool:
    """Two dims are surely equal: the same number, or the same name."""
    if isinstance(before, int) or isinstance(after, int):
        return before == after
    name = getattr(before, "value", None)
    return name is not None and name == getattr(after, "value", None)
