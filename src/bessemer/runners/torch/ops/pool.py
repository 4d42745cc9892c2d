"""Pooling."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as nn

from bessemer.runners.torch.ops.conv import padded, pads_of
from bessemer.runners.torch.registry import Call, Tensor, op


@op("GlobalAveragePool")
def global_average(call: Call, x: Tensor) -> Tensor:
    return x.mean(list(range(2, x.ndim)), True)


@op("GlobalMaxPool")
def global_max(call: Call, x: Tensor) -> Tensor:
    return x.amax(list(range(2, x.ndim)), True)


class _Windows:
    """Geometry of a pooling node over the spatial sizes of its input."""

    def __init__(self, call: Call, sizes: list[int]) -> None:
        self.kernel = call.ints("kernel_shape") or []
        rank = len(self.kernel)
        self.strides = call.ints("strides", [1] * rank) or []
        self.dilations = call.ints("dilations", [1] * rank) or []
        self.pads = pads_of(call, sizes, self.kernel, self.strides, self.dilations)
        self.extra, self.counts = [], []
        for at, size in enumerate(sizes):
            reach = self.dilations[at] * (self.kernel[at] - 1) + 1
            whole = size + self.pads[at] + self.pads[at + rank]
            count = self._count(whole - reach, self.strides[at], call.integer("ceil_mode"))
            if call.integer("ceil_mode") and (count - 1) * self.strides[at] >= size + self.pads[at]:
                count -= 1  # a window may not begin behind the input
            self.counts.append(count)
            self.extra.append(max((count - 1) * self.strides[at] + reach - whole, 0))

    @staticmethod
    def _count(room: int, stride: int, up: int) -> int:
        return (-(-room // stride) if up else room // stride) + 1

    @property
    def plain(self) -> bool:
        """Whether torch's own 2-D kernel says the same."""
        half = len(self.kernel)
        small = all(2 * pad <= taps for pad, taps in zip(self.pads, self.kernel, strict=False))
        return half == 2 and self.pads[:half] == self.pads[half:] and not any(self.extra) and small

    def cut(self, x: Tensor, filler: float, beyond: float) -> Tensor:
        """(batch, channels, *places, taps); `filler` in the pads, `beyond` behind them."""
        rank = len(self.kernel)
        x = padded(padded(x, self.pads, filler), [0] * rank + self.extra, beyond)
        for at in range(rank):
            first = torch.arange(self.counts[at]) * self.strides[at]
            index = first[:, None] + torch.arange(self.kernel[at]) * self.dilations[at]
            x = x.index_select(2 + at, index.reshape(-1)).unflatten(2 + at, index.shape).movedim(3 + at, -1)
        return x.flatten(-rank)


@op("AveragePool")
def average(call: Call, x: Tensor) -> Tensor:
    windows = _Windows(call, list(x.shape[2:]))
    include = call.integer("count_include_pad")
    if windows.plain and set(windows.dilations) == {1}:
        return nn.avg_pool2d(x, windows.kernel, windows.strides, windows.pads[:2], False, include == 1)
    valid = windows.cut(torch.ones_like(x), float(include), 0.0).sum(-1)
    return windows.cut(x, 0.0, 0.0).sum(-1) / valid


@op("LpPool")
def lp_pool(call: Call, x: Tensor) -> Tensor:
    p = call.integer("p", 2)
    return (windows_of(call, x).abs() ** p).sum(-1) ** (1 / p)


def windows_of(call: Call, x: Tensor) -> Tensor:
    return _Windows(call, list(x.shape[2:])).cut(x, 0.0, 0.0)


@op("GlobalLpPool")
def global_lp(call: Call, x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, call.integer("p", 2), list(range(2, x.ndim)), True)


@op("MaxPool")
def largest(call: Call, x: Tensor) -> Any:
    windows = _Windows(call, list(x.shape[2:]))
    indexed = len(call.node.outputs) > 1
    if windows.plain and not indexed and x.is_floating_point():
        return nn.max_pool2d(x, windows.kernel, windows.strides, windows.pads[:2], windows.dilations)
    wide = x if x.is_floating_point() else x.to(torch.float64)
    values, taps = windows.cut(wide, -math.inf, -math.inf).max(-1)
    if not indexed:
        return values.to(x.dtype)
    sizes = list(x.shape[2:])
    order = torch.arange(math.prod(sizes)).reshape(sizes)
    if call.integer("storage_order"):
        order = torch.arange(math.prod(sizes)).reshape(sizes[::-1]).permute(list(range(len(sizes)))[::-1])
    places = windows.cut(order.to(torch.float64).expand(1, 1, *sizes), -1.0, -1.0)
    chosen = torch.gather(places.expand(*values.shape, -1), -1, taps[..., None])[..., 0].to(torch.int64)
    planes = torch.arange(x.shape[0] * x.shape[1]).reshape(x.shape[0], x.shape[1], *[1] * len(sizes))
    return values.to(x.dtype), chosen + planes * math.prod(sizes)


@op("MaxUnpool")
def unpool(call: Call, x: Tensor, places: Tensor, shape: Tensor = None) -> Tensor:
    """Places count in the pooled input; a stated output shape is a larger one around it."""
    kernel = call.ints("kernel_shape") or []
    rank = len(kernel)
    strides, pads = call.ints("strides", [1] * rank) or [], call.ints("pads", [0] * (2 * rank)) or []
    sizes = [
        (x.shape[2 + at] - 1) * strides[at] + kernel[at] - pads[at] - pads[at + rank] for at in range(rank)
    ]
    whole = [x.shape[0], x.shape[1], *sizes]
    found = torch.zeros(math.prod(whole), dtype=x.dtype).scatter(0, places.reshape(-1), x.reshape(-1)).reshape(whole)
    if shape is None:
        return found
    wanted = shape.tolist()
    return padded(found, [0] * rank + [wanted[2 + at] - sizes[at] for at in range(rank)])
