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
    call: keyword arguments of this call (mask, initial_state ...), `training` and a function's `name: None` left out;
    tensors in it are already Ordered or arrays, at any depth. `inputs` beside it are the tensors among the arguments by
    place, flat and in order. Where those are more than tensors or one list of them (numbers, slices, Ellipsis, None,
    lists within), 'args' holds them all as called: tensors put in, slices as `slice`. 'mask': what the caller says, else
    Keras's own mask of the input; of several inputs, a list with None where one has none; '<name>_mask' is that of a
    tensor given by name.
    """

    name: str
    kind: str
    config: dict[str, Any]
    weights: tuple[Array, ...] = ()
    generation: int = 3
    path: str = ""
    call: dict[str, Any] = field(default_factory=dict)
