"""Elements chosen or written by index."""

from __future__ import annotations

from typing import Any

import torch

from bessemer.runners.torch.registry import Call, Tensor, op


def _positive(index: Tensor, size: int) -> Tensor:
    return torch.where(index < 0, index + size, index).to(torch.int64)


@op("Gather")
def gather(call: Call, x: Tensor, index: Tensor) -> Tensor:
    axis = call.integer("axis") % x.ndim
    chosen = _positive(index, x.shape[axis])
    found = x.index_select(axis, chosen.reshape(-1))
    return found.reshape([*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]])


@op("GatherElements")
def gather_elements(call: Call, x: Tensor, index: Tensor) -> Tensor:
    axis = call.integer("axis") % x.ndim
    return torch.gather(x, axis, _positive(index, x.shape[axis]))


@op("GatherND")
def gather_nd(call: Call, x: Tensor, index: Tensor) -> Tensor:
    batch, depth = call.integer("batch_dims"), index.shape[-1]
    lead = torch.meshgrid(*[torch.arange(size) for size in x.shape[:batch]], indexing="ij") if batch else ()
    inner = index.ndim - 1 - batch
    places = [grid.reshape(*grid.shape, *[1] * inner) for grid in lead]
    places += [_positive(index[..., at], x.shape[batch + at]) for at in range(depth)]
    return x[tuple(places)]


REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


@op("ScatterElements")
def scatter_elements(call: Call, x: Tensor, index: Tensor, updates: Tensor) -> Tensor:
    axis, how = call.integer("axis") % x.ndim, call.string("reduction", "none")
    chosen = _positive(index, x.shape[axis])
    if how == "none":
        return torch.scatter(x, axis, chosen, updates)
    return torch.scatter_reduce(x, axis, chosen, updates, REDUCTIONS[how])


@op("ScatterND")
def scatter_nd(call: Call, x: Tensor, index: Tensor, updates: Tensor) -> Tensor:
    how, depth = call.string("reduction", "none"), index.shape[-1]
    flat = torch.zeros(index.shape[:-1], dtype=torch.int64)
    for at in range(depth):
        flat = flat * x.shape[at] + _positive(index[..., at], x.shape[at])
    rest = x.shape[depth:]
    count = 1
    for size in rest:
        count *= size
    table, rows = x.reshape(-1, count), updates.reshape(-1, count)
    places = flat.reshape(-1, 1).expand(-1, count)
    if how == "none":
        return torch.scatter(table, 0, places, rows).reshape(x.shape)
    return torch.scatter_reduce(table, 0, places, rows, REDUCTIONS[how]).reshape(x.shape)


@op("TensorScatter")
def tensor_scatter(call: Call, x: Tensor, updates: Tensor, start: Tensor = None) -> Tensor:
    """Rows of a cache from each batch entry's write index on, around its end in circular mode."""
    axis = call.integer("axis", -2) % x.ndim
    begin = torch.zeros(x.shape[0], dtype=torch.int64) if start is None else start
    rows = []
    for item, new, first in zip(x, updates, begin.tolist(), strict=True):
        index = torch.arange(first, first + new.shape[axis - 1])
        index = index % item.shape[axis - 1] if call.string("mode", "linear") == "circular" else index
        rows.append(item.index_copy(axis - 1, index, new))
    return torch.stack(rows)


@op("TopK")
def top_k(call: Call, x: Tensor, k: Tensor) -> Any:
    """Of equals the one with the lower index comes first."""
    axis, count = call.integer("axis", -1), int(k)
    order = torch.argsort(x, dim=axis, descending=call.integer("largest", 1) == 1, stable=True).narrow(axis, 0, count)
    return torch.gather(x, axis, order), order


@op("OneHot")
def one_hot(call: Call, index: Tensor, depth: Tensor, values: Tensor) -> Tensor:
    size, axis = int(depth), call.integer("axis", -1)
    axis = axis + index.ndim + 1 if axis < 0 else axis
    wide = index.to(torch.int64)
    chosen = torch.where(wide < 0, wide + size, wide).unsqueeze(axis)
    shape = [1] * (index.ndim + 1)
    shape[axis] = size
    return torch.where(chosen == torch.arange(size).reshape(shape), values[1], values[0])


@op("Compress")
def compress(call: Call, x: Tensor, condition: Tensor) -> Tensor:
    places = condition.nonzero().reshape(-1)
    if not call.has("axis"):
        return x.reshape(-1).index_select(0, places)
    return x.index_select(call.integer("axis"), places)


@op("NonZero")
def nonzero(call: Call, x: Tensor) -> Tensor:
    return x.nonzero().T.contiguous()


@op("Hardmax")
def hardmax(call: Call, x: Tensor) -> Tensor:
    axis = call.integer("axis", -1) % x.ndim
    first = (x == x.amax(axis, True)).to(torch.uint8).argmax(axis, True)
    return torch.zeros_like(x).scatter(axis, first, 1.0)


@op("Unique")
def unique(call: Call, x: Tensor) -> Any:
    """Outputs: values, first places, inverse, counts; sorted, or in order of first appearance."""
    axis = call.integer("axis") % x.ndim if call.has("axis") else None
    flat = x.reshape(-1) if axis is None else x
    along = 0 if axis is None else axis
    values, inverse, counts = torch.unique(flat, sorted=True, return_inverse=True, return_counts=True, dim=along)
    places = torch.arange(inverse.numel())
    first = torch.full((counts.numel(),), inverse.numel()).scatter_reduce(0, inverse, places, "amin")
    if call.integer("sorted", 1):
        return values, first, inverse, counts
    order = torch.argsort(first)
    rank = torch.argsort(order)
    return values.index_select(along, order), first[order], rank[inverse], counts[order]


@op("NonMaxSuppression")
def non_max_suppression(
    call: Call,
    boxes: Tensor,
    scores: Tensor,
    most: Tensor = None,
    overlap: Tensor = None,
    least: Tensor = None,
) -> Tensor:
    limit = 0 if most is None else int(most)
    threshold = 0.0 if overlap is None else float(overlap)
    found = [
        [batch, kind, box]
        for batch in range(scores.shape[0])
        for kind in range(scores.shape[1])
        for box in _suppressed(_corners(boxes[batch], call), scores[batch, kind], limit, threshold, least)
    ]
    return torch.tensor(found, dtype=torch.int64).reshape(-1, 3)


def _corners(boxes: Tensor, call: Call) -> Tensor:
    if call.integer("center_point_box"):
        x, y, w, h = boxes.unbind(-1)
        return torch.stack([y - h / 2, x - w / 2, y + h / 2, x + w / 2], -1)
    a, b = boxes[:, :2], boxes[:, 2:]
    return torch.cat([torch.minimum(a, b), torch.maximum(a, b)], -1)


def _suppressed(boxes: Tensor, scores: Tensor, limit: int, threshold: float, least: Tensor) -> list[int]:
    area = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    kept: list[int] = []
    for place in torch.argsort(scores, descending=True, stable=True).tolist():
        if len(kept) >= limit or (least is not None and float(scores[place]) <= float(least)):
            break
        others = boxes[kept]
        span = torch.minimum(others[:, 2:], boxes[place, 2:]) - torch.maximum(others[:, :2], boxes[place, :2])
        common = span.clamp(min=0).prod(-1)
        if not bool((common / (area[kept] + area[place] - common) > threshold).any()):
            kept.append(place)
    return kept
