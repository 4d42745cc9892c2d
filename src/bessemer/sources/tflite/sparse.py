"""Sparse tensors as dense arrays: TACO-style level formats with block maps, as TFLite stores them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.types import Array

if TYPE_CHECKING:
    from bessemer.wire.tflite.records import DimensionMetadata, Options, SparsityParameters, Tensor

SPARSE_CSR = 1


def densify(record: Tensor, stored: Array) -> Array:
    """Scatter `stored` to the tensor's shape.

    Levels are walked in traversal order; a level is dense (every index) or CSR (indices listed per segment). Levels
    past the rank are the inner axes of blocks (Chou et al. 2018, format abstraction for sparse tensor algebra).
    """
    sparsity = record.sparsity
    if sparsity is None:
        return stored.reshape(record.shape)
    rank, order = len(record.shape), sparsity.traversal_order
    block = sparsity.block_map or ()
    sizes = [_dense_size(sparsity, level, record, block) for level in range(len(order))]
    flat = np.zeros(int(np.prod(record.shape, dtype=np.int64)), stored.dtype)
    places = _places(sparsity, sizes)
    scales = {axis: sizes[order.index(rank + number)] for number, axis in enumerate(block)}
    coordinates = np.zeros((rank, places.shape[0]), np.int64)
    for level, axis in enumerate(order):
        if axis < rank:
            coordinates[axis] += places[:, level] * scales.get(axis, 1)
        else:
            coordinates[block[axis - rank]] += places[:, level]
    flat[np.ravel_multi_index(tuple(coordinates), record.shape)] = stored[: places.shape[0]]
    return flat.reshape(record.shape)


def _dense_size(sparsity: SparsityParameters, level: int, record: Tensor, block: tuple[int, ...]) -> int:
    metadata = sparsity.dim_metadata[level]
    if metadata.format != SPARSE_CSR:
        return metadata.dense_size
    axis = sparsity.traversal_order[level]
    return record.shape[axis] if axis < len(record.shape) else record.shape[block[axis - len(record.shape)]]


def _places(sparsity: SparsityParameters, sizes: list[int]) -> Array:
    """Indices of every stored element, one column per level, in storage order."""
    rows = np.zeros((1, 0), np.int64)
    positions = np.zeros(1, np.int64)
    for metadata, size in zip(sparsity.dim_metadata, sizes, strict=True):
        if metadata.format == SPARSE_CSR:
            rows, positions = _expand_csr(metadata, rows, positions)
        else:
            count = len(positions)
            inner = np.tile(np.arange(size), count)
            rows = np.column_stack([np.repeat(rows, size, axis=0), inner])
            positions = np.repeat(positions * size, size) + inner
    return rows


def _expand_csr(metadata: DimensionMetadata, rows: Array, positions: Array) -> tuple[Array, Array]:
    segments, indices = _numbers(metadata.array_segments), _numbers(metadata.array_indices)
    starts, ends = segments[positions], segments[positions + 1]
    counts = ends - starts
    picks = np.concatenate(
        [np.arange(a, b) for a, b in zip(starts, ends, strict=True)] or [np.zeros(0, np.int64)]
    )
    return np.column_stack([np.repeat(rows, counts, axis=0), indices[picks]]), picks


def _numbers(vector: Options | None) -> Array:
    return np.array(list(_values(vector)), np.int64)


def _values(vector: Options | None) -> Iterator[int]:
    if vector is not None:
        yield from vector["values"]
