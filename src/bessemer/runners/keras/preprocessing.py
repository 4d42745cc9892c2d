"""Preprocessing layers in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bessemer.runners.keras.convolution import back, last
from bessemer.runners.keras.registry import evaluates
from bessemer.runners.keras.resampling import resampled

if TYPE_CHECKING:
    from bessemer.ir.types import Array
    from bessemer.runners.keras.layer import Layer


@evaluates("Rescaling")
def rescaling(layer: Layer, inputs: Sequence[Array]) -> Array:
    """x * scale + offset."""
    scale, offset = (np.asarray(layer.config.get(name, 0), np.float32) for name in ("scale", "offset"))
    return inputs[0].astype(np.float32) * scale + offset


@evaluates("Normalization")
def normalization(layer: Layer, inputs: Sequence[Array]) -> Array:
    """(x - mean) / max(sqrt(variance), 1e-7)."""
    x, config = inputs[0].astype(np.float32), layer.config
    held = [config.get("mean"), config.get("variance")]
    if held[0] is None or held[1] is None:
        held = list(layer.weights[:2])
    axis = config.get("axis", -1)
    places = [] if axis is None else [item % x.ndim for item in ([axis] if isinstance(axis, int) else axis)]
    shape = [dim if place in places else 1 for place, dim in enumerate(x.shape)]
    count = int(np.prod(shape))
    mean, variance = (
        np.broadcast_to(np.ravel(np.asarray(item, np.float32)), (count,)).reshape(shape) for item in held
    )
    deviation = np.maximum(np.sqrt(variance), np.float32(1e-7))
    made: Array = mean + x * deviation if config.get("invert") else (x - mean) / deviation
    return made


def middle(x: Array, sizes: Sequence[int]) -> Array:
    """The middle part."""
    starts = [(have - want) // 2 for have, want in zip(x.shape[1:3], sizes, strict=True)]
    return x[:, starts[0] : starts[0] + sizes[0], starts[1] : starts[1] + sizes[1]]


def same_aspect(x: Array, sizes: Sequence[int]) -> list[int]:
    """The largest part with the aspect ratio of `sizes`."""
    height, width = x.shape[1:3]
    tall, wide = int(width * sizes[0] / sizes[1]), int(height * sizes[1] / sizes[0])
    return [max(min(height, tall), 1), max(min(width, wide), 1)]


@evaluates("Resizing")
def resizing(layer: Layer, inputs: Sequence[Array]) -> Array:
    """To a height and width."""
    x, config = last(layer, inputs[0]), layer.config
    sizes = [int(config["height"]), int(config["width"])]
    if config.get("crop_to_aspect_ratio"):
        x = middle(x, same_aspect(x, sizes))
    elif config.get("pad_to_aspect_ratio"):
        height, width = x.shape[1:3]
        tall = (max(int(width * sizes[0] / sizes[1]), height) - height) // 2
        wide = (max(int(height * sizes[1] / sizes[0]), width) - width) // 2
        x = np.pad(x, [(0, 0), (tall, tall), (wide, wide), (0, 0)], constant_values=config.get("fill_value", 0.0))
    method = str(config.get("interpolation", "bilinear"))
    return back(layer, resampled(x, sizes, method, bool(config.get("antialias", False))))


@evaluates("CenterCrop")
def center_crop(layer: Layer, inputs: Sequence[Array]) -> Array:
    """The middle; too small an image is resized."""
    x, sizes = last(layer, inputs[0]).astype(np.float32), [int(layer.config["height"]), int(layer.config["width"])]
    if x.shape[1] >= sizes[0] and x.shape[2] >= sizes[1]:
        return back(layer, middle(x, sizes))
    return back(layer, resampled(middle(x, same_aspect(x, sizes)), sizes, "bilinear"))


@evaluates("CategoryEncoding")
def category_encoding(layer: Layer, inputs: Sequence[Array]) -> Array:
    """Over `num_tokens`."""
    weights = inputs[1] if len(inputs) > 1 else layer.call.get("count_weights")
    mode = str(layer.config.get("output_mode", "multi_hot"))
    return encoded(inputs[0], mode, int(layer.config.get("num_tokens") or layer.config["max_tokens"]), weights)


def encoded(ids: Array, mode: str, depth: int, weights: Array | None = None) -> Array:
    """one_hot per element, multi_hot or count per row."""
    if mode == "one_hot":
        ids = ids[..., 0] if ids.ndim > 1 and ids.shape[-1] == 1 else ids
        hot: Array = (ids[..., None] == np.arange(depth)).astype(np.float32)
        return hot
    made = np.zeros((*ids.shape[:-1], depth), np.float32)
    for place in np.ndindex(*ids.shape):
        if 0 <= ids[place] < depth:
            made[(*place[:-1], int(ids[place]))] += 1 if weights is None else weights[place]
    return np.minimum(made, 1) if mode == "multi_hot" else made


@evaluates("Discretization")
def discretization(layer: Layer, inputs: Sequence[Array]) -> Array:
    """Which bin."""
    bounds = layer.config.get("bin_boundaries") or layer.config["bins"]
    ids = np.digitize(inputs[0], np.asarray(bounds, np.float32))
    mode = str(layer.config.get("output_mode", "int"))
    if mode == "int":
        bins: Array = ids.astype(np.int32 if layer.generation >= 3 else np.int64)
        return bins
    return encoded(ids, mode, len(bounds) + 1)
