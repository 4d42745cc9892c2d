"""Convolutions, and pixels dealt out over the batch (which is how older graphs spell dilation)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from bessemer.ir.types import Shape
from bessemer.sources.channels_last import conv as convolutions
from bessemer.sources.channels_last import elementwise, padding, shaping
from bessemer.sources.channels_last.dims import total
from bessemer.sources.channels_last.windows import Window, spatial_axes
from bessemer.sources.drawing import Canvas, Ordered, Unsupported
from bessemer.sources.tensorflow.node import Node
from bessemer.sources.tensorflow.ops.batched import Batched, Margins, cropped, gathered
from bessemer.sources.tensorflow.ops.common import constant, first, integer, ints, on_parts
from bessemer.sources.tensorflow.partial import known_dims
from bessemer.sources.tensorflow.registry import op

T = TypeVar("T")


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
    return _convolved(canvas, node, inputs, convolutions.conv)


@op("DepthwiseConv2dNative")
def depthwise_conv(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Filters (*window, channels, multiplier)."""
    return _convolved(canvas, node, inputs, convolutions.depthwise_conv)


def _convolved(canvas: Canvas, node: Node, inputs: Sequence[Ordered], draw: Callable[..., Ordered]) -> Ordered:
    source, filters = inputs
    held = window_of(node, source.rank)
    if not isinstance(source, Batched) or not _plain(held, source):
        return draw(canvas, source, filters, **held)
    block = list(source.block)
    window = Window.of(filters.static[:-2], 1, block)
    count = filters.static[-1] * (1 if node.op != "DepthwiseConv2dNative" else filters.static[-2])

    def make(margins: Margins) -> Ordered:
        if source.source is None:
            return draw(canvas, source.make(margins), filters, dilations=block)
        return draw(canvas, source.source, filters, dilations=block, padding=margins)

    whole = (source.whole[0], *window.output(source.whole[1:-1]), count)
    return source.changed(make, source.margins, block, whole)


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
    tensor, block, margins = _blocks(node, inputs)
    rest = ((0, 0),) * (tensor.rank - 1 - len(block))

    def make(pairs: Margins) -> Ordered:
        return padding.pad(canvas, tensor, ((0, 0), *pairs, *rest)) if any(map(any, pairs)) else tensor

    whole = shaped(tensor.shape, ((0, 0), *margins, *rest))
    made = Batched(tensor.name, make, margins, block, whole, tensor.dtype)
    made.source = tensor
    return made


def shaped(shape: Shape, pairs: Margins) -> Shape:
    """The shape with margins added."""
    return tuple(total((dim, *pair)) for dim, pair in zip(shape, pairs, strict=True))


@op("BatchToSpaceND", "BatchToSpace")
def batch_to_space(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Gather pixels from the batch, then crop."""
    tensor, block, crops = _blocks(node, inputs)
    if isinstance(tensor, Batched) and tensor.block == tuple(block):
        return tensor.gathered(canvas, crops)
    return cropped(canvas, gathered(canvas, tensor, block), crops)


def _blocks(node: Node, inputs: Sequence[Ordered]) -> tuple[Ordered, list[int], Margins]:
    """The tensor, sizes of blocks, margins; the older operators have one size for both image axes."""
    plain = node.op.endswith("ND")
    block = ints(inputs[1], "block shape") if plain else [int(node.attrs["block_size"])] * 2
    table = constant(inputs[2 if plain else 1], "margins").reshape(-1, 2)
    return inputs[0], block, tuple((int(low), int(high)) for low, high in table)


@op("BiasAdd", "BiasAddV1")
def bias_add(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """One number per channel."""
    source, bias = inputs
    if isinstance(source, Batched) and not first(node):

        def make(margins: Margins) -> Ordered:
            return elementwise.bias_add(canvas, source.make(margins), bias)

        return source.changed(make, source.margins, source.block, source.whole)
    return elementwise.bias_add(canvas, source, bias, first=first(node))


@op("ExpandDims")
@on_parts
def expand_dims(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """A new axis of size one; among dealt pixels (Conv1D is a Conv2D of one row) nothing is drawn for it."""
    source, axis = inputs[0], integer(inputs[1], "axis")
    place = axis % (source.rank + 1)
    if not isinstance(source, Batched) or not 0 < place <= len(source.block):
        return shaping.expand_dims(canvas, source, [axis])

    def make(margins: Margins) -> Ordered:
        return shaping.expand_dims(canvas, source.make(_without(margins, place - 1)), [place])

    block, whole = list(source.block), list(source.whole)
    block.insert(place - 1, 1)
    whole.insert(place, 1)
    margins = list(source.margins)
    margins.insert(place - 1, (0, 0))
    made = source.changed(make, tuple(margins), block, tuple(whole))
    if source.source is not None:
        made.source = shaping.expand_dims(canvas, source.source, [place])
    return made


@op("Squeeze")
@on_parts
def squeeze(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Without axes of size one; among dealt pixels nothing is drawn for it."""
    source = inputs[0]
    named = node.attrs.get("squeeze_dims") or node.attrs.get("axis")
    places = [int(axis) % source.rank for axis in named] if named else []
    if not isinstance(source, Batched) or len(places) != 1 or not _lone(source, places[0]):
        return shaping.squeeze(canvas, source, list(named) if named else None)
    (place,) = places

    def make(margins: Margins) -> Ordered:
        return shaping.squeeze(canvas, source.make((*margins[: place - 1], (0, 0), *margins[place - 1 :])), [place])

    block = _without(source.block, place - 1)
    return source.changed(make, _without(source.margins, place - 1), block, _without(source.whole, place))


def _lone(source: Batched, place: int) -> bool:
    """Whether an axis is one that was put among the dealt ones."""
    inside = 0 < place <= len(source.block)
    return inside and source.block[place - 1] == 1 and source.whole[place] == 1 and not any(source.margins[place - 1])


def _without(items: tuple[T, ...], place: int) -> tuple[T, ...]:
    return (*items[:place], *items[place + 1 :])


FUSED = ("Relu", "Elu", "Tanh", "Sigmoid", "LeakyRelu")


@op("_FusedConv2D", "_FusedDepthwiseConv2dNative", "_FusedMatMul")
def fused(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """What TensorFlow's own optimiser makes of a product and what follows it."""
    from bessemer.sources.tensorflow.registry import readers

    steps = [str(step) for step in node.attrs.get("fused_ops") or []]
    plain = replace(node, op=node.op.removeprefix("_Fused"))
    made = readers()[plain.op](canvas, plain, inputs[:2])
    assert isinstance(made, Ordered)
    operands = list(inputs[2:])
    for step in steps:
        if step == "BiasAdd":
            made = elementwise.bias_add(canvas, made, operands.pop(0), first=first(node))
        elif step == "Add":
            made = elementwise.applied(canvas, "Add", made, operands.pop(0))
        elif step == "FusedBatchNorm":
            norm = replace(node, op="FusedBatchNorm", attrs={**node.attrs, "is_training": False})
            results = readers()["FusedBatchNorm"](canvas, norm, [made, *operands[:4]])
            made = results if isinstance(results, Ordered) else results[0]
            operands = operands[4:]
        elif step == "Relu6":
            made = elementwise.relu6(canvas, made)
        elif step in FUSED:
            slope = float(node.attrs.get("leakyrelu_alpha", 0.2)) if step == "LeakyRelu" else None
            made = elementwise.applied(canvas, step, made, alpha=slope)
        else:
            raise Unsupported("fused-operator", f"a product fused with {step}", "export the graph before it is optimised")
    return made
