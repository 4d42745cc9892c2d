"""Operators that change a tensor's shape, repeat it or fill one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bessemer.ir.types import int64s
from bessemer.sources.channels_last import dims, padding, shaping
from bessemer.sources.channels_last.dims import Dim
from bessemer.sources.channels_last.elementwise import cast, scalar
from bessemer.sources.drawing import Canvas, Ordered, Unsupported
from bessemer.sources.tensorflow.node import Node
from bessemer.sources.tensorflow.ops.common import bound, constant, integer, ints, on_parts
from bessemer.sources.tensorflow.partial import known_dims
from bessemer.sources.tensorflow.registry import op


def target_of(tensor: Ordered, what: str) -> tuple[Dim, ...]:
    """A vector of dims, as far as they are known; raises Unsupported where not even their number is."""
    held = known_dims(tensor)
    if held is not None:
        return held
    count = tensor.shape[0] if tensor.rank == 1 else None
    if not isinstance(count, int):
        raise Unsupported("dynamic-rank", f"the length of its {what} '{tensor.name}' is unbound, and so is the rank")
    return (None,) * count


@op("Reshape")
@on_parts
def reshape(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """To dims that may be computed."""
    tensor, vector = inputs
    wanted = target_of(vector, "shape")
    return shaping.reshape(canvas, tensor, wanted, None if vector.known is not None else vector)


@op("Transpose", "ConjugateTranspose")
@on_parts
def transpose(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Only renames axes."""
    return shaping.transpose(canvas, inputs[0], ints(inputs[1], "permutation"))


