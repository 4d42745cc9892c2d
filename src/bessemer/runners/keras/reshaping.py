"""Moves of elements in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.runners.keras.convolution import back, last, numbers
from bessemer.runners.keras.registry import evaluates
from bessemer.runners.keras.resampling import resampled

if TYPE_CHECKING:
    from bessemer.ir.types import Array
    from bessemer.runners.keras.layer import Layer


@evaluates("Reshape")
def reshape(layer: Layer, inputs: Sequence[Array]) -> Array:
    """The batch stays."""
    target = [-1 if dim is None else int(dim) for dim in layer.config["target_shape"]]
    return inputs[0].reshape(inputs[0].shape[0], *target)


@evaluates("Flatten")
def flatten(layer: Layer, inputs: Sequence[Array]) -> Array:
    """Channels-first data is put channels-last before."""
    x = last(layer, inputs[0]) if inputs[0].ndim > 2 else inputs[0]
    return x.reshape(x.shape[0], -1)


@evaluates("Permute")
def permute(layer: Layer, inputs: Sequence[Array]) -> Array:
    """Axes from one on."""
    return inputs[0].transpose(0, *layer.config["dims"])


@evaluates("RepeatVector")
def repeat_vector(layer: Layer, inputs: Sequence[Array]) -> Array:
    """n times."""
    return np.repeat(inputs[0][:, None], int(layer.config["n"]), axis=1)


def _pairs(value: Any, axes: int) -> list[tuple[int, int]]:
    if isinstance(value, int):
        return [(value, value)] * axes
    if axes == 1 and all(isinstance(item, int) for item in value) and len(value) == 2:
        return [(value[0], value[1])]
    return [(item, item) if isinstance(item, int) else (item[0], item[1]) for item in value]


@evaluates("ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D")
def zero_padding(layer: Layer, inputs: Sequence[Array]) -> Array:
    """Zeros around."""
    x = last(layer, inputs[0])
    return back(layer, np.pad(x, [(0, 0), *_pairs(layer.config.get("padding", 1), x.ndim - 2), (0, 0)]))


@evaluates("Cropping1D", "Cropping2D", "Cropping3D")
def cropping(layer: Layer, inputs: Sequence[Array]) -> Array:
    """The middle."""
    x = last(layer, inputs[0])
    amounts = _pairs(layer.config.get("cropping", 1), x.ndim - 2)
    box = [slice(low, size - high) for (low, high), size in zip(amounts, x.shape[1:-1], strict=True)]
    return back(layer, x[(slice(None), *box)])


@evaluates("UpSampling1D", "UpSampling2D", "UpSampling3D")
def up_sampling(layer: Layer, inputs: Sequence[Array]) -> Array:
    """Whole multiples."""
    x = last(layer, inputs[0])
    factors, method = numbers(layer.config.get("size", 2), x.ndim - 2), layer.config.get("interpolation", "nearest")
    sizes = [size * by for size, by in zip(x.shape[1:-1], factors, strict=True)]
    return back(layer, resampled(x, sizes, str(method)))
