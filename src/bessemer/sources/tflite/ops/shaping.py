"""Operators that move, cut and join data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.layout import compose, identity, inverse, is_identity
from bessemer.ir.types import Array, Perm, int64s
from bessemer.sources.strided import MaskedAxes
from bessemer.sources.tflite.context import Context, Unsupported, options
from bessemer.sources.tflite.ops.common import activate
from bessemer.sources.tflite.ops.quantization import cast
from bessemer.sources.tflite.registry import op
from bessemer.sources.tflite.tensors import dtype_of

if TYPE_CHECKING:
    from bessemer.wire.tflite.records import Operator


@op("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
def reshape(context: Context, operator: Operator) -> None:
    """To the result's dims. One unbound dim is inferred; the tensor's own order is asked for only if data moves."""
    source, result = operator.inputs[0], operator.outputs[0]
    value = context.contiguous(source)
    shape: list[int | None] = list(context.shape(result))
    if (
        len(operator.inputs) > 1
        and context.known(operator.inputs[1]) is None
        and sum(d is None for d in shape) > 1
    ):
        target = cast(context, context.value(operator.inputs[1]), _int64())
        context.result(result, context.emit("Reshape", [value, target]))
        return
    if all(dim is not None for dim in shape) and None in context.shape(source) and shape and shape[0] == 1:
        shape[0] = None  # a batch that the file wrote as one
    context.result(result, context.reshaped(value, shape))


def _int64() -> Any:
    import onnx_ir

    return onnx_ir.DataType.INT64


def _bool() -> Any:
    import onnx_ir

    return onnx_ir.DataType.BOOL


@op("TRANSPOSE")
def transpose(context: Context, operator: Operator) -> None:
    """Only renames axes: result = transpose(source, perm), so the value serves under another order."""
    source, result = operator.inputs[0], operator.outputs[0]
    perm = tuple(context.integers(operator.inputs[1]))
    order = compose(inverse(perm), context.order(source))
    made = context.emit("Identity", [context.value(source, context.order(source))])
    context.result(result, made, order)


@op("CONCATENATION")
def concatenation(context: Context, operator: Operator) -> None:
    """Along one axis, in the order most operands were made in."""
    result, fields = operator.outputs[0], options(operator)
    orders = [context.order(index) for index in operator.inputs if context.known(index) is None]
    order = next((perm for perm in orders if not is_identity(perm)), identity(context.rank(result)))
    axis = order.index(int(fields["axis"]) % context.rank(result))
    made = context.emit("Concat", [context.value(index, order) for index in operator.inputs], axis=axis)
    context.result(result, activate(context, made, fields.get("fused_activation_function", 0)), order)


@op("PACK")
def pack(context: Context, operator: Operator) -> None:
    """Stack along a new axis."""
    result = operator.outputs[0]
    axis = int(options(operator)["axis"]) % context.rank(result)
    axes = context.literal(int64s([axis]), "axes")
    parts = [context.emit("Unsqueeze", [context.value(index), axes]) for index in operator.inputs]
    context.result(result, context.emit("Concat", parts, axis=axis))


@op("UNPACK")
def unpack(context: Context, operator: Operator) -> None:
    """Split along an axis and remove it."""
    source = operator.inputs[0]
    axis = int(options(operator)["axis"]) % context.rank(source)
    for place, result in enumerate(operator.outputs):
        index = context.literal(np.array(place, np.int64), "index")
        context.result(result, context.emit("Gather", [context.value(source), index], axis=axis))


@op("SPLIT")
def split(context: Context, operator: Operator) -> None:
    """Equal parts; operands: axis, input."""
    axis, source = operator.inputs
    _split(context, operator, source, context.integers(axis)[0], None)


@op("SPLIT_V")
def split_v(context: Context, operator: Operator) -> None:
    """Parts of given sizes; one may be -1."""
    source, sizes, axis = operator.inputs
    _split(context, operator, source, context.integers(axis)[0], context.integers(sizes))


def _split(context: Context, operator: Operator, source: int, axis: int, sizes: list[int] | None) -> None:
    order = context.order(source)
    axis %= context.rank(source)
    value, count = context.value(source, order), len(operator.outputs)
    if sizes is not None and -1 in sizes:
        total = context.static(source)[axis]
        sizes[sizes.index(-1)] = total - sum(size for size in sizes if size >= 0)
    if count == 1:
        context.result(operator.outputs[0], context.emit("Identity", [value]), order)
        return
    if sizes is None:
        made = context.emit("Split", [value], axis=order.index(axis), num_outputs=count, outputs=count)
    else:
        parts = context.literal(int64s(sizes), "sizes")
        made = context.emit("Split", [value, parts], axis=order.index(axis), outputs=count)
    for index, part in zip(operator.outputs, made, strict=True):
        context.result(index, part, order)


def slice_value(
    context: Context,
    value: Any,
    starts: Sequence[int],
    ends: Sequence[int],
    axes: Sequence[int],
    steps: Sequence[int],
) -> Any:
    """ONNX Slice with constant operands."""
    lists = [context.literal(int64s(items), name) for items, name in
             ((starts, "starts"), (ends, "ends"), (axes, "axes"), (steps, "steps"))]  # fmt: skip
    return context.emit("Slice", [value, *lists])


@op("SLICE")
def read_slice(context: Context, operator: Operator) -> None:
    """begin and size; size -1 reaches the end."""
    source, result = operator.inputs[0], operator.outputs[0]
    order = context.order(source)
    if context.known(operator.inputs[1]) is None or context.known(operator.inputs[2]) is None:
        _computed_slice(context, operator)
        return
    begin, size = context.integers(operator.inputs[1]), context.integers(operator.inputs[2])
    ends = [
        np.iinfo(np.int64).max if count < 0 else start + count
        for start, count in zip(begin, size, strict=True)
    ]
    axes = [order.index(axis) for axis in range(len(begin))]
    context.result(
        result, slice_value(context, context.value(source, order), begin, ends, axes, [1] * len(axes)), order
    )


def _computed_slice(context: Context, operator: Operator) -> None:
    """A negative size reaches the end, here too."""
    source, result = operator.inputs[0], operator.outputs[0]
    begin, size = (cast(context, context.value(index), _int64()) for index in operator.inputs[1:3])
    end = context.emit("Add", [begin, size])
    held = context.known(operator.inputs[2])
    if held is None or (held < 0).any():
        zero, far = (context.literal(np.array(item, np.int64), "bound") for item in (0, FAR))
        whole = context.emit("Less", [size, zero], dtype=_bool())
        end = context.emit("Where", [whole, far, end], dtype=_int64())
    context.result(result, context.emit("Slice", [context.value(source), begin, end]))


@op("STRIDED_SLICE")
def strided_slice(context: Context, operator: Operator) -> None:
    """begin, end, strides with masks (begin, end, ellipsis, new axis, shrink); see `Cuts`."""
    cuts = Cuts(context, operator)
    source, result = operator.inputs[0], operator.outputs[0]
    plain = not cuts.removed and not cuts.added
    order = context.order(source) if plain else identity(context.rank(source))
    value = cuts.slice(context, context.value(source, order), order)
    if cuts.removed:
        value = context.emit("Squeeze", [value, context.literal(int64s(cuts.removed), "axes")])
    if cuts.added:
        value = context.emit("Unsqueeze", [value, context.literal(int64s(cuts.added), "axes")])
    context.result(result, value, order if plain else None)


class Cuts(MaskedAxes):
    """What a STRIDED_SLICE asks for, per axis of its operand."""

    def __init__(self, context: Context, operator: Operator) -> None:
        self.inputs = operator.inputs
        count = context.static(operator.inputs[1])[0]
        super().__init__(options(operator), count, context.rank(operator.inputs[0]))

    def slice(self, context: Context, value: Any, order: Perm) -> Any:
        """The cut of `value`, whose axes stand in `order`."""
        if not self.entries:
            return value
        axes = [order.index(axis) for _, axis in self.entries]
        if all(context.known(index) is not None for index in self.inputs[1:4]):
            bounds = [self._bounds(place, *self._numbers(context, place)) for place, _ in self.entries]
            starts, ends, steps = zip(*bounds, strict=True)
            return slice_value(context, value, starts, ends, axes, steps)
        return context.emit("Slice", [value, *self._computed(context, axes)])

    def _numbers(self, context: Context, place: int) -> tuple[int, int, int]:
        begin, end, stride = (context.integers(index)[place] for index in self.inputs[1:4])
        return begin, end, stride

    def _bounds(self, place: int, begin: int, end: int, stride: int) -> tuple[int, int, int]:
        """Start, end and step as ONNX Slice wants them; LiteRT lets the begin mask win over shrinking."""
        if self.has("begin", place):
            begin = 0 if stride > 0 else FAR
        if self.has("shrink_axis", place):
            return begin, FAR if begin == -1 else begin + 1, 1
        if self.has("end", place):
            return begin, FAR if stride > 0 else -FAR, stride
        if not self.masks.get("offset"):
            return begin, end, stride
        if stride < 0:
            raise Unsupported("strided-slice-offset", "ends relative to begins, walked backwards")
        # A begin counted from the back may reach the end, where the sum would start over at zero.
        return begin, FAR if begin < 0 <= begin + end else begin + end, stride

    def _computed(self, context: Context, axes: list[int]) -> list[Any]:
        places = context.literal(int64s([place for place, _ in self.entries]), "places")
        begin, end, steps = (
            context.emit("Gather", [cast(context, context.value(index), _int64()), places], axis=0)
            for index in self.inputs[1:4]
        )
        held = context.known(self.inputs[3])
        if self.masks.get("offset"):
            raise Unsupported("strided-slice-offset", "ends relative to begins that are computed")
        strides = None if held is None else [int(held[place]) for place, _ in self.entries]
        begin = self._masked(context, begin, "begin", strides)
        end = self._masked(context, end, "end", strides)
        shrunk = [self.has("shrink_axis", place) for place, _ in self.entries]
        if any(shrunk):
            end = _where(context, shrunk, _next(context, begin), end)
            steps = _where(context, shrunk, context.literal(int64s([1]), "one"), steps)
        return [begin, end, context.literal(int64s(axes), "axes"), steps]

    def _masked(self, context: Context, bounds: Any, mask: str, strides: list[int] | None) -> Any:
        flags = [self.has(mask, place) for place, _ in self.entries]
        if not any(flags):
            return bounds
        if strides is None:
            raise Unsupported(
                "constant-operand", f"strides are computed, and {mask}s left out depend on their sign"
            )
        ahead, back = (0, FAR) if mask == "begin" else (FAR, -FAR)
        edges = int64s([ahead if stride > 0 else back for stride in strides])
        return _where(context, flags, context.literal(edges, "edges"), bounds)


FAR = int(np.iinfo(np.int64).max)


def _where(context: Context, flags: list[bool], yes: Any, no: Any) -> Any:
    return context.emit("Where", [context.literal(np.array(flags), "flags"), yes, no], dtype=_int64())


def _next(context: Context, begin: Any) -> Any:
    """begin + 1, where -1 (the last element) leads past the end and not to the first."""
    import onnx_ir

    last = context.emit("Equal", [begin, context.literal(int64s([-1]), "last")], dtype=onnx_ir.DataType.BOOL)
    after = context.emit("Add", [begin, context.literal(int64s([1]), "one")])
    return context.emit("Where", [last, context.literal(int64s([FAR]), "far"), after], dtype=_int64())


@op("PAD", "PADV2")
def pad(context: Context, operator: Operator) -> None:
    """Constant: zero or given."""
    source, order = operator.inputs[0], context.order(operator.inputs[0])
    filler = [context.value(operator.inputs[2])] if len(operator.inputs) > 2 else []
    if filler and context.rank(operator.inputs[2]):
        filler = [context.reshaped(filler[0], [])]
    made = context.emit("Pad", [context.value(source, order), _pads(context, operator, order), *filler])
    context.result(operator.outputs[0], made, order)


def _pads(context: Context, operator: Operator, order: Perm) -> Any:
    """ONNX lists all margins before, then all behind."""
    table = operator.inputs[1]
    if context.known(table) is not None:
        moved = _margins(context, operator)[list(order)]
        return context.literal(np.concatenate([moved[:, 0], moved[:, 1]]), "pads")
    rows = context.emit("Gather", [context.value(table), context.literal(int64s(order), "order")], axis=0)
    columns = context.emit("Transpose", [cast(context, rows, _int64())], perm=[1, 0])
    return context.reshaped(columns, [2 * len(order)])


def _margins(context: Context, operator: Operator) -> Array:
    table, rank = np.array(context.integers(operator.inputs[1]), np.int64), context.rank(operator.inputs[0])
    if table.size != 2 * rank:
        raise Unsupported("pad-table", f"{table.size} margins for {rank} axes")
    return table.reshape(-1, 2)


@op("MIRROR_PAD")
def mirror_pad(context: Context, operator: Operator) -> None:
    """REFLECT leaves the edge out of the mirror image, SYMMETRIC repeats it."""
    order = context.order(operator.inputs[0])
    value = context.value(operator.inputs[0], order)
    if options(operator).get("mode"):
        moved = _margins(context, operator)[list(order)]
        for axis, (before, after) in enumerate(moved.tolist()):
            value = _symmetric(context, value, axis, before, after)
    else:
        value = context.emit("Pad", [value, _pads(context, operator, order)], mode="reflect")
    context.result(operator.outputs[0], value, order)


def _symmetric(context: Context, value: Any, axis: int, before: int, after: int) -> Any:
    """ONNX has no such mode: the borders turned round stand beside the value."""
    parts = [value]
    if before:
        parts.insert(0, slice_value(context, value, [before - 1], [-FAR], [axis], [-1]))
    if after:
        parts.append(slice_value(context, value, [-1], [-1 - after], [axis], [-1]))
    return context.emit("Concat", parts, axis=axis) if len(parts) > 1 else value


@op("TILE")
def tile(context: Context, operator: Operator) -> None:
    """Repeat along axes."""
    repeats = cast(context, context.value(operator.inputs[1]), _int64())
    context.result(operator.outputs[0], context.emit("Tile", [context.value(operator.inputs[0]), repeats]))


@op("BROADCAST_TO")
def broadcast_to(context: Context, operator: Operator) -> None:
    """Expand to a shape."""
    shape = cast(context, context.value(operator.inputs[1]), _int64())
    context.result(operator.outputs[0], context.emit("Expand", [context.value(operator.inputs[0]), shape]))


@op("FILL")
def fill(context: Context, operator: Operator) -> None:
    """A shape full of one value."""
    shape = cast(context, context.value(operator.inputs[0]), _int64())
    context.result(operator.outputs[0], context.emit("Expand", [context.value(operator.inputs[1]), shape]))


@op("SHAPE")
def shape_of(context: Context, operator: Operator) -> None:
    """Dims in the tensor's own order."""
    made = context.emit("Shape", [context.value(operator.inputs[0])], dtype=_int64())
    context.result(operator.outputs[0], cast(context, made, dtype_of(context.tensor(operator.outputs[0]))))


