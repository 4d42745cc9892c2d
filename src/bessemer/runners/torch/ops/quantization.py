"""Between reals and integers."""

from __future__ import annotations

from typing import Any

import torch

from bessemer.runners.torch.dtypes import FLOAT8, limits, onnx_name
from bessemer.runners.torch.ops.elementwise import converted
from bessemer.runners.torch.registry import Call, Tensor, Unsupported, op


def _spread(call: Call, parameter: Tensor, x: Tensor) -> Tensor:
    """A scale or zero point so that it broadcasts to x."""
    block = call.integer("block_size")
    if block:
        axis = call.integer("axis", 1) % x.ndim
        return parameter.repeat_interleave(block, axis).narrow(axis, 0, x.shape[axis])
    if parameter.numel() == 1:
        return parameter.reshape(())
    shape = [1] * x.ndim
    shape[call.integer("axis", 1)] = parameter.numel()
    return parameter.reshape(shape)


@op("QuantizeLinear")
def quantize_linear(call: Call, x: Tensor, scale: Tensor, zero: Tensor = None) -> Tensor:
    stated = onnx_name(call.integer("output_dtype")) if call.integer("output_dtype") else "UINT8"
    name = call.type_in(2) or stated
    if call.integer("precision"):
        raise Unsupported("a stated precision")
    wide = torch.float32 if scale.dtype in (torch.float16, torch.bfloat16) else scale.dtype
    ratio = x.to(wide) / _spread(call, scale, x).to(wide)
    if name.startswith("FLOAT8"):
        return converted(ratio, name, call.integer("saturate", 1) == 1)
    if name.startswith("FLOAT"):
        raise Unsupported(f"quantization to {name.lower()}")
    low, high = limits(name)
    offset = 0 if zero is None else _spread(call, zero, x).to(torch.float64)
    steps = torch.clamp(torch.round(ratio).to(torch.float64) + offset, low, high)
    return converted(steps, name)


@op("DequantizeLinear")
def dequantize_linear(call: Call, x: Tensor, scale: Tensor, zero: Tensor = None) -> Tensor:
    if x.dtype in FLOAT8:
        return x.to(scale.dtype) * _spread(call, scale, x)
    wide = x.to(torch.int32)
    wide = wide if zero is None else wide - _spread(call, zero, x).to(torch.int32)
    found = wide.to(torch.float32) * _spread(call, scale, x).to(torch.float32)
    stated = call.integer("output_dtype")
    return converted(found, onnx_name(stated)) if stated else found.to(scale.dtype)


@op("DynamicQuantizeLinear")
def dynamic_quantize_linear(call: Call, x: Tensor) -> Any:
    low, high = x.min().clamp(max=0), x.max().clamp(min=0)
    scale = (high - low) / 255
    zero = torch.round(torch.clamp(-low / scale, 0, 255)).to(torch.uint8)
    y = torch.clamp(torch.round(x / scale) + zero, 0, 255).to(torch.uint8)
    return y, scale, zero
