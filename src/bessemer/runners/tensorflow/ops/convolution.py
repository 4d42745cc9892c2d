"""Windows over images: convolutions, pooling, patches; pixels dealt out over the batch. All in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np

from bessemer.ir.types import Array
from bessemer.runners.tensorflow.registry import evaluates, evaluators
from bessemer.wire.savedmodel.node import Node

Pairs = list[tuple[int, int]]
MOST_COPIED = 1 << 24
"""Bytes of windows laid out for one product."""


def _front(node: Node) -> bool:
    return str(node.attrs.get("data_format", "NHWC")).startswith("NC")


def _last(node: Node, x: Array) -> Array:
    """Channels last."""
    return np.moveaxis(x, 1, -1) if _front(node) else x


def _back(node: Node, x: Array) -> Array:
    return np.moveaxis(x, -1, 1) if _front(node) else x


def _spatial(node: Node, name: str, rank: int) -> list[int]:
    held = [int(item) for item in node.attrs.get(name) or [1] * rank]
    return held[2:] if _front(node) else held[1:-1]


def _pads(node: Node, sizes: Sequence[int], reach: Sequence[int], strides: Sequence[int]) -> Pairs:
    kind = str(node.attrs.get("padding", "VALID"))
    if kind == "VALID":
        return [(0, 0)] * len(sizes)
    if kind == "EXPLICIT":
        flat = [int(item) for item in node.attrs["explicit_paddings"]]
        pairs = list(zip(flat[::2], flat[1::2], strict=True))
        return pairs[2:] if _front(node) else pairs[1:-1]
    totals = [max((-(-size // step) - 1) * step + span - size, 0)
              for size, span, step in zip(sizes, reach, strides, strict=True)]  # fmt: skip
    return [(total // 2, total - total // 2) for total in totals]


def windows(x: Array, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> Array:
    """View [batch, *places, channels, *kernel] of a channels-last tensor that is padded already."""
    count = len(kernel)
    reach = [(size - 1) * gap + 1 for size, gap in zip(kernel, dilations, strict=True)]
    view = np.lib.stride_tricks.sliding_window_view(x, reach, axis=tuple(range(1, 1 + count)))
    steps = tuple(slice(None, None, step) for step in strides)
    gaps = tuple(slice(None, None, gap) for gap in dilations)
    return view[(slice(None), *steps, slice(None), *gaps)]


def _framed(node: Node, x: Array, kernel: Sequence[int], filler: float = 0.0) -> tuple[Array, list[int], Pairs]:
    """Windows of the operand, their strides, the padding."""
    rank = x.ndim
    strides, gaps = _spatial(node, "strides", rank), _spatial(node, "dilations", rank)
    reach = [(size - 1) * gap + 1 for size, gap in zip(kernel, gaps, strict=True)]
    pads = _pads(node, x.shape[1:-1], reach, strides)
    padded = np.pad(x, [(0, 0), *pads, (0, 0)], constant_values=filler)
    return windows(padded, kernel, strides, gaps), strides, pads


def _product(view: Array, part: Array, axes: tuple[list[int], list[int]]) -> Array:
    """tensordot of windows, whose copy it makes, a few rows at a time: of a large window that is many times the input."""
    row = view[:, :1].size * view.itemsize
    rows = max(MOST_COPIED // max(row, 1), 1)
    made = [np.tensordot(view[:, at : at + rows], part, axes) for at in range(0, view.shape[1], rows)]
    return np.concatenate(made, axis=1) if made else np.tensordot(view, part, axes)


@evaluates("Conv2D", "Conv3D", "Conv")
def conv(node: Node, inputs: Sequence[Array]) -> Array:
    """Filters (*window, depth, count), in groups where they are shallower than the input."""
    x, filters = _last(node, inputs[0]).astype(np.float64), inputs[1].astype(np.float64)
    *kernel, depth, count = filters.shape
    view, _, _ = _framed(node, x, kernel)
    groups = x.shape[-1] // depth
    size, axes = len(kernel), list(range(len(kernel)))
    parts = []
    for group in range(groups):
        chosen = view[(*[slice(None)] * (size + 1), slice(group * depth, (group + 1) * depth))]
        part = filters[..., group * (count // groups) : (group + 1) * (count // groups)]
        parts.append(_product(chosen, part, ([size + 1, *(size + 2 + axis for axis in axes)], [size, *axes])))
    return _back(node, np.concatenate(parts, axis=-1)).astype(inputs[0].dtype)


@evaluates("DepthwiseConv2dNative")
def depthwise_conv(node: Node, inputs: Sequence[Array]) -> Array:
    """Filters (*window, channels, multiplier)."""
    x, filters = _last(node, inputs[0]).astype(np.float64), inputs[1].astype(np.float64)
    view, _, _ = _framed(node, x, filters.shape[:2])
    made = np.einsum("bhwckl,klcm->bhwcm", view, filters)
    return _back(node, made.reshape(*made.shape[:3], -1)).astype(inputs[0].dtype)


@evaluates("Conv2DBackpropInput", "Conv3DBackpropInputV2", "Conv3DBackpropInput")
def conv_transpose(node: Node, inputs: Sequence[Array]) -> Array:
    """The gradient of a convolution by its input: what each place sends back to the window it came from."""
    filters = inputs[1].astype(np.float64)
    x = _last(node, inputs[2]).astype(np.float64)
    rank, kernel = x.ndim, filters.shape[:-2]
    sizes = [int(dim) for dim in inputs[0]]
    if len(sizes) == rank:
        sizes = sizes[2:] if _front(node) else sizes[1:-1]
    strides, gaps = _spatial(node, "strides", rank), _spatial(node, "dilations", rank)
    reach = [(size - 1) * gap + 1 for size, gap in zip(kernel, gaps, strict=True)]
    pads = _pads(node, sizes, reach, strides)
    grown = [size + sum(pair) for size, pair in zip(sizes, pads, strict=True)]
    made = np.zeros((x.shape[0], *grown, filters.shape[-2]))
    for place in np.ndindex(*kernel):
        sent = np.tensordot(x, filters[place], ([rank - 1], [1]))
        cuts = tuple(
            slice(at * gap, at * gap + (count - 1) * step + 1, step)
            for at, gap, count, step in zip(place, gaps, x.shape[1:-1], strides, strict=True)
        )
        made[(slice(None), *cuts)] += sent
    inside = tuple(slice(low, low + size) for (low, _), size in zip(pads, sizes, strict=True))
    return _back(node, made[(slice(None), *inside)]).astype(inputs[2].dtype)


@evaluates("MaxPool", "MaxPoolV2", "MaxPool3D", "AvgPool", "AvgPool3D")
def pool(node: Node, inputs: Sequence[Array]) -> Array:
    """Padding does not count."""
    node = _with_operands(node, inputs)
    x = _last(node, inputs[0])
    kernel = _spatial(node, "ksize", x.ndim)
    wide = x.astype(np.float64)
    axes = tuple(range(-len(kernel), 0))
    if node.op.startswith("Max"):
        view, _, _ = _framed(node, wide, kernel, -np.inf)
        return _back(node, view.max(axis=axes)).astype(x.dtype)
    view, _, _ = _framed(node, wide, kernel)
    counted, _, _ = _framed(node, np.ones_like(wide), kernel)
    return _back(node, view.sum(axis=axes) / counted.sum(axis=axes)).astype(x.dtype)


def _with_operands(node: Node, inputs: Sequence[Array]) -> Node:
    if len(inputs) < 3:
        return node
    held = {name: [int(item) for item in inputs[place]] for place, name in ((1, "ksize"), (2, "strides"))}
    return Node(node.name, node.op, node.inputs, {**node.attrs, **held})


@evaluates("MaxPoolWithArgmax")
def pool_with_places(node: Node, inputs: Sequence[Array]) -> Sequence[Array]:
    """The largest of each window, and where it was in the image."""
    x = inputs[0]
    kernel = _spatial(node, "ksize", 4)
    numbers = np.broadcast_to(np.arange(prod(x.shape[1:])).reshape(x.shape[1:]), x.shape).astype(np.float64)
    if node.attrs.get("include_batch_in_index"):
        numbers = numbers + np.arange(x.shape[0]).reshape(-1, 1, 1, 1) * prod(x.shape[1:])
    view, _, _ = _framed(node, x.astype(np.float64), kernel, -np.inf)
    places, _, _ = _framed(node, numbers, kernel, -1)
    flat, found = (item.reshape(*item.shape[:4], -1) for item in (view, places))
    best = flat.argmax(axis=-1)[..., None]
    held = [np.take_along_axis(item, best, axis=-1)[..., 0] for item in (flat, found)]
    return [held[0].astype(x.dtype), held[1].astype(node.attrs.get("Targmax", np.int64))]


@evaluates("ExtractImagePatches")
def patches(node: Node, inputs: Sequence[Array]) -> Array:
    """Each window's pixels as channels."""
    held = {"strides": node.attrs["strides"], "dilations": node.attrs["rates"], "padding": node.attrs["padding"]}
    view, _, _ = _framed(Node(node.name, node.op, node.inputs, held), inputs[0], [int(i) for i in node.attrs["ksizes"][1:3]])
    moved = np.moveaxis(view, 3, -1)
    return moved.reshape(*moved.shape[:3], -1)


