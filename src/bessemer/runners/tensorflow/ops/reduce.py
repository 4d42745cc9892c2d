"""Reductions, arg-max, running sums and products, top-k."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bessemer.ir.types import Array
from bessemer.runners.tensorflow.registry import evaluates
from bessemer.wire.savedmodel.node import Node

PLAIN: dict[str, Any] = {"Max": np.max, "Min": np.min, "All": np.all, "Any": np.any}


def _axes(inputs: Sequence[Array]) -> tuple[int, ...]:
    rank = inputs[0].ndim
    return tuple(sorted({int(axis) % rank for axis in inputs[1].reshape(-1)})) if rank else ()


@evaluates(*PLAIN)
def chosen(node: Node, inputs: Sequence[Array]) -> Array:
    """One of the elements."""
    if node.op in ("Max", "Min") and 0 in inputs[0].shape:
        kind = inputs[0].dtype
        limits: Any = None if kind.kind == "f" else np.iinfo(kind)
        edge = (-np.inf if limits is None else limits.min) if node.op == "Max" else np.inf if limits is None else limits.max
        return np.asarray(PLAIN[node.op](
            inputs[0], axis=_axes(inputs), keepdims=bool(node.attrs.get("keep_dims")), initial=edge
        ))  # fmt: skip
    return np.asarray(PLAIN[node.op](inputs[0], axis=_axes(inputs), keepdims=bool(node.attrs.get("keep_dims"))))


@evaluates("Sum", "Mean", "Prod", "EuclideanNorm")
def summed(node: Node, inputs: Sequence[Array]) -> Array:
    """Reals add up in float64; integers wrap round and average towards zero."""
    x, axes, keep = inputs[0], _axes(inputs), bool(node.attrs.get("keep_dims"))
    if x.dtype.kind not in "fcV" and x.dtype.name != "bfloat16":
        return _whole(node.op, x, axes, keep)
    wide = x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)
    with np.errstate(all="ignore"):
        if node.op == "EuclideanNorm":
            made: Any = np.sqrt(np.sum(wide * wide, axis=axes, keepdims=keep))
        elif node.op == "Mean":
            count = np.prod([x.shape[axis] for axis in axes], dtype=np.int64)
            made = np.sum(wide, axis=axes, keepdims=keep) / count
        else:
            made = (np.prod if node.op == "Prod" else np.sum)(wide, axis=axes, keepdims=keep)
    return np.asarray(made).astype(x.dtype)


def _whole(name: str, x: Array, axes: tuple[int, ...], keep: bool) -> Array:
    if name == "Prod":
        return np.asarray(np.prod(x, axis=axes, keepdims=keep, dtype=x.dtype))
    total = np.sum(x, axis=axes, keepdims=keep, dtype=x.dtype)
    if name != "Mean":
        return np.asarray(total)
    count = np.asarray(np.prod([x.shape[axis] for axis in axes], dtype=np.int64), x.dtype)
    return np.asarray((total - np.fmod(total, count)) // count).astype(x.dtype)


@evaluates("ArgMax", "ArgMin")
def extreme_place(node: Node, inputs: Sequence[Array]) -> Array:
    """Index of the first extreme."""
    find = np.argmax if node.op == "ArgMax" else np.argmin
    return np.asarray(find(inputs[0], axis=int(inputs[1]))).astype(node.attrs.get("output_type", np.int64))


@evaluates("Cumsum", "Cumprod")
def running(node: Node, inputs: Sequence[Array]) -> Array:
    """Along one axis, with or without the element itself, from either end."""
    x, axis = inputs[0], int(inputs[1])
    moved = np.moveaxis(x, axis, 0)
    if node.attrs.get("reverse"):
        moved = moved[::-1]
    made = (np.cumsum if node.op == "Cumsum" else np.cumprod)(moved, axis=0, dtype=x.dtype)
    if node.attrs.get("exclusive"):
        start = np.full_like(made[:1], int(node.op == "Cumprod"))
        made = np.concatenate([start, made[:-1]])
    if node.attrs.get("reverse"):
        made = made[::-1]
    return np.moveaxis(made, 0, axis)


@evaluates("TopKV2", "TopK")
def top_k(node: Node, inputs: Sequence[Array]) -> Sequence[Array]:
    """Largest k of the last axis; of equals the first comes first."""
    x = inputs[0]
    count = int(inputs[1]) if len(inputs) > 1 else int(node.attrs["k"])
    last = x.shape[-1]
    turned = np.flip(x, -1)
    order = last - 1 - np.flip(np.argsort(turned, axis=-1, kind="stable"), -1)[..., :count]
    return [np.take_along_axis(x, order, axis=-1), order.astype(node.attrs.get("index_type", np.int32))]
