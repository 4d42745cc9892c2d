"""QUANTIZE, DEQUANTIZE and the quantized border."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.sources.tflite.context import Context, Unsupported, options
from bessemer.sources.tflite.registry import op
from bessemer.sources.tflite.tensors import dtype_of, encoding_for, is_quantized
from bessemer.wire.tflite.schema import TensorType

if TYPE_CHECKING:
    import onnx_ir

    from bessemer.wire.tflite.records import Operator


def dequantize(context: Context, index: int, value: onnx_ir.Value) -> None:
    """Integers at the border become an encoded float value."""
    encoding = encoding_for(context.tensor(index))
    if encoding is None:
        raise Unsupported("quantization", f"'{context.name(index)}' has no scale")
    scale, zero = _parameters(context, encoding)
    made = context.emit(
        "DequantizeLinear",
        [value, scale, zero],
        axis=encoding.axis,
        dtype=scale.dtype,
        shape=context.shape(index),
    )
    context.result(index, made)


def quantize(context: Context, index: int, value: onnx_ir.Value) -> Any:
    """An encoded float value becomes integers at the border."""
    encoding = encoding_for(context.tensor(index))
    if encoding is None:
        raise Unsupported("quantization", f"'{context.name(index)}' has no scale")
    scale, zero = _parameters(context, encoding)
    kind = dtype_of(context.tensor(index))
    return context.emit(
        "QuantizeLinear", [value, scale, zero], axis=encoding.axis, dtype=kind, shape=context.shape(index)
    )


def _parameters(context: Context, encoding: Any) -> tuple[onnx_ir.Value, onnx_ir.Value]:
    zero = np.asarray(encoding.zero_point)
    return context.literal(np.asarray(encoding.scale), "scale"), context.literal(zero, "zero_point")


@op("QUANTIZE")
def read_quantize(context: Context, operator: Operator) -> None:
    """The same reals under another encoding: an Identity that carries it."""
    source, result = operator.inputs[0], operator.outputs[0]
    order = context.order(source)
    context.result(result, context.emit("Identity", [context.value(source, order)]), order)


@op("DEQUANTIZE")
def read_dequantize(context: Context, operator: Operator) -> None:
    """float16 constants widen lazily; encoded values already are reals."""
    source, result = operator.inputs[0], operator.outputs[0]
    record = context.tensor(source)
    if record.type == TensorType.FLOAT16 and context.known(source) is not None:
        context.constants.widen(context.subgraph, source, result)
        return
    order = context.order(source)
    value = context.value(source, order)
    if is_quantized(record):
        context.result(result, context.emit("Identity", [value]), order)
        return
    context.result(result, cast(context, value, dtype_of(context.tensor(result))), order)


def cast(context: Context, value: onnx_ir.Value, dtype: Any) -> Any:
    """Cast to an ONNX type."""
    return context.emit("Cast", [value], to=int(dtype), dtype=dtype)


@op("DENSIFY")
def read_densify(context: Context, operator: Operator) -> None:
    """Sparse constants are dense as soon as they are read."""
    context.constants.widen(context.subgraph, operator.inputs[0], operator.outputs[0])


@op("FAKE_QUANT")
def read_fake_quant(context: Context, operator: Operator) -> None:
    """Quantization-aware training's stand-in: the nearest of the steps between min and max, halves going up."""
    low, high, scale = _nudged(options(operator))
    order = context.order(operator.inputs[0])
    bounds = [context.literal(bound, "bound") for bound in (low, high)]
    clipped = context.emit("Clip", [context.value(operator.inputs[0], order), *bounds])
    shifted = context.emit("Sub", [clipped, bounds[0]])
    steps = context.emit("Mul", [shifted, context.literal(np.float32(1) / scale, "inverse_scale")])
    whole = context.emit("Floor", [context.emit("Add", [steps, context.literal(np.float32(0.5), "half")])])
    reals = context.emit("Mul", [whole, context.literal(scale, "scale")])
    context.result(operator.outputs[0], context.emit("Add", [reals, bounds[0]]), order)


def _nudged(fields: dict[str, Any]) -> tuple[np.float32, np.float32, np.float32]:
    """The range moved so that zero is one of its steps, and the step; in float32, as the kernel does."""
    first, last = np.float32(bool(fields.get("narrow_range"))), np.float32((1 << int(fields["num_bits"])) - 1)
    low, high = np.float32(fields["min"]), np.float32(fields["max"])
    if not high > low:
        raise Unsupported("fake-quant", f"its range from {low} to {high} is empty")
    scale = (high - low) / (last - first)
    zero = np.clip(np.floor(first - low / scale + np.float32(0.5)), first, last)
    return np.float32((first - zero) * scale), np.float32((last - zero) * scale), scale