@evaluates("SpaceToBatchND", "SpaceToBatch")
def space_to_batch(node: Node, inputs: Sequence[Array]) -> Array:
    """Pad, then deal pixels out over the batch."""
    x, block, pads = _dealt(node, inputs)
    count = len(block)
    x = np.pad(x, [(0, 0), *pads, *[(0, 0)] * (x.ndim - 1 - count)])
    split = [x.shape[0]]
    for size, by in zip(x.shape[1 : 1 + count], block, strict=True):
        split += [size // by, by]
    held = x.reshape(*split, *x.shape[1 + count :])
    inner, outer = [2 + 2 * axis for axis in range(count)], [1 + 2 * axis for axis in range(count)]
    moved = held.transpose(*inner, 0, *outer, *range(1 + 2 * count, held.ndim))
    return moved.reshape(x.shape[0] * prod(block), *moved.shape[count + 1 :])


@evaluates("BatchToSpaceND", "BatchToSpace")
def batch_to_space(node: Node, inputs: Sequence[Array]) -> Array:
    """Gather pixels from the batch, then crop."""
    x, block, crops = _dealt(node, inputs)
    count = len(block)
    held = x.reshape(*block, x.shape[0] // prod(block), *x.shape[1:])
    order = [count]
    for axis in range(count):
        order += [count + 1 + axis, axis]
    moved = held.transpose(*order, *range(2 * count + 1, held.ndim))
    sizes = [size * by for size, by in zip(x.shape[1:], block, strict=False)]
    whole = moved.reshape(moved.shape[0], *sizes, *x.shape[1 + count :])
    cuts = tuple(slice(low, size - high) for (low, high), size in zip(crops, sizes, strict=True))
    return whole[(slice(None), *cuts)]


def _dealt(node: Node, inputs: Sequence[Array]) -> tuple[Array, list[int], Pairs]:
    if node.op.endswith("ND"):
        block, table = [int(item) for item in inputs[1]], inputs[2]
    else:
        block, table = [int(node.attrs["block_size"])] * 2, inputs[1]
    return inputs[0], block, [(int(low), int(high)) for low, high in table.reshape(-1, 2)]


@evaluates("_FusedConv2D", "_FusedDepthwiseConv2dNative", "_FusedMatMul")
def fused(node: Node, inputs: Sequence[Array]) -> Array:
    """A product and what TensorFlow's optimiser put behind it, one after the other."""
    known = evaluators()
    made = known[node.op.removeprefix("_Fused")](replace(node, op=node.op.removeprefix("_Fused")), inputs[:2])
    operands = list(inputs[2:])
    for step in (str(item) for item in node.attrs.get("fused_ops") or []):
        name = {"Add": "AddV2"}.get(step, step)
        count = {"BiasAdd": 1, "AddV2": 1, "FusedBatchNorm": 4}.get(name, 0)
        taken, operands = operands[:count], operands[count:]
        attrs = {**node.attrs, "is_training": False, "alpha": node.attrs.get("leakyrelu_alpha", 0.2)}
        result = known[name](replace(node, op=name, attrs=attrs), [np.asarray(made), *taken])
        made = result[0] if isinstance(result, list | tuple) else result
    return np.asarray(made)
