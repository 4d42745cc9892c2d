"""Convolutions."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bessemer.ir.layout import channels_first
from bessemer.sources.channels_last.windows import same_pads
from bessemer.sources.tflite.context import Context, Unsupported, options
from bessemer.sources.tflite.ops.common import activate, mark_hybrid, padding
from bessemer.sources.tflite.registry import op
from bessemer.wire.tflite.schema import Padding

if TYPE_CHECKING:
    from bessemer.wire.tflite.records import Operator

NCHW = channels_first(4)
OIHW_FROM_OHWI = (0, 3, 1, 2)
OIHW_FROM_1HWO = (3, 0, 1, 2)


def _windows(fields: dict[str, Any], names: str = "hw") -> tuple[list[int], list[int]]:
    strides = [int(fields.get(f"stride_{axis}", 1)) or 1 for axis in names]
    dilations = [int(fields.get(f"dilation_{axis}_factor", 1)) or 1 for axis in names]
    return strides, dilations


@op("CONV_2D")
def conv_2d(context: Context, operator: Operator) -> None:
    """Filters OHWI; grouped when the filter is shallower than the input."""
    source, weights, result = operator.inputs[0], operator.inputs[1], operator.outputs[0]
    fields = options(operator)
    strides, dilations = _windows(fields)
    height, width, depth = context.static(weights)[1:]
    channels = context.shape(source)[3]
    if channels is None or channels % depth:
        raise Unsupported(
            "conv-depth", f"{channels} input channels do not divide into filters of depth {depth}"
        )
    operands = [
        context.value(source, NCHW),
        context.value(weights, OIHW_FROM_OHWI),
        context.optional(operator.inputs, 2),
    ]
    made = context.emit(
        "Conv", _trim(operands), kernel_shape=[height, width], strides=strides, dilations=dilations,
        group=channels // depth, **padding(context, source, fields["padding"], (height, width), strides, dilations),
    )  # fmt: skip
    mark_hybrid(context, operator, made)
    context.result(result, activate(context, made, fields["fused_activation_function"]), NCHW)


def _trim(operands: list[Any]) -> list[Any]:
    while operands and operands[-1] is None:
        operands.pop()
    return operands


@op("DEPTHWISE_CONV_2D")
def depthwise_conv_2d(context: Context, operator: Operator) -> None:
    """Filters 1HWO with O = channels * multiplier."""
    source, weights, result = operator.inputs[0], operator.inputs[1], operator.outputs[0]
    fields = options(operator)
    strides, dilations = _windows(fields)
    _, height, width, count = context.static(weights)
    channels = context.shape(source)[3]
    if channels is None or count % channels:
        raise Unsupported("conv-depth", f"{count} depthwise filters do not divide by {channels} channels")
    operands = [
        context.value(source, NCHW),
        context.value(weights, OIHW_FROM_1HWO),
        context.optional(operator.inputs, 2),
    ]
    made = context.emit(
        "Conv", _trim(operands), kernel_shape=[height, width], strides=strides, dilations=dilations, group=channels,
        **padding(context, source, fields["padding"], (height, width), strides, dilations),
    )  # fmt: skip
    mark_hybrid(context, operator, made)
    context.result(result, activate(context, made, fields["fused_activation_function"]), NCHW)


@op("TRANSPOSE_CONV")
def transpose_conv(context: Context, operator: Operator) -> None:
    """Operands: output shape, filters OHWI, input. SAME crops what VALID would add."""
    strides, dilations = _windows(options(operator))
    _transposed(context, operator, (3, 0, 1, 2), strides, dilations)


@op("CONV_3D_TRANSPOSE")
def transpose_conv_3d(context: Context, operator: Operator) -> None:
    """Operands: output shape, filters DHWOI, input NDHWC."""
    strides, dilations = _windows(options(operator), "dhw")
    _transposed(context, operator, (4, 3, 0, 1, 2), strides, dilations)


@op("Convolution2DTransposeBias")
def transpose_conv_bias(context: Context, operator: Operator) -> None:
    """MediaPipe's own: input, filters, bias; the custom options are padding (1 same, 2 valid), strides x and y."""
    from bessemer.wire.tflite.records import Options

    held = operator.custom_options or b""
    if len(held) < 12:
        raise Unsupported("custom-options", f"its options have {len(held)} bytes, not three integers")
    kind, across, down = struct.unpack_from("<3i", held)
    if kind not in (1, 2) or across < 1 or down < 1:
        raise Unsupported("custom-options", f"padding {kind} or strides {across}, {down} are none")
    fields = {"padding": kind - 1, "stride_w": across, "stride_h": down}
    source, weights, bias = operator.inputs
    plain = replace(
        operator, inputs=(-1, weights, source, bias), builtin_options=Options("TransposeConvOptions", fields)
    )
    transpose_conv(context, plain)


