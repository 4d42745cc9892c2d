"""Convolutions in NumPy: windows taken as views, then one product."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.runners.keras.activation import own_activation
from bessemer.runners.keras.registry import evaluates

if TYPE_CHECKING:
    from bessemer.ir.types import Array
    from bessemer.runners.keras.layer import Layer


def numbers(value: Any, count: int) -> list[int]:
    """One per axis."""
    return [int(value)] * count if isinstance(value, int | float) else [int(item) for item in value]


def last(layer: Layer, x: Array) -> Array:
    """The tensor with its channels last."""
    return np.moveaxis(x, 1, -1) if layer.config.get("data_format") == "channels_first" else x


def back(layer: Layer, x: Array) -> Array:
    """The other way."""
    return np.moveaxis(x, -1, 1) if layer.config.get("data_format") == "channels_first" else x


def windows(
    x: Array, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], padding: str, fill: float = 0
) -> Array:
    """(batch, *places, channels, *kernel): a view of every window. x: channels last."""
    count = len(kernel)
    pads = [(0, 0)]
    for size, width, stride, gap in zip(x.shape[1:-1], kernel, strides, dilations, strict=True):
        reach = (width - 1) * gap + 1
        total = max((-(-size // stride) - 1) * stride + reach - size, 0) if padding == "same" else 0
        pads.append((reach - 1, 0) if padding == "causal" else (total // 2, total - total // 2))
    padded = np.pad(x, [*pads, (0, 0)], constant_values=fill)
    reaches = [(width - 1) * gap + 1 for width, gap in zip(kernel, dilations, strict=True)]
    view = np.lib.stride_tricks.sliding_window_view(padded, reaches, axis=tuple(range(1, 1 + count)))
    places = tuple(slice(None, None, stride) for stride in strides)
    inside = tuple(slice(None, None, gap) for gap in dilations)
    made: Array = view[(slice(None), *places, slice(None), *inside)]
    return made


def correlate(
    x: Array, kernel: Array, strides: Sequence[int], dilations: Sequence[int], padding: str, groups: int = 1
) -> Array:
    """x (batch, *sizes, depth) by kernel (*window, depth / groups, filters)."""
    count = kernel.ndim - 2
    parts = []
    for piece, filters in zip(np.split(x, groups, -1), np.split(kernel, groups, -1), strict=True):
        seen = windows(piece, kernel.shape[:-2], strides, dilations, padding)
        axes = [count + 1, *range(count + 2, 2 * count + 2)]
        parts.append(np.tensordot(seen, np.moveaxis(filters, -2, 0), (axes, list(range(count + 1)))))
    return np.concatenate(parts, axis=-1)


def per_channel(x: Array, kernel: Array, strides: Sequence[int], dilations: Sequence[int], padding: str) -> Array:
    """x (batch, *sizes, depth) by kernel (*window, depth, multiplier): each channel with its own filters."""
    count = kernel.ndim - 2
    seen = windows(x, kernel.shape[:-2], strides, dilations, padding)
    filters = np.moveaxis(kernel, (-2, -1), (0, 1)).reshape(kernel.shape[-2], kernel.shape[-1], -1)
    made = np.einsum("...ck,cmk->...cm", seen.reshape(*seen.shape[: count + 2], -1), filters)
    flat: Array = made.reshape(*made.shape[:-2], -1)
    return flat


def geometry(layer: Layer, count: int) -> tuple[list[int], list[int], str]:
    """Strides, dilations and padding of the config."""
    config = layer.config
    return (
        numbers(config.get("strides", 1), count), numbers(config.get("dilation_rate", 1), count),
        str(config.get("padding", "valid")),
    )  # fmt: skip


def finished(layer: Layer, made: Array, place: int, like: Array) -> Array:
    """Bias and activation; `place` is the bias's among the weights."""
    if layer.config.get("use_bias", True):
        made = made + layer.weights[place]
    return back(layer, own_activation(layer, made.astype(like.dtype if like.dtype.kind == "f" else np.float32)))


@evaluates("Conv1D", "Conv2D", "Conv3D", "Convolution1D", "Convolution2D", "Convolution3D", "AtrousConvolution1D",
           "AtrousConvolution2D")  # fmt: skip
