"""Integer tensors that are shapes, or parts of them: which elements are known while a graph is read.

A graph computes with shapes: `Reshape(x, Pack(Shape(x)[0], -1, 64))`. Where a dim is unbound the vector is computed while
the model runs, but most of its elements are known all the same. Such a tensor carries `Ordered.partial`: an array of
objects, each an int or an `Unbound` dim. It follows through operators that move elements or multiply them, in the
operators' own reference evaluators.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bessemer.ir.types import Array
from bessemer.sources.channels_last.dims import Dim
from bessemer.sources.drawing import Canvas, Ordered
from bessemer.sources.tensorflow.node import Node

MOST = 256
"""Larger tensors than that are no shapes."""

PASSING = frozenset({"Identity", "Snapshot", "StopGradient", "Cast", "EnsureShape", "IdentityN", "PlaceholderWithDefault"})
FOLLOWED = frozenset({
    "Add", "AddV2", "Concat", "ConcatV2", "ExpandDims", "Fill", "FloorDiv", "Gather", "GatherV2", "Mul", "Pack", "Prod",
    "Reshape", "ReverseV2", "Slice", "Split", "SplitV", "Squeeze", "StridedSlice", "Sub", "Tile", "Unpack",
})  # fmt: skip


@dataclass(frozen=True, eq=False)
class Unbound:
    """A dim known only when the model runs: named, or a number of its own. What leaves it alone keeps it."""

    name: str | None = None

    def __mul__(self, other: Any) -> Any:
        return self if other == 1 else 0 if other == 0 else Unbound()

    def __add__(self, other: Any) -> Any:
        return self if isinstance(other, int) and other == 0 else Unbound()

    def __sub__(self, other: Any) -> Any:
        return self if isinstance(other, int) and other == 0 else Unbound()

    def __rsub__(self, other: Any) -> Any:
        return Unbound()

    def __floordiv__(self, other: Any) -> Any:
        return self if isinstance(other, int) and other == 1 else Unbound()

    def __rfloordiv__(self, other: Any) -> Any:
        return Unbound()

    __rmul__, __radd__ = __mul__, __add__


def dims_of(tensor: Ordered) -> tuple[Dim, ...] | None:
    """The elements, flat: ints, names of unbound dims, or None for what is not known; None where nothing is known."""
    if tensor.known is not None:
        return tuple(int(item) for item in tensor.known.reshape(-1))
    if tensor.partial is None:
        return None
    return tuple(item.name if isinstance(item, Unbound) else int(item) for item in tensor.partial.reshape(-1))


def elements_of(tensor: Ordered) -> Array | None:
    """The elements as objects, in the tensor's shape; None where nothing is known, or it is no shape."""
    if tensor.known is None:
        return tensor.partial
    if tensor.known.dtype.kind not in "iu" or tensor.known.size > MOST:
        return None
    return tensor.known.astype(object)


def shape_elements(tensor: Ordered) -> Array:
    """The elements of the tensor's shape."""
    dims = [dim if isinstance(dim, int) else Unbound(dim) for dim in tensor.shape]
    held = np.empty(len(dims), object)
    held[:] = dims
    return held


def follow(canvas: Canvas, node: Node, inputs: Sequence[Ordered], results: Sequence[Ordered]) -> list[Ordered]:
    """The results of a node that was drawn, with what is known of their elements; those known in full are constants."""
    found = _elements(node, inputs)
    if found is None or len(found) != len(results):
        return list(results)
    return [_noted(canvas, tensor, held) for tensor, held in zip(results, found, strict=True)]


def _noted(canvas: Canvas, tensor: Ordered, held: Array | None) -> Ordered:
    if held is None or tensor.known is not None or held.size > MOST or held.ndim != tensor.rank:
        return tensor
    if not any(isinstance(item, Unbound) for item in held.reshape(-1)):
        return canvas.constant(held.astype(np.int64).astype(tensor.dtype.numpy()), tensor.name)
    tensor.partial = held
    return tensor


def _elements(node: Node, inputs: Sequence[Ordered]) -> list[Array | None] | None:
    from bessemer.runners.tensorflow.registry import evaluators

    if node.op in ("Shape", "ShapeN"):
        return [shape_elements(tensor) for tensor in inputs]
    if node.op in PASSING:
        return [elements_of(tensor) for tensor in inputs]
    if node.op not in FOLLOWED or all(tensor.partial is None for tensor in inputs):
        return None
    held = [tensor.known if tensor.known is not None else tensor.partial for tensor in inputs]
    if any(item is None for item in held):
        return None
    objects = [item for item in held if item is not None]
    mixed = node.op in ("Concat", "ConcatV2", "Pack", "Mul", "Add", "AddV2", "Sub")
    operands = [_plain(item) if mixed else item for item in objects]
    try:
        made = evaluators()[node.op](node, operands)
    except TypeError:
        return None  # an operator that asks what an unbound dim is
    return [np.asarray(made, object)] if isinstance(made, np.ndarray) or np.isscalar(made) else [*made]


def _plain(array: Array) -> Array:
    return array.astype(object) if array.ndim else np.array(array.item(), object)
