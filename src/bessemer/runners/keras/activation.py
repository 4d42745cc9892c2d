"""Activation functions and layers in NumPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.runners.keras.registry import evaluates

if TYPE_CHECKING:
    from bessemer.ir.types import Array
    from bessemer.runners.keras.layer import Layer


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow."""
    low = np.exp(-np.abs(x))
    made: Array = np.where(x >= 0, 1 / (1 + low), low / (1 + low))
    return made


def softplus(x: Array) -> Array:
    """log(1 + exp(x))."""
    made: Array = np.logaddexp(x, 0)
    return made


def softmax(x: Array, axis: Any = -1) -> Array:
    """Over one axis or several."""
    axes = tuple(axis) if isinstance(axis, list | tuple) else axis
    powers = np.exp(x - x.max(axis=axes, keepdims=True))
    made: Array = powers / powers.sum(axis=axes, keepdims=True)
    return made


def erf(x: Array) -> Array:
    """The error function."""
    import math

    made: Array = np.vectorize(math.erf, otypes=[np.float64])(x)
    return made


def gelu(x: Array, approximate: bool = False) -> Array:
    """x times the normal distribution, or its tanh approximation."""
    if approximate:
        made: Array = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
        return made
    exact: Array = 0.5 * x * (1 + erf(x / np.sqrt(2)))
    return exact


def elu(x: Array, alpha: float = 1.0) -> Array:
    """alpha * (exp(x) - 1) below zero."""
    made: Array = np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))
    return made


def leaky_relu(x: Array, negative_slope: float = 0.2) -> Array:
    """slope * x below zero."""
    made: Array = np.where(x > 0, x, negative_slope * x)
    return made


def glu(x: Array, axis: int = -1) -> Array:
    """One half times the sigmoid of the other."""
    value, gate = np.split(x, 2, axis=axis)
    made: Array = value * sigmoid(gate)
    return made


def sparsemax(x: Array, axis: int = -1) -> Array:
    """What Keras computes: its threshold adds up all cumulative sums within the support, not only the last."""
    moved = np.moveaxis(x, axis, -1)
    ranked = -np.sort(-moved, axis=-1)
    sums, steps = np.cumsum(ranked, axis=-1), np.arange(1, moved.shape[-1] + 1)
    support = 1 + steps * ranked > sums
    level = (np.where(support, sums, 0).sum(axis=-1, keepdims=True) - 1) / support.sum(axis=-1, keepdims=True)
    made: Array = np.moveaxis(np.maximum(moved - level, 0), -1, axis)
    return made


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "elu": elu,
    "selu": lambda x: 1.0507009873554805 * elu(x, 1.6732632423543772),
    "celu": lambda x, alpha=1.0: np.maximum(x, 0) + np.minimum(alpha * np.expm1(np.minimum(x, 0) / alpha), 0),
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "softplus": softplus,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "softmax": softmax,
    "log_softmax": lambda x, axis=-1: np.log(softmax(x, axis)),
    "exponential": np.exp,
    "exp": np.exp,
    "silu": lambda x: x * sigmoid(x),
    "swish": lambda x: x * sigmoid(x),
    "hard_silu": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "hard_swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "gelu": gelu,
    "mish": lambda x: x * np.tanh(softplus(x)),
    "leaky_relu": leaky_relu,
    "log_sigmoid": lambda x: -softplus(-x),
    "tanh_shrink": lambda x: x - np.tanh(x),
    "soft_shrink": lambda x, threshold=0.5: np.sign(x) * np.maximum(np.abs(x) - threshold, 0),
    "hard_shrink": lambda x, threshold=0.5: np.where(np.abs(x) > threshold, x, 0),
    "hard_tanh": lambda x: np.clip(x, -1, 1),
    "squareplus": lambda x, b=4: 0.5 * (x + np.sqrt(x * x + b)),
    "sparse_plus": lambda x: np.where(x <= -1, 0, np.where(x < 1, 0.25 * (x + 1) ** 2, x)),
    "sparse_sigmoid": lambda x: np.clip(0.5 * (x + 1), 0, 1),
    "glu": glu,
    "sparsemax": sparsemax,
}
LAYERS = ("ReLU", "LeakyReLU", "ELU", "Softmax", "ThresholdedReLU", "Activation")


