"""Convolutions in one to three dimensions."""

from __future__ import annotations

import torch
import torch.nn.functional as nn

from bessemer.runners.torch.registry import Call, Tensor, Unsupported, op

CONV = {1: nn.conv1d, 2: nn.conv2d, 3: nn.conv3d}
TRANSPOSED = {1: nn.conv_transpose1d, 2: nn.conv_transpose2d, 3: nn.conv_transpose3d}


def pads_of(call: Call, sizes: list[int], kernel: list[int], strides: list[int], dilations: list[int]) -> list[int]:
    """Begin and end pads of a window operator, those of auto_pad included."""
    rank, mode = len(kernel), call.string("auto_pad", "NOTSET")
    if mode == "VALID":
        return [0] * (2 * rank)
    if mode == "NOTSET":
        return call.ints("pads", [0] * (2 * rank)) or []
    total = [
        max((-(-size // step) - 1) * step + (taps - 1) * wide + 1 - size, 0)
        for size, taps, step, wide in zip(sizes, kernel, strides, dilations, strict=True)
    ]
    small, large = [count // 2 for count in total], [count - count // 2 for count in total]
    return small + large if mode == "SAME_UPPER" else large + small


def padded(x: Tensor, pads: list[int], filler: float = 0.0) -> Tensor:
    """x with begin and end pads on its last axes."""
    rank = len(pads) // 2
    pairs = [pads[at + side * rank] for at in range(rank)[::-1] for side in (0, 1)]
    return nn.pad(x, pairs, value=filler) if any(pads) else x


@op("Conv")
def conv(call: Call, x: Tensor, w: Tensor, b: Tensor = None) -> Tensor:
    rank = x.ndim - 2
    strides, dilations = call.ints("strides", [1] * rank) or [], call.ints("dilations", [1] * rank) or []
    pads = pads_of(call, list(x.shape[2:]), list(w.shape[2:]), strides, dilations)
    if rank not in CONV:
        raise Unsupported(f"{rank} spatial axes")
    if pads[:rank] == pads[rank:]:
        return CONV[rank](x, w, b, strides, pads[:rank], dilations, call.integer("group", 1))
    return CONV[rank](padded(x, pads), w, b, strides, 0, dilations, call.integer("group", 1))


@op("ConvInteger")
def conv_integer(call: Call, x: Tensor, w: Tensor, zx: Tensor = None, zw: Tensor = None) -> Tensor:
    """Exact in double precision: sums of 8-bit products stay far below 2^53."""
    left = x.to(torch.float64) - (0 if zx is None else zx.to(torch.float64))
    zero = 0 if zw is None else zw.to(torch.float64).reshape(-1, *[1] * (w.ndim - 1))
    return conv(call, left, w.to(torch.float64) - zero).to(torch.int32)


@op("ConvTranspose")
def conv_transpose(call: Call, x: Tensor, w: Tensor, b: Tensor = None) -> Tensor:
    """Computed without pads and cut: begin and end pads may differ."""
    rank = x.ndim - 2
    if rank not in TRANSPOSED:
        raise Unsupported(f"{rank} spatial axes")
    strides, dilations = call.ints("strides", [1] * rank) or [], call.ints("dilations", [1] * rank) or []
    extra = call.ints("output_padding", [0] * rank) or []
    full = TRANSPOSED[rank](x, w, b, strides, 0, 0, call.integer("group", 1), dilations)
    whole = [size + more for size, more in zip(full.shape[2:], extra, strict=True)]
    begin, sizes = _cut(call, list(x.shape[2:]), whole, strides)
    ends = [max(first + size - have, 0) for first, size, have in zip(begin, sizes, full.shape[2:], strict=True)]
    if any(ends):
        full = _extended(full, b, ends)
    for at, (first, size) in enumerate(zip(begin, sizes, strict=True)):
        full = full.narrow(2 + at, first, size)
    return full


def _extended(full: Tensor, bias: Tensor, ends: list[int]) -> Tensor:
    """More places at the end, in which there is nothing but the bias."""
    if bias is None:
        return padded(full, [0] * len(ends) + ends)
    shaped = bias.reshape(-1, *[1] * len(ends))
    return padded(full - shaped, [0] * len(ends) + ends) + shaped


def _cut(call: Call, sizes: list[int], whole: list[int], strides: list[int]) -> tuple[list[int], list[int]]:
    """Where the result begins in the unpadded one, and its sizes."""
    rank, mode = len(sizes), call.string("auto_pad", "NOTSET")
    shape = call.ints("output_shape")
    if shape is None and mode.startswith("SAME"):
        shape = [size * step for size, step in zip(sizes, strides, strict=True)]
    if shape is None:
        pads = [0] * (2 * rank) if mode == "VALID" else call.ints("pads", [0] * (2 * rank)) or []
        return pads[:rank], [whole[at] - pads[at] - pads[at + rank] for at in range(rank)]
    shape = shape[-rank:]
    total = [max(have - want, 0) for have, want in zip(whole, shape, strict=True)]
    upper = mode == "SAME_UPPER"
    return [count // 2 if upper else count - count // 2 for count in total], shape
