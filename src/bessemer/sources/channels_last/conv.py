"""Convolutions over any number of spatial axes, forward and transposed. Filters stand as TensorFlow keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bessemer.sources.channels_last.dims import Dim
from bessemer.sources.channels_last.windows import (
    Window,
    channels,
    operands,
    optional,
    order_of,
    placed,
    spatial,
    transposed_pads,
    transposed_sizes,
)
from bessemer.sources.drawing import Canvas, Ordered, Unsupported


def conv(
    canvas: Canvas,
    source: Ordered,
    filters: Ordered,
    bias: Ordered | None = None,
    *,
    strides: Sequence[int] | int = 1,
    dilations: Sequence[int] | int = 1,
    padding: str | Sequence[Sequence[int]] = "valid",
    first: bool = False,
    name: str = "",
) -> Ordered:
    """Filters (*window, depth, count); grouped where they are shallower than the input.

    Raises Unsupported where the channels do not divide into the filters' depth.
    """
    window = Window.of(filters.static[:-2], strides, dilations, padding)
    depth, count = filters.static[-2:]
    have, rank = channels(source, first), source.rank
    if have % depth or count % (have // depth):
        raise Unsupported(
            "conv-depth", f"{have} channels do not divide into {count} filters of depth {depth}"
        )
    weights = canvas.at(filters, (rank - 1, rank - 2, *range(rank - 2)))
    return _drawn(canvas, source, weights, bias, count, window, have // depth, first, name)


def _drawn(
    canvas: Canvas,
    source: Ordered,
    weights: Any,
    bias: Ordered | None,
    count: int,
    window: Window,
    groups: int,
    first: bool,
    name: str,
) -> Ordered:
    sizes, order = spatial(source, first), order_of(source.rank, first)
    made = canvas.emit(
        "Conv", operands(canvas.at(source, order), weights, optional(canvas, bias)),
        group=groups if groups > 1 else None, **window.attributes(sizes),
    )  # fmt: skip
    return canvas.result(made, placed(source.shape[0], window.output(sizes), count, first), order, name)


def depthwise_conv(
    canvas: Canvas,
    source: Ordered,
    filters: Ordered,
    bias: Ordered | None = None,
    *,
    strides: Sequence[int] | int = 1,
    dilations: Sequence[int] | int = 1,
    padding: str | Sequence[Sequence[int]] = "valid",
    first: bool = False,
    name: str = "",
) -> Ordered:
    """Filters (*window, channels, multiplier): `multiplier` results per channel, side by side."""
    kernel, (depth, multiplier) = filters.static[:-2], filters.static[-2:]
    have, rank = channels(source, first), source.rank
    if have != depth:
        raise Unsupported("conv-depth", f"{have} channels meet depthwise filters for {depth}")
    window, count = Window.of(kernel, strides, dilations, padding), depth * multiplier
    perm, shape = (rank - 2, rank - 1, *range(rank - 2)), (count, 1, *kernel)
    weights = (
        canvas.literal(filters.known.transpose(perm).reshape(shape), filters.name)
        if filters.known is not None and multiplier > 1
        else canvas.at(filters, perm)
        if multiplier == 1
        else canvas.reshaped(canvas.at(filters, perm), shape)
    )
    return _drawn(canvas, source, weights, bias, count, window, depth, first, name)


def separable_conv(
    canvas: Canvas,
    source: Ordered,
    depthwise: Ordered,
    pointwise: Ordered,
    bias: Ordered | None = None,
    *,
    strides: Sequence[int] | int = 1,
    dilations: Sequence[int] | int = 1,
    padding: str | Sequence[Sequence[int]] = "valid",
    first: bool = False,
    name: str = "",
) -> Ordered:
    """A depthwise convolution, then one of a single pixel."""
    middle = depthwise_conv(
        canvas, source, depthwise, strides=strides, dilations=dilations, padding=padding, first=first
    )
    return conv(canvas, middle, pointwise, bias, first=first, name=name)


def conv_transpose(
    canvas: Canvas,
    source: Ordered,
    filters: Ordered,
    bias: Ordered | None = None,
    *,
    strides: Sequence[int] | int = 1,
    dilations: Sequence[int] | int = 1,
    padding: str | Sequence[Sequence[int]] = "valid",
    output_padding: Sequence[int | None] | None = None,
    sizes: Sequence[int] | None = None,
    first: bool = False,
    name: str = "",
) -> Ordered:
    """Filters (*window, count, depth). sizes: spatial sizes of the result (Conv2DBackpropInput); None: Keras's.

    Without `sizes`, crops do not depend on how long an axis is, so that unbound axes are fine.
    """
    window = Window.of(filters.static[:-2], strides, dilations, padding)
    if window.padding == "causal":
        raise Unsupported("padding", "a transposed convolution has no causal padding")
    (count, depth), rank, have = filters.static[-2:], source.rank, spatial(source, first)
    if channels(source, first) != depth:
        raise Unsupported(
            "conv-depth", f"{channels(source, first)} channels meet transposed filters for {depth}"
        )
    results: tuple[Dim, ...] = (
        tuple(sizes) if sizes is not None else transposed_sizes(have, window, output_padding)
    )
    crops = [_crop(place, have[place], results[place], window, output_padding) for place in range(rank - 2)]
    pads = [pair[0] for pair, _ in crops] + [pair[1] for pair, _ in crops]
    extra = [more for _, more in crops]
    order = order_of(rank, first)
    weights = canvas.at(filters, (rank - 1, rank - 2, *range(rank - 2)))
    gaps = list(window.dilations) if any(gap != 1 for gap in window.dilations) else None
    made = canvas.emit(
        "ConvTranspose", operands(canvas.at(source, order), weights, optional(canvas, bias)),
        kernel_shape=list(window.kernel), strides=list(window.strides), dilations=gaps,
        pads=pads if any(pads) else None, output_padding=extra if any(extra) else None,
    )  # fmt: skip
    return canvas.result(made, placed(source.shape[0], results, count, first), order, name)


def _crop(
    axis: int, size: Dim, result: Dim, window: Window, output_padding: Sequence[int | None] | None
) -> tuple[tuple[int, int], int]:
    if isinstance(size, int) and isinstance(result, int):
        return transposed_pads(size, result, axis, window)
    if isinstance(result, int):
        raise Unsupported("dynamic-shape", "a transposed convolution of a given size reads an unbound one")
    nominal = 64  # without a given result the crops are the same at every size
    (implied,) = transposed_sizes([nominal], _along(axis, window), _pick(output_padding, axis))
    assert isinstance(implied, int)
    return transposed_pads(nominal, implied, axis, window)


def _along(axis: int, window: Window) -> Window:
    padding = window.padding if isinstance(window.padding, str) else (window.padding[axis],)
    return Window((window.kernel[axis],), (window.strides[axis],), (window.dilations[axis],), padding)


def _pick(items: Sequence[int | None] | None, axis: int) -> list[int | None] | None:
    return None if items is None else [items[axis]]
