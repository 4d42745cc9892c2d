"""Activation layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bessemer.runners.keras.layer import Layer
from bessemer.sources.channels_last.elementwise import applied, cast, chosen, number
from bessemer.sources.channels_last.normalization import along
from bessemer.sources.channels_last.reduce import reduced
from bessemer.sources.drawing import Canvas, Ordered
from bessemer.sources.keras.activations import activate, clip, elu, leaky_relu, softmax
from bessemer.sources.keras.registry import layer


@layer("Activation")
def activation(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """By name, or a serialised object."""
    return activate(canvas, inputs[0], layer.config.get("activation"), layer.generation)


def option(config: dict[str, Any], *names: str, default: float) -> float:
    """The first of these options that is set; Keras saves some as one-element arrays."""
    for name in names:
        held = config.get(name)
        if isinstance(held, dict):
            held = held.get("value")
        if held is not None:
            return float(np.asarray(held).reshape(-1)[0])
    return default


@layer("ReLU")
def relu(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """x from the threshold up to max_value; below it, slope * (x - threshold)."""
    (x,) = inputs
    config = layer.config
    held = config.get("max_value")
    high = None if held is None else option(config, "max_value", default=0.0)
    slope, threshold = option(config, "negative_slope", default=0.0), option(config, "threshold", default=0.0)
    if not threshold and not slope:
        return applied(canvas, "Relu", x) if high is None else clip(canvas, x, low=0.0, high=high)
    if not threshold:
        made = leaky_relu(canvas, x, negative_slope=slope)
        return made if high is None else clip(canvas, made, high=high)
    above = applied(canvas, "ThresholdedRelu", x, alpha=threshold)
    above = above if high is None else clip(canvas, above, low=0.0, high=high)
    if not slope:
        return above
    below = clip(canvas, applied(canvas, "Sub", x, number(canvas, threshold, x)), high=0.0)
    return applied(canvas, "Add", above, applied(canvas, "Mul", below, number(canvas, slope, x)))


@layer("LeakyReLU")
def leaky(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """Slope 0.3 unless said."""
    return leaky_relu(canvas, inputs[0], negative_slope=option(layer.config, "negative_slope", "alpha", default=0.3))


@layer("ELU")
def elu_layer(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """alpha * (exp(x) - 1) below zero."""
    return elu(canvas, inputs[0], alpha=option(layer.config, "alpha", default=1.0))


@layer("ThresholdedReLU")
def thresholded(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """x above theta, else 0."""
    return applied(canvas, "ThresholdedRelu", inputs[0], alpha=option(layer.config, "theta", default=1.0))


@layer("PReLU")
def prelu(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """A slope per element, or shared along axes."""
    (x,), alpha = inputs, layer.weights[0]
    slope = along(canvas, x, alpha, range(1, x.rank))
    return canvas.result(canvas.emit("PRelu", [canvas.at(x, x.made), slope]), x.shape, x.made)


@layer("Softmax")
def softmax_layer(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """Along an axis, or several at once; masked places (the mask may be a second input) get nothing."""
    x, axis = inputs[0], layer.config.get("axis", -1)
    mask = inputs[1] if len(inputs) > 1 else layer.call.get("mask")
    if mask is not None:
        x = masked(canvas, x, mask, layer.generation)
    axes = [axis] if isinstance(axis, int) else list(axis)
    made = softmax(canvas, x, axis=axes[0]) if len(axes) == 1 else _over(canvas, x, axes)
    if mask is None or layer.generation < 3:
        return made
    return chosen(canvas, mask, made, number(canvas, 0.0, made))


def masked(canvas: Canvas, x: Ordered, mask: Ordered, generation: int) -> Ordered:
    """Scores that a softmax gives nothing where the mask is false: Keras 3 replaces them, Keras 2 lowers them by 1e9."""
    if generation >= 3:
        return chosen(canvas, mask, x, number(canvas, -3e38, x))
    gap = applied(canvas, "Sub", cast(canvas, mask, x.dtype), number(canvas, 1, x))
    return applied(canvas, "Add", x, applied(canvas, "Mul", gap, number(canvas, 1e9, x)))


def _over(canvas: Canvas, x: Ordered, axes: Sequence[int]) -> Ordered:
    high = reduced(canvas, x, "ReduceMax", axes, keepdims=True)
    powers = applied(canvas, "Exp", applied(canvas, "Sub", x, high))
    return applied(canvas, "Div", powers, reduced(canvas, powers, "ReduceSum", axes, keepdims=True))