@op("Tile")
@on_parts
def tile(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Repeated along axes, so often as is known or computed."""
    tensor, repeats = inputs
    if repeats.known is not None:
        return shaping.tile(canvas, tensor, ints(repeats, "repeats"))
    counts = known_dims(repeats) or (None,) * tensor.rank
    shape = tuple(dims.product(pair) for pair in zip(tensor.shape, counts, strict=True))
    return shaping.tile_computed(canvas, tensor, repeats, shape)


@op("Fill")
def fill(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """A shape full of one value."""
    vector, value = inputs
    return shaping.broadcast_to(canvas, value, target_of(vector, "shape"), vector)


@op("BroadcastTo")
@on_parts
def broadcast_to(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """By numpy's rule."""
    tensor, vector = inputs
    return shaping.broadcast_to(canvas, tensor, target_of(vector, "shape"), vector)


@op("BroadcastArgs")
def broadcast_args(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """The shape that two shapes broadcast to: the larger dim of each pair, except that 0 beats 1."""
    import onnx_ir

    lengths = [tensor.static[0] for tensor in inputs]
    padded = []
    for tensor, length in zip(inputs, lengths, strict=True):
        lead = np.ones(max(lengths) - length, tensor.dtype.numpy())
        value = canvas.at(tensor)
        padded.append(canvas.emit("Concat", [canvas.literal(lead, "lead"), value], axis=0) if lead.size else value)
    larger, smaller = canvas.emit("Max", padded), canvas.emit("Min", padded)
    empty = canvas.emit("Equal", [smaller, scalar(canvas, 0, inputs[0])], dtype=onnx_ir.DataType.BOOL)
    made = canvas.emit("Where", [empty, smaller, larger], dtype=larger.dtype)
    return canvas.result(made, (max(lengths),))


@op("Range")
def range_of(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """start, limit, delta."""
    made = canvas.emit("Range", [canvas.at(tensor) for tensor in inputs])
    held = [known_dims(tensor) for tensor in inputs] if inputs[0].dtype.is_integer() else []
    length: Dim = None
    if held and held[0] == (0,) and held[2] == (1,) and held[1] is not None:
        length = held[1][0]
    return canvas.result(made, (length,))


@op("LinSpace")
def lin_space(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """`count` numbers from start to stop, both included."""
    start, stop, count = inputs
    many = integer(count, "count")
    steps = np.arange(many, dtype=start.dtype.numpy())
    first, last = canvas.at(start), canvas.at(stop)
    if many == 1:
        return canvas.result(canvas.emit("Unsqueeze", [first, canvas.literal(int64s([0]), "axes")]), (1,))
    stride = canvas.emit("Div", [canvas.emit("Sub", [last, first]), scalar(canvas, many - 1, start)])
    rise = canvas.emit("Mul", [canvas.literal(steps[:-1], "steps"), stride])
    end = canvas.emit("Unsqueeze", [last, canvas.literal(int64s([0]), "axes")])
    return canvas.result(canvas.emit("Concat", [canvas.emit("Add", [rise, first]), end], axis=0), (many,))


# -- borders -----------------------------------------------------------------------------------------------------------


@op("Pad", "PadV2")
@on_parts
def pad(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Zeros or a given value around the tensor."""
    tensor, table = inputs[:2]
    filler = inputs[2] if len(inputs) > 2 else None
    if table.known is None or (filler is not None and filler.known is None):
        return _computed_pad(canvas, tensor, table, filler)
    value = 0 if filler is None else constant(filler, "filler").reshape(())
    return padding.pad(canvas, tensor, margins_of(table), value=value)


def margins_of(table: Ordered) -> tuple[tuple[int, int], ...]:
    """(before, after) of every axis."""
    return tuple((int(low), int(high)) for low, high in constant(table, "margins").reshape(-1, 2))


def _computed_pad(canvas: Canvas, tensor: Ordered, table: Ordered, filler: Ordered | None) -> Ordered:
    import onnx_ir

    order = tensor.made
    rows = canvas.emit("Gather", [canvas.at(table), canvas.literal(int64s(order), "order")], axis=0)
    wide = canvas.emit("Cast", [rows], to=int(onnx_ir.DataType.INT64), dtype=onnx_ir.DataType.INT64)
    pads = canvas.reshaped(canvas.emit("Transpose", [wide], perm=[1, 0]), [2 * tensor.rank])
    operands = [canvas.at(tensor, order), pads, *([] if filler is None else [canvas.at(filler)])]
    flat = known_dims(table) or (None,) * (2 * tensor.rank)
    shape = tuple(dims.total((dim, *flat[2 * axis : 2 * axis + 2])) for axis, dim in enumerate(tensor.shape))
    return canvas.result(canvas.emit("Pad", operands), shape, order)


@op("MirrorPad")
def mirror_pad(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """REFLECT leaves the edge out of the mirror image, SYMMETRIC repeats it."""
    mode = str(node.attrs.get("mode", "REFLECT")).lower()
    return padding.pad(canvas, inputs[0], margins_of(inputs[1]), mode=mode)


# -- diagonals ---------------------------------------------------------------------------------------------------------


@op("MatrixDiag", "MatrixDiagV2", "MatrixDiagV3")
def matrix_diag(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """The last axis on the main diagonal of square matrices."""
    diagonal = inputs[0]
    if node.op != "MatrixDiag":
        offset, rows, columns = (ints(tensor, "band")[0] for tensor in inputs[1:4])
        size = diagonal.shape[-1]
        square = rows in (-1, size) and columns in (-1, size)
        if constant(inputs[1], "band").any() or offset or not square:
            raise Unsupported("matrix-diag", "diagonals beside the main one", "write the main diagonal")
        filler = canvas.at(inputs[4])
    else:
        filler = scalar(canvas, 0, diagonal)
    size = bound(diagonal, -1)
    row = canvas.emit("Unsqueeze", [canvas.at(diagonal), canvas.literal(int64s([-2]), "axes")])
    eye = canvas.literal(np.eye(size, dtype=bool), "diagonal")
    made = canvas.emit("Where", [eye, row, filler], dtype=row.dtype)
    return canvas.result(made, (*diagonal.shape, size))


@op("Diag")
def diag(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Twice the axes: the tensor where both halves of the index agree, zeros elsewhere."""
    tensor = inputs[0]
    count = int(np.prod(tensor.static, dtype=np.int64))
    flat = canvas.reshaped(canvas.contiguous(tensor), [1, count])
    eye = canvas.literal(np.eye(count, dtype=bool), "diagonal")
    made = canvas.emit("Where", [eye, flat, scalar(canvas, 0, tensor)], dtype=flat.dtype)
    return canvas.result(canvas.reshaped(made, [*tensor.static, *tensor.static]), (*tensor.static, *tensor.static))


@op("MatrixDiagPart", "MatrixDiagPartV2", "MatrixDiagPartV3", "DiagPart")
def diag_part(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """The main diagonal of the last two axes (or, of `DiagPart`, where both halves of the index agree)."""
    tensor = inputs[0]
    if len(inputs) > 1 and constant(inputs[1], "band").any():
        raise Unsupported("matrix-diag", "diagonals beside the main one", "take the main diagonal")
    front: tuple[Dim, ...]
    if node.op == "DiagPart":
        front = tensor.static[: tensor.rank // 2]
        rows = columns = int(np.prod(front, dtype=np.int64))
        lead: tuple[Dim, ...] = ()
    else:
        lead, (rows, columns) = tensor.shape[:-2], _matrix(tensor)
        front = (min(rows, columns),)
    flat = shaping.reshape(canvas, tensor, (*lead, rows * columns))
    places = canvas.literal(np.arange(min(rows, columns)) * (columns + 1), "diagonal")
    made = canvas.emit("Gather", [canvas.at(flat), places], axis=len(lead))
    return shaping.reshape(canvas, canvas.result(made, (*lead, min(rows, columns))), (*lead, *front))


@op("MatrixSetDiag", "MatrixSetDiagV2", "MatrixSetDiagV3")
def set_diag(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Matrices with another main diagonal."""
    tensor, diagonal = inputs[:2]
    if len(inputs) > 2 and constant(inputs[2], "band").any():
        raise Unsupported("matrix-diag", "diagonals beside the main one", "set the main diagonal")
    rows, columns = _matrix(tensor)
    if rows > columns:
        return shaping.transpose(canvas, _set(canvas, shaping.transpose(canvas, tensor, _swap(tensor)), diagonal,
                                              columns, rows), _swap(tensor))  # fmt: skip
    return _set(canvas, tensor, diagonal, rows, columns)


def _matrix(tensor: Ordered) -> tuple[int, int]:
    return bound(tensor, tensor.rank - 2), bound(tensor, tensor.rank - 1)


def _swap(tensor: Ordered) -> tuple[int, ...]:
    return (*range(tensor.rank - 2), tensor.rank - 1, tensor.rank - 2)


def _set(canvas: Canvas, tensor: Ordered, diagonal: Ordered, rows: int, columns: int) -> Ordered:
    """rows <= columns: the diagonal stands in a column, one number per row."""
    column = canvas.emit("Unsqueeze", [canvas.at(diagonal), canvas.literal(int64s([-1]), "axes")])
    eye = canvas.literal(np.eye(rows, columns, dtype=bool), "diagonal")
    made = canvas.emit("Where", [eye, column, canvas.at(tensor)], dtype=tensor.dtype)
    return canvas.result(made, tensor.shape)


@op("MatrixBandPart")
def band_part(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Zeros outside of a band; a negative width keeps that whole triangle."""
    tensor = inputs[0]
    below, above = integer(inputs[1], "width"), integer(inputs[2], "width")
    rows, columns = _matrix(tensor)
    apart = np.arange(columns)[None, :] - np.arange(rows)[:, None]
    kept = ((below < 0) | (-apart <= below)) & ((above < 0) | (apart <= above))
    mask = canvas.literal(kept, "band")
    made = canvas.emit("Where", [mask, canvas.at(tensor), scalar(canvas, 0, tensor)], dtype=tensor.dtype)
    return canvas.result(made, tensor.shape)


@op("InvertPermutation")
def invert_permutation(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Where each number stands: the order that sorts them."""
    import onnx_ir

    (tensor,) = inputs
    (count,) = tensor.static
    operands = [canvas.at(cast(canvas, tensor, onnx_ir.DataType.INT64)), canvas.literal(int64s([count]), "k")]
    made: Any = canvas.emit("TopK", operands, axis=-1, largest=0, outputs=2)
    made[1].type = onnx_ir.TensorType(onnx_ir.DataType.INT64)
    return cast(canvas, canvas.result(made[1], (count,)), tensor.dtype)
