"""Pooling and local response normalisation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bessemer.ir.layout import channels_first
from bessemer.sources.tflite.context import Context, options
from bessemer.sources.tflite.ops.common import activate, padding
from bessemer.sources.tflite.registry import op

if TYPE_CHECKING:
    from bessemer.wire.tflite.records import Operator

NCHW = channels_first(4)


def _window(context: Context, operator: Operator) -> dict[str, Any]:
    fields = options(operator)
    kernel = [int(fields["filter_height"]), int(fields["filter_width"])]
    strides = [int(fields["stride_h"]), int(fields["stride_w"])]
    pads = padding(context, operator.inputs[0], fields["padding"], kernel, strides, (1, 1))
    return {"kernel_shape": kernel, "strides": strides, **pads}


@op("AVERAGE_POOL_2D")
def average_pool(context: Context, operator: Operator) -> None:
    """Padding does not count, in TFLite as in ONNX's default."""
    _pool(context, operator, "AveragePool")


@op("MAX_POOL_2D")
def max_pool(context: Context, operator: Operator) -> None:
    """Largest of each window."""
    _pool(context, operator, "MaxPool")


def _pool(context: Context, operator: Operator, name: str) -> None:
    made = context.emit(name, [context.value(operator.inputs[0], NCHW)], **_window(context, operator))
    context.result(
        operator.outputs[0], activate(context, made, options(operator)["fused_activation_function"]), NCHW
    )


@op("L2_POOL_2D")
def l2_pool(context: Context, operator: Operator) -> None:
    """Square root of the mean of squares (ONNX's LpPool takes the sum)."""
    value = context.value(operator.inputs[0], NCHW)
    squares = context.emit("Mul", [value, value])
    means = context.emit("AveragePool", [squares], **_window(context, operator))
    made = context.emit("Sqrt", [means])
    context.result(
        operator.outputs[0], activate(context, made, options(operator)["fused_activation_function"]), NCHW
    )


@op("LOCAL_RESPONSE_NORMALIZATION")
def local_response(context: Context, operator: Operator) -> None:
    """TFLite multiplies alpha by each square; ONNX divides it by the window."""
    fields = options(operator)
    size = 2 * int(fields["radius"]) + 1
    made = context.emit(
        "LRN", [context.value(operator.inputs[0], NCHW)], size=size, alpha=float(fields["alpha"]) * size,
        beta=float(fields["beta"]), bias=float(fields["bias"]),
    )  # fmt: skip
    context.result(operator.outputs[0], made, NCHW)
