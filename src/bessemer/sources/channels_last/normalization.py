"""Normalizations, with their parameters as TensorFlow and Keras keep them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bessemer.ir.types import Array, Perm
from bessemer.sources.channels_last.dims import bounded
from bessemer.sources.channels_last.reduce import reduced
from bessemer.sources.drawing import Canvas, Ordered, Unsupported


def with_second(source: Ordered, axis: int) -> Perm:
    """An order in which `axis` stands behind the first one: the one the tensor has, if it does."""
    if source.made[1] == axis:
        return source.made
    others = [place for place in range(source.rank) if place != axis]
    return (others[0], axis, *others[1:])


def batch_norm(
    canvas: Canvas,
    source: Ordered,
    mean: Array,
    variance: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-3,
    name: str = "",
) -> Ordered:
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta, the parameters being vectors along `axis`.

    One BatchNormalization node; a tensor that stands with its channels last and is no image is scaled and shifted
    where it is, since moving it would cost more.
    """
    place = axis % source.rank
    scale = np.ones_like(mean) if gamma is None else gamma
    shift = np.zeros_like(mean) if beta is None else beta
    if place == 0 or (source.made[1] != place and source.rank not in (4, 5)):
        factor = scale / np.sqrt(variance + np.asarray(epsilon, variance.dtype))
        return scaled(canvas, source, factor, shift - mean * factor, (place,), name)
    order = with_second(source, place)
    parameters = [canvas.literal(array, "batch_norm") for array in (scale, shift, mean, variance)]
    made = canvas.emit("BatchNormalization", [canvas.at(source, order), *parameters], epsilon=float(epsilon))
    return canvas.result(made, source.shape, order, name)


def scaled(
    canvas: Canvas, source: Ordered, factor: Array, shift: Array | None, axes: Sequence[int], name: str = ""
) -> Ordered:
    """x * factor + shift, both given along `axes` of the original (ascending), in the order the tensor has."""
    held = canvas.at(source, source.made)
    made = canvas.emit("Mul", [held, along(canvas, source, factor, axes)])
    if shift is not None and np.any(shift):
        made = canvas.emit("Add", [made, along(canvas, source, shift, axes)])
    return canvas.result(made, source.shape, source.made, name)


def along(canvas: Canvas, source: Ordered, array: Array, axes: Sequence[int], order: Perm | None = None) -> Any:
    """A constant given along `axes` (ascending), shaped to broadcast against the tensor in an axis order."""
    shape = [1] * source.rank
    for axis, size in zip(axes, array.shape, strict=True):
        shape[axis] = size
    return canvas.literal(array.reshape(shape).transpose(source.made if order is None else order), "along")


def _normalized_last(source: Ordered, gamma: Array | None, axes: Sequence[int], what: str) -> tuple[Perm, Array]:
    """The axis order with `axes` at its end, and the scale over them: gamma, or ones."""
    chosen = sorted({axis % source.rank for axis in axes})
    order = (*(axis for axis in range(source.rank) if axis not in chosen), *chosen)
    sizes = [source.shape[axis] for axis in chosen]
    if gamma is None and not all(isinstance(size, int) for size in sizes):
        raise Unsupported("dynamic-shape", f"{what} over an unbound axis")
    bounded(*(size for size in sizes if isinstance(size, int)))
    scale = np.ones(sizes, source.dtype.numpy()) if gamma is None else gamma.reshape(sizes)  # type: ignore[arg-type]
    return order, scale


def layer_norm(
    canvas: Canvas,
    source: Ordered,
    gamma: Array | None,
    beta: Array | None,
    *,
    axes: Sequence[int] = (-1,),
    epsilon: float = 1e-3,
    name: str = "",
) -> Ordered:
    """Over `axes` together; gamma and beta have the sizes of those axes, in ascending order of the axes."""
    order, scale = _normalized_last(source, gamma, axes, "a layer normalization")
    inputs = [canvas.at(source, order), canvas.literal(scale, "gamma")]
    if beta is not None and np.any(beta):
        inputs.append(canvas.literal(beta.reshape(scale.shape), "beta"))
    made = canvas.emit("LayerNormalization", inputs, axis=-scale.ndim, epsilon=float(epsilon))
    return canvas.result(made, source.shape, order, name)


def rms_norm(
    canvas: Canvas,
    source: Ordered,
    gamma: Array | None,
    *,
    axes: Sequence[int] = (-1,),
    epsilon: float = 1e-6,
    name: str = "",
) -> Ordered:
    """x / sqrt(mean(x^2) + epsilon) * gamma over `axes`; gamma has their sizes, ascending."""
    order, scale = _normalized_last(source, gamma, axes, "a root-mean-square normalization")
    made = canvas.emit(
        "RMSNormalization", [canvas.at(source, order), canvas.literal(scale, "gamma")], axis=-scale.ndim,
        epsilon=float(epsilon),
    )  # fmt: skip
    return canvas.result(made, source.shape, order, name)


def group_norm(
    canvas: Canvas,
    source: Ordered,
    groups: int,
    gamma: Array | None,
    beta: Array | None,
    *,
    axis: int = -1,
    epsilon: float = 1e-3,
    name: str = "",
) -> Ordered:
    """Groups of neighbouring channels (along `axis`), each over its channels and every other axis but the first."""
    place = axis % source.rank
    count = source.shape[place]
    if not isinstance(count, int) or place == 0 or count % groups:
        raise Unsupported("group-size", f"axis {place} of size {count} does not divide into {groups} groups")
    bounded(count)
    kind = source.dtype.numpy()
    scale = np.ones(count, kind) if gamma is None else gamma
    shift = np.zeros(count, kind) if beta is None else beta
    order = with_second(source, place)
    made = canvas.emit(
        "GroupNormalization", [canvas.at(source, order), canvas.literal(scale, "gamma"), canvas.literal(shift, "beta")],
        num_groups=groups, epsilon=float(epsilon),
    )  # fmt: skip
    return canvas.result(made, source.shape, order, name)


def unit_norm(
    canvas: Canvas, source: Ordered, *, axes: Sequence[int] = (-1,), epsilon: float = 1e-12, name: str = ""
) -> Ordered:
    """x / sqrt(max(sum(x^2), epsilon)) over `axes`: `tf.math.l2_normalize`."""
    sums = reduced(canvas, source, "ReduceSumSquare", axes, keepdims=True)
    held, order = canvas.at(source, source.made), source.made
    floor = canvas.literal(np.asarray(epsilon, source.dtype.numpy()), "epsilon")
    root = canvas.emit("Sqrt", [canvas.emit("Max", [canvas.at(sums, order), floor])])
    return canvas.result(canvas.emit("Div", [held, root]), source.shape, order, name)


def moments(
    canvas: Canvas, source: Ordered, axes: Sequence[int], *, keepdims: bool = True
) -> tuple[Ordered, Ordered]:
    """Mean and (population) variance over `axes`."""
    mean = reduced(canvas, source, "ReduceMean", axes, keepdims=True)
    order = source.made
    gap = canvas.emit("Sub", [canvas.at(source, order), canvas.at(mean, order)])
    squares = canvas.result(canvas.emit("Mul", [gap, gap]), source.shape, order)
    variance = reduced(canvas, squares, "ReduceMean", axes, keepdims=keepdims)
    return (mean if keepdims else reduced(canvas, source, "ReduceMean", axes)), variance
