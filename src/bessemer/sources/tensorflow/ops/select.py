"""Gathering, scattering, one-hot rows, segments, uniqueness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bessemer.ir.types import int64s
from bessemer.sources.channels_last import select, shaping
from bessemer.sources.channels_last.elementwise import applied, cast, compared
from bessemer.sources.channels_last.reduce import reduced
from bessemer.sources.drawing import Canvas, Ordered, Unsupported
from bessemer.sources.tensorflow.node import Node
from bessemer.sources.tensorflow.ops.common import constant, integer, kind_of, on_parts
from bessemer.sources.tensorflow.ops.shaping import target_of
from bessemer.sources.tensorflow.registry import op


@op("Gather", "ResourceGather")
@on_parts
def gather(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Rows by index."""
    return select.gather(canvas, inputs[0], inputs[1], batch_dims=int(node.attrs.get("batch_dims") or 0))


@op("GatherV2")
@on_parts
def gather_v2(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Slices along one axis by index."""
    tensor, places, axis = inputs
    shared = int(node.attrs.get("batch_dims") or 0)
    return select.gather(canvas, tensor, places, integer(axis, "axis"), batch_dims=shared)


@op("GatherNd", "ResourceGatherNd")
@on_parts
def gather_nd(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Slices by index tuples."""
    return select.gather_nd(canvas, inputs[0], inputs[1])


@op("ScatterNd")
@on_parts
def scatter_nd(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Sums updates into zeros."""
    places, updates, shape = inputs
    wanted = target_of(shape, "shape")
    zero = canvas.constant(np.zeros((), updates.dtype.numpy()), "zero")
    zeros = shaping.broadcast_to(canvas, zero, wanted, shape)
    return select.scatter_nd(canvas, zeros, places, updates, "add")


SCATTERS = {"TensorScatterUpdate": "none", "TensorScatterAdd": "add", "TensorScatterMax": "max", "TensorScatterMin": "min"}


@op(*SCATTERS)
def tensor_scatter(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Updates put at, or joined with, elements of a tensor."""
    tensor, places, updates = inputs
    return select.scatter_nd(canvas, tensor, places, updates, SCATTERS[node.op])


@op("TensorScatterSub")
def tensor_scatter_sub(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Updates taken away."""
    tensor, places, updates = inputs
    return select.scatter_nd(canvas, tensor, places, applied(canvas, "Neg", updates), "add")


@op("OneHot")
def one_hot(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """An index outside the depth gives a row of `off`."""
    places, depth, on, off = inputs
    axis = int(node.attrs.get("axis", -1))
    return select.one_hot(canvas, places, integer(depth, "depth"), axis, on=on, off=off)


@op("ReverseSequence")
def reverse_sequence(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Each sequence turned round up to its length; ONNX wants batch and time in front."""
    import onnx_ir

    tensor, lengths = inputs
    batch, time = (int(node.attrs.get(key, 0)) % tensor.rank for key in ("batch_dim", "seq_dim"))
    order = (batch, time, *(axis for axis in range(tensor.rank) if axis not in (batch, time)))
    counts = canvas.at(cast(canvas, lengths, onnx_ir.DataType.INT64))
    made = canvas.emit("ReverseSequence", [canvas.at(tensor, order), counts], batch_axis=0, time_axis=1)
    return canvas.result(made, tensor.shape, order)


@op("Unique", "UniqueV2", "UniqueWithCounts", "UniqueWithCountsV2")
def unique(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Sequence[Ordered]:
    """Values in order of appearance, and where each element went, and how often each one is there."""
    import onnx_ir

    tensor = inputs[0]
    if tensor.rank != 1:
        raise Unsupported("rank", "unique slices of a tensor with several axes", "flatten it first")
    wide = onnx_ir.DataType.INT64
    whole = tensor.dtype.is_integer() and tensor.dtype != wide
    held = cast(canvas, tensor, wide) if whole else tensor
    values, *rest = canvas.emit("Unique", [canvas.at(held)], sorted=0, outputs=4)
    for value in rest:
        value.type = onnx_ir.TensorType(wide)
    kind = kind_of(node, "out_idx", np.int32)
    found = cast(canvas, canvas.result(values, (None,)), tensor.dtype)
    places = cast(canvas, canvas.result(rest[1], tensor.shape), kind)
    counts = [cast(canvas, canvas.result(rest[2], (None,)), kind)] if "Counts" in node.op else []
    return [found, places, *counts]


SEGMENTS = {
    "UnsortedSegmentSum": "add", "UnsortedSegmentProd": "mul", "UnsortedSegmentMax": "max", "UnsortedSegmentMin": "min",
    "SegmentSum": "add", "SegmentProd": "mul",
}  # fmt: skip


@op(*SEGMENTS)
def segment(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Rows scattered into what leaves them unchanged; segment ids must be known and none below zero."""
    tensor, ids = inputs[:2]
    held = constant(ids, "segment ids")
    count = integer(inputs[2], "number of segments") if len(inputs) > 2 else int(held.reshape(-1)[-1]) + 1
    if (held < 0).any() or (held >= count).any():
        raise Unsupported("segment-ids", "segment ids that name no segment", "leave those rows out")
    kind = tensor.dtype.numpy()
    start = canvas.constant(np.full((count, *tensor.static[held.ndim :]), _neutral(node.op, kind), kind), "start")
    places = canvas.constant(held.astype(np.int64)[..., None], "segments")
    return select.scatter_nd(canvas, start, places, tensor, SEGMENTS[node.op])


def _neutral(name: str, kind: np.dtype[Any]) -> float:
    """What an empty segment holds."""
    if name.endswith(("Sum", "Prod")):
        return float(name.endswith("Prod"))
    limits: Any = np.finfo(kind) if kind.kind == "f" else np.iinfo(kind)
    edge: float = limits.min if name.endswith("Max") else limits.max
    return edge


@op("DynamicStitch", "ParallelDynamicStitch")
def stitch(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Rows put at constant places; the last one to name a place wins."""
    half = len(inputs) // 2
    places = [constant(tensor, "places").reshape(-1) for tensor in inputs[:half]]
    rows = []
    for tensor, held in zip(inputs[half:], inputs[:half], strict=True):
        rest = tensor.shape[held.rank :]
        rows.append(shaping.reshape(canvas, tensor, (int(np.prod(held.static, dtype=np.int64)), *rest)))
    every = np.concatenate(places).astype(np.int64)
    if sorted(set(every.tolist())) != list(range(len(set(every.tolist())))):
        raise Unsupported("stitch", "places that nobody writes have no value", "write every place")
    last = {int(place): row for row, place in enumerate(every)}
    order = canvas.literal(int64s([last[place] for place in range(len(last))]), "order")
    joined = shaping.concat(canvas, rows, 0)
    made = canvas.emit("Gather", [canvas.at(joined), order], axis=0)
    return canvas.result(made, (len(last), *joined.shape[1:]))


@op("DenseBincount")
def bincount(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """How often each number below `size` is there, per row of a matrix: by weight, or whether at all."""
    import onnx_ir

    tensor, size, weights = inputs
    count = integer(size, "size")
    if weights.shape not in ((0,), tensor.shape):
        raise Unsupported("bincount", f"weights of shape {list(weights.shape)} for {list(tensor.shape)}")
    weighted = weights.shape != (0,) and not node.attrs.get("binary_output")
    kind = weights.dtype
    one, none = (np.asarray(number, kind.numpy()) for number in (1, 0))
    hits = select.one_hot(canvas, tensor, count, on=one, off=none)
    if weighted:
        hits = applied(canvas, "Mul", hits, shaping.expand_dims(canvas, weights, [-1]))
    name = "ReduceMax" if node.attrs.get("binary_output") else "ReduceSum"
    if kind == onnx_ir.DataType.INT64 or kind.is_floating_point() or kind == onnx_ir.DataType.INT32:
        return reduced(canvas, hits, name, [tensor.rank - 1])
    raise Unsupported("bincount", f"counts in {kind}")


@op("LowerBound", "UpperBound")
def bound_of(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Where each value belongs in its sorted row: the number of items below it, or not above it."""
    import onnx_ir

    rows, values = inputs
    column = shaping.expand_dims(canvas, values, [-1])
    table = shaping.expand_dims(canvas, rows, [1])
    below = compared(canvas, "Less" if node.op == "LowerBound" else "LessOrEqual", table, column)
    counted = reduced(canvas, cast(canvas, below, onnx_ir.DataType.INT32), "ReduceSum", [-1])
    return cast(canvas, counted, kind_of(node, "out_type", np.int32))


@op("SegmentMax", "SegmentMin", "SegmentMean")
def sorted_segment(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Slices of rows, each reduced; segments that nobody names are zero."""
    tensor, ids = inputs
    held = constant(ids, "segment ids").reshape(-1)
    if held.size and ((held < 0).any() or (np.diff(held) < 0).any()):
        raise Unsupported("segment-ids", "segment ids that fall", "sort the rows")
    name = {"Max": "ReduceMax", "Min": "ReduceMin", "Mean": "ReduceMean"}[node.op[7:]]
    rows = []
    for number in range(int(held[-1]) + 1 if held.size else 0):
        start, end = (int(np.searchsorted(held, number, side)) for side in ("left", "right"))
        if start == end:
            zero = canvas.constant(np.zeros((1, *tensor.static[1:]), tensor.dtype.numpy()), "empty")
            rows.append(zero)
        else:
            part = shaping.sliced(canvas, tensor, [start], [end], [0])
            rows.append(reduced(canvas, part, name, [0], keepdims=True))
    return shaping.concat(canvas, rows, 0)


@op("DynamicPartition")
def partition(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Sequence[Ordered]:
    """The rows that name each part; how many is known only when the model runs."""
    tensor, parts = inputs
    if parts.rank != 1:
        raise Unsupported("rank", "parts named by a tensor of several axes", "flatten it first")
    found = []
    for number in range(int(node.attrs["num_partitions"])):
        wanted = canvas.constant(np.asarray(number, parts.dtype.numpy()), "part")
        chosen = canvas.at(compared(canvas, "Equal", parts, wanted))
        made = canvas.emit("Compress", [canvas.at(tensor), chosen], axis=0)
        found.append(canvas.result(made, (None, *tensor.shape[1:])))
    return found
