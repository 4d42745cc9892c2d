"""Convolutions: CONV_2D, DEPTHWISE_CONV_2D, CONV_3D, TRANSPOSE_CONV."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.types import Array
from bessemer.targets.tflite.context import Blocked, Context
from bessemer.targets.tflite.ops.common import final_value, fused, optional, value
from bessemer.targets.tflite.ops.weights import (
    accumulator_scale,
    bias_tensor,
    bias_type,
    integer_product,
    quantized_vector,
    weight_tensor,
    with_height,
)
from bessemer.targets.tflite.ops.window import SpatialOutput, Window, lift, spatial_input, take_window, window
from bessemer.targets.tflite.registry import lower

if TYPE_CHECKING:
    import onnx_ir as ir

OHWI = (0, 3, 1, 2)
"""Permutation of a tensor (O, H, W, I) that stands for an ONNX kernel (O, I, H, W)."""
IHWO = (3, 0, 1, 2)
"""The same for a depthwise kernel: tensor (1, H, W, O), logical (O, 1, H, W)."""
OWI, IWO = (0, 2, 1), (2, 0, 1)
DHWIO = (4, 3, 0, 1, 2)


def _integer(ctx: Context, node: ir.Node) -> bool:
    return ctx.rank(value(node, 0)) in (3, 4) and integer_product(ctx, node, final_value(ctx, node), 0)


@lower("Conv", integer=_integer)
def conv(ctx: Context, node: ir.Node) -> None:
    """One kernel with bias and activation fused."""
    source, weight = value(node, 0), value(node, 1)
    rank = ctx.rank(source)
    if rank not in (3, 4, 5):
        raise Blocked("rank", f"LiteRT convolves over one to three axes, not {rank - 2}")
    kernel = [dim or 0 for dim in ctx.shape(weight)[2:]]
    if not all(kernel):
        raise Blocked("dynamic-kernel", "the kernel's size must be known")
    geometry = window(ctx, node, kernel)
    if rank == 5:
        _conv3d(ctx, node, geometry)
        return
    index, padding = take_window(ctx, spatial_input(ctx, source), geometry)
    scale = accumulator_scale(ctx, source, weight) if ctx.integer else None
    bias = bias_tensor(ctx, optional(node, 2), source, scale)
    code, filters, options = _kernel(ctx, node, geometry)
    if bias < 0:
        bias = no_bias(ctx, ctx.shape(weight)[0], source, scale)
    result, activation = fused(ctx, node)
    out = SpatialOutput(ctx, result)
    ctx.emit(
        code,
        [index, filters, bias],
        [out.index],
        padding=padding,
        fused_activation_function=activation,
        **options,
    )
    out.finish()


def no_bias(ctx: Context, count: int | None, source: ir.Value, scale: Array | None) -> int:
    """A bias of zeros: the convolution kernels of LiteRT insist on one."""
    if count is None:
        raise Blocked("dynamic-kernel", "the number of output channels must be known")
    if scale is None:
        return ctx.constant(np.zeros(count, np.float32), "no_bias")
    return quantized_vector(ctx, "no_bias", np.zeros(count, bias_type(ctx, source)), scale)


def _kernel(ctx: Context, node: ir.Node, geometry: Window) -> tuple[str, int, dict[str, Any]]:
    """The operator, its filter and its geometry options."""
    source, weight = value(node, 0), value(node, 1)
    if ctx.rank(source) == 3 and ctx.is_const(weight):
        weight = with_height(ctx, weight)
    strides = (1, *geometry.strides)[-2:]
    dilations = (1, *geometry.dilations)[-2:]
    options: dict[str, Any] = {
        "stride_h": strides[0],
        "stride_w": strides[1],
        "dilation_h_factor": dilations[0],
        "dilation_w_factor": dilations[1],
    }
    group, channels = node.attributes.get_int("group", 1), ctx.shape(source)[1]
    outputs, per_group = ctx.shape(weight)[:2]
    if group > 1 and per_group == 1 and outputs is not None and channels in (group, None):
        options["depth_multiplier"] = outputs // group
        index = weight_tensor(ctx, node, weight, IHWO if ctx.rank(weight) == 4 else IWO)
        return "DEPTHWISE_CONV_2D", lift(ctx, index) if ctx.rank(weight) == 3 else index, options
    index = weight_tensor(ctx, node, weight, OHWI if ctx.rank(weight) == 4 else OWI)
    return "CONV_2D", lift(ctx, index) if ctx.rank(weight) == 3 else index, options


def _conv3d(ctx: Context, node: ir.Node, geometry: Window) -> None:
    index, padding = take_window(ctx, spatial_input(ctx, value(node, 0)), geometry)
    filters = ctx.tensor(value(node, 1), DHWIO)
    bias = bias_tensor(ctx, optional(node, 2), value(node, 0), None)
    result, activation = fused(ctx, node)
    out = SpatialOutput(ctx, result)
    names = ("d", "h", "w")
    options: dict[str, Any] = {f"stride_{n}": s for n, s in zip(names, geometry.strides, strict=True)}
    options |= {f"dilation_{n}_factor": d for n, d in zip(names, geometry.dilations, strict=True)}
    if bias < 0:
        bias = no_bias(ctx, ctx.shape(value(node, 1))[0], value(node, 0), None)
    inputs = [index, filters, bias]
    ctx.emit("CONV_3D", inputs, [out.index], padding=padding, fused_activation_function=activation, **options)
