"""Normalizations in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bessemer.runners.keras.registry import evaluates

if TYPE_CHECKING:
    from bessemer.ir.types import Array
    from bessemer.runners.keras.layer import Layer


def axes(layer: Layer, rank: int) -> list[int]:
    """The config's axes, ascending."""
    held = layer.config.get("axis", -1)
    return sorted(axis % rank for axis in ([held] if isinstance(held, int) else held))


def spread(array: Array, x: Array, places: Sequence[int]) -> Array:
    """An array along `places`, shaped to broadcast against x."""
    made: Array = array.reshape([dim if axis in places else 1 for axis, dim in enumerate(x.shape)])
    return made


def affine(layer: Layer, made: Array, places: Sequence[int]) -> Array:
    """gamma and beta."""
    rest = list(layer.weights)
    if layer.config.get("scale", True):
        made = made * spread(rest.pop(0), made, places)
    if layer.config.get("center", True):
        made = made + spread(rest.pop(0), made, places)
    return made


def standard(x: Array, over: tuple[int, ...], epsilon: float) -> Array:
    """(x - mean) / sqrt(variance + epsilon)."""
    made: Array = (x - x.mean(axis=over, keepdims=True)) / np.sqrt(x.var(axis=over, keepdims=True) + epsilon)
    return made


@evaluates("BatchNormalization", "SyncBatchNormalization", "BatchNormalizationV1", "BatchNormalizationV2")
def batch_normalization(layer: Layer, inputs: Sequence[Array]) -> Array:
    """By the moving statistics."""
    (x,) = inputs
    places, first = axes(layer, x.ndim), sum(bool(layer.config.get(name, True)) for name in ("scale", "center"))
    mean, variance = (spread(array, x, places) for array in layer.weights[first : first + 2])
    made = affine(layer, (x - mean) / np.sqrt(variance + layer.config.get("epsilon", 1e-3)), places)
    return made.astype(x.dtype)


@evaluates("LayerNormalization")
def layer_normalization(layer: Layer, inputs: Sequence[Array]) -> Array:
    """Per example."""
    (x,) = inputs
    places, epsilon = axes(layer, x.ndim), layer.config.get("epsilon", 1e-3)
    if layer.config.get("rms_scaling"):
        root = np.sqrt(x.var(axis=tuple(places), keepdims=True) + epsilon)
        scaled: Array = x / root * spread(layer.weights[0], x, places)
        return scaled.astype(x.dtype)
    return affine(layer, standard(x, tuple(places), epsilon), places).astype(x.dtype)


@evaluates("GroupNormalization")
def group_normalization(layer: Layer, inputs: Sequence[Array]) -> Array:
    """Per example and group of channels."""
    (x,), (place,) = inputs, axes(layer, inputs[0].ndim)
    count = x.shape[place]
    groups = int(layer.config.get("groups", 32))
    groups = count if groups == -1 else groups
    split = x.reshape(*x.shape[:place], groups, count // groups, *x.shape[place + 1 :])
    over = tuple(axis for axis in range(1, split.ndim) if axis != place)
    made = standard(split, over, layer.config.get("epsilon", 1e-3)).reshape(x.shape)
    return affine(layer, made, [place]).astype(x.dtype)


def unit(x: Array, over: tuple[int, ...], floor: float) -> Array:
    """Vectors of length one; `floor` bounds the squared length from below."""
    made: Array = x / np.sqrt(np.maximum((x * x).sum(axis=over, keepdims=True), floor))
    return made


@evaluates("UnitNormalization")
def unit_normalization(layer: Layer, inputs: Sequence[Array]) -> Array:
    """Length one."""
    (x,) = inputs
    return unit(x, tuple(axes(layer, x.ndim)), 1e-24 if layer.generation >= 3 else 1e-12)


@evaluates("RMSNormalization")
def rms_normalization(layer: Layer, inputs: Sequence[Array]) -> Array:
    """By the root of the mean of squares."""
    (x,) = inputs
    places = axes(layer, x.ndim)
    root = np.sqrt((x * x).mean(axis=tuple(places), keepdims=True) + layer.config.get("epsilon", 1e-6))
    made: Array = x / root * spread(layer.weights[0], x, places)
    return made.astype(x.dtype)
