"""Attention layers, as products and softmaxes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from bessemer.ir.layout import inverse
from bessemer.ir.types import Array, Shape
from bessemer.runners.keras.layer import Layer
from bessemer.sources.channels_last.dims import bounded, product
from bessemer.sources.channels_last.elementwise import applied, cast, chosen, number
from bessemer.sources.channels_last.matmul import matmul, swapped
from bessemer.sources.channels_last.reduce import reduced
from bessemer.sources.channels_last.shaping import expand_dims, reshape
from bessemer.sources.drawing import Canvas, Ordered, Unsupported
from bessemer.sources.keras.activations import softmax
from bessemer.sources.keras.layers.activation import masked
from bessemer.sources.keras.layers.core import floats
from bessemer.sources.keras.registry import layer

HEADS = (0, 2, 1, 3)
"""(batch, time, heads, depth) to (batch, heads, time, depth)."""


@layer("MultiHeadAttention", "GroupedQueryAttention", "GroupQueryAttention")
def multi_head(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> list[Ordered]:
    """Query, value and perhaps key; projections (depth, heads, size) of each, and one (heads, size, depth) back."""
    query, value, key = (floats(canvas, tensor) for tensor in tensors(layer, inputs))
    weights, bias = list(layer.weights), bool(layer.config.get("use_bias", True))

    def taken() -> tuple[Array, Array | None]:
        return weights.pop(0), weights.pop(0) if bias else None

    q, k = projected(canvas, query, *taken()), projected(canvas, key, *taken())
    gate = applied(canvas, "Sigmoid", projected(canvas, query, *taken())) if layer.config.get("use_gate") else None
    v = projected(canvas, value, *taken())
    if query.rank != 3:
        return _wide(canvas, layer, (q, k, v), taken())
    mask = attention_mask(canvas, layer, query, value, len(inputs) > 2 or layer.call.get("key") is not None)
    scores = _scores(canvas, layer, q, k, mask)
    spread = matmul(canvas, scores, _repeated(canvas, canvas.renamed(v, HEADS), q))
    mixed = canvas.renamed(spread, HEADS)
    if gate is not None:
        mixed = applied(canvas, "Mul", mixed, gate)
    made = _joined(canvas, mixed, q.shape[:2], *taken())
    return [made, scores] if layer.call.get("return_attention_scores") else [made]


def tensors(layer: Layer, inputs: Sequence[Ordered]) -> tuple[Ordered, Ordered, Ordered]:
    """Query, value and key (the value, where there is none), given by position or by name."""
    given = dict(zip(("query", "value", "key"), inputs, strict=False))
    given |= {name: layer.call[name] for name in ("query", "value", "key") if layer.call.get(name) is not None}
    return given["query"], given["value"], given.get("key", given["value"])


def _wide(
    canvas: Canvas, layer: Layer, parts: tuple[Ordered, Ordered, Ordered], out: tuple[Array, Array | None]
) -> list[Ordered]:
    """Attention over some of several axes: the others go with the batch, those become one time."""
    if any(layer.call.get(name) is not None for name in ("mask", "attention_mask", "value_mask", "key_mask")):
        raise Unsupported("attention-axes", "a mask on attention over other axes than one")
    if layer.call.get("use_causal_mask") or layer.config.get("use_gate") or layer.config.get("sliding_window"):
        raise Unsupported("attention-axes", "a causal mask, a window or a gate on attention over other axes than one")
    rank = parts[0].rank
    axes = attended(layer, rank - 1)
    beside = [axis for axis in range(rank - 2) if axis not in axes]
    order = (*beside, rank - 2, *axes, rank - 1)
    q, k, v = (_flattened(canvas, canvas.renamed(part, order), len(beside) + 1) for part in parts)
    size = q.shape[-1]
    assert isinstance(size, int)
    scaled = applied(canvas, "Mul", q, number(canvas, 1 / math.sqrt(size), q))
    scores = softmax(canvas, matmul(canvas, scaled, swapped(canvas, k)))
    ordered = canvas.renamed(parts[0], order)
    sizes = ordered.shape[len(beside) + 1 : -1]
    spread = reshape(canvas, matmul(canvas, scores, v), (*scores.shape[: len(beside) + 1], *sizes, v.shape[-1]))
    mixed = canvas.renamed(spread, inverse(order))
    made = _joined(canvas, mixed, parts[0].shape[: rank - 2], *out)
    if not layer.call.get("return_attention_scores"):
        return [made]
    keys = canvas.renamed(parts[1], order).shape[len(beside) + 1 : -1]
    return [made, reshape(canvas, scores, (*scores.shape[: len(beside) + 1], *sizes, *keys))]


def attended(layer: Layer, rank: int) -> list[int]:
    """The axes of a tensor of `rank` that attention is over; all between batch and features unless said."""
    held = layer.config.get("attention_axes")
    axes = list(range(1, rank - 1)) if held is None else [held] if isinstance(held, int) else list(held)
    if any(not 0 < axis < rank - 1 for axis in axes):
        raise Unsupported("attention-axes", f"attention over the axes {axes} of {rank}")
    return axes


def _flattened(canvas: Canvas, part: Ordered, front: int) -> Ordered:
    """(*front, *time, size) as (*front, times, size)."""
    return reshape(canvas, part, (*part.shape[:front], product(part.shape[front:-1]), part.shape[-1]))


def projected(canvas: Canvas, x: Ordered, kernel: Array, bias: Array | None) -> Ordered:
    """(batch, time, depth) by (depth, heads, size): (batch, time, heads, size)."""
    depth, heads, size = kernel.shape
    rows = canvas.emit("MatMul", [canvas.at(x), canvas.literal(kernel.reshape(depth, -1), "kernel")])
    if bias is not None:
        rows = canvas.emit("Add", [rows, canvas.literal(bias.reshape(-1), "bias")])
    made = canvas.result(rows, (*x.shape[:-1], heads * size))
    return reshape(canvas, made, (*x.shape[:-1], heads, size))


def _joined(canvas: Canvas, mixed: Ordered, front: Shape, kernel: Array, bias: Array | None) -> Ordered:
    """(batch, time, heads, size) by (heads, size, *out). front: batch and time."""
    depth = kernel.shape[0] * kernel.shape[1]
    flat = reshape(canvas, mixed, (*front, depth))
    rows = canvas.emit("MatMul", [canvas.at(flat), canvas.literal(kernel.reshape(depth, -1), "kernel")])
    if bias is not None:
        rows = canvas.emit("Add", [rows, canvas.literal(bias.reshape(-1), "bias")])
    out = kernel.shape[2:]
    made = canvas.result(rows, (*front, int(np.prod(out))))
    return made if len(out) == 1 else reshape(canvas, made, (*front, *out))


def _repeated(canvas: Canvas, heads: Ordered, query: Ordered) -> Ordered:
    """Each of a few key or value heads once per query head that reads it. query: (batch, time, heads, size)."""
    have, want = heads.shape[1], query.shape[2]
    if have == want or not isinstance(have, int) or not isinstance(want, int):
        return heads
    places = np.repeat(np.arange(have), want // have)
    made = canvas.emit("Gather", [canvas.at(heads), canvas.literal(places, "heads")], axis=1)
    return canvas.result(made, (heads.shape[0], want, *heads.shape[2:]))


def _scores(canvas: Canvas, layer: Layer, q: Ordered, k: Ordered, mask: Ordered | None) -> Ordered:
    """Softmax over keys of the scaled products, (batch, heads, query, key)."""
    size = q.shape[3]
    assert isinstance(size, int)
    scaled = applied(canvas, "Mul", canvas.renamed(q, HEADS), number(canvas, 1 / math.sqrt(size), q))
    keys = _repeated(canvas, canvas.renamed(k, HEADS), q)
    scores = matmul(canvas, scaled, swapped(canvas, keys))
    if mask is None:
        return softmax(canvas, scores)
    mask = expand_dims(canvas, mask, [1]) if mask.rank == 3 else mask
    made = softmax(canvas, masked(canvas, scores, mask, layer.generation))
    explicit = float(layer.config.get("dropout") or 0) > 0 or layer.call.get("return_attention_scores")
    if layer.generation >= 3 and explicit:  # Keras 3's Softmax layer gives masked places nothing at all
        made = chosen(canvas, mask, made, number(canvas, 0, made))
    return made


def attention_mask(
    canvas: Canvas, layer: Layer, query: Ordered, value: Ordered, keyed: bool
) -> Ordered | None:
    """(batch, query, key) of booleans from every mask there is; None where there is none."""
    held = layer.call.get("mask")
    given = list(held) if isinstance(held, list | tuple) else [held]
    named = dict(zip(("query_mask", "value_mask", "key_mask"), given, strict=False))
    named |= {name: layer.call[name] for name in (*named, "value_mask", "key_mask") if layer.call.get(name) is not None}
    parts: list[Ordered] = []
    if named.get("query_mask") is not None:
        parts.append(expand_dims(canvas, _boolean(canvas, named["query_mask"]), [2]))
    if named.get("value_mask") is not None:
        parts.append(expand_dims(canvas, _boolean(canvas, named["value_mask"]), [1]))
    if named.get("key_mask") is not None and keyed:
        parts.append(expand_dims(canvas, _boolean(canvas, named["key_mask"]), [1]))
    if layer.call.get("use_causal_mask"):
        parts.append(causal(canvas, query, value))
    if layer.config.get("sliding_window") is not None:
        parts.append(_banded(canvas, query, value, int(layer.config["sliding_window"])))
    if layer.call.get("attention_mask") is not None:
        parts.insert(0, _boolean(canvas, layer.call["attention_mask"]))
    return _all(canvas, parts)


def _boolean(canvas: Canvas, held: Any) -> Ordered:
    import onnx_ir

    tensor = held if isinstance(held, Ordered) else canvas.constant(np.asarray(held), "mask")
    return cast(canvas, tensor, onnx_ir.DataType.BOOL)


def _all(canvas: Canvas, parts: list[Ordered]) -> Ordered | None:
    if not parts:
        return None
    made, *others = parts
    for part in others:
        rank = max(made.rank, part.rank)
        made, part = (expand_dims(canvas, item, [1]) if item.rank < rank else item for item in (made, part))
        made = applied(canvas, "And", made, part)
    return made


def _steps(canvas: Canvas, x: Ordered, axis: int) -> Ordered:
    """0, 1, ... along the time of x, as (steps, 1) or (1, steps)."""
    import onnx_ir

    size = x.shape[1]
    shape = (size, 1) if axis == 0 else (1, size)
    if isinstance(size, int):
        bounded(size)
        return canvas.constant(np.arange(size, dtype=np.int64).reshape(shape), "steps")  # type: ignore[arg-type]
    count = canvas.emit("Shape", [canvas.at(x)], start=1, end=2, dtype=onnx_ir.DataType.INT64)
    limit = canvas.emit("Squeeze", [count])
    made = canvas.emit("Range", [canvas.literal(np.int64(0)), limit, canvas.literal(np.int64(1))])
    return canvas.result(canvas.reshaped(made, [-1, 1] if axis == 0 else [1, -1]), shape)


def causal(canvas: Canvas, query: Ordered, value: Ordered) -> Ordered:
    """(1, query, key): no step sees a later one."""
    import onnx_ir

    rows, columns = _steps(canvas, query, 0), _steps(canvas, value, 1)
    if rows.known is not None and columns.known is not None:
        bounded(rows.known.size, columns.known.size)
        return canvas.constant((rows.known >= columns.known)[None], "causal")
    return expand_dims(canvas, applied(canvas, "GreaterOrEqual", rows, columns, dtype=onnx_ir.DataType.BOOL), [0])


def _banded(canvas: Canvas, query: Ordered, value: Ordered, width: int) -> Ordered:
    import onnx_ir

    rows, columns = _steps(canvas, query, 0), _steps(canvas, value, 1)
    if rows.known is not None and columns.known is not None:
        bounded(rows.known.size, columns.known.size)
        return canvas.constant((np.abs(rows.known - columns.known) < width)[None], "band")
    gap = applied(canvas, "Abs", applied(canvas, "Sub", rows, columns))
    near = applied(canvas, "Less", gap, canvas.constant(np.int64(width)), dtype=onnx_ir.DataType.BOOL)  # type: ignore[arg-type]
    return expand_dims(canvas, near, [0])


@layer("Attention", "AdditiveAttention")
def attention(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> list[Ordered]:
    """[query, value, key]: products of query and key, or sums of tanh(query + key)."""
    query, value = floats(canvas, inputs[0]), floats(canvas, inputs[1])
    key = floats(canvas, inputs[2]) if len(inputs) > 2 else value
    weights, config = list(layer.weights), layer.config
    additive = layer.kind == "AdditiveAttention"
    scale = weights.pop(0) if config.get("use_scale", additive) else None
    concat = weights.pop(0) if not additive and config.get("score_mode", "dot") == "concat" else None
    scores = _sums(canvas, query, key, scale, concat, additive) if additive or concat is not None else (
        _products(canvas, query, key, scale)
    )  # fmt: skip
    held = layer.call.get("mask")
    masks = list(held) if isinstance(held, list | tuple) else [held, None]
    hidden = _value_mask(canvas, layer, masks[1], query, value)
    if hidden is not None:
        lowered = applied(canvas, "Sub", scores, number(canvas, 1e9, scores))
        scores = chosen(canvas, hidden, scores, lowered)
    spread = softmax(canvas, scores)
    made = matmul(canvas, spread, value)
    if masks[0] is not None:
        made = chosen(canvas, expand_dims(canvas, masks[0], [2]), made, number(canvas, 0, made))
    return [made, spread] if layer.call.get("return_attention_scores") else [made]


def _value_mask(canvas: Canvas, layer: Layer, mask: Any, query: Ordered, value: Ordered) -> Ordered | None:
    parts = [] if mask is None else [expand_dims(canvas, _boolean(canvas, mask), [1])]
    if layer.call.get("use_causal_mask") or layer.config.get("causal"):
        parts.append(causal(canvas, query, value))
    return _all(canvas, parts)


def _products(canvas: Canvas, query: Ordered, key: Ordered, scale: Array | None) -> Ordered:
    scores = matmul(canvas, query, swapped(canvas, key))
    return scores if scale is None else applied(canvas, "Mul", scores, canvas.constant(scale, "scale"))


def _sums(
    canvas: Canvas, query: Ordered, key: Ordered, scale: Array | None, concat: Array | None, additive: bool
) -> Ordered:
    """Additive: sum(scale * tanh(q + k)); of the score mode 'concat': weight * sum(tanh(scale * (q + k)))."""
    pair = applied(canvas, "Add", expand_dims(canvas, query, [2]), expand_dims(canvas, key, [1]))
    inner = None if additive or scale is None else canvas.constant(scale, "scale")
    bent = applied(canvas, "Tanh", pair if inner is None else applied(canvas, "Mul", pair, inner))
    if additive and scale is not None:
        bent = applied(canvas, "Mul", bent, canvas.constant(scale, "scale"))
    total = reduced(canvas, bent, "ReduceSum", [-1])
    return total if concat is None else applied(canvas, "Mul", total, canvas.constant(concat, "weight"))
