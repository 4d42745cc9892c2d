"""Normalizations and softmax."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as nn

from bessemer.runners.torch.dtypes import onnx_name, torch_type
from bessemer.runners.torch.registry import Call, Tensor, Unsupported, op


@op("Softmax")
def softmax(call: Call, x: Tensor) -> Tensor:
    return torch.softmax(x, call.integer("axis", -1))


@op("LogSoftmax")
def log_softmax(call: Call, x: Tensor) -> Tensor:
    return torch.log_softmax(x, call.integer("axis", -1))


def _channels(item: Tensor, rank: int) -> Tensor:
    return item.reshape(-1, *[1] * (rank - 2))


@op("BatchNormalization")
def batch_normalization(call: Call, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Any:
    epsilon = call.number("epsilon", 1e-5)
    if not call.integer("training_mode"):
        factor = scale / torch.sqrt(var + epsilon)
        return (x * _channels(factor, x.ndim) + _channels(bias - mean * factor, x.ndim)).to(x.dtype)
    axes, momentum = [0, *range(2, x.ndim)], call.number("momentum", 0.9)
    now, spread = x.mean(axes), x.var(axes, unbiased=False)
    factor = scale / torch.sqrt(spread + epsilon)
    y = x * _channels(factor, x.ndim) + _channels(bias - now * factor, x.ndim)
    return y, mean * momentum + now * (1 - momentum), var * momentum + spread * (1 - momentum)


@op("InstanceNormalization")
def instance_normalization(call: Call, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    axes = list(range(2, x.ndim))
    mean, var = x.mean(axes, True), x.var(axes, unbiased=False, keepdim=True)
    whitened = (x - mean) / torch.sqrt(var + call.number("epsilon", 1e-5))
    return whitened * _channels(scale, x.ndim) + _channels(bias, x.ndim)


@op("GroupNormalization")
def group_normalization(call: Call, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    kind = torch_type(onnx_name(call.integer("stash_type", 1)))
    found = nn.group_norm(x.to(kind), call.integer("num_groups"), None, None, call.number("epsilon", 1e-5)).to(x.dtype)
    return found * _channels(scale, x.ndim) + _channels(bias, x.ndim)


@op("LayerNormalization")
def layer_normalization(call: Call, x: Tensor, scale: Tensor, bias: Tensor = None) -> Any:
    axes = list(range(call.integer("axis", -1) % x.ndim, x.ndim))
    wide = x.to(torch_type(onnx_name(call.integer("stash_type", 1))))
    mean = wide.mean(axes, True)
    centred = wide - mean
    inverse = torch.reciprocal(torch.sqrt((centred * centred).mean(axes, True) + call.number("epsilon", 1e-5)))
    y = (centred * inverse).to(x.dtype) * scale
    return y if bias is None else y + bias, mean, inverse


@op("RMSNormalization")
def rms_normalization(call: Call, x: Tensor, scale: Tensor) -> Tensor:
    axes = list(range(call.integer("axis", -1) % x.ndim, x.ndim))
    wide = x.to(torch_type(onnx_name(call.integer("stash_type", 1))))
    inverse = torch.rsqrt((wide * wide).mean(axes, True) + call.number("epsilon", 1e-5))
    return (wide * inverse).to(x.dtype) * scale


@op("LpNormalization")
def lp_normalization(call: Call, x: Tensor) -> Tensor:
    axis, p = call.integer("axis", -1), call.integer("p", 2)
    norm = torch.linalg.vector_norm(x, p, axis, True)
    return torch.where(norm == 0, torch.zeros_like(x), x / norm)


@op("LRN")
def lrn(call: Call, x: Tensor) -> Tensor:
    size = call.integer("size")
    before, after = (size - 1) // 2, size - 1 - (size - 1) // 2
    squares = nn.pad((x * x).reshape(x.shape[0], x.shape[1], -1), (0, 0, before, after))
    total = squares.unfold(1, size, 1).sum(-1).reshape(x.shape)
    alpha, beta, bias = call.number("alpha", 1e-4), call.number("beta", 0.75), call.number("bias", 1.0)
    return x / (bias + alpha / size * total) ** beta


@op("Dropout")
def dropout(call: Call, x: Tensor, ratio: Tensor = None, training: Tensor = None) -> Any:
    share = 0.5 if ratio is None else float(ratio)
    if training is None or not bool(training) or share == 0:
        return x, torch.ones(x.shape, dtype=torch.bool)
    raise Unsupported("dropout while training draws numbers")
