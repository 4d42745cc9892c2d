"""Normalization layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bessemer.ir.types import Array
from bessemer.runners.keras.layer import Layer
from bessemer.sources.channels_last.elementwise import applied, number
from bessemer.sources.channels_last.normalization import (
    along,
    batch_norm,
    group_norm,
    layer_norm,
    rms_norm,
    scaled,
    unit_norm,
)
from bessemer.sources.channels_last.reduce import reduced
from bessemer.sources.drawing import Canvas, Ordered, Unsupported
from bessemer.sources.keras.layers.core import floats
from bessemer.sources.keras.registry import layer


def affine(layer: Layer) -> tuple[Array | None, Array | None, tuple[Array, ...]]:
    """gamma and beta, each where the layer has one, and the weights behind them."""
    rest = list(layer.weights)
    gamma = rest.pop(0) if layer.config.get("scale", True) else None
    beta = rest.pop(0) if layer.config.get("center", True) else None
    return gamma, beta, tuple(rest)


def axes_of(layer: Layer, default: int = -1) -> list[int]:
    """The axis, or the axes, of a config."""
    held = layer.config.get("axis", default)
    return [int(held)] if isinstance(held, int) else [int(item) for item in held]


@layer("BatchNormalization", "SyncBatchNormalization", "BatchNormalizationV1", "BatchNormalizationV2")
def batch_normalization(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """gamma, beta, moving mean, moving variance; weights of a renormalization in training are left aside."""
    x, axes = floats(canvas, inputs[0]), axes_of(layer)
    if layer.config.get("mode"):
        raise Unsupported("batch-norm-mode", "Keras 1's mode 1 and 2 normalize with the batch itself")
    gamma, beta, rest = affine(layer)
    mean, variance = rest[:2]
    epsilon = float(layer.config.get("epsilon", 1e-3))
    if len(axes) == 1:
        return batch_norm(canvas, x, mean, variance, gamma, beta, axis=axes[0], epsilon=epsilon)
    places = sorted(axis % x.rank for axis in axes)
    sizes = [dim for dim in (x.shape[place] for place in places) if isinstance(dim, int)]
    factor = (1 if gamma is None else gamma) / np.sqrt(variance + np.float32(epsilon))
    shift = (0 if beta is None else beta) - mean * factor
    return scaled(canvas, x, factor.reshape(sizes), shift.reshape(sizes), places)


@layer("LayerNormalization")
def layer_normalization(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """Over an axis, or several together."""
    x, epsilon = floats(canvas, inputs[0]), float(layer.config.get("epsilon", 1e-3))
    if layer.config.get("rms_scaling"):
        return _by_variance(canvas, x, layer.weights[0], axes_of(layer), epsilon)
    gamma, beta, _ = affine(layer)
    return layer_norm(canvas, x, gamma, beta, axes=axes_of(layer), epsilon=epsilon)


def _by_variance(canvas: Canvas, x: Ordered, gamma: Array, axes: list[int], epsilon: float) -> Ordered:
    """Keras 3's `rms_scaling`: x / sqrt(variance + epsilon) * gamma, the mean being left in."""
    mean = reduced(canvas, x, "ReduceMean", axes, keepdims=True)
    gap = applied(canvas, "Sub", x, mean)
    variance = reduced(canvas, applied(canvas, "Mul", gap, gap), "ReduceMean", axes, keepdims=True)
    root = applied(canvas, "Sqrt", applied(canvas, "Add", variance, number(canvas, epsilon, x)))
    made = applied(canvas, "Div", x, root)
    places = sorted(axis % x.rank for axis in axes)
    value = canvas.emit("Mul", [canvas.at(made, made.made), along(canvas, made, gamma, places)])
    return canvas.result(value, made.shape, made.made)


@layer("GroupNormalization")
def group_normalization(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """groups = -1: every channel for itself."""
    x, (axis,) = floats(canvas, inputs[0]), axes_of(layer)
    gamma, beta, _ = affine(layer)
    groups, count = int(layer.config.get("groups", 32)), x.shape[axis]
    groups = count if groups == -1 and isinstance(count, int) else groups
    epsilon = float(layer.config.get("epsilon", 1e-3))
    return group_norm(canvas, x, groups, gamma, beta, axis=axis, epsilon=epsilon)


@layer("UnitNormalization")
def unit_normalization(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """Length one; Keras 3 bounds the length by 1e-12, Keras 2 its square."""
    floor = 1e-24 if layer.generation >= 3 else 1e-12
    return unit_norm(canvas, floats(canvas, inputs[0]), axes=axes_of(layer), epsilon=floor)


@layer("RMSNormalization")
def rms_normalization(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """By the root of the mean of squares."""
    epsilon = float(layer.config.get("epsilon", 1e-6))
    return rms_norm(canvas, floats(canvas, inputs[0]), layer.weights[0], axes=axes_of(layer), epsilon=epsilon)
