"""Preprocessing layers that are part of the graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bessemer.ir.types import Array, int64s
from bessemer.runners.keras.layer import Layer
from bessemer.sources.channels_last.dims import bounded
from bessemer.sources.channels_last.elementwise import applied, cast
from bessemer.sources.channels_last.normalization import scaled
from bessemer.sources.channels_last.padding import pad
from bessemer.sources.channels_last.reduce import reduced
from bessemer.sources.channels_last.resize import resize
from bessemer.sources.channels_last.shaping import cut, expand_dims, squeeze
from bessemer.sources.channels_last.windows import spatial, spatial_axes
from bessemer.sources.drawing import Canvas, Ordered, Unsupported
from bessemer.sources.keras.layers.convolution import is_first
from bessemer.sources.keras.layers.core import floats
from bessemer.sources.keras.registry import layer


@layer("Rescaling")
def rescaling(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """x * scale + offset; either may be a list along the last axis."""
    x = floats(canvas, inputs[0])
    scale, offset = (np.asarray(layer.config.get(key, 0), np.float32) for key in ("scale", "offset"))
    made = applied(canvas, "Mul", x, canvas.constant(scale, "scale"))
    return applied(canvas, "Add", made, canvas.constant(offset, "offset")) if np.any(offset) else made


@layer("Normalization")
def normalization(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """(x - mean) / max(sqrt(variance), 1e-7), or back; statistics from the weights or the config."""
    x = floats(canvas, inputs[0])
    mean, variance = statistics(layer)
    held = layer.config.get("axis", -1)
    axes = [] if held is None else [held] if isinstance(held, int) else list(held)
    places = sorted(axis % x.rank for axis in axes)
    sizes = [_size(x, place) for place in places] if places else [1]
    deviation = np.maximum(np.sqrt(variance), np.float32(1e-7))
    mean, deviation = (np.broadcast_to(array.reshape(-1), (int(np.prod(sizes)),)) for array in (mean, deviation))
    mean, deviation = mean.reshape(sizes), deviation.reshape(sizes)
    places = places or [x.rank - 1]
    if layer.config.get("invert", False):
        return scaled(canvas, x, deviation, mean, places)
    return scaled(canvas, x, 1 / deviation, -mean / deviation, places)


def _size(x: Ordered, axis: int) -> int:
    size = x.shape[axis]
    if not isinstance(size, int):
        raise Unsupported("dynamic-shape", "it normalizes along an unbound axis")
    return size


def statistics(layer: Layer) -> tuple[Array, Array]:
    """Mean and variance; raises Unsupported for a layer that was never adapted."""
    if layer.config.get("mean") is not None and layer.config.get("variance") is not None:
        held = (layer.config["mean"], layer.config["variance"])
    elif len(layer.weights) >= 2:
        held = layer.weights[0], layer.weights[1]
    else:
        raise Unsupported("no-statistics", "it was never adapted: it has neither mean nor variance")
    return np.asarray(held[0], np.float32), np.asarray(held[1], np.float32)


@layer("Resizing")
def resizing(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """To (height, width); the aspect kept by cropping or padding first where that is said."""
    x, config, first = inputs[0], layer.config, is_first(layer)
    sizes = [int(config["height"]), int(config["width"])]
    if x.rank != 4:
        raise Unsupported("rank", "it resizes a single image without a batch")
    method = str(config.get("interpolation", "bilinear"))
    x = x if method == "nearest" else floats(canvas, x)
    if config.get("crop_to_aspect_ratio", False):
        x = _aspect_cropped(canvas, x, sizes, first)
    elif config.get("pad_to_aspect_ratio", False):
        x = _aspect_padded(canvas, x, sizes, first, float(config.get("fill_value", 0.0)))
    return resize(
        canvas, x, sizes, method=method, antialias=bool(config.get("antialias", False)), first=first
    )


def _bound(x: Ordered, first: bool) -> tuple[int, int]:
    height, width = spatial(x, first)
    if not isinstance(height, int) or not isinstance(width, int):
        raise Unsupported("dynamic-shape", "the aspect ratio of an image of unbound size", "bind its sizes")
    return height, width


def _aspect_cropped(canvas: Canvas, x: Ordered, sizes: Sequence[int], first: bool) -> Ordered:
    """The largest middle part with the target's aspect ratio (`smart_resize`)."""
    height, width = _bound(x, first)
    kept = (
        max(min(height, int(width * sizes[0] / sizes[1])), 1),
        max(min(width, int(height * sizes[1] / sizes[0])), 1),
    )
    for axis, have, want in zip(spatial_axes(4, first), (height, width), kept, strict=True):
        start = (have - want) // 2
        x = cut(canvas, x, axis, start, start + want) if want != have else x
    return x


