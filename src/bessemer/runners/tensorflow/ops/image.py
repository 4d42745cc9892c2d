"""Image geometry: resizing, crops, space and depth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bessemer.ir.types import Array
from bessemer.runners.tensorflow.registry import evaluates
from bessemer.wire.savedmodel.node import Node


def _scale(node: Node, size: int, result: int) -> np.float32:
    if node.attrs.get("align_corners") and result > 1:
        return np.float32(size - 1) / np.float32(result - 1)
    return np.float32(size) / np.float32(result)


def _places(node: Node, size: int, result: int) -> Array:
    """Where each pixel of the result lies in the operand, in float32 as the kernels compute it."""
    steps, scale = np.arange(result, dtype=np.float32), _scale(node, size, result)
    half = np.float32(0.5)
    return (steps + half) * scale - half if node.attrs.get("half_pixel_centers") else steps * scale


@evaluates("ResizeBilinear")
def bilinear(node: Node, inputs: Sequence[Array]) -> Array:
    """Two neighbours along each axis."""
    x = inputs[0].astype(np.float64)
    for axis, result in zip((1, 2), inputs[1], strict=True):
        size = x.shape[axis]
        places = _places(node, size, int(result))
        below = np.floor(places)
        shape = [-1 if held == axis else 1 for held in range(4)]
        part = (places - below).reshape(shape)
        low, high = (np.clip(edge, 0, size - 1).astype(np.int64) for edge in (below, np.ceil(places)))
        if not node.attrs.get("half_pixel_centers"):
            high = np.clip(below.astype(np.int64) + 1, 0, size - 1)
        x = np.take(x, low, axis=axis) * (1 - part) + np.take(x, high, axis=axis) * part
    return x.astype(np.float32)


@evaluates("ResizeNearestNeighbor")
def nearest(node: Node, inputs: Sequence[Array]) -> Array:
    """The pixel below, the one under the centre, or the closest one."""
    x = inputs[0]
    for axis, result in zip((1, 2), inputs[1], strict=True):
        size, scale = x.shape[axis], _scale(node, x.shape[axis], int(result))
        steps = np.arange(int(result), dtype=np.float32)
        if node.attrs.get("half_pixel_centers"):
            steps = steps + np.float32(0.5)
        places = steps * scale
        whole = np.floor(places + np.float32(0.5)) if node.attrs.get("align_corners") else np.floor(places)
        x = np.take(x, np.clip(whole, 0, size - 1).astype(np.int64), axis=axis)
    return x


TABLE = 1024
"""Steps of the kernel that TensorFlow tabulates."""


@evaluates("ResizeBicubic")
def bicubic(node: Node, inputs: Sequence[Array]) -> Array:
    """Four neighbours along each axis, weighted by a tabulated cubic kernel (Keys 1981)."""
    x = inputs[0].astype(np.float64)
    half = bool(node.attrs.get("half_pixel_centers"))
    for axis, result in zip((1, 2), inputs[1], strict=True):
        size = x.shape[axis]
        places = _places(node, size, int(result))
        below = np.floor(places)
        offset = np.rint((places - below) * np.float32(TABLE)) / TABLE
        indices = below.astype(np.int64)[:, None] + np.arange(-1, 3)
        weights = _cubic(np.abs(offset[:, None] - np.arange(-1, 3)), -0.5 if half else -0.75)
        if half:
            weights = np.where((indices >= 0) & (indices < size), weights, 0.0)
            weights = weights / weights.sum(axis=1, keepdims=True)
        near = np.take(x, np.clip(indices, 0, size - 1), axis=axis)
        shape = [-1 if held in (axis, axis + 1) else 1 for held in range(5)]
        shape[axis], shape[axis + 1] = weights.shape
        x = (near * weights.reshape(shape)).sum(axis=axis + 1)
    return x.astype(np.float32)


def _cubic(x: Array, a: float) -> Array:
    inner = ((a + 2) * x - (a + 3)) * x * x + 1
    outer = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.asarray(np.where(x <= 1, inner, np.where(x < 2, outer, 0.0)))


@evaluates("DepthToSpace", "SpaceToDepth")
def blocks(node: Node, inputs: Sequence[Array]) -> Array:
    """Channels to pixels and back."""
    front, by = str(node.attrs.get("data_format", "NHWC")) == "NCHW", int(node.attrs["block_size"])
    x = np.moveaxis(inputs[0], 1, -1) if front else inputs[0]
    batch, height, width, depth = x.shape
    if node.op == "DepthToSpace":
        split = x.reshape(batch, height, width, by, by, depth // (by * by)).transpose(0, 1, 3, 2, 4, 5)
        made = split.reshape(batch, height * by, width * by, -1)
    else:
        split = x.reshape(batch, height // by, by, width // by, by, depth).transpose(0, 1, 3, 2, 4, 5)
        made = split.reshape(batch, height // by, width // by, -1)
    return np.moveaxis(made, -1, 1) if front else made


@evaluates("CropAndResize")
def crop_and_resize(node: Node, inputs: Sequence[Array]) -> Array:
    """Boxes of images, each resized to one size; pixels outside are a constant."""
    image, boxes, owners, size = inputs
    results = [int(item) for item in size]
    made = np.full((len(boxes), *results, image.shape[3]), node.attrs.get("extrapolation_value") or 0.0, np.float32)
    nearest_pixel = str(node.attrs.get("method", "bilinear")) == "nearest"
    for number, (box, owner) in enumerate(zip(boxes, owners, strict=True)):
        lines = [_line(box[axis], box[axis + 2], image.shape[1 + axis], results[axis]) for axis in (0, 1)]
        for row, y in enumerate(lines[0]):
            for column, x in enumerate(lines[1]):
                if 0 <= y <= image.shape[1] - 1 and 0 <= x <= image.shape[2] - 1:
                    made[number, row, column] = _pixel(image[int(owner)], float(y), float(x), nearest_pixel)
    return made


def _line(low: np.float32, high: np.float32, size: int, count: int) -> Array:
    last = np.float32(size - 1)
    if count == 1:
        return np.array([np.float32(0.5) * (low + high) * last])
    step = (high - low) * last / np.float32(count - 1)
    return np.asarray(low * last + np.arange(count, dtype=np.float32) * step)


def _pixel(image: Array, y: float, x: float, nearest_pixel: bool) -> Array:
    if nearest_pixel:
        return np.asarray(image[int(np.floor(y + 0.5)), int(np.floor(x + 0.5))])
    top, left = int(np.floor(y)), int(np.floor(x))
    rows = []
    for row in (top, int(np.ceil(y))):
        first, second = (image[row, column].astype(np.float64) for column in (left, int(np.ceil(x))))
        rows.append(first + (second - first) * (x - left))
    return np.asarray(rows[0] + (rows[1] - rows[0]) * (y - top))
