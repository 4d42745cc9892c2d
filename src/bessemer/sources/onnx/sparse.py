"""Sparse constants made dense: the hub's graph holds dense tensors only (sizes were checked before)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bessemer.ir.errors import UnreadableInput
from bessemer.ir.types import Array
from bessemer.sources.onnx.structure import all_graphs


def densify(proto: Any, path: Path) -> int:
    """Turn sparse initializers and sparse Constants into dense ones, in place; returns how many."""
    count = 0
    for graph in all_graphs(proto.graph, path):
        for sparse in graph.sparse_initializer:
            graph.initializer.append(_dense(sparse, path))
            count += 1
        del graph.sparse_initializer[:]
        for attribute in (item for node in graph.node for item in node.attribute):
            if node_holds_sparse(attribute):
                dense = _dense(attribute.sparse_tensor, path)
                attribute.ClearField("sparse_tensor")
                attribute.name, attribute.type = "value", attribute.TENSOR
                attribute.t.CopyFrom(dense)
                count += 1
    return count


def node_holds_sparse(attribute: Any) -> bool:
    """Whether this is the `sparse_value` of a Constant."""
    return bool(attribute.name == "sparse_value" and attribute.HasField("sparse_tensor"))


def _dense(sparse: Any, path: Path) -> Any:
    from onnx import numpy_helper

    name, dims = sparse.values.name, tuple(sparse.dims)
    values, indices = (
        numpy_helper.to_array(item, str(path.parent)) for item in (sparse.values, sparse.indices)
    )
    result = np.zeros(dims, values.dtype)
    if not _inside(indices, values, dims):
        raise UnreadableInput(
            f"{path} is broken or hostile",
            where=f"sparse tensor '{name}'",
            why="its indices do not fit its dims",
        )
    where = np.ravel_multi_index(tuple(indices.T), dims) if indices.ndim == 2 else indices
    result.reshape(-1)[where] = values
    return numpy_helper.from_array(result, name)


def _inside(indices: Array, values: Array, dims: tuple[int, ...]) -> bool:
    """Indices are linear, shape (n,), or per axis, shape (n, rank)."""
    if values.ndim != 1 or indices.shape not in ((values.size,), (values.size, len(dims))):
        return False
    bound = np.array(dims) if indices.ndim == 2 else np.prod(dims, dtype=np.int64)
    return bool(np.all(indices >= 0) and np.all(indices < bound))
