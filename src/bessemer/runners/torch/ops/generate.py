"""Values out of nothing but sizes."""

from __future__ import annotations

import math

import torch

from bessemer.runners.torch.dtypes import onnx_name, tensor_of, torch_type
from bessemer.runners.torch.registry import Call, Tensor, Unsupported, op


@op("Constant")
def constant(call: Call) -> Tensor:
    attribute = next(iter(call.node.attributes.values()))
    if attribute.name == "value":
        return tensor_of(attribute.value.numpy())
    if attribute.name in ("value_int", "value_ints"):
        return torch.tensor(attribute.value, dtype=torch.int64)
    if attribute.name in ("value_float", "value_floats"):
        return torch.tensor(attribute.value, dtype=torch.float32)
    raise Unsupported(f"a constant given as {attribute.name}")


@op("ConstantOfShape")
def constant_of_shape(call: Call, shape: Tensor) -> Tensor:
    if not call.has("value"):
        return torch.zeros(shape.tolist(), dtype=torch.float32)
    value = tensor_of(call.node.attributes["value"].value.numpy())
    return value.reshape(()).expand(shape.tolist()).clone()


@op("Range")
def range_(call: Call, start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    first, step = start.item(), delta.item()
    count = max(math.ceil((limit.item() - first) / step), 0)
    wide = torch.float64 if start.is_floating_point() else torch.int64
    return (first + torch.arange(count, dtype=wide) * step).to(start.dtype)


@op("EyeLike")
def eye_like(call: Call, x: Tensor) -> Tensor:
    kind = torch_type(onnx_name(call.integer("dtype"))) if call.has("dtype") else x.dtype
    found = torch.zeros(x.shape, dtype=torch.float32)
    found.diagonal(call.integer("k")).fill_(1)
    return found.to(kind)


def _window(call: Call, size: Tensor, factors: tuple[float, ...]) -> Tensor:
    count = int(size)
    steps = torch.arange(count, dtype=torch.float64)
    period = count if call.integer("periodic", 1) else count - 1
    terms = [factor * torch.cos(2 * math.pi * k * steps / period) for k, factor in enumerate(factors)]
    return sum(terms[1:], terms[0]).to(torch_type(onnx_name(call.integer("output_datatype", 1))))


@op("HannWindow")
def hann(call: Call, size: Tensor) -> Tensor:
    return _window(call, size, (0.5, -0.5))


@op("HammingWindow")
def hamming(call: Call, size: Tensor) -> Tensor:
    return _window(call, size, (25 / 46, -21 / 46))


@op("BlackmanWindow")
def blackman(call: Call, size: Tensor) -> Tensor:
    return _window(call, size, (0.42, -0.5, 0.08))
