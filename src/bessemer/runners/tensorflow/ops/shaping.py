"""Shapes, repetition, filling, borders, diagonals; and what passes operands on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bessemer.ir.types import Array
from bessemer.runners.tensorflow.registry import evaluates
from bessemer.wire.savedmodel.node import Node


@evaluates(
    "Identity", "Snapshot", "StopGradient", "PreventGradient", "CheckNumerics", "CheckNumericsV2", "EnsureShape",
    "PlaceholderWithDefault", "DeepCopy", "DebugIdentity", "DebugGradientIdentity", "OptimizationBarrier", "Copy",
)  # fmt: skip
def passing(node: Node, inputs: Sequence[Array]) -> Array:
    """The operand itself."""
    return inputs[0]


@evaluates("IdentityN")
def passing_all(node: Node, inputs: Sequence[Array]) -> Sequence[Array]:
    """All operands as they are."""
    return list(inputs)


@evaluates("Const")
def const(node: Node, inputs: Sequence[Array]) -> Array:
    """The tensor in the node."""
    return np.asarray(node.attrs["value"])


@evaluates("Shape")
def shape(node: Node, inputs: Sequence[Array]) -> Array:
    """Dims."""
    return np.array(inputs[0].shape, node.attrs.get("out_type", np.int32))


@evaluates("ShapeN")
def shapes(node: Node, inputs: Sequence[Array]) -> Sequence[Array]:
    """Dims of every operand."""
    return [np.array(item.shape, node.attrs.get("out_type", np.int32)) for item in inputs]


@evaluates("Size")
def size(node: Node, inputs: Sequence[Array]) -> Array:
    """Number of elements."""
    return np.array(inputs[0].size, node.attrs.get("out_type", np.int32))


@evaluates("Rank")
def rank(node: Node, inputs: Sequence[Array]) -> Array:
    """Number of axes."""
    return np.array(inputs[0].ndim, np.int32)


@evaluates("ZerosLike", "OnesLike")
def constant_like(node: Node, inputs: Sequence[Array]) -> Array:
    """As many zeros or ones."""
    return np.full_like(inputs[0], int(node.op == "OnesLike"))


@evaluates("Reshape")
def reshape(node: Node, inputs: Sequence[Array]) -> Array:
    """To given dims."""
    return inputs[0].reshape([int(dim) for dim in inputs[1].reshape(-1)])


@evaluates("Squeeze")
def squeeze(node: Node, inputs: Sequence[Array]) -> Array:
    """Without axes of size one."""
    named = node.attrs.get("squeeze_dims") or node.attrs.get("axis")
    return inputs[0].squeeze(tuple(named) if named else None)


@evaluates("ExpandDims")
def expand_dims(node: Node, inputs: Sequence[Array]) -> Array:
    """A new axis of size one."""
    return np.expand_dims(inputs[0], int(inputs[1].reshape(())))


@evaluates("Transpose", "ConjugateTranspose")
def transpose(node: Node, inputs: Sequence[Array]) -> Array:
    """Axes in another order."""
    moved = inputs[0].transpose([int(axis) for axis in inputs[1]])
    return np.conj(moved) if node.op == "ConjugateTranspose" else moved


@evaluates("Tile")
def tile(node: Node, inputs: Sequence[Array]) -> Array:
    """Repeated along axes."""
    return np.tile(inputs[0], [int(count) for count in inputs[1]])


@evaluates("Fill")
def fill(node: Node, inputs: Sequence[Array]) -> Array:
    """A shape full of one value."""
    return np.full([int(dim) for dim in inputs[0]], inputs[1], inputs[1].dtype)


@evaluates("BroadcastTo")
def broadcast_to(node: Node, inputs: Sequence[Array]) -> Array:
    """By numpy's rule."""
    return np.broadcast_to(inputs[0], [int(dim) for dim in inputs[1]]).copy()


@evaluates("BroadcastArgs")
def broadcast_args(node: Node, inputs: Sequence[Array]) -> Array:
    """The shape that two shapes broadcast to."""
    first, second = (tuple(int(dim) for dim in item) for item in inputs)
    return np.array(np.broadcast_shapes(first, second), inputs[0].dtype)