def activated(x: Array, spec: Any, generation: int) -> Array:
    """The activation a config names: a string, or an object with class_name and config. Raises KeyError."""
    name, options = spec, {}
    if isinstance(spec, Mapping):
        name, held = spec.get("class_name"), spec.get("config")
        if isinstance(held, str):
            name = held
        elif isinstance(held, Mapping):
            options = dict(held)
    if name in LAYERS:
        return _by_layer(str(name), options, x, generation)
    if name == "hard_sigmoid":
        made: Array = np.clip(x + 3, 0, 6) / 6 if generation >= 3 else np.clip(0.2 * x + 0.5, 0, 1)
        return _typed(made, x)
    options = {key: item for key, item in options.items() if key in ("axis", "alpha", "negative_slope", "approximate",
                                                                     "threshold", "b")}  # fmt: skip
    return _typed(FUNCTIONS[name or "linear"](x, **options), x)


def _typed(made: Any, x: Array) -> Array:
    held: Array = np.asarray(made).astype(x.dtype, copy=False)
    return held


def _by_layer(kind: str, config: dict[str, Any], x: Array, generation: int) -> Array:
    from types import SimpleNamespace

    from bessemer.runners.keras.registry import evaluators

    inner: Any = SimpleNamespace(kind=kind, config=config, weights=(), generation=generation, call={})
    made = evaluators()[kind](inner, [x])
    assert isinstance(made, np.ndarray)
    return made


def own_activation(layer: Layer, x: Array) -> Array:
    """The layer's own activation on what it made."""
    return activated(x, layer.config.get("activation"), layer.generation)


def _option(config: Mapping[str, Any], names: Sequence[str], default: Any) -> Any:
    for name in names:
        held = config.get(name)
        held = held.get("value") if isinstance(held, Mapping) else held
        if held is not None:
            return float(np.ravel(held)[0])
    return default


@evaluates("Activation")
def activation(layer: Layer, inputs: Sequence[Array]) -> Array:
    """By name."""
    return own_activation(layer, inputs[0])


@evaluates("ReLU")
def relu(layer: Layer, inputs: Sequence[Array]) -> Array:
    """Keras's piecewise line: slope * (x - threshold), x, max_value."""
    (x,) = inputs
    high = _option(layer.config, ["max_value"], np.inf)
    slope, threshold = (_option(layer.config, [name], 0.0) for name in ("negative_slope", "threshold"))
    above = x > threshold if threshold else x >= 0
    return _typed(np.where(above, np.minimum(x, high), slope * (x - threshold)), x)


@evaluates("LeakyReLU")
def leaky(layer: Layer, inputs: Sequence[Array]) -> Array:
    """Slope 0.3 unless said."""
    return _typed(leaky_relu(inputs[0], _option(layer.config, ["negative_slope", "alpha"], 0.3)), inputs[0])


@evaluates("ELU")
def elu_layer(layer: Layer, inputs: Sequence[Array]) -> Array:
    """With its alpha."""
    return _typed(elu(inputs[0], _option(layer.config, ["alpha"], 1.0)), inputs[0])


@evaluates("ThresholdedReLU")
def thresholded(layer: Layer, inputs: Sequence[Array]) -> Array:
    """x above theta."""
    return _typed(np.where(inputs[0] > _option(layer.config, ["theta"], 1.0), inputs[0], 0), inputs[0])


@evaluates("PReLU")
def prelu(layer: Layer, inputs: Sequence[Array]) -> Array:
    """A slope per element."""
    (x,) = inputs
    return _typed(np.where(x > 0, x, layer.weights[0] * x), x)


@evaluates("Softmax")
def softmax_layer(layer: Layer, inputs: Sequence[Array]) -> Array:
    """Masked places are left out."""
    x, axis = inputs[0], layer.config.get("axis", -1)
    mask = inputs[1] if len(inputs) > 1 else layer.call.get("mask")
    return _typed(masked_softmax(x, mask, axis, layer.generation, explicit=True), x)


def masked_softmax(x: Array, mask: Array | None, axis: Any, generation: int, *, explicit: bool) -> Array:
    """Keras 2 lowers masked scores by 1e9; Keras 3 replaces them, and its Softmax layer (explicit) zeroes the result."""
    if mask is None:
        return softmax(x, axis)
    if generation < 3:
        return softmax(x + (mask.astype(x.dtype) - 1) * np.asarray(1e9, x.dtype), axis)
    made = softmax(np.where(mask, x, -3e38), axis)
    return np.where(mask, made, 0) if explicit else made
