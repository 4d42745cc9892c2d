"""Convolutions, and pixels dealt out over the batch (which is how older graphs spell dilation)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bessemer.sources.channels_last import conv as convolutions
from bessemer.sources.channels_last import elementwise, padding, shaping
from bessemer.sources.channels_last.windows import spatial_axes
from bessemer.sources.drawing import Canvas, Ordered, Unsupported
from bessemer.sources.tensorflow.node import Node
from bessemer.sources.tensorflow.ops.batched import Batched, gathered
from bessemer.sources.tensorflow.ops.common import constant, first, ints
from bessemer.sources.tensorflow.partial import known_dims
from bessemer.sources.tensorflow.registry import op


def window_of(node: Node, rank: int) -> dict[str, Any]:
    """Strides, dilations and padding of the spatial axes. Raises Unsupported where batch or channels are stepped over."""
    axes, front = spatial_axes(rank, first(node)), first(node)
    found: dict[str, Any] = {"first": front, "padding": padding_of(node, rank)}
    for name in ("strides", "dilations"):
        held = [int(item) for item in node.attrs.get(name) or [1] * rank]
        if any(item != 1 for axis, item in enumerate(held) if axis not in axes):
            raise Unsupported("window", f"{name} {held} step over batch or channels")
        found[name] = [held[axis] for axis in axes]
    return found


def padding_of(node: Node, rank: int) -> str | list[tuple[int, int]]:
    """'SAME', 'VALID' or pairs of the spatial axes."""
    kind = str(node.attrs.get("padding", "VALID"))
    if kind != "EXPLICIT":
        return kind
    flat = [int(item) for item in node.attrs["explicit_paddings"]]
    return [(flat[2 * axis], flat[2 * axis + 1]) for axis in spatial_axes(rank, first(node))]


@op("Conv2D", "Conv3D", "Conv")
def conv(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Filters (*window, depth, count); grouped where they are shallower than the input."""
    source, filters = inputs
    held = window_of(node, source.rank)
    if isinstance(source, Batched) and _plain(held, source):
        inner = convolutions.conv(canvas, source.inner, filters, **held | {"dilations": list(source.block)})
        return Batched(inner, source.block)
    return convolutions.conv(canvas, source, filters, **held)


@op("DepthwiseConv2dNative")
def depthwise_conv(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Filters (*window, channels, multiplier)."""
    source, filters = inputs
    held = window_of(node, source.rank)
    if isinstance(source, Batched) and _plain(held, source):
        inner = convolutions.depthwise_conv(canvas, source.inner, filters, **held | {"dilations": list(source.block)})
        return Batched(inner, source.block)
    return convolutions.depthwise_conv(canvas, source, filters, **held)


def _plain(held: dict[str, Any], source: Batched) -> bool:
    """Whether a window may be spread over the pixels that were dealt out: no padding, no steps of its own."""
    steps = [*held["strides"], *held["dilations"]]
    whole = len(source.block) == len(held["strides"]) and not held["first"]
    return whole and held["padding"] == "VALID" and all(step == 1 for step in steps)


@op("Conv2DBackpropInput", "Conv3DBackpropInputV2", "Conv3DBackpropInput")
def conv_transpose(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """The gradient of a convolution by its input: operands are the result's shape, the filters, the tensor."""
    sizes, filters, source = inputs
    held = window_of(node, source.rank)
    dims = known_dims(sizes)
    if dims is None or len(dims) not in (source.rank, source.rank - 2):
        raise Unsupported("dynamic-shape", "the size of a transposed convolution is computed", "bind the input's shape")
    chosen = [dims[axis] for axis in spatial_axes(source.rank, held["first"])] if len(dims) == source.rank else list(dims)
    bound = [dim for dim in chosen if isinstance(dim, int)]
    if len(bound) != len(chosen):
        raise Unsupported("dynamic-shape", "the size of a transposed convolution is unbound", "bind the input's shape")
    return convolutions.conv_transpose(canvas, source, filters, sizes=bound, **held)


@op("SpaceToBatchND", "SpaceToBatch")
def space_to_batch(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Pad, then deal pixels out over the batch."""
    tensor, block, table = _blocks(node, inputs)
    pairs = [(0, 0), *((int(low), int(high)) for low, high in table)]
    pairs += [(0, 0)] * (tensor.rank - len(pairs))
    padded = padding.pad(canvas, tensor, tuple(pairs)) if table.any() else tensor
    return Batched(padded, block)


@op("BatchToSpaceND", "BatchToSpace")
def batch_to_space(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Gather pixels from the batch, then crop."""
    tensor, block, table = _blocks(node, inputs)
    whole = (
        tensor.inner
        if isinstance(tensor, Batched) and tensor.block == tuple(block)
        else gathered(canvas, tensor, block)
    )
    axes = range(1, 1 + len(block))
    ends = [int(whole.static[axis] - high) if isinstance(whole.shape[0], int) else _end(whole, axis, int(high))
            for axis, (_, high) in zip(axes, table, strict=True)]  # fmt: skip
    return shaping.sliced(canvas, whole, [int(low) for low, _ in table], ends, list(axes))


def _end(tensor: Ordered, axis: int, cut: int) -> int:
    size = tensor.shape[axis]
    if not isinstance(size, int):
        raise Unsupported("dynamic-shape", "an unbound axis is cropped")
    return size - cut


def _blocks(node: Node, inputs: Sequence[Ordered]) -> tuple[Ordered, list[int], Any]:
    """The tensor, sizes of blocks, margins (n, 2); the older operators have one size for both image axes."""
    if node.op.endswith("ND"):
        block = ints(inputs[1], "block shape")
        return inputs[0], block, constant(inputs[2], "margins").reshape(-1, 2).astype(np.int64)
    size = int(node.attrs["block_size"])
    return inputs[0], [size, size], constant(inputs[1], "margins").reshape(-1, 2).astype(np.int64)


@op("BiasAdd", "BiasAddV1")
def bias_add(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """One number per channel."""
    source, bias = inputs
    if isinstance(source, Batched) and not first(node):
        return Batched(elementwise.bias_add(canvas, source.inner, bias), source.block)
    return elementwise.bias_add(canvas, source, bias, first=first(node))
