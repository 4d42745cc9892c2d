"""Operators that cut, join and turn round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.types import int64s
from bessemer.sources.channels_last import shaping
from bessemer.sources.channels_last.dims import Dim, sliced
from bessemer.sources.channels_last.elementwise import cast
from bessemer.sources.channels_last.shaping import FAR
from bessemer.sources.drawing import Canvas, Ordered, Unsupported
from bessemer.sources.strided import MaskedAxes
from bessemer.sources.tensorflow.node import Node
from bessemer.sources.tensorflow.ops.common import constant, integer, ints, on_parts
from bessemer.sources.tensorflow.partial import known_dims
from bessemer.sources.tensorflow.registry import op

if TYPE_CHECKING:
    import onnx_ir


@op("ConcatV2")
@on_parts
def concat(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Along one axis, which is the last operand."""
    return shaping.concat(canvas, inputs[:-1], integer(inputs[-1], "axis"))


@op("Concat")
@on_parts
def concat_v1(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Along one axis, which is the first operand."""
    return shaping.concat(canvas, inputs[1:], integer(inputs[0], "axis"))


@op("Pack")
@on_parts
def pack(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Side by side along a new axis."""
    return shaping.stack(canvas, inputs, int(node.attrs.get("axis", 0)))


@op("Unpack")
@on_parts
def unpack(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Sequence[Ordered]:
    """The slices along an axis."""
    return shaping.unstack(canvas, inputs[0], int(node.attrs.get("axis", 0)), int(node.attrs["num"]))


@op("Split")
@on_parts
def split(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Sequence[Ordered]:
    """Equal parts; operands: axis, tensor."""
    return shaping.split(canvas, inputs[1], integer(inputs[0], "axis"), int(node.attrs["num_split"]))


@op("SplitV")
@on_parts
def split_v(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Sequence[Ordered]:
    """Parts of given sizes, one of which may be -1."""
    tensor, sizes, axis = inputs
    return shaping.split(canvas, tensor, integer(axis, "axis"), ints(sizes, "sizes"))


@op("ReverseV2")
@on_parts
def reverse(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Turned round along constant axes."""
    return shaping.reverse(canvas, inputs[0], ints(inputs[1], "axes"))


@op("Reverse")
@on_parts
def reverse_v1(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Axes are named by one flag each."""
    return shaping.reverse(canvas, inputs[0], np.flatnonzero(constant(inputs[1], "axes")).tolist())


@op("Roll")
@on_parts
def roll(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Moved along axes; what falls off one end comes in at the other."""
    tensor, shifts, axes = inputs
    result = tensor
    for shift, axis in zip(ints(shifts, "shifts"), ints(axes, "axes"), strict=True):
        axis %= tensor.rank
        size = result.shape[axis]
        if not isinstance(size, int):
            raise Unsupported("dynamic-shape", "a roll along an unbound axis")
        by = shift % size if size else 0
        if by:
            tail = shaping.sliced(canvas, result, [size - by], [FAR], [axis])
            head = shaping.sliced(canvas, result, [0], [size - by], [axis])
            result = shaping.concat(canvas, [tail, head], axis)
    return result


@op("Slice")
@on_parts
def read_slice(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """begin and size; size -1 reaches the end."""
    tensor, begin, size = inputs
    starts, counts = known_dims(begin), known_dims(size)
    if begin.known is None or size.known is None:
        return _computed_slice(canvas, tensor, begin, size, counts)
    first, many = ints(begin, "begin"), ints(size, "size")
    ends = [FAR if count < 0 else start + count for start, count in zip(first, many, strict=True)]
    assert starts is not None
    return shaping.sliced(canvas, tensor, first, ends, range(tensor.rank))


def _computed_slice(
    canvas: Canvas, tensor: Ordered, begin: Ordered, size: Ordered, counts: tuple[Dim, ...] | None
) -> Ordered:
    """A negative size reaches the end, here too."""
    import onnx_ir

    wide = onnx_ir.DataType.INT64
    start, count = (canvas.at(cast(canvas, held, wide)) for held in (begin, size))
    end = canvas.emit("Add", [start, count])
    if size.known is None or (size.known < 0).any():
        zero, far = (canvas.literal(np.array(item, np.int64), "bound") for item in (0, FAR))
        whole = canvas.emit("Less", [count, zero], dtype=onnx_ir.DataType.BOOL)
        end = canvas.emit("Where", [whole, far, end], dtype=wide)
    known = counts or (None,) * tensor.rank
    starts = known_dims(begin) or (None,) * tensor.rank
    shape = tuple(
        dim if first == 0 and many == -1 else many if isinstance(many, int) and many >= 0 else many if many != -1 else None
        for dim, many, first in zip(tensor.shape, known, starts, strict=True)
    )
    return canvas.result(canvas.emit("Slice", [canvas.at(tensor), start, end]), shape)


@op("StridedSlice")
@on_parts
def strided_slice(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """begin, end, strides with masks (begin, end, ellipsis, new axis, shrink); see `Cuts`."""
    cuts = Cuts(node, inputs)
    result = cuts.slice(canvas, inputs[0])
    if cuts.removed:
        result = shaping.squeeze(canvas, result, cuts.removed)
    return shaping.expand_dims(canvas, result, cuts.added) if cuts.added else result


class Cuts(MaskedAxes):
    """What a StridedSlice asks for, per axis of its operand."""

    def __init__(self, node: Node, inputs: Sequence[Ordered]) -> None:
        self.node, self.inputs = node, inputs
        self.bounds = [known_dims(tensor) for tensor in inputs[1:4]]
        count = next((len(held) for held in self.bounds if held is not None), None)
        super().__init__(node.attrs, inputs[1].static[0] if count is None else count, inputs[0].rank)

    def slice(self, canvas: Canvas, tensor: Ordered) -> Ordered:
        """The cut, with all axes still there."""
        asked = [self._constant(place) for place, _ in self.entries]
        if all(cut is not None for cut in asked):
            cuts = [cut for cut in asked if cut is not None]
            starts, ends, steps = ([cut[part] for cut in cuts] for part in range(3))
            return shaping.sliced(canvas, tensor, starts, ends, [axis for _, axis in self.entries], steps)
        shape: list[Dim] = list(tensor.shape)
        for (place, axis), cut in zip(self.entries, asked, strict=True):
            shape[axis] = 1 if self.has("shrink_axis", place) else None if cut is None else sliced(shape[axis], *cut)
        order = tensor.made
        axes = [order.index(axis) for _, axis in self.entries]
        made = canvas.emit("Slice", [canvas.at(tensor, order), *self._computed(canvas, axes)])
        return canvas.result(made, tuple(shape), order)

    def _number(self, part: int, place: int) -> int | None:
        held = self.bounds[part]
        number = None if held is None else held[place]
        return number if isinstance(number, int) else None

    def _constant(self, place: int) -> tuple[int, int, int] | None:
        """Start, end and step as ONNX Slice wants them; None where one that counts is computed."""
        begin, end, step = (self._number(part, place) for part in range(3))
        if self.has("shrink_axis", place):
            return None if begin is None else (begin, FAR if begin == -1 else begin + 1, 1)
        if step is None:
            return None
        begin = (0 if step > 0 else FAR) if self.has("begin", place) else begin
        end = (FAR if step > 0 else -FAR) if self.has("end", place) else end
        return None if begin is None or end is None else (begin, end, step)

    def _computed(self, canvas: Canvas, axes: list[int]) -> list[Any]:
        import onnx_ir

        wide = onnx_ir.DataType.INT64
        places = canvas.literal(int64s([place for place, _ in self.entries]), "places")
        begin, end, steps = (
            canvas.emit("Gather", [canvas.at(cast(canvas, tensor, wide)), places], axis=0) for tensor in self.inputs[1:4]
        )
        strides = [self._number(2, place) for place, _ in self.entries]
        begin = self._masked(canvas, begin, "begin", strides)
        end = self._masked(canvas, end, "end", strides)
        shrunk = [self.has("shrink_axis", place) for place, _ in self.entries]
        if any(shrunk):
            end = _where(canvas, shrunk, _next(canvas, begin), end)
            steps = _where(canvas, shrunk, canvas.literal(int64s([1]), "one"), steps)
        return [begin, end, canvas.literal(int64s(axes), "axes"), steps]

    def _masked(self, canvas: Canvas, bounds: Any, mask: str, strides: list[int | None]) -> Any:
        flags = [self.has(mask, place) and not self.has("shrink_axis", place) for place, _ in self.entries]
        if not any(flags):
            return bounds
        if any(flag and stride is None for flag, stride in zip(flags, strides, strict=True)):
            raise Unsupported("constant-operand", f"strides are computed, and {mask}s left out depend on their sign")
        ahead, back = (0, FAR) if mask == "begin" else (FAR, -FAR)
        edges = int64s([ahead if (stride or 1) > 0 else back for stride in strides])
        return _where(canvas, flags, canvas.literal(edges, "edges"), bounds)


def _where(canvas: Canvas, flags: list[bool], yes: Any, no: Any) -> Any:
    import onnx_ir

    operands = [canvas.literal(np.array(flags), "flags"), yes, no]
    return canvas.emit("Where", operands, dtype=onnx_ir.DataType.INT64)


def _next(canvas: Canvas, begin: onnx_ir.Value) -> Any:
    """begin + 1, where -1 (the last element) leads past the end and not to the first."""
    import onnx_ir

    last = canvas.emit("Equal", [begin, canvas.literal(int64s([-1]), "last")], dtype=onnx_ir.DataType.BOOL)
    after = canvas.emit("Add", [begin, canvas.literal(int64s([1]), "one")])
    return canvas.emit("Where", [last, canvas.literal(int64s([FAR]), "far"), after], dtype=onnx_ir.DataType.INT64)