@op("RANK")
def rank(context: Context, operator: Operator) -> None:
    """A constant."""
    context.result(
        operator.outputs[0], context.literal(np.array(context.rank(operator.inputs[0]), np.int32), "rank")
    )


@op("RANGE")
def range_of(context: Context, operator: Operator) -> None:
    """start, limit, delta."""
    context.result(
        operator.outputs[0], context.emit("Range", [context.value(index) for index in operator.inputs])
    )


@op("ZEROS_LIKE")
def zeros_like(context: Context, operator: Operator) -> None:
    """x * 0 would keep NaN: built from the shape."""
    import onnx_ir

    order = context.order(operator.inputs[0])
    shape = context.emit("Shape", [context.value(operator.inputs[0], order)], dtype=_int64())
    kind = dtype_of(context.tensor(operator.outputs[0]))
    zero = onnx_ir.tensor(np.zeros(1, kind.numpy()))
    context.result(
        operator.outputs[0], context.emit("ConstantOfShape", [shape], value=zero, dtype=kind), order
    )


@op("REVERSE_V2")
def reverse(context: Context, operator: Operator) -> None:
    """Along constant axes."""
    source = operator.inputs[0]
    order: Perm = context.order(source)
    axes = [order.index(axis % context.rank(source)) for axis in context.integers(operator.inputs[1])]
    far = int(np.iinfo(np.int64).max)
    count = len(axes)
    made = slice_value(
        context, context.value(source, order), [-1] * count, [-far] * count, axes, [-1] * count
    )
    context.result(operator.outputs[0], made, order)
