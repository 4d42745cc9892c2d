"""Convolution layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bessemer.ir.types import IntArray
from bessemer.runners.keras.layer import Layer
from bessemer.sources.channels_last.conv import conv, conv_transpose, depthwise_conv, separable_conv
from bessemer.sources.channels_last.dims import bounded
from bessemer.sources.channels_last.elementwise import applied
from bessemer.sources.channels_last.matmul import matmul
from bessemer.sources.channels_last.select import gather
from bessemer.sources.channels_last.shaping import reshape
from bessemer.sources.channels_last.windows import Window, channels, spatial
from bessemer.sources.drawing import Canvas, Ordered, Unsupported
from bessemer.sources.keras.activations import activate
from bessemer.sources.keras.layers.core import floats, kernel_of
from bessemer.sources.keras.registry import layer


def is_first(layer: Layer) -> bool:
    """Whether the layer keeps channels behind the batch; raises Unsupported for what it may not say."""
    held = layer.config.get("data_format") or "channels_last"
    if held not in ("channels_last", "channels_first"):
        raise Unsupported("data-format", f"its data_format '{held}' is neither channels_last nor channels_first")
    return bool(held == "channels_first")


def per_axis(value: Any, count: int) -> tuple[int, ...]:
    """A number, or one per axis."""
    return (int(value),) * count if isinstance(value, int | float) else tuple(int(item) for item in value)


def windows(layer: Layer, count: int) -> dict[str, Any]:
    """Strides, dilations, padding and order of a convolution's config."""
    return {
        "strides": per_axis(layer.config.get("strides", 1), count),
        "dilations": per_axis(layer.config.get("dilation_rate", 1), count),
        "padding": str(layer.config.get("padding", "valid")),
        "first": is_first(layer),
    }


def bias_at(canvas: Canvas, layer: Layer, place: int) -> Ordered | None:
    """The bias as a constant, where the layer uses one."""
    return canvas.constant(layer.weights[place], "bias") if layer.config.get("use_bias", True) else None


def activated(canvas: Canvas, layer: Layer, made: Ordered) -> Ordered:
    """With the layer's own activation."""
    return activate(canvas, made, layer.config.get("activation"), layer.generation)


@layer("Conv1D", "Conv2D", "Conv3D", "Convolution1D", "Convolution2D", "Convolution3D", "AtrousConvolution2D",
       "AtrousConvolution1D")  # fmt: skip
def convolution(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """Kernel (*window, depth / groups, filters)."""
    kernel = kernel_of(layer)
    made = conv(
        canvas, floats(canvas, inputs[0]), canvas.constant(kernel, "kernel"), bias_at(canvas, layer, 1),
        **windows(layer, kernel.ndim - 2),
    )  # fmt: skip
    return activated(canvas, layer, made)


@layer("DepthwiseConv1D", "DepthwiseConv2D")
def depthwise(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """Kernel (*window, depth, multiplier)."""
    kernel = kernel_of(layer)
    made = depthwise_conv(
        canvas, floats(canvas, inputs[0]), canvas.constant(kernel, "kernel"), bias_at(canvas, layer, 1),
        **windows(layer, kernel.ndim - 2),
    )  # fmt: skip
    return activated(canvas, layer, made)


@layer("SeparableConv1D", "SeparableConv2D", "SeparableConvolution1D", "SeparableConvolution2D")
def separable(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """A depthwise kernel, then a pointwise one."""
    deep, point = layer.weights[:2]
    made = separable_conv(
        canvas, floats(canvas, inputs[0]), canvas.constant(deep, "depthwise"), canvas.constant(point, "pointwise"),
        bias_at(canvas, layer, 2), **windows(layer, deep.ndim - 2),
    )  # fmt: skip
    return activated(canvas, layer, made)


@layer("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose", "Convolution1DTranspose", "Convolution2DTranspose",
       "Convolution3DTranspose", "Deconvolution2D", "Deconvolution3D")  # fmt: skip
def transposed(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """Kernel (*window, filters, depth)."""
    kernel, held = kernel_of(layer), layer.config.get("output_padding")
    count = kernel.ndim - 2
    made = conv_transpose(
        canvas, floats(canvas, inputs[0]), canvas.constant(kernel, "kernel"), bias_at(canvas, layer, 1),
        output_padding=None if held is None else per_axis(held, count), **windows(layer, count),
    )  # fmt: skip
    return activated(canvas, layer, made)


@layer("LocallyConnected1D", "LocallyConnected2D")
def locally_connected(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """A kernel of its own at every place: (places, window * depth, filters), as implementation 1 keeps them."""
    x, config, kernel = floats(canvas, inputs[0]), layer.config, layer.weights[0]
    if config.get("implementation", 1) != 1 or is_first(layer):
        raise Unsupported("locally-connected", "only implementation 1 with channels last is read")
    sizes, count = spatial(x, False), x.rank - 2
    bound = [dim for dim in sizes if isinstance(dim, int)]
    if len(bound) != count:
        raise Unsupported("dynamic-shape", "kernels for places of unbound number", "bind the sizes")
    window = Window.of(per_axis(config["kernel_size"], count), per_axis(config.get("strides", 1), count))
    places, depth = _places(bound, window), channels(x, False)
    flat = reshape(canvas, x, (x.shape[0], int(np.prod(bound)), depth))
    patches = gather(canvas, flat, canvas.constant(places.reshape(-1), "places"), 1)
    rows = reshape(canvas, patches, (x.shape[0], len(places), 1, places.shape[1] * depth))
    product = matmul(canvas, rows, canvas.constant(kernel, "kernel"))
    made = reshape(canvas, product, (x.shape[0], *window.output(bound), kernel.shape[-1]))
    bias = bias_at(canvas, layer, 1)
    return activated(canvas, layer, made if bias is None else applied(canvas, "Add", made, bias))


def _places(sizes: Sequence[int], window: Window) -> IntArray:
    """(windows, pixels of one): which pixels of a flattened picture each window holds."""
    counts = [dim for dim in window.output(sizes) if isinstance(dim, int)]
    bounded(*counts, *window.kernel)
    inside = np.indices(window.kernel).reshape(len(sizes), -1)
    corners = np.indices(counts).reshape(len(sizes), -1) * np.array(window.strides)[:, None]
    found: IntArray = np.ravel_multi_index(tuple(corners[:, :, None] + inside[:, None]), sizes).astype(np.int64)
    return found