def _aspect_padded(canvas: Canvas, x: Ordered, sizes: Sequence[int], first: bool, fill: float) -> Ordered:
    """Equal borders on both sides until the aspect ratio is the target's."""
    height, width = _bound(x, first)
    wanted = (
        max(height, int(width * sizes[0] / sizes[1])),
        max(width, int(height * sizes[1] / sizes[0])),
    )
    pairs = [(0, 0)] * 4
    for axis, have, want in zip(spatial_axes(4, first), (height, width), wanted, strict=True):
        pairs[axis] = ((want - have) // 2, (want - have) // 2)
    return pad(canvas, x, pairs, value=fill) if any(map(any, pairs)) else x


@layer("CenterCrop")
def center_crop(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """The middle; of an image too small, the middle of its aspect ratio resized."""
    x, first = floats(canvas, inputs[0]), is_first(layer)
    sizes = [int(layer.config["height"]), int(layer.config["width"])]
    have = _bound(x, first)
    if have[0] < sizes[0] or have[1] < sizes[1]:
        return resize(canvas, _aspect_cropped(canvas, x, sizes, first), sizes, first=first)
    for axis, size, want in zip(spatial_axes(4, first), have, sizes, strict=True):
        start = (size - want) // 2
        x = cut(canvas, x, axis, start, start + want) if want != size else x
    return x


@layer("CategoryEncoding")
def category_encoding(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """one_hot, multi_hot or count over `num_tokens`; counts may be weighted."""
    weights = inputs[1] if len(inputs) > 1 else layer.call.get("count_weights")
    mode = str(layer.config.get("output_mode", "multi_hot"))
    return encoded(canvas, inputs[0], mode, int(layer.config.get("num_tokens") or layer.config["max_tokens"]), weights)


def encoded(canvas: Canvas, ids: Ordered, mode: str, depth: int, weights: Ordered | None = None) -> Ordered:
    """`encode_categorical_inputs`: the last axis is what a multi-hot or a count is taken over."""
    import onnx_ir

    if mode == "int":
        return cast(canvas, ids, onnx_ir.DataType.INT64)
    if mode == "one_hot" and ids.rank > 1 and ids.shape[-1] == 1:
        ids = squeeze(canvas, ids, [-1])
    if mode != "one_hot" and ids.rank != 2:
        raise Unsupported("encoding-rank", f"a {mode} encoding of {ids.rank} axes", "encode vectors of indices")
    hot = one_hot(canvas, cast(canvas, ids, onnx_ir.DataType.INT64), depth)
    if weights is not None:
        hot = applied(canvas, "Mul", hot, expand_dims(canvas, floats(canvas, weights), [ids.rank]))
    if mode == "one_hot":
        return hot
    return reduced(canvas, hot, "ReduceMax" if mode == "multi_hot" else "ReduceSum", [1])


def one_hot(canvas: Canvas, ids: Ordered, depth: int) -> Ordered:
    """A new last axis: one where it is the index, in float32. Indices out of reach give zeros."""
    import onnx_ir

    bounded(depth)
    places = canvas.constant(int64s(range(depth)), "places")
    tall = expand_dims(canvas, ids, [ids.rank])
    same = applied(canvas, "Equal", tall, places, dtype=onnx_ir.DataType.BOOL)
    return cast(canvas, same, onnx_ir.DataType.FLOAT)


@layer("Discretization")
def discretization(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """How many boundaries are not above x, perhaps encoded."""
    import onnx_ir

    bounds = layer.config.get("bin_boundaries") or layer.config.get("bins")
    if not isinstance(bounds, list | tuple):
        raise Unsupported("no-boundaries", "it was never adapted: it has no bin boundaries")
    x = floats(canvas, inputs[0])
    edges = canvas.constant(np.asarray(bounds, np.float32), "edges")
    above = applied(canvas, "GreaterOrEqual", expand_dims(canvas, x, [x.rank]), edges, dtype=onnx_ir.DataType.BOOL)
    count = reduced(canvas, cast(canvas, above, onnx_ir.DataType.INT32), "ReduceSum", [-1])
    mode = str(layer.config.get("output_mode", "int"))
    if mode == "int":
        return count if layer.generation >= 3 else cast(canvas, count, onnx_ir.DataType.INT64)
    return encoded(canvas, count, mode, len(bounds) + 1)


@layer("Hashing", "HashedCrossing", "StringLookup", "TextVectorization", "IntegerLookup")
def looked_up(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """Strings and hashes have no place in the graph."""
    raise Unsupported(
        "lookup", f"{layer.kind} works on strings, hashes or a vocabulary", "do it before the model, and cut it off"
    )
