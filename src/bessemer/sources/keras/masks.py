"""Keras's masks: which layers make one, which hand theirs on, and which let it fall."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from bessemer.runners.keras.layer import Layer
from bessemer.sources.drawing import Unsupported

Tensor = TypeVar("Tensor")

PASSING = frozenset({
    "Activation", "ActivityRegularization", "AlphaDropout", "BatchNormalization", "Dense", "Dropout", "ELU",
    "GaussianDropout", "GaussianNoise", "GroupNormalization", "Identity", "Lambda", "LayerNormalization", "LeakyReLU",
    "Masking", "MultiHeadAttention", "PReLU", "RMSNormalization", "ReLU", "Softmax", "SpatialDropout1D",
    "SpectralNormalization", "SyncBatchNormalization", "ThresholdedReLU", "TimeDistributed", "UnitNormalization",
    "Attention", "AdditiveAttention", "GroupQueryAttention", "GroupedQueryAttention",
})  # fmt: skip
FALLING = frozenset({"Lambda", "RMSNormalization", "SpectralNormalization"})
"""Those of them that Keras 3 lets a mask fall at."""
RECURRENT = frozenset({
    "RNN", "LSTM", "GRU", "SimpleRNN", "Bidirectional", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "CuDNNLSTM", "CuDNNGRU",
})  # fmt: skip
MERGES = frozenset({"Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"})


def makes_mask(layer: Layer) -> bool:
    """Whether a layer marks steps itself: an embedding whose token 0 is padding, or Masking."""
    return layer.kind == "Masking" or (layer.kind == "Embedding" and bool(layer.config.get("mask_zero")))


Join = Callable[[str, Tensor, Tensor], Tensor]
"""('And' or 'Or', mask, mask) -> mask."""


def outgoing(
    layer: Layer, masks: Sequence[Tensor | None], count: int, join: Join[Tensor], rank: int = 0
) -> list[Tensor | None]:
    """Masks of the `count` outputs from those of the inputs. rank: of the first input.

    Raises Unsupported for tensors with masks laid one behind the other in time.
    """
    nothing: list[Tensor | None] = [None] * count
    held = [mask for mask in masks if mask is not None]
    if not held:
        return nothing
    if layer.kind in RECURRENT:
        return [masks[0] if _sequences(layer) else None, *nothing[1:]]
    if layer.kind == "Concatenate" and layer.config.get("axis", -1) not in (-1, rank - 1):
        raise Unsupported("mask", "it lays tensors that have masks one behind the other along another axis than the last")
    if layer.kind in MERGES:
        return [_merged(layer, masks, held, join), *nothing[1:]]
    falls = layer.generation >= 3 and layer.kind in FALLING
    return [masks[0], *nothing[1:]] if layer.kind in PASSING and not falls else nothing


def _merged(
    layer: Layer, masks: Sequence[Tensor | None], held: Sequence[Tensor], join: Join[Tensor]
) -> Tensor | None:
    """Keras 2: steps that every mask lets count. Keras 3: steps that one of them does; an input without a mask has all."""
    if layer.generation >= 3 and len(held) < len(masks):
        return None
    found = held[0]
    for mask in held[1:]:
        found = found if mask is found else join("Or" if layer.generation >= 3 else "And", found, mask)
    return found


def _sequences(layer: Layer) -> bool:
    inner = layer.config.get("layer")
    config = inner["config"] if isinstance(inner, dict) else layer.config
    return bool(config.get("return_sequences"))