@evaluates("Range")
def range_of(node: Node, inputs: Sequence[Array]) -> Array:
    """start, start + delta, ...: each a product, not a running sum."""
    start, limit, delta = (item.reshape(()) for item in inputs)
    if start.dtype.kind in "iu":
        return np.arange(int(start), int(limit), int(delta)).astype(start.dtype)
    count = max(int(np.ceil(np.abs((limit.astype(np.float64) - start) / delta))), 0)
    return np.asarray(start + delta * np.arange(count).astype(start.dtype)).astype(start.dtype)


@evaluates("LinSpace")
def lin_space(node: Node, inputs: Sequence[Array]) -> Array:
    """So many numbers from start to stop, both included."""
    start, stop, count = inputs[0], inputs[1], int(inputs[2])
    return np.linspace(float(start), float(stop), count).astype(start.dtype)


@evaluates("Pad", "PadV2")
def pad(node: Node, inputs: Sequence[Array]) -> Array:
    """A constant around the tensor."""
    value: Any = inputs[2].reshape(()) if len(inputs) > 2 else 0
    return np.pad(inputs[0], inputs[1].astype(np.int64), constant_values=value)


@evaluates("MirrorPad")
def mirror_pad(node: Node, inputs: Sequence[Array]) -> Array:
    """The tensor's own mirror image around it."""
    table = inputs[1].astype(np.int64)
    if str(node.attrs.get("mode", "REFLECT")) == "SYMMETRIC":
        return np.pad(inputs[0], table, mode="symmetric")
    return np.pad(inputs[0], table, mode="reflect")


@evaluates("MatrixDiag", "MatrixDiagV2", "MatrixDiagV3")
def matrix_diag(node: Node, inputs: Sequence[Array]) -> Array:
    """The last axis on the diagonal of square matrices."""
    if len(inputs) > 1 and inputs[1].any():
        raise NotImplementedError("diagonals beside the main one")
    diagonal = inputs[0]
    count = diagonal.shape[-1]
    filler: Any = inputs[4].reshape(()) if len(inputs) > 4 else 0
    made = np.full((*diagonal.shape, count), filler, diagonal.dtype)
    made[..., np.arange(count), np.arange(count)] = diagonal
    return made


@evaluates("Diag")
def diag(node: Node, inputs: Sequence[Array]) -> Array:
    """Twice the axes."""
    return np.diag(inputs[0].reshape(-1)).reshape(inputs[0].shape * 2)


@evaluates("MatrixDiagPart", "MatrixDiagPartV2", "MatrixDiagPartV3", "DiagPart")
def diag_part(node: Node, inputs: Sequence[Array]) -> Array:
    """The main diagonal."""
    if len(inputs) > 1 and inputs[1].any():
        raise NotImplementedError("diagonals beside the main one")
    x = inputs[0]
    if node.op == "DiagPart":
        front = x.shape[: x.ndim // 2]
        return np.diagonal(x.reshape(int(np.prod(front)), -1)).reshape(front).copy()
    return np.diagonal(x, axis1=-2, axis2=-1).copy()


@evaluates("MatrixSetDiag", "MatrixSetDiagV2", "MatrixSetDiagV3")
def set_diag(node: Node, inputs: Sequence[Array]) -> Array:
    """Matrices with another main diagonal."""
    if len(inputs) > 2 and inputs[2].any():
        raise NotImplementedError("diagonals beside the main one")
    made = inputs[0].copy()
    places = np.arange(min(made.shape[-2:]))
    made[..., places, places] = inputs[1]
    return made


@evaluates("MatrixBandPart")
def band_part(node: Node, inputs: Sequence[Array]) -> Array:
    """Zeros outside of a band."""
    x, below, above = inputs[0], int(inputs[1]), int(inputs[2])
    rows, columns = np.indices(x.shape[-2:])
    kept = ((below < 0) | (rows - columns <= below)) & ((above < 0) | (columns - rows <= above))
    return np.asarray(np.where(kept, x, np.zeros((), x.dtype)))


@evaluates("InvertPermutation")
def invert_permutation(node: Node, inputs: Sequence[Array]) -> Array:
    """Where each number stands."""
    return np.argsort(inputs[0]).astype(inputs[0].dtype)
