"""Moves: elements change places, none changes its value."""

from __future__ import annotations

import math
from typing import Any

import torch

from bessemer.runners.torch.registry import Call, Tensor, Unsupported, op


@op("Reshape")
def reshape(call: Call, x: Tensor, shape: Tensor) -> Tensor:
    sizes = shape.tolist()
    if not call.integer("allowzero"):
        sizes = [x.shape[at] if size == 0 else size for at, size in enumerate(sizes)]
    if 0 in sizes and -1 in sizes:
        raise Unsupported("-1 beside a size of 0")
    return x.reshape(sizes)


@op("Flatten")
def flatten(call: Call, x: Tensor) -> Tensor:
    axis = call.integer("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@op("Transpose")
def transpose(call: Call, x: Tensor) -> Tensor:
    return x.permute(call.ints("perm", list(range(x.ndim))[::-1]))


@op("Squeeze")
def squeeze(call: Call, x: Tensor, axes: Tensor = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(axes.tolist())


@op("Unsqueeze")
def unsqueeze(call: Call, x: Tensor, axes: Tensor) -> Tensor:
    places = axes.reshape(-1).tolist()
    rank = x.ndim + len(places)
    for place in sorted(place % rank for place in places):
        x = x.unsqueeze(place)
    return x


@op("Shape")
def shape(call: Call, x: Tensor) -> Tensor:
    first, last = call.integer("start"), call.integer("end", x.ndim)
    return torch.tensor(list(x.shape)[first:last], dtype=torch.int64)


@op("Size")
def size(call: Call, x: Tensor) -> Tensor:
    return torch.tensor(x.numel(), dtype=torch.int64)


@op("Concat")
def concat(call: Call, *items: Tensor) -> Tensor:
    return torch.cat(items, call.integer("axis"))


@op("Split")
def split(call: Call, x: Tensor, sizes: Tensor = None) -> Any:
    axis = call.integer("axis")
    if sizes is not None:
        return tuple(x.split(sizes.tolist(), axis))
    count = call.integer("num_outputs", len(call.node.outputs))
    each = -(-x.shape[axis] // count)
    parts = [each] * (count - 1)
    return tuple(x.split([*parts, x.shape[axis] - sum(parts)], axis))


@op("Slice")
def slice_(
    call: Call, x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor = None, steps: Tensor = None
) -> Tensor:
    begin, end = starts.tolist(), ends.tolist()
    places = list(range(len(begin))) if axes is None else axes.tolist()
    strides = [1] * len(begin) if steps is None else steps.tolist()
    for at, low, high, step in zip(places, begin, end, strides, strict=True):
        spans = range(x.shape[at])[low:high:step]
        if step > 0:
            at = at % x.ndim
            x = x[(slice(None),) * at + (slice(spans.start, max(spans.stop, spans.start), step),)]
        else:
            x = x.index_select(at, torch.tensor(list(spans), dtype=torch.int64))
    return x


@op("Expand")
def expand(call: Call, x: Tensor, shape: Tensor) -> Tensor:
    return x.expand(torch.broadcast_shapes(x.shape, tuple(shape.tolist())))


@op("Tile")
def tile(call: Call, x: Tensor, repeats: Tensor) -> Tensor:
    return x.repeat(repeats.tolist())


@op("Pad")
def pad(call: Call, x: Tensor, pads: Tensor, value: Tensor = None, axes: Tensor = None) -> Tensor:
    """Negative pads cut. Every mode but a constant reads other elements: one index per axis."""
    mode, given = call.string("mode", "constant"), pads.tolist()
    places = list(range(x.ndim)) if axes is None else axes.tolist()
    for index, at in enumerate(places):
        before, after = given[index], given[index + len(places)]
        axis = at % x.ndim
        x = _constant_pad(x, axis, before, after, value) if mode == "constant" else _read_pad(x, axis, before, after, mode)
    return x


def _constant_pad(x: Tensor, axis: int, before: int, after: int, value: Tensor) -> Tensor:
    size = x.shape[axis]
    first = max(-before, 0)
    x = x.narrow(axis, first, size - first - max(-after, 0))
    filler = 0 if value is None else value.reshape(()).item()
    pieces = [
        torch.full([*x.shape[:axis], count, *x.shape[axis + 1 :]], filler, dtype=x.dtype)
        for count in (max(before, 0), max(after, 0))
    ]
    return torch.cat([pieces[0], x, pieces[1]], axis) if before > 0 or after > 0 else x


def _read_pad(x: Tensor, axis: int, before: int, after: int, mode: str) -> Tensor:
    size = x.shape[axis]
    wanted = torch.arange(-before, size + after)
    if mode == "edge":
        index = wanted.clamp(0, size - 1)
    elif mode == "wrap":
        index = wanted % size
    else:
        period = max(2 * (size - 1), 1)
        folded = wanted % period
        index = torch.where(folded >= size, period - folded, folded)
    return x.index_select(axis, index)


@op("DepthToSpace")
def depth_to_space(call: Call, x: Tensor) -> Tensor:
    block = call.integer("blocksize")
    n, c, h, w = x.shape
    if call.string("mode", "DCR") == "DCR":
        parts = x.reshape(n, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
    else:
        parts = x.reshape(n, c // block**2, block, block, h, w).permute(0, 1, 4, 2, 5, 3)
    return parts.reshape(n, c // block**2, h * block, w * block)


@op("SpaceToDepth")
def space_to_depth(call: Call, x: Tensor) -> Tensor:
    block = call.integer("blocksize")
    n, c, h, w = x.shape
    parts = x.reshape(n, c, h // block, block, w // block, block).permute(0, 3, 5, 1, 2, 4)
    return parts.reshape(n, c * block**2, h // block, w // block)


@op("ReverseSequence")
def reverse_sequence(call: Call, x: Tensor, lengths: Tensor) -> Tensor:
    time, batch = call.integer("time_axis", 0), call.integer("batch_axis", 1)
    moved = x.movedim((batch, time), (0, 1))
    steps = torch.arange(moved.shape[1])
    index = torch.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)
    found = torch.stack([row.index_select(0, places) for row, places in zip(moved, index, strict=True)])
    return found.movedim((0, 1), (batch, time))


@op("Col2Im")
def col2im(call: Call, x: Tensor, image: Tensor, block: Tensor) -> Tensor:
    sizes, kernel = image.tolist(), block.tolist()
    rank = len(sizes)
    strides, dilations = call.ints("strides", [1] * rank), call.ints("dilations", [1] * rank)
    pads = call.ints("pads", [0] * (2 * rank))
    if rank != 2 or pads is None or pads[:2] != pads[2:]:
        raise Unsupported("other than two axes with equal pads on both sides")
    return torch.nn.functional.fold(x, sizes, kernel, dilations, pads[:2], strides)
