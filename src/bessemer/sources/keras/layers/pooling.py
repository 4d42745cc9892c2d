"""Pooling layers."""

from __future__ import annotations

from collections.abc import Sequence

from bessemer.runners.keras.layer import Layer
from bessemer.sources.channels_last.elementwise import applied, cast
from bessemer.sources.channels_last.pooling import adaptive_pool, global_pool, pool
from bessemer.sources.channels_last.reduce import reduced
from bessemer.sources.channels_last.shaping import expand_dims
from bessemer.sources.drawing import Canvas, Ordered
from bessemer.sources.keras.layers.convolution import is_first, per_axis
from bessemer.sources.keras.registry import layer


def _kind(layer: Layer) -> str:
    return "max" if "Max" in layer.kind else "average"


@layer("MaxPooling1D", "MaxPooling2D", "MaxPooling3D", "AveragePooling1D", "AveragePooling2D", "AveragePooling3D",
       "MaxPool1D", "MaxPool2D", "MaxPool3D", "AvgPool1D", "AvgPool2D", "AvgPool3D")  # fmt: skip
def pooling(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """Windows side by side unless strides are given."""
    (x,) = inputs
    count, strides = x.rank - 2, layer.config.get("strides")
    size = per_axis(layer.config.get("pool_size", 2), count)
    return pool(
        canvas, x, _kind(layer), size, strides=size if strides is None else per_axis(strides, count),
        padding=str(layer.config.get("padding", "valid")), first=is_first(layer),
    )  # fmt: skip


@layer("GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D", "GlobalAveragePooling1D",
       "GlobalAveragePooling2D", "GlobalAveragePooling3D", "GlobalMaxPool1D", "GlobalMaxPool2D", "GlobalMaxPool3D",
       "GlobalAvgPool1D", "GlobalAvgPool2D", "GlobalAvgPool3D")  # fmt: skip
def pooling_global(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """Over all spatial axes; an average over masked steps leaves them out."""
    (x,), mask = inputs, layer.call.get("mask")
    keep = bool(layer.config.get("keepdims", False))
    if mask is not None and layer.kind in ("GlobalAveragePooling1D", "GlobalAvgPool1D"):
        return _masked_mean(canvas, x, mask, keep, is_first(layer))
    return global_pool(canvas, x, _kind(layer), keepdims=keep, first=is_first(layer))


def _masked_mean(canvas: Canvas, x: Ordered, mask: Ordered, keep: bool, first: bool) -> Ordered:
    weights = expand_dims(canvas, cast(canvas, mask, x.dtype), [1 if first else 2])
    axis = 2 if first else 1
    total = reduced(canvas, applied(canvas, "Mul", x, weights), "ReduceSum", [axis], keepdims=keep)
    return applied(canvas, "Div", total, reduced(canvas, weights, "ReduceSum", [axis], keepdims=keep))


@layer("AdaptiveMaxPooling1D", "AdaptiveMaxPooling2D", "AdaptiveMaxPooling3D", "AdaptiveAveragePooling1D",
       "AdaptiveAveragePooling2D", "AdaptiveAveragePooling3D")  # fmt: skip
def pooling_adaptive(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """To a given number of cells per axis."""
    (x,) = inputs
    sizes = per_axis(layer.config["output_size"], x.rank - 2)
    return adaptive_pool(canvas, x, _kind(layer), sizes, first=is_first(layer))
