"""One call of one layer of a Keras model, as the file describes it: what readers and evaluators work from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bessemer.ir.types import Array


@dataclass(frozen=True)
class Layer:
    """A layer and one call of it.

    name: as the model calls it. kind: Keras's class name. config: the layer's config as in the file (Keras 1 names are
    already Keras 2's).
    weights: flat, in the order of Keras's own `layer.weights`: trainable before non-trainable per layer as legacy .h5
    `weight_names` lists them, nested sublayers flattened in order (Bidirectional: forward kernel, recurrent, bias,
    backward ...; MultiHeadAttention: query kernel, bias, key.., value.., output..).
    generation: Keras's major version, 1 to 3. path: names joined by '/', unique in the model.
    call: keyword arguments of this call (mask, initial_state ...); tensors in it are already Ordered or arrays.
    """

    name: str
    kind: str
    config: dict[str, Any]
    weights: tuple[Array, ...] = ()
    generation: int = 3
    path: str = ""
    call: dict[str, Any] = field(default_factory=dict)
