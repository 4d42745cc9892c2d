"""Shared by the families: fused activations, padding, broadcasting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.layout import identity, is_identity
from bessemer.ir.types import Perm
from bessemer.sources.channels_last.windows import same_pads
from bessemer.sources.tflite.context import Context, Unsupported, options
from bessemer.wire.tflite.schema import ActivationFunctionType, Padding

if TYPE_CHECKING:
    import onnx_ir

    from bessemer.wire.tflite.records import Operator


def activate(context: Context, value: onnx_ir.Value, kind: int) -> Any:
    """The fused activation as a node of its own."""
    if kind == ActivationFunctionType.NONE:
        return value
    if kind == ActivationFunctionType.RELU:
        return context.emit("Relu", [value])
    if kind == ActivationFunctionType.RELU6:
        return clip(context, value, 0.0, 6.0)
    if kind == ActivationFunctionType.RELU_N1_TO_1:
        return clip(context, value, -1.0, 1.0)
    if kind == ActivationFunctionType.TANH:
        return context.emit("Tanh", [value])
    raise Unsupported("fused-activation", f"the fused activation {kind} has no meaning in ONNX")


def clip(context: Context, value: onnx_ir.Value, low: float, high: float) -> Any:
    """Clip to constants of the value's own type."""
    kind = np.float32 if value.dtype is None else value.dtype.numpy()
    bounds = [context.literal(np.asarray(bound, kind), "bound") for bound in (low, high)]
    return context.emit("Clip", [value, *bounds])


def padding(
    context: Context,
    source: int,
    kind: int,
    windows: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> dict[str, Any]:
    """Attributes of a window operator over the axes 1.. of a channels-last tensor."""
    if kind == Padding.VALID:
        return {}
    sizes = context.shape(source)[1:-1]
    if any(size is None for size in sizes):
        return {"auto_pad": "SAME_UPPER"}
    pairs = [
        same_pads(size, window, stride, dilation)
        for size, window, stride, dilation in zip(sizes, windows, strides, dilations, strict=True)
        if size is not None
    ]
    pads = [pair[0] for pair in pairs] + [pair[1] for pair in pairs]
    return {"pads": pads} if any(pads) else {}


def broadcast(context: Context, indices: Sequence[int]) -> tuple[list[onnx_ir.Value], Perm]:
    """Operands of an elementwise operator in one common axis order, and that order.

    The order is that of the first operand of full rank that was made in another than its own; operands of
    lower rank get leading axes of size one.
    """
    rank = max(context.rank(index) for index in indices)
    full = [context.order(index) for index in indices if context.rank(index) == rank]
    order = next((perm for perm in full if not is_identity(perm)), identity(rank))
    return [_raised(context, index, rank, order) for index in indices], order


def _raised(context: Context, index: int, rank: int, order: Perm) -> Any:
    held = context.rank(index)
    if held == rank:
        return context.value(index, order)
    value = context.value(index)
    if is_identity(order) or held == 0:
        return value
    shape = [1] * (rank - held) + list(context.shape(index))
    raised = context.reshaped(value, shape)
    moved = [shape[axis] for axis in order]
    kept = [axis for axis in order if shape[axis] != 1]
    if kept == sorted(kept):
        return context.reshaped(value, moved) if moved != shape else raised
    return context.emit("Transpose", [raised], perm=list(order), shape=moved)


def mark_hybrid(context: Context, operator: Operator, made: onnx_ir.Value) -> onnx_ir.Value:
    """Record that the runtime quantizes this product's float input on the fly (INT8 weights, float data)."""
    from bessemer.ir.canonical import HYBRID_KEY
    from bessemer.sources.tflite.tensors import is_quantized

    source, weights = (context.tensor(index) for index in operator.inputs[:2])
    producer = made.producer()
    if is_quantized(weights) and not is_quantized(source) and producer is not None:
        asymmetric = bool(options(operator).get("asymmetric_quantize_inputs"))
        producer.metadata_props[HYBRID_KEY] = "asymmetric" if asymmetric else "symmetric"
    return made
