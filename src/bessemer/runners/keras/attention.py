"""Attention in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.runners.keras.activation import masked_softmax, sigmoid, softmax
from bessemer.runners.keras.registry import evaluates

if TYPE_CHECKING:
    from bessemer.ir.types import Array
    from bessemer.runners.keras.layer import Layer


@evaluates("MultiHeadAttention", "GroupedQueryAttention", "GroupQueryAttention")
def multi_head(layer: Layer, inputs: Sequence[Array]) -> list[Array]:
    """einsum by einsum, as Keras writes it."""
    given = dict(zip(("query", "value", "key"), inputs, strict=False))
    given |= {name: layer.call[name] for name in ("query", "value", "key") if layer.call.get(name) is not None}
    query, value = given["query"], given["value"]
    key, weights = given.get("key", value), list(layer.weights)

    if query.ndim > 3:
        return _wide(layer, query, key, value)

    def projected(x: Array, equation: str = "btd,dhe->bthe") -> Array:
        made = np.einsum(equation, x, weights.pop(0))
        made = made + weights.pop(0) if layer.config.get("use_bias", True) else made
        held: Array = made
        return held

    q, k = projected(query), projected(key)
    gate = sigmoid(projected(query)) if layer.config.get("use_gate") else 1
    v = projected(value)
    k, v = (np.repeat(item, q.shape[2] // item.shape[2], axis=2) for item in (k, v))
    scores = np.einsum("bthe,bshe->bhts", q / np.sqrt(q.shape[-1]), k)
    mask = whole_mask(layer, q.shape[1], k.shape[1], "key" in given)
    mask = mask[:, None] if mask is not None and mask.ndim == 3 else mask
    shown = bool(layer.call.get("return_attention_scores"))
    explicit = shown or float(layer.config.get("dropout") or 0) > 0
    spread = masked_softmax(scores, mask, -1, layer.generation, explicit=explicit).astype(np.float32)
    mixed = np.einsum("bhts,bshe->bthe", spread, v) * gate
    made = projected(mixed.astype(np.float32), "bthe,he...->bt...")
    return [made, spread] if shown else [made]


def _wide(layer: Layer, query: Array, key: Array, value: Array) -> list[Array]:
    """Attention over several axes: one softmax over all of them, by Keras's own equations."""
    weights, bias = list(layer.weights), bool(layer.config.get("use_bias", True))

    def projected(x: Array, axes: int) -> Array:
        made = np.tensordot(x, weights.pop(0), axes)
        held: Array = made + weights.pop(0) if bias else made
        return held

    rank = query.ndim
    said = layer.config.get("attention_axes")
    axes = list(range(1, rank - 1)) if said is None else [said] if isinstance(said, int) else list(said)
    q, k, v = projected(query, 1), projected(key, 1), projected(value, 1)
    letters = "abcdefghij"[:rank]  # batch and others, then heads
    seen = "".join(letters[at].upper() if at in axes else letters[at] for at in range(rank))
    beside = [at for at in range(rank) if at not in axes]
    product = "".join(letters[at] for at in beside) + "".join(letters[at] for at in axes) + "".join(
        letters[at].upper() for at in axes)  # fmt: skip
    scores = np.einsum(f"{letters}z,{seen}z->{product}", q / np.sqrt(q.shape[-1]), k)
    spread = softmax(scores, list(range(-len(axes), 0))).astype(np.float32)
    mixed = np.einsum(f"{product},{seen}z->{letters}z", spread, v).astype(np.float32)
    made = projected(mixed, 2)
    return [made, spread] if layer.call.get("return_attention_scores") else [made]


def whole_mask(layer: Layer, rows: int, columns: int, keyed: bool) -> Array | None:
    """Where every mask there is allows it."""
    call, held = layer.call, layer.call.get("mask")
    listed = list(held) if isinstance(held, list | tuple) else [held]
    named: dict[str, Any] = dict(zip(("query_mask", "value_mask", "key_mask"), listed, strict=False))
    named |= {name: call[name] for name in ("value_mask", "key_mask") if call.get(name) is not None}
    parts = []
    if named.get("query_mask") is not None:
        parts.append(named["query_mask"][:, :, None])
    if named.get("value_mask") is not None:
        parts.append(named["value_mask"][:, None])
    if keyed and named.get("key_mask") is not None:
        parts.append(named["key_mask"][:, None])
    if call.get("use_causal_mask"):
        parts.append(np.tri(rows, columns, dtype=bool)[None])
    width = layer.config.get("sliding_window")
    if width is not None:
        parts.append(np.abs(np.arange(rows)[:, None] - np.arange(columns)[None])[None] < width)
    if call.get("attention_mask") is not None:
        held = np.asarray(call["attention_mask"], bool)
        parts = [held, *(part[:, None] if held.ndim == 4 else part for part in parts)]
    return reduce(np.logical_and, [np.asarray(part, bool) for part in parts]) if parts else None


@evaluates("Attention", "AdditiveAttention")
def attention(layer: Layer, inputs: Sequence[Array]) -> list[Array]:
    """Products, or sums of tanh."""
    query, value = inputs[0], inputs[1]
    key, weights, config = inputs[2] if len(inputs) > 2 else value, list(layer.weights), layer.config
    additive = layer.kind == "AdditiveAttention"
    scale = weights.pop(0) if config.get("use_scale", additive) else np.float32(1)
    pairs = query[:, :, None] + key[:, None]
    if additive:
        scores = (scale * np.tanh(pairs)).sum(axis=-1)
    elif config.get("score_mode", "dot") == "concat":
        scores = weights.pop(0) * np.tanh(scale * pairs).sum(axis=-1)
    else:
        scores = query @ key.swapaxes(1, 2) * scale
    held = layer.call.get("mask")
    masks = list(held) if isinstance(held, list | tuple) else [held, None]
    allowed = np.ones((1, 1, key.shape[1]), bool) if masks[1] is None else masks[1].astype(bool)[:, None]
    if layer.call.get("use_causal_mask") or config.get("causal"):
        allowed = allowed & np.tri(query.shape[1], key.shape[1], dtype=bool)
    spread = softmax(np.where(allowed, scores, scores - np.float32(1e9))).astype(np.float32)
    made = spread @ value
    if masks[0] is not None:
        made = np.where(masks[0][..., None], made, 0)
    return [made, spread] if layer.call.get("return_attention_scores") else [made]
