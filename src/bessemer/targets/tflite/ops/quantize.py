"""QuantizeLinear and DequantizeLinear at the borders between integers and real values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.encoding import Encoding
from bessemer.targets.tflite.context import Blocked, Context, physical, shifted
from bessemer.targets.tflite.ops.common import optional, required_const, value
from bessemer.targets.tflite.registry import lower

if TYPE_CHECKING:
    import onnx_ir as ir

KINDS = ("INT8", "UINT8", "INT16")


def encoding_of_node(ctx: Context, node: ir.Node, integers: ir.Value) -> Encoding:
    """The encoding that a Quantize or DequantizeLinear node states."""
    scale = np.asarray(required_const(ctx, node, 1), np.float32)
    kind = "UINT8" if integers.dtype is None else str(integers.dtype.name)
    zero_value = optional(node, 2)
    zero: Any = np.zeros(scale.shape, np.int32) if zero_value is None else required_const(ctx, node, 2)
    if scale.size == 1:
        return Encoding(kind, scale.reshape(()), np.asarray(zero).reshape(()))
    if node.attributes.get_int("block_size", 0) or scale.ndim != 1:
        raise Blocked(
            "blocked-quantization", "LiteRT has no kernel for blocked quantization of computed values"
        )
    axis = node.attributes.get_int("axis", 1) % ctx.rank(integers)
    return Encoding(kind, scale, np.asarray(zero), axis)


@lower("DequantizeLinear", integer=lambda ctx, node: True)
def dequantize_linear(ctx: Context, node: ir.Node) -> None:
    """The integer tensor itself becomes the (encoded) value; DEQUANTIZE where it must be real."""
    integers, real = value(node, 0), node.outputs[0]
    encoding = encoding_of_node(ctx, node, integers)
    if encoding.dtype not in KINDS:
        raise Blocked(
            "quantized-type", f"LiteRT dequantizes INT8, UINT8 and INT16 values, not {encoding.dtype}"
        )
    perm = ctx.perm(integers)
    index = labelled(ctx, ctx.tensor(integers, perm), physical(encoding, perm), f"{integers.name}/quantized")
    ctx.alias(real, index, perm)


def labelled(ctx: Context, index: int, encoding: Encoding, name: str) -> int:
    """The same integers in a tensor that says what they mean.

    An input that only this reads can be labelled itself; otherwise a RESHAPE copies the integers.
    """
    tensor = ctx.sub.tensors[index]
    if tensor.encoding == encoding:
        return index
    if tensor.encoding is None and (index in ctx.sub.inputs or tensor.data is not None):
        tensor.encoding = encoding
        return index
    raise Blocked("relabelled-integers", "computed integers cannot be reinterpreted as a quantized tensor")


@lower("QuantizeLinear", integer=lambda ctx, node: True)
def quantize_linear(ctx: Context, node: ir.Node) -> None:
    """A real value as integers: nothing to do where it is stored so already."""
    real, integers = value(node, 0), node.outputs[0]
    encoding = encoding_of_node(ctx, node, integers)
    if encoding.dtype not in KINDS:
        raise Blocked("quantized-type", f"LiteRT quantizes to INT8, UINT8 and INT16, not {encoding.dtype}")
    perm = ctx.perm(real)
    source = ctx.tensor(real, perm)
    wanted = physical(encoding, perm)
    if ctx.sub.tensors[source].encoding == wanted:
        ctx.alias(integers, source, perm)
        return
    if not encoding.per_tensor:
        raise Blocked("per-channel-activation", "LiteRT's QUANTIZE kernel has one scale per tensor")
    out = ctx.out(integers, perm)
    ctx.sub.tensors[out].encoding = wanted
    ctx.emit("QUANTIZE", [source], [out])


__all__ = ["dequantize_linear", "labelled", "quantize_linear", "shifted"]
