"""Weights in the axis order of a kernel, and biases as a kernel wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.canonical import HYBRID_KEY
from bessemer.ir.encoding import Encoding, QuantizedWeight, encoding_of, set_weight, weight_of
from bessemer.ir.types import Array, Perm
from bessemer.targets.tflite.builder import Tensor
from bessemer.targets.tflite.context import Context, held_by

if TYPE_CHECKING:
    import onnx_ir as ir

INT32 = np.iinfo(np.int32)


def with_height(ctx: Context, weight: ir.Value) -> ir.Value:
    """A constant 1-D kernel (O, I, W) as (O, I, 1, W); the same value each time, so that ties stay tied."""
    import onnx_ir as ir

    made: ir.Value | None = weight.meta.get("bessemer.tflite.lifted")
    if made is not None:
        return made
    held = held_by(weight)
    shape = (*held.shape[:2], 1, *held.shape[2:])
    made = ir.Value(name=weight.name, shape=ir.Shape(shape), type=weight.type)
    quantized = weight_of(weight)
    if quantized is None:
        made.const_value = ir.LazyTensor(
            lambda: ir.tensor(np.asarray(held.numpy()).reshape(shape)),
            dtype=held.dtype,
            shape=ir.Shape(shape),
        )
    else:
        set_weight(made, QuantizedWeight(quantized.integers.reshape(shape), quantized.encoding))
    weight.meta["bessemer.tflite.lifted"] = made
    return made


def integer_weight(ctx: Context, weight: ir.Value | None, axis: int, activation: str) -> bool:
    """Whether the integer kernels take this weight beside activations of that type."""
    held = weight_of(weight)
    if held is None or held.encoding.block_size:
        return False
    encoding = held.encoding
    if activation == "UINT8":
        return encoding.dtype == "UINT8" and encoding.per_tensor
    kinds = ("INT8", "INT4") if activation == "INT8" else ("INT8",)
    if encoding.dtype not in kinds or encoding.zero_point.any():
        return False
    return encoding.per_tensor or encoding.axis == axis


def held_type(weight: ir.Value) -> str:
    """The type of a constant's integers; '' where it is held in real numbers."""
    held = weight_of(weight)
    return "" if held is None else held.encoding.dtype


def weight_tensor(ctx: Context, node: ir.Node, weight: ir.Value, perm: Perm) -> int:
    """The weight for a kernel; INT8 as stored where the node is hybrid (the kernel quantizes its float
    input).
    """
    held = weight_of(weight)
    if not node.metadata_props.get(HYBRID_KEY) or held is None or held.encoding.dtype != "INT8":
        return ctx.tensor(weight, perm)
    before, ctx.integer = ctx.integer, True
    index = ctx.tensor(weight, perm)
    ctx.integer = before
    return index


def hybrid_options(node: ir.Node) -> dict[str, bool]:
    """How a hybrid kernel quantizes its input."""
    return {"asymmetric_quantize_inputs": True} if node.metadata_props.get(HYBRID_KEY) == "asymmetric" else {}


def bias_tensor(ctx: Context, bias: ir.Value | None, source: ir.Value, scale: Array | None) -> int:
    """The bias as a vector: float, or in integer mode INT32 (INT64 beside an INT16 `source`) in units of `scale`;
    -1 when absent.
    """
    if bias is None:
        return -1
    if scale is None:
        return ctx.tensor(bias)
    held, kind = weight_of(bias), bias_type(ctx, source)
    if held is not None and held.encoding.dtype in ("INT32", "INT64"):
        steps = held.integers.reshape(-1).astype(kind)
        return quantized_vector(ctx, bias.name or "bias", steps, held.encoding.scale)
    real = np.asarray(ctx.const(bias), np.float64).reshape(-1)
    integers = np.clip(np.rint(real / scale.astype(np.float64)), INT32.min, INT32.max)
    return quantized_vector(ctx, bias.name or "bias", integers.astype(kind), scale)


def bias_type(ctx: Context, source: ir.Value) -> type[np.int32] | type[np.int64]:
    """What the kernels add to products of this input: beside INT16 they sum in 64 bits."""
    encoding = ctx.encoding(source)
    return np.int64 if encoding is not None and encoding.dtype == "INT16" else np.int32


def quantized_vector(ctx: Context, name: str, integers: Array, scale: Array) -> int:
    """An INT32 (or INT64) vector with its scale."""
    scale = np.asarray(scale, np.float32)
    kind = "INT64" if integers.dtype == np.int64 else "INT32"
    encoding = Encoding(kind, scale, np.zeros(scale.shape, np.int32), 0 if scale.ndim else None)
    return ctx.sub.add(Tensor(name, kind, integers.shape, lambda: integers, encoding))


def accumulator_scale(ctx: Context, source: ir.Value, weight: ir.Value) -> Array:
    """Scale of the products: the input's times the weight's (one, or one per channel)."""
    left, right = encoding_of(source), encoding_of(weight)
    if left is None or right is None:
        return np.ones((), np.float32)
    product = np.asarray(left.scale, np.float32) * np.asarray(right.scale, np.float32)
    return np.asarray(product, np.float32)


def integer_product(ctx: Context, node: ir.Node, result: ir.Value, axis: int) -> bool:
    """Whether Conv, ConvTranspose, Gemm or MatMul may run on integers: input, weight and result encoded
    for it.
    """
    source, output = ctx.encoding(node.inputs[0]), ctx.encoding(result)
    if source is None or output is None or not source.per_tensor or not output.per_tensor:
        return False
    if source.dtype != output.dtype or ctx.is_const(node.inputs[0]):
        return False
    if not integer_weight(ctx, node.inputs[1], axis, source.dtype):
        return False
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    return bias is None or ctx.is_const(bias)
