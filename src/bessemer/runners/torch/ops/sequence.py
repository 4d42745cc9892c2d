"""Sequences are lists, optionals are None or what they hold."""

from __future__ import annotations

from typing import Any

import torch

from bessemer.runners.torch.registry import Call, Tensor, op


@op("SequenceConstruct")
def construct(call: Call, *items: Tensor) -> Tensor:
    return list(items)


@op("SequenceEmpty")
def empty(call: Call) -> Tensor:
    return []


@op("SequenceAt")
def at(call: Call, items: Any, place: Tensor) -> Tensor:
    return items[int(place)]


@op("SequenceInsert")
def insert(call: Call, items: Any, item: Tensor, place: Tensor = None) -> Tensor:
    index = len(items) if place is None else int(place)
    index = index + len(items) if index < 0 else index
    return [*items[:index], item, *items[index:]]


@op("SequenceErase")
def erase(call: Call, items: Any, place: Tensor = None) -> Tensor:
    index = (len(items) - 1 if place is None else int(place)) % len(items)
    return [*items[:index], *items[index + 1 :]]


@op("SequenceLength")
def length(call: Call, items: Any) -> Tensor:
    return torch.tensor(len(items), dtype=torch.int64)


@op("ConcatFromSequence")
def concat_from_sequence(call: Call, items: Any) -> Tensor:
    axis = call.integer("axis")
    return torch.stack(items, axis) if call.integer("new_axis") else torch.cat(items, axis)


@op("SplitToSequence")
def split_to_sequence(call: Call, x: Tensor, sizes: Tensor = None) -> Tensor:
    axis = call.integer("axis")
    if sizes is None:
        parts = list(x.split(1, axis))
        return parts if call.integer("keepdims", 1) else [part.squeeze(axis) for part in parts]
    return list(x.split(int(sizes) if sizes.ndim == 0 else sizes.tolist(), axis))


@op("Optional")
def optional(call: Call, item: Tensor = None) -> Tensor:
    return item


@op("OptionalHasElement")
def has_element(call: Call, item: Tensor = None) -> Tensor:
    return torch.tensor(item is not None)


@op("OptionalGetElement")
def get_element(call: Call, item: Tensor) -> Tensor:
    return item
