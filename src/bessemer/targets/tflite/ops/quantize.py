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


RANGES = {
    "INT8": (-128, 127), "UINT8": (0, 255), "INT16": (-32768, 32767), "UINT16": (0, 65535),
    "INT4": (-8, 7), "UINT4": (0, 15), "INT2": (-2, 1), "UINT2": (0, 3),
}  # fmt: skip
SMALL_FLOATS = frozenset({"FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ", "FLOAT4E2M1"})
"""Held as FLOAT32: they can be read back, but LiteRT has no rounding to them."""


def by_arithmetic(ctx: Context, node: ir.Node) -> bool:
    """Whether scale or zero point are computed, so that no tensor can state them: real arithmetic then."""
    return any(v is not None and not ctx.is_const(v) for v in node.inputs[1:])


def _parameters(ctx: Context, node: ir.Node, integers: ir.Value) -> tuple[int, int]:
    """Scale and zero point (-1: none) as FLOAT32 tensors that broadcast against the data in logical order."""
    if node.attributes.get_int("block_size", 0):
        raise Blocked(
            "blocked-quantization", "LiteRT has no kernel for blocked quantization of computed values"
        )
    kind = "this type" if integers.dtype is None else integers.dtype.name
    readable = node.op_type == "DequantizeLinear" and kind in SMALL_FLOATS
    if kind not in RANGES and not readable:
        raise Blocked("quantized-type", f"LiteRT computes no quantization to or from {kind}")
    rank = ctx.rank(value(node, 0))
    axis = node.attributes.get_int("axis", 1) % max(rank, 1)
    found = []
    for v in (value(node, 1), optional(node, 2)):
        index = -1 if v is None else ctx.cast(ctx.tensor(v), "FLOAT32")
        if v is not None and ctx.rank(v) == 1 and ctx.shape(v) != (1,):
            index = ctx.reshape(index, (*ctx.shape(v), *(1 for _ in range(rank - axis - 1))))
        found.append(index)
    return found[0], found[1]


def _dequantize_computed(ctx: Context, node: ir.Node) -> None:
    """(x - zero_point) * scale."""
    source, result = value(node, 0), node.outputs[0]
    scale, zero = _parameters(ctx, node, source)
    index = ctx.cast(ctx.tensor(source), "FLOAT32")
    shape = ctx.sub.tensors[index].shape
    if zero >= 0:
        index = ctx.emit("SUB", [index, zero], [ctx.temp("FLOAT32", shape, "shifted")])
    ctx.emit("MUL", [index, scale], [ctx.out(result)])


def _quantize_computed(ctx: Context, node: ir.Node) -> None:
    """saturate(round_half_even(x / scale) + zero_point): ROUND is half to even, as ONNX wants."""
    source, result = value(node, 0), node.outputs[0]
    scale, zero = _parameters(ctx, node, result)
    low, high = RANGES[str(result.dtype.name) if result.dtype is not None else "UINT8"]
    index = ctx.dequantized(ctx.cast(ctx.tensor(source), "FLOAT32"))
    shape = ctx.sub.tensors[index].shape

    def step(code: str, *inputs: int) -> int:
        return ctx.emit(code, inputs, [ctx.temp("FLOAT32", shape, code.lower())])

    index = step("ROUND", step("DIV", index, scale))
    index = index if zero < 0 else step("ADD", index, zero)
    index = step("MAXIMUM", index, ctx.constant(np.float32(low), "low"))
    index = step("MINIMUM", index, ctx.constant(np.float32(high), "high"))
    ctx.emit("CAST", [index], [ctx.out(result)])


@lower("DequantizeLinear", integer=lambda ctx, node: True)
def dequantize_linear(ctx: Context, node: ir.Node) -> None:
    """The integer tensor itself becomes the (encoded) value; DEQUANTIZE where it must be real."""
    integers, real = value(node, 0), node.outputs[0]
    if by_arithmetic(ctx, node):
        _dequantize_computed(ctx, node)
        return
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
    if by_arithmetic(ctx, node):
        _quantize_computed(ctx, node)
        return
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
