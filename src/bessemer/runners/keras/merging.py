"""Merges in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.runners.keras.normalization import unit
from bessemer.runners.keras.registry import evaluates

if TYPE_CHECKING:
    from bessemer.ir.types import Array
    from bessemer.runners.keras.layer import Layer

FUNCTIONS: dict[str, Any] = {
    "Add": np.add, "Multiply": np.multiply, "Maximum": np.maximum, "Minimum": np.minimum, "Subtract": np.subtract,
    "Average": np.add,
}  # fmt: skip
MODES = {"sum": "Add", "mul": "Multiply", "ave": "Average", "max": "Maximum", "min": "Minimum", "sub": "Subtract"}


@evaluates(*FUNCTIONS)
def merge(layer: Layer, inputs: Sequence[Array]) -> Array:
    """Element by element; Keras 3 leaves masked steps out of products and extremes."""
    masks = layer.call.get("mask")
    if layer.generation < 3 or not isinstance(masks, list) or layer.kind not in ("Multiply", "Maximum", "Minimum"):
        return merged(layer.kind, inputs)
    found = [None if mask is None else mask[..., None] for mask in masks]
    if layer.kind == "Multiply":
        made = merged("Multiply", [x if m is None else np.where(m, x, 1) for m, x in zip(found, inputs, strict=True)])
        counts = [mask for mask in found if mask is not None]
        return made if len(counts) < len(found) else np.where(np.any(counts, axis=0), made, 0)
    return _extreme(FUNCTIONS[layer.kind], inputs, found)


def _extreme(function: Any, inputs: Sequence[Array], masks: Sequence[Array | None]) -> Array:
    made, held = inputs[0], masks[0]
    for x, mask in zip(inputs[1:], masks[1:], strict=True):
        other = x if mask is None else np.where(mask, x, made)
        made = made if held is None else np.where(held, made, other)
        held = None if held is None or mask is None else held | mask
        made = function(made, other)
    return made


def merged(kind: str, inputs: Sequence[Array]) -> Array:
    """Tensors of lower rank get axes behind the batch."""
    rank = max(item.ndim for item in inputs)
    raised = [item.reshape(item.shape[:1] + (1,) * (rank - item.ndim) + item.shape[1:]) for item in inputs]
    made: Array = reduce(FUNCTIONS[kind], raised)
    return (made / len(inputs)).astype(made.dtype) if kind == "Average" else made


@evaluates("Concatenate")
def concatenate(layer: Layer, inputs: Sequence[Array]) -> Array:
    """Along one axis."""
    return np.concatenate(inputs, axis=int(layer.config.get("axis", -1)))


@evaluates("Dot")
def dot(layer: Layer, inputs: Sequence[Array]) -> Array:
    """Example by example."""
    return dotted(layer, inputs, layer.config["axes"], bool(layer.config.get("normalize")))


def dotted(layer: Layer, inputs: Sequence[Array], axes: Any, normalize: bool) -> Array:
    """tensordot of each example along the axes (counted with the batch)."""
    pair = [axes, axes] if isinstance(axes, int) else list(axes)
    places = [axis % item.ndim for axis, item in zip(pair, inputs, strict=True)]
    if normalize:
        floor = 1e-14 if layer.generation >= 3 else 1e-12
        inputs = [unit(item, (axis,), floor) for item, axis in zip(inputs, places, strict=True)]
    rows = [np.tensordot(a, b, (places[0] - 1, places[1] - 1)) for a, b in zip(*inputs, strict=True)]
    made = np.stack(rows)
    return made[:, None] if made.ndim == 1 else made


@evaluates("CustomScaleLayer", "Custom>CustomScaleLayer")
def scaled_sum(layer: Layer, inputs: Sequence[Array]) -> Array:
    """a + scale * b."""
    made: Array = inputs[0] + inputs[1] * np.float32(layer.config["scale"])
    return made


@evaluates("Merge")
def merge_by_mode(layer: Layer, inputs: Sequence[Array]) -> Array:
    """Keras 1."""
    mode, config = layer.config.get("mode", "sum"), layer.config
    if mode == "concat":
        return np.concatenate(inputs, axis=int(config.get("concat_axis", -1)))
    if mode in ("dot", "cos"):
        made = dotted(layer, inputs, config.get("dot_axes", -1), mode == "cos")
        return made[:, None] if mode == "cos" else made
    return merged(MODES[mode], inputs)
