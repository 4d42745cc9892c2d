"""Shapes and places: nothing is computed but where an element goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.types import Array, int64s
from bessemer.passes.expansion import Nodes
from bessemer.passes.opset.expansions.nodes import expansion, given, numpy_type, rank_of
from bessemer.passes.rewrite import constant, dims

if TYPE_CHECKING:
    import onnx_ir

MODES: dict[str, Any] = {"edge": "edge", "reflect": "reflect", "wrap": "wrap"}
"""Modes of Pad that repeat elements, as numpy calls them."""


@expansion(8, "Expand")
def expand(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """Expand: 'broadcast the input tensor'; times one, which changes no number."""
    import onnx_ir

    source, size = node.inputs[0], dims(node.outputs[0])
    kind = numpy_type(source)
    if source is None or source.dtype is None or size is None or kind is None:
        return None
    if kind.kind == "b":
        whole = n("Cast", source, to=int(onnx_ir.DataType.INT32))
        return [n("Cast", n("Mul", whole, np.ones(size, np.int32)), to=int(source.dtype))]
    return [n("Mul", source, np.ones(size, kind))]


@expansion(9, "ConstantOfShape")
def constant_of_shape(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """ConstantOfShape: 'a tensor with given value and shape'; a constant, or one that is broadcast."""
    value = node.attributes.get_tensor("value", None)
    fill = np.zeros(1, np.float32) if value is None else value.numpy()
    size = dims(node.outputs[0])
    if size is not None and int(np.prod(size, dtype=np.int64)) <= 1 << 16:
        return [n.constant(np.broadcast_to(fill.reshape(()), size).copy())]
    return [n("Expand", fill, node.inputs[0])] if n.want >= 8 else None


@expansion(9, "EyeLike")
def eye_like(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """EyeLike: 'a 2D tensor with ones on the diagonal', of a shape that is known."""
    size, kind = dims(node.inputs[0]), numpy_type(node.outputs[0])
    if size is None or len(size) != 2 or kind is None:
        return None
    return [n.constant(np.eye(*size, k=node.attributes.get_int("k", 0) or 0).astype(kind))]


@expansion(9, "Where")
def where(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """Where: 'elements from X or Y depending on condition'; fetched from both laid end to end.

    No arithmetic: a mask that multiplies would make NaN of an infinity that was not chosen.
    """
    import onnx_ir

    condition, size = node.inputs[0], dims(node.outputs[0])
    if (
        size is None
        or 0 in size
        or condition is None
        or any(numpy_type(value) is None for value in node.inputs)
    ):
        return None
    count = int(np.prod(size, dtype=np.int64))
    both = [_flat(n, value, size) for value in (node.inputs[2], node.inputs[1])]
    chosen = n("Cast", _flat(n, condition, size), to=int(onnx_ir.DataType.INT64))
    places = n("Add", n("Mul", chosen, int64s([count])), np.arange(count, dtype=np.int64))
    return [n("Reshape", n("Gather", n("Concat", *both, axis=0), places, axis=0), int64s(size))]


def _flat(n: Nodes, value: onnx_ir.Value | None, size: tuple[int, ...]) -> onnx_ir.Value:
    broad = value if dims(value) == size else n("Expand", value, int64s(size))
    return n("Reshape", broad, int64s([-1]))


@expansion(14, "Trilu")
def trilu(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """Trilu: 'the upper or lower triangular part'; the rest is replaced by zero."""
    source, shift = node.inputs[0], given(node, 1)
    by = 0 if shift is None else constant(shift)
    kind = numpy_type(source)
    if by is None or kind is None or source is None or source.shape is None or len(source.shape) < 2:
        return None
    rows, columns = list(source.shape)[-2:]
    if not isinstance(rows, int) or not isinstance(columns, int):
        return None
    offset = int(np.asarray(by).reshape(-1)[0])
    distance = np.arange(columns)[None, :] - np.arange(rows)[:, None]
    kept = distance >= offset if node.attributes.get_int("upper", 1) else distance <= offset
    return [n("Where", kept, source, np.zeros((), kind))]


@expansion(10, "Slice")
def slice_steps(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """Slice with steps: the elements of numpy's slice of each axis are gathered."""
    source = node.inputs[0]
    size = rank_of(source)
    bounds = [constant(given(node, place)) for place in range(1, 5)]
    starts, ends, axes, steps = bounds
    if steps is None or (steps == 1).all() or starts is None or ends is None:
        return None
    if (
        source is None
        or source.shape is None
        or size is None
        or (given(node, 3) is not None and axes is None)
    ):
        return None
    found = source
    for place, axis in enumerate(range(size) if axes is None else axes):
        dim = source.shape[int(axis)]
        if place >= steps.size or not isinstance(dim, int):
            return None
        picked = _slice_indices(dim, int(starts[place]), int(ends[place]), int(steps[place]))
        found = n("Gather", found, picked, axis=int(axis))
    return [found]