def convolution(layer: Layer, inputs: Sequence[Array]) -> Array:
    """Kernel (*window, depth / groups, filters)."""
    x, kernel = last(layer, inputs[0]), layer.weights[0]
    made = correlate(x, kernel, *geometry(layer, kernel.ndim - 2), x.shape[-1] // kernel.shape[-2])
    return finished(layer, made, 1, x)


@evaluates("DepthwiseConv1D", "DepthwiseConv2D")
def depthwise(layer: Layer, inputs: Sequence[Array]) -> Array:
    """Kernel (*window, depth, multiplier)."""
    x, kernel = last(layer, inputs[0]), layer.weights[0]
    return finished(layer, per_channel(x, kernel, *geometry(layer, kernel.ndim - 2)), 1, x)


@evaluates("SeparableConv1D", "SeparableConv2D", "SeparableConvolution1D", "SeparableConvolution2D")
def separable(layer: Layer, inputs: Sequence[Array]) -> Array:
    """Two kernels."""
    x, (deep, point) = last(layer, inputs[0]), layer.weights[:2]
    count = deep.ndim - 2
    made = per_channel(x, deep, *geometry(layer, count))
    return finished(layer, correlate(made, point, [1] * count, [1] * count, "valid"), 2, x)


@evaluates("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose", "Convolution1DTranspose", "Convolution2DTranspose",
           "Convolution3DTranspose", "Deconvolution2D", "Deconvolution3D")  # fmt: skip
def transposed(layer: Layer, inputs: Sequence[Array]) -> Array:
    """Every input pixel adds its kernel (*window, filters, depth) to the result, which is then cropped."""
    x, kernel = last(layer, inputs[0]), layer.weights[0]
    count = kernel.ndim - 2
    strides, dilations, padding = geometry(layer, count)
    extra = layer.config.get("output_padding")
    more = [None] * count if extra is None else numbers(extra, count)
    facts = zip(x.shape[1:-1], kernel.shape, strides, dilations, more, strict=False)
    sizes = [_size(*item, padding == "same") for item in facts]
    starts = []
    for size, width, stride, gap in zip(sizes, kernel.shape, strides, dilations, strict=False):
        reach = (width - 1) * gap + 1
        starts.append(max((-(-size // stride) - 1) * stride + reach - size, 0) // 2 if padding == "same" else 0)
    spread = np.zeros((x.shape[0], *_room(x, kernel, strides, dilations, sizes, starts), kernel.shape[-2]))
    for offset in np.ndindex(*kernel.shape[:-2]):
        places = tuple(
            slice(at * gap, at * gap + (have - 1) * stride + 1, stride)
            for at, gap, have, stride in zip(offset, dilations, x.shape[1:-1], strides, strict=True)
        )
        spread[(slice(None), *places)] += x @ kernel[offset].T
    cut = tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))
    return finished(layer, spread[(slice(None), *cut)], 1, x)


def _size(have: int, width: int, stride: int, gap: int, extra: int | None, same: bool) -> int:
    """`deconv_output_length`."""
    reach = (width - 1) * gap + 1
    if extra is None:
        return have * stride if same else have * stride + max(reach - stride, 0)
    return (have - 1) * stride + reach - (reach // 2 * 2 if same else 0) + extra


def _room(
    x: Array, kernel: Array, strides: list[int], dilations: list[int], sizes: list[int], starts: list[int]
) -> list[int]:
    """Sizes that hold every addition and the part that is kept."""
    full = [
        (have - 1) * stride + (width - 1) * gap + 1
        for have, width, stride, gap in zip(x.shape[1:-1], kernel.shape, strides, dilations, strict=False)
    ]
    return [max(whole, start + size) for whole, start, size in zip(full, starts, sizes, strict=True)]


@evaluates("LocallyConnected1D", "LocallyConnected2D")
def locally_connected(layer: Layer, inputs: Sequence[Array]) -> Array:
    """Every place with a kernel of its own (implementation 1, channels last)."""
    (x,), kernel = inputs, layer.weights[0]
    count = x.ndim - 2
    size = numbers(layer.config["kernel_size"], count)
    seen = windows(x, size, numbers(layer.config.get("strides", 1), count), [1] * count, "valid")
    patches = np.moveaxis(seen, count + 1, -1)
    rows = patches.reshape(len(x), len(kernel), -1)
    made = np.einsum("bpk,pkf->bpf", rows, kernel).reshape(*patches.shape[: count + 1], -1)
    return finished(layer, made, 1, x)
