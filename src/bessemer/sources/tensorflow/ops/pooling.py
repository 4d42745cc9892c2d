"""Pooling, local response normalisation, patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bessemer.sources.channels_last import conv, pooling
from bessemer.sources.channels_last.elementwise import cast
from bessemer.sources.channels_last.windows import Window, order_of, placed, spatial, spatial_axes
from bessemer.sources.drawing import Canvas, Ordered, Unsupported
from bessemer.sources.tensorflow.node import Node
from bessemer.sources.tensorflow.ops.common import first, ints, kind_of
from bessemer.sources.tensorflow.ops.conv import padding_of
from bessemer.sources.tensorflow.registry import op


def _window(node: Node, inputs: Sequence[Ordered]) -> tuple[list[int], list[int]]:
    """Sizes and strides of the spatial axes. Raises Unsupported for windows over batch or channels."""
    rank, axes = inputs[0].rank, spatial_axes(inputs[0].rank, first(node))
    lists = [
        ints(inputs[place], name) if len(inputs) > 2 else [int(item) for item in node.attrs[name]]
        for place, name in ((1, "ksize"), (2, "strides"))
    ]
    if any(held[axis] != 1 for held in lists for axis in range(rank) if axis not in axes):
        raise Unsupported("window", f"windows {lists[0]} with strides {lists[1]} reach over batch or channels")
    return [lists[0][axis] for axis in axes], [lists[1][axis] for axis in axes]


@op("MaxPool", "MaxPoolV2", "MaxPool3D", "AvgPool", "AvgPool3D")
def pool(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Padding does not count, in TensorFlow as in ONNX's default."""
    kernel, strides = _window(node, inputs)
    kind = "max" if node.op.startswith("Max") else "average"
    pads = padding_of(node, inputs[0].rank)
    return pooling.pool(canvas, inputs[0], kind, kernel, strides=strides, padding=pads, first=first(node))


@op("MaxPoolWithArgmax")
def pool_with_places(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Sequence[Ordered]:
    """The largest of each window and its place, counted through the rows of the image, channels innermost."""
    import onnx_ir

    source = inputs[0]
    kernel, strides = _window(node, inputs)
    _, height, width, depth = source.shape
    if not isinstance(height, int) or not isinstance(width, int) or not isinstance(depth, int):
        raise Unsupported("dynamic-shape", "places in an image of unbound size")
    window, order = Window.of(kernel, strides, 1, padding_of(node, 4)), order_of(4, False)
    sizes = spatial(source, False)
    values, places = canvas.emit("MaxPool", [canvas.at(source, order)], outputs=2, **window.attributes(sizes))
    places.type = onnx_ir.TensorType(onnx_ir.DataType.INT64)
    shape = placed(source.shape[0], window.output(sizes), depth, False)

    def number(items: Any) -> Any:
        return canvas.literal(np.asarray(items, np.int64), "number")

    pixel = canvas.emit("Mod", [places, number(height * width)])
    counted = canvas.emit("Add", [canvas.emit("Mul", [pixel, number(depth)]), number(np.arange(depth).reshape(-1, 1, 1))])
    if node.attrs.get("include_batch_in_index"):
        image = canvas.emit("Div", [places, number(height * width * depth)])
        counted = canvas.emit("Add", [counted, canvas.emit("Mul", [image, number(height * width * depth)])])
    found = canvas.result(counted, shape, order)
    return canvas.result(values, shape, order), cast(canvas, found, kind_of(node, "Targmax", np.int64))


@op("LRN")
def local_response(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """TensorFlow multiplies alpha by each square; ONNX divides it by the window."""
    source, held = inputs[0], node.attrs
    size = 2 * int(held.get("depth_radius", 5)) + 1
    order = order_of(4, False)
    made = canvas.emit(
        "LRN", [canvas.at(source, order)], size=size, alpha=float(held.get("alpha", 1.0)) * size,
        beta=float(held.get("beta", 0.5)), bias=float(held.get("bias", 1.0)),
    )  # fmt: skip
    return canvas.result(made, source.shape, order)


@op("ExtractImagePatches")
def patches(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Each window's pixels as channels: a convolution whose filters pick one pixel each."""
    source = inputs[0]
    depth = source.shape[3]
    (_, height, width, _), (_, *strides, _), (_, *rates, _) = (node.attrs[key] for key in ("ksizes", "strides", "rates"))
    if not isinstance(depth, int) or height * width * depth > 1024:
        raise Unsupported("patches", f"patches of {height} x {width} pixels with {depth} channels")
    count = height * width * depth
    filters = np.eye(count, dtype=np.float32).reshape(height, width, depth, count).astype(source.dtype.numpy())
    return conv.conv(
        canvas, source, canvas.constant(filters, "pixels"), strides=[int(item) for item in strides],
        dilations=[int(item) for item in rates], padding=str(node.attrs["padding"]),
    )  # fmt: skip
