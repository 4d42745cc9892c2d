"""Dense layers, embeddings, wrappers, and layers that pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bessemer.runners.keras.activation import own_activation
from bessemer.runners.keras.names import TRAINING_ONLY
from bessemer.runners.keras.registry import evaluates, evaluators

if TYPE_CHECKING:
    from bessemer.ir.types import Array
    from bessemer.runners.keras.layer import Layer
    from bessemer.runners.keras.registry import Result


@evaluates("Dense", "TimeDistributedDense")
def dense(layer: Layer, inputs: Sequence[Array]) -> Array:
    """x @ kernel + bias."""
    made = inputs[0] @ layer.weights[0]
    return own_activation(layer, made + layer.weights[1] if layer.config.get("use_bias", True) else made)


@evaluates("EinsumDense")
def einsum_dense(layer: Layer, inputs: Sequence[Array]) -> Array:
    """numpy's einsum."""
    made = np.einsum(layer.config["equation"], inputs[0], layer.weights[0])
    return own_activation(layer, made + layer.weights[1] if layer.config.get("bias_axes") else made)


@evaluates("Embedding", "ReversibleEmbedding")
def embedding(layer: Layer, inputs: Sequence[Array]) -> Array:
    """Rows; reversed, logits."""
    table = layer.weights[0]
    if not layer.call.get("reverse"):
        rows: Array = table[inputs[0].astype(np.int64)]
        return rows
    logits = inputs[0] @ (table.T if layer.config.get("tie_weights", True) else layer.weights[1])
    cap = layer.config.get("logit_soft_cap")
    made: Array = logits if cap is None else np.tanh(logits / cap) * cap
    return made


@evaluates(*TRAINING_ONLY)
def passed(layer: Layer, inputs: Sequence[Array]) -> Sequence[Array]:
    """Nothing in inference."""
    return list(inputs)


@evaluates("LayerScale")
def layer_scale(layer: Layer, inputs: Sequence[Array]) -> Array:
    """One factor per channel."""
    return inputs[0] * layer.weights[0]


@evaluates("Masking")
def masking(layer: Layer, inputs: Sequence[Array]) -> Array:
    """Masked steps become zero."""
    (x,) = inputs
    kept = np.any(x != layer.config.get("mask_value", 0.0), axis=-1, keepdims=True)
    made: Array = x * kept.astype(x.dtype)
    return made


def single(made: Result) -> Array:
    """The one array of a result."""
    if isinstance(made, np.ndarray):
        return made
    (array,) = made
    return array


@evaluates("TimeDistributed")
def time_distributed(layer: Layer, inputs: Sequence[Array]) -> Array:
    """The inner layer on one step after the other."""
    held = layer.config["layer"]
    inner = replace(layer, kind=held["class_name"], config=held["config"], call={})
    run = evaluators()[inner.kind]
    steps = [single(run(inner, [inputs[0][:, at]])) for at in range(inputs[0].shape[1])]
    return np.stack(steps, axis=1)


@evaluates("SpectralNormalization")
def spectral_normalization(layer: Layer, inputs: Sequence[Array]) -> Result:
    """The inner layer; among the weights is a vector (1, n) beside them."""
    held, weights = layer.config["layer"], list(layer.weights)
    width = next(array.shape[-1] for array in weights if array.ndim >= 2)
    del weights[max(at for at, array in enumerate(weights) if array.shape == (1, width))]
    inner = replace(layer, kind=held["class_name"], config=held["config"], weights=tuple(weights))
    return evaluators()[inner.kind](inner, inputs)
