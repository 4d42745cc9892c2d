"""Layers that move elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bessemer.ir.types import int64s
from bessemer.runners.keras.layer import Layer
from bessemer.sources.channels_last.padding import crop, pad, spatial_pairs
from bessemer.sources.channels_last.resize import upsample
from bessemer.sources.channels_last.shaping import expand_dims, reshape
from bessemer.sources.drawing import Canvas, Ordered, Unsupported
from bessemer.sources.keras.layers.convolution import is_first, per_axis
from bessemer.sources.keras.registry import layer

Dim = int | str | None


def count(dims: Sequence[Dim]) -> int | None:
    """How many elements; None where a dim is unbound."""
    sizes = [dim for dim in dims if isinstance(dim, int)]
    return int(np.prod(sizes, dtype=np.int64)) if len(sizes) == len(dims) else None


@layer("Reshape")
def reshape_layer(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """The batch stays; one dim may be -1."""
    (x,) = inputs
    target: list[Dim] = [None if dim is None else int(dim) for dim in layer.config["target_shape"]]
    total, rest = count(x.shape[1:]), count([dim for dim in target if dim not in (-1, None)])
    known = total // rest if total is not None and rest else None
    return reshape(canvas, x, (x.shape[0], *(known if dim in (-1, None) else dim for dim in target)))


@layer("Flatten")
def flatten(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """Everything behind the batch in one axis; channels-first data is put channels-last before."""
    (x,) = inputs
    if is_first(layer) and x.rank > 2:
        x = canvas.renamed(x, (0, *range(2, x.rank), 1))
    if x.rank == 1:
        return expand_dims(canvas, x, [1])
    return x if x.rank == 2 else reshape(canvas, x, (x.shape[0], count(x.shape[1:])))


@layer("Permute")
def permute(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """Axes counted from one behind the batch."""
    return canvas.renamed(inputs[0], (0, *(int(dim) for dim in layer.config["dims"])))


@layer("RepeatVector")
def repeat_vector(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """The same vector n times."""
    times = int(layer.config["n"])
    tall = expand_dims(canvas, inputs[0], [1])
    made = canvas.emit("Tile", [canvas.at(tall), canvas.literal(int64s([1, times, 1]), "repeats")])
    return canvas.result(made, (tall.shape[0], times, tall.shape[2]))


def pairs_of(value: Any, axes: int) -> list[tuple[int, int]]:
    """(before, after) per axis from a number, one per axis, or pairs."""
    if isinstance(value, int):
        return [(value, value)] * axes
    items = list(value)
    if axes == 1 and len(items) == 2 and all(isinstance(item, int) for item in items):
        return [(int(items[0]), int(items[1]))]
    if len(items) != axes:
        raise Unsupported("pad-shape", f"{value!r} has no amounts for {axes} axes")
    return [(int(item), int(item)) if isinstance(item, int) else (int(item[0]), int(item[1])) for item in items]


@layer("ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D")
def zero_padding(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """Zeros around the spatial axes."""
    (x,) = inputs
    amounts = pairs_of(layer.config.get("padding", 1), x.rank - 2)
    return pad(canvas, x, spatial_pairs(x, amounts, is_first(layer)))


@layer("Cropping1D", "Cropping2D", "Cropping3D")
def cropping(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """Cut off the ends of the spatial axes."""
    (x,) = inputs
    amounts = pairs_of(layer.config.get("cropping", 1), x.rank - 2)
    return crop(canvas, x, spatial_pairs(x, amounts, is_first(layer)))


@layer("UpSampling1D", "UpSampling2D", "UpSampling3D")
def up_sampling(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """Whole multiples; by nearest neighbours unless said."""
    (x,) = inputs
    factors = per_axis(layer.config.get("size", 2), x.rank - 2)
    method = str(layer.config.get("interpolation", "nearest"))
    return upsample(canvas, x, factors, method=method, first=is_first(layer))
