"""Pooling in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bessemer.runners.keras.convolution import back, last, numbers, windows
from bessemer.runners.keras.registry import evaluates

if TYPE_CHECKING:
    from bessemer.ir.types import Array
    from bessemer.runners.keras.layer import Layer


@evaluates("MaxPooling1D", "MaxPooling2D", "MaxPooling3D", "AveragePooling1D", "AveragePooling2D", "AveragePooling3D",
           "MaxPool1D", "MaxPool2D", "MaxPool3D", "AvgPool1D", "AvgPool2D", "AvgPool3D")  # fmt: skip
def pooling(layer: Layer, inputs: Sequence[Array]) -> Array:
    """Padding neither wins nor counts."""
    x = last(layer, inputs[0])
    count, config = x.ndim - 2, layer.config
    size = numbers(config.get("pool_size", 2), count)
    strides = size if config.get("strides") is None else numbers(config["strides"], count)
    padding = str(config.get("padding", "valid"))
    seen = windows(x, size, strides, [1] * count, padding, np.nan)
    axes = tuple(range(count + 2, 2 * count + 2))
    made = np.nanmax(seen, axis=axes) if "Max" in layer.kind else np.nanmean(seen, axis=axes)
    return back(layer, made.astype(x.dtype))


@evaluates("GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D", "GlobalAveragePooling1D",
           "GlobalAveragePooling2D", "GlobalAveragePooling3D", "GlobalMaxPool1D", "GlobalMaxPool2D",
           "GlobalMaxPool3D", "GlobalAvgPool1D", "GlobalAvgPool2D", "GlobalAvgPool3D")  # fmt: skip
def pooling_global(layer: Layer, inputs: Sequence[Array]) -> Array:
    """Masked steps do not count in an average."""
    x, mask = last(layer, inputs[0]), layer.call.get("mask")
    axes, keep = tuple(range(1, x.ndim - 1)), bool(layer.config.get("keepdims", False))
    if mask is not None and layer.kind in ("GlobalAveragePooling1D", "GlobalAvgPool1D"):
        weights = mask[..., None].astype(x.dtype)
        made = (x * weights).sum(axis=1, keepdims=keep) / weights.sum(axis=1, keepdims=keep)
    else:
        made = (x.max if "Max" in layer.kind else x.mean)(axis=axes, keepdims=keep)
    return back(layer, made.astype(x.dtype)) if keep else made.astype(x.dtype)


@evaluates("AdaptiveMaxPooling1D", "AdaptiveMaxPooling2D", "AdaptiveMaxPooling3D", "AdaptiveAveragePooling1D",
           "AdaptiveAveragePooling2D", "AdaptiveAveragePooling3D")  # fmt: skip
def pooling_adaptive(layer: Layer, inputs: Sequence[Array]) -> Array:
    """Cell i of n reaches from floor(i size / n) to ceil((i + 1) size / n)."""
    x = last(layer, inputs[0])
    cells = numbers(layer.config["output_size"], x.ndim - 2)
    made = np.zeros((x.shape[0], *cells, x.shape[-1]), x.dtype)
    for place in np.ndindex(*cells):
        box = tuple(
            slice(at * size // count, -(-(at + 1) * size // count))
            for at, size, count in zip(place, x.shape[1:-1], cells, strict=True)
        )
        part, axes = x[(slice(None), *box)], tuple(range(1, x.ndim - 1))
        made[(slice(None), *place)] = part.max(axis=axes) if "Max" in layer.kind else part.mean(axis=axes)
    return back(layer, made)