def _transposed(
    context: Context, operator: Operator, perm: tuple[int, ...], strides: list[int], dilations: list[int]
) -> None:
    """perm: from the filters' own order to ONNX's (input channels, output channels, window)."""
    source, weights, result = operator.inputs[2], operator.inputs[1], operator.outputs[0]
    fields, order = options(operator), channels_first(len(perm))
    window = [context.static(weights)[axis] for axis in perm[2:]]
    pads, extra = _crops(context, operator, window, strides, dilations)
    operands = [
        context.value(source, order),
        context.value(weights, perm),
        context.optional(operator.inputs, 3),
    ]
    made = context.emit(
        "ConvTranspose", _trim(operands), kernel_shape=window, strides=strides, dilations=dilations, pads=pads,
        output_padding=extra if any(extra) else None,
    )  # fmt: skip
    context.result(result, activate(context, made, fields.get("fused_activation_function", 0)), order)


def _crops(
    context: Context, operator: Operator, window: list[int], strides: list[int], dilations: list[int]
) -> tuple[list[int], list[int]]:
    """Pads and output_padding that give the size in the file."""
    sizes, same = context.shape(operator.outputs[0])[1:-1], options(operator)["padding"] == Padding.SAME
    wanted = [size for size in sizes if size is not None]
    if len(wanted) != len(sizes):
        raise Unsupported("dynamic-shape", "a transposed convolution of unbound output size")
    pairs, extra = [], []
    places = zip(wanted, context.static(operator.inputs[2])[1:-1], window, strides, dilations, strict=True)
    for want, have, width, stride, dilation in places:
        full = (have - 1) * stride + (width - 1) * dilation + 1
        pair = same_pads(want, width, stride, dilation) if same else (0, 0)
        pairs.append(pair)
        extra.append(want - (full - sum(pair)))
    if any(item < 0 for item in extra):
        raise Unsupported("conv-shape", f"output size {sizes} is smaller than its input implies")
    return [pair[0] for pair in pairs] + [pair[1] for pair in pairs], extra


@op("CONV_3D")
def conv_3d(context: Context, operator: Operator) -> None:
    """Input NDHWC, filters DHWIO."""
    source, weights, result = operator.inputs[0], operator.inputs[1], operator.outputs[0]
    fields = options(operator)
    strides, dilations = _windows(fields, "dhw")
    kernel = context.static(weights)[:3]
    depth, channels = context.static(weights)[3], context.shape(source)[4]
    if channels is None or channels % depth:
        raise Unsupported(
            "conv-depth", f"{channels} input channels do not divide into filters of depth {depth}"
        )
    order = channels_first(5)
    operands = [
        context.value(source, order),
        context.value(weights, (4, 3, 0, 1, 2)),
        context.optional(operator.inputs, 2),
    ]
    made = context.emit(
        "Conv", _trim(operands), kernel_shape=list(kernel), strides=strides, dilations=dilations,
        group=channels // depth, **padding(context, source, fields["padding"], kernel, strides, dilations),
    )  # fmt: skip
    context.result(result, activate(context, made, fields["fused_activation_function"]), order)