def _slice_indices(dim: int, start: int, end: int, step: int) -> Array:
    """The standard's clamping, which differs from Python's for an end under zero of a negative step."""
    start = start + dim if start < 0 else start
    end = end + dim if end < 0 else end
    if step < 0:
        return np.arange(min(max(start, 0), dim - 1), min(max(end, -1), dim - 1), step, dtype=np.int64)
    return np.arange(min(max(start, 0), dim), min(max(end, 0), dim), step, dtype=np.int64)


@expansion(19, "Pad")
def pad(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """Pad by elements of the tensor itself: on each axis they are gathered, where the mode or type is newer."""
    mode = node.attributes.get_string("mode", "constant") or "constant"
    kind = numpy_type(node.inputs[0])
    newer = mode == "wrap" or (n.want < 11 and kind is not None and kind.kind != "f")
    pads, axes, source = constant(given(node, 1)), constant(given(node, 3)), node.inputs[0]
    size = dims(source)
    if mode not in MODES or not newer or pads is None or size is None or 0 in size:
        return None
    if given(node, 3) is not None and axes is None:
        return None
    found: Any = source
    for axis, before, after in zip(
        range(len(size)) if axes is None else axes, *pads.reshape(2, -1), strict=True
    ):
        places = np.pad(np.arange(size[axis]), (max(before, 0), max(after, 0)), MODES[mode])
        places = places[max(-before, 0) : places.size - max(-after, 0)]
        found = n("Gather", found, places.astype(np.int64), axis=int(axis) % len(size))
    return [found]


@expansion(11, "Pad")
def pad_with(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """Pad with a value that is computed: padded with zeros, which the value then replaces."""
    value, pads, axes = given(node, 2), constant(given(node, 1)), given(node, 3)
    size, kind = dims(node.inputs[0]), numpy_type(node.inputs[0])
    mode = node.attributes.get_string("mode", "constant")
    if value is None or constant(value) is not None or pads is None or axes is not None:
        return None
    if size is None or kind is None or mode != "constant" or (pads < 0).any():
        return None
    inside = np.pad(np.ones(size, np.bool_), pads.reshape(2, -1).T)
    padded = n("Pad", node.inputs[0], pads)
    return [n("Where", inside, padded, n("Reshape", value, int64s([1])))]


@expansion(11, "GatherElements")
def gather_elements(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """GatherElements: out[i][j] = input[index[i][j]][j]; places in the flat tensor."""
    size, shape = dims(node.inputs[0]), dims(node.inputs[1])
    if size is None or shape is None or not size or numpy_type(node.inputs[0]) is None:
        return None
    axis = (node.attributes.get_int("axis", 0) or 0) % len(size)
    strides = _strides(size)
    others = sum(
        (np.arange(dim) * strides[place]).reshape([-1 if place == k else 1 for k in range(len(size))])
        for place, dim in enumerate(shape)
        if place != axis
    )
    inner = n("Mul", _counted_up(n, node.inputs[1], size[axis]), int64s([strides[axis]]))
    places = n("Add", inner, np.broadcast_to(np.asarray(others, np.int64), shape).copy())
    return [n("Gather", n("Reshape", node.inputs[0], int64s([-1])), places, axis=0)]


def _strides(size: tuple[int, ...]) -> list[int]:
    return [int(np.prod(size[place + 1 :], dtype=np.int64)) for place in range(len(size))]


def _counted_up(n: Nodes, indices: onnx_ir.Value | None, limit: Any) -> onnx_ir.Value:
    """Indices as int64, those under zero counted from the end `limit`."""
    import onnx_ir

    known = constant(indices, limit=1 << 20)
    if known is not None:
        return n.constant(np.where(known < 0, known + limit, known).astype(np.int64))
    wide = n("Cast", indices, to=int(onnx_ir.DataType.INT64))
    under = n("Cast", n("Less", wide, np.array(0, np.int64)), to=int(onnx_ir.DataType.INT64))
    return n("Add", wide, n("Mul", under, np.asarray(limit, np.int64)))


@expansion(12, "GatherND")
def gather_nd(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """GatherND: 'slices of data by tuples of indices'; the indexed axes are one, and so is each tuple."""
    size, shape = dims(node.inputs[0]), dims(node.inputs[1])
    batch = node.attributes.get_int("batch_dims", 0) or 0
    if size is None or shape is None or (n.want >= 11 and not batch) or not size:
        return None
    depth = shape[-1] + batch
    strides = int64s(np.array(_strides(size[:depth]), np.int64))
    counted = _counted_up(n, node.inputs[1], int64s(size[batch:depth]))
    inner = n("ReduceSum", n("Mul", counted, strides[batch:]), int64s([-1]), keepdims=0)
    ahead = sum(
        (np.arange(dim) * strides[place]).reshape([-1 if place == k else 1 for k in range(len(shape) - 1)])
        for place, dim in enumerate(size[:batch])
    )
    places = n("Add", inner, np.asarray(ahead, np.int64))
    flat = n("Reshape", node.inputs[0], int64s([int(np.prod(size[:depth])), *size[depth:]]))
    return [n("Gather", flat, places, axis=0)]


@expansion(9, "OneHot")
def one_hot(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """OneHot: on_value where the index is the place on the new axis, off_value elsewhere; for a known depth."""
    depth, rank, kind = constant(node.inputs[1]), rank_of(node.inputs[0]), numpy_type(node.inputs[2])
    if depth is None or rank is None or kind is None:
        return None
    import onnx_ir

    count = int(depth.reshape(-1)[0])
    axis = node.attributes.get_int("axis", -1)
    axis = (-1 if axis is None else axis) % (rank + 1)
    wide = _counted_up(n, n("Cast", node.inputs[0], to=int(onnx_ir.DataType.INT64)), count)
    places = np.arange(count).reshape([-1 if place == axis else 1 for place in range(rank + 1)])
    hit = n("Equal", n("Unsqueeze", wide, int64s([axis])), places.astype(np.int64))
    off, on = (n("Gather", node.inputs[2], np.array(place, np.int64), axis=0) for place in (0, 1))
    return [n("Where", hit, on, off)]


@expansion(14, "LSTM", "GRU", "RNN")
def batch_first(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """layout=1: 'the batch comes first' in X, Y and the states; the sequence comes first before opset 14."""
    if not node.attributes.get_int("layout", 0):
        return None
    turned = {0: (1, 0, 2), 5: (1, 0, 2), 6: (1, 0, 2)}
    inputs = [
        n("Transpose", value, perm=turned[place]) if value is not None and place in turned else value
        for place, value in enumerate(node.inputs)
    ]
    outputs = n.copy(inputs, layout=None)
    back = ((2, 0, 1, 3), (1, 0, 2), (1, 0, 2))
    return [n("Transpose", value, perm=perm) for value, perm in zip(outputs, back, strict=False)]


@expansion(18, "Split")
def split_unbound(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """num_outputs on an axis of unknown size: slices of equal parts, 'the last chunk will be smaller'."""
    count, axis = node.attributes.get_int("num_outputs", None), node.attributes.get_int("axis", 0) or 0
    source = node.inputs[0]
    if count is None or source is None or n.want < 10:
        return None
    if source.shape is not None and isinstance(source.shape[axis], int):
        return None
    whole = n("Gather", n("Shape", source), int64s([axis]), axis=0)
    part = n("Div", n("Add", whole, int64s([count - 1])), int64s([count]))
    bounds = [n("Mul", part, int64s([place])) for place in range(count)]
    ends: list[Any] = [*bounds[1:], int64s([np.iinfo(np.int64).max])]
    return [n("Slice", source, *pair, int64s([axis])) for pair in zip(bounds, ends, strict=True)]


@expansion(14, "Reshape")
def reshape_nothing(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """allowzero: 'a zero in the shape is a zero'; a tensor of no elements is a constant."""
    size, kind = dims(node.outputs[0]), numpy_type(node.outputs[0])
    if node.attributes.get_int("allowzero", 0) != 1 or size is None or 0 not in size or kind is None:
        return None
    return [n.constant(np.zeros(size, kind))]


@expansion(11, "DepthToSpace")
def depth_columns_first(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """DepthToSpace in CRD mode: 'column-row-depth', as the standard's reshape, transpose, reshape."""
    size, block = dims(node.inputs[0]), node.attributes.get_int("blocksize", 1) or 1
    if node.attributes.get_string("mode", "DCR") != "CRD" or size is None:
        return None
    batch, depth, height, width = size
    split = n("Reshape", node.inputs[0], int64s([batch, depth // block**2, block, block, height, width]))
    turned = n("Transpose", split, perm=[0, 1, 4, 2, 5, 3])
    return [n("Reshape", turned, int64s([batch, depth // block**2, height * block, width * block]))]
