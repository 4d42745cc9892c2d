"""Gathering, scattering, one-hot rows, uniqueness, segments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bessemer.ir.types import Array
from bessemer.runners.tensorflow.registry import evaluates
from bessemer.wire.savedmodel.node import Node


@evaluates("Gather", "GatherV2", "ResourceGather")
def gather(node: Node, inputs: Sequence[Array]) -> Array:
    """Slices along one axis by index; the first axes may be shared."""
    x, places = inputs[:2]
    axis = int(inputs[2]) % x.ndim if len(inputs) > 2 else int(node.attrs.get("batch_dims") or 0)
    shared = int(node.attrs.get("batch_dims") or 0) % (places.ndim + 1)
    if not shared:
        return np.take(x, places, axis=axis)
    rows = [
        np.take(x[place], places[place], axis=axis - shared) for place in np.ndindex(*x.shape[:shared])
    ]
    return np.stack(rows).reshape(x.shape[:shared] + rows[0].shape)


@evaluates("GatherNd", "ResourceGatherNd")
def gather_nd(node: Node, inputs: Sequence[Array]) -> Array:
    """Slices by index tuples."""
    x, places = inputs
    return np.asarray(x[tuple(np.moveaxis(places, -1, 0))]) if places.shape[-1] else np.broadcast_to(
        x, (*places.shape[:-1], *x.shape)
    ).copy()


@evaluates("ScatterNd")
def scatter_nd(node: Node, inputs: Sequence[Array]) -> Array:
    """Sums updates into zeros."""
    places, updates, shape = inputs
    made = np.zeros([int(dim) for dim in shape], updates.dtype)
    np.add.at(made, tuple(np.moveaxis(places, -1, 0)), updates)
    return made


JOINS: dict[str, Any] = {
    "TensorScatterAdd": np.add, "TensorScatterSub": np.subtract, "TensorScatterMax": np.maximum,
    "TensorScatterMin": np.minimum,
}  # fmt: skip


@evaluates("TensorScatterUpdate", *JOINS)
def tensor_scatter(node: Node, inputs: Sequence[Array]) -> Array:
    """Updates put at, or joined with, elements."""
    x, places, updates = inputs
    made, where = x.copy(), tuple(np.moveaxis(places, -1, 0))
    if node.op == "TensorScatterUpdate":
        made[where] = updates
    else:
        JOINS[node.op].at(made, where, updates)
    return made


@evaluates("OneHot")
def one_hot(node: Node, inputs: Sequence[Array]) -> Array:
    """An index outside the depth gives a row of `off`."""
    places, depth, on, off = inputs
    axis = int(node.attrs.get("axis", -1)) % (places.ndim + 1)
    hit = np.expand_dims(places, axis) == np.arange(int(depth)).reshape(
        [-1 if place == axis else 1 for place in range(places.ndim + 1)]
    )
    return np.asarray(np.where(hit, on, off)).astype(on.dtype)


@evaluates("Where")
def where(node: Node, inputs: Sequence[Array]) -> Array:
    """Coordinates of elements that are not zero."""
    return np.argwhere(inputs[0]).astype(np.int64)


@evaluates("Unique", "UniqueV2", "UniqueWithCounts", "UniqueWithCountsV2")
def unique(node: Node, inputs: Sequence[Array]) -> Sequence[Array]:
    """Values in order of appearance, where each element went, how often each is there."""
    kind = node.attrs.get("out_idx", np.int32)
    _, first, inverse, counts = np.unique(inputs[0], return_index=True, return_inverse=True, return_counts=True)
    order = np.argsort(first)
    rank = np.argsort(order)
    results = [inputs[0][first[order]], rank[inverse.reshape(-1)].astype(kind), counts[order].astype(kind)]
    return results if "Counts" in node.op else results[:2]


SEGMENTS: dict[str, Any] = {"Sum": np.add, "Prod": np.multiply, "Max": np.maximum, "Min": np.minimum}


@evaluates(
    "UnsortedSegmentSum", "UnsortedSegmentProd", "UnsortedSegmentMax", "UnsortedSegmentMin", "SegmentSum", "SegmentProd"
)
def segment(node: Node, inputs: Sequence[Array]) -> Array:
    """Rows joined by what names their segment; what names none is left out."""
    x, ids = inputs[:2]
    count = int(inputs[2]) if len(inputs) > 2 else int(ids.reshape(-1)[-1]) + 1
    kind = node.op[-4:] if node.op.endswith("Prod") else node.op[-3:]
    start: Any = {"Sum": 0, "Prod": 1}.get(kind)
    if start is None:
        limits: Any = np.finfo(x.dtype) if x.dtype.kind == "f" else np.iinfo(x.dtype)
        start = limits.min if kind == "Max" else limits.max
    made = np.full((count, *x.shape[ids.ndim :]), start, x.dtype)
    kept = ids >= 0
    SEGMENTS[kind].at(made, ids[kept], x[kept])
    return made


@evaluates("DynamicStitch", "ParallelDynamicStitch")
def stitch(node: Node, inputs: Sequence[Array]) -> Array:
    """Rows put at places; the last one to name a place wins."""
    half = len(inputs) // 2
    places, rows = inputs[:half], inputs[half:]
    count = max(int(held.max(initial=-1)) for held in places) + 1
    made = np.zeros((count, *rows[0].shape[places[0].ndim :]), rows[0].dtype)
    for held, part in zip(places, rows, strict=True):
        made[held.reshape(-1)] = part.reshape(-1, *made.shape[1:])
    return made


@evaluates("DenseBincount")
def bincount(node: Node, inputs: Sequence[Array]) -> Array:
    """How often each number below `size` is there, per row."""
    x, size, weights = inputs
    count, binary = int(size), bool(node.attrs.get("binary_output"))
    rows = x.reshape(-1, x.shape[-1])
    shares = weights.reshape(rows.shape) if weights.size and not binary else np.ones(rows.shape, weights.dtype)
    made = np.zeros((len(rows), count), weights.dtype)
    for row, part, share in zip(made, rows, shares, strict=True):
        kept = (part >= 0) & (part < count)
        np.add.at(row, part[kept], share[kept])
    made = (made > 0).astype(weights.dtype) if binary else made
    return made.reshape(*x.shape[:-1], count)


@evaluates("LowerBound", "UpperBound")
def bound_of(node: Node, inputs: Sequence[Array]) -> Array:
    """Where each value belongs in its sorted row."""
    side: Any = "left" if node.op == "LowerBound" else "right"
    found = [np.searchsorted(row, wanted, side) for row, wanted in zip(*inputs, strict=True)]
    return np.array(found).astype(node.attrs.get("out_type", np.int32)).reshape(inputs[1].shape)


@evaluates("SegmentMax", "SegmentMin", "SegmentMean")
def sorted_segment(node: Node, inputs: Sequence[Array]) -> Array:
    """Rows of each segment reduced; zero where there are none."""
    x, ids = inputs
    function: Any = {"Max": np.max, "Min": np.min, "Mean": np.mean}[node.op[7:]]
    made = np.zeros((int(ids[-1]) + 1 if ids.size else 0, *x.shape[1:]), x.dtype)
    for number in np.unique(ids):
        made[number] = function(x[ids == number], axis=0)
    return made


@evaluates("DynamicPartition")
def partition(node: Node, inputs: Sequence[Array]) -> Sequence[Array]:
    """The rows that name each part."""
    return [inputs[0][inputs[1] == number] for number in range(int(node.attrs["num_partitions"]))]
