"""Lists of tensors: TensorList operators, and TensorArrays of the first version, which are lists behind a flow.

A list whose items stand in one tensor is that tensor (`Stack`); what a loop's body sets becomes a scan output of the loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.layout import apply
from bessemer.sources.channels_last import shaping
from bessemer.sources.channels_last.dims import Dim
from bessemer.sources.drawing import Canvas, Ordered, Unsupported
from bessemer.sources.tensorflow.node import Node
from bessemer.sources.tensorflow.partial import known_dims
from bessemer.sources.tensorflow.reading import Reading, structure
from bessemer.sources.tensorflow.values import Handle, Items, Nothing, Stack, Value, Written

if TYPE_CHECKING:
    import onnx_ir

MOST_ITEMS = 4096
"""Of a list that is kept item by item."""


@structure("TensorListFromTensor")
def from_tensor(reading: Reading, canvas: Canvas, node: Node, inputs: list[Value], name: str) -> Sequence[Value]:
    """Slices along the first axis."""
    return [Stack(tensor(inputs[0]))]


@structure("TensorListReserve")
def reserve(reading: Reading, canvas: Canvas, node: Node, inputs: list[Value], name: str) -> Sequence[Value]:
    """Places for so many items."""
    return [reserved(tensor(inputs[1]), _item_shape(inputs[0]), node.attrs["element_dtype"])]


@structure("EmptyTensorList")
def empty(reading: Reading, canvas: Canvas, node: Node, inputs: list[Value], name: str) -> Sequence[Value]:
    """Items are pushed at its end."""
    return [Items((), 0, _item_shape(inputs[0]), node.attrs["element_dtype"], grows=True)]


@structure("TensorArrayV3")
def array(reading: Reading, canvas: Canvas, node: Node, inputs: list[Value], name: str) -> Sequence[Value]:
    """The list goes with the flow, the second result."""
    dims = node.attrs.get("element_shape")
    made = reserved(tensor(inputs[0]), None if dims is None or None in dims else dims, node.attrs["dtype"])
    return [made, made]


def reserved(count: Ordered, shape: tuple[Dim, ...] | None, dtype: Any) -> Items:
    """A list of so many places; each is kept where there are few."""
    length = (known_dims(count) or (None,))[0]
    few = isinstance(length, int) and 0 <= length <= MOST_ITEMS
    return Items((None,) * int(length or 0) if few else None, length, shape, dtype)


def _item_shape(value: Value) -> tuple[Dim, ...] | None:
    held = known_dims(value) if isinstance(value, Ordered) and value.rank == 1 else None
    return None if held is None or -1 in held or None in held else held


# -- one item ----------------------------------------------------------------------------------------------------------


@structure("TensorListGetItem")
def get(reading: Reading, canvas: Canvas, node: Node, inputs: list[Value], name: str) -> Sequence[Value]:
    """The item at a place."""
    return [item(canvas, inputs[0], tensor(inputs[1]))]


@structure("TensorArrayReadV3")
def read(reading: Reading, canvas: Canvas, node: Node, inputs: list[Value], name: str) -> Sequence[Value]:
    """The item at a place."""
    return [item(canvas, inputs[2], tensor(inputs[1]))]


def item(canvas: Canvas, held: Value, place: Ordered) -> Ordered:
    """One item of a list."""
    if isinstance(held, Items) and held.items is not None and place.known is not None:
        number = int(place.known)
        found = held.items[number] if 0 <= number < len(held.items) else None
        return found if found is not None else _blank(canvas, held)
    if isinstance(held, Items) and held.items and all(part is not None for part in held.items):
        held = Stack(stacked(canvas, held))
    if not isinstance(held, Stack):
        raise Unsupported("list", "it reads a list whose items are set in the same loop")
    whole = held.tensor
    order = whole.made if whole.known is None and whole.made[0] == 0 else tuple(range(whole.rank))
    kept = tuple(axis - 1 for axis in order[1:])
    made = canvas.emit("Gather", [canvas.at(whole, order), canvas.at(place)], axis=0)
    return canvas.result(made, whole.shape[1:], kept)


@structure("TensorListSetItem")
def put(reading: Reading, canvas: Canvas, node: Node, inputs: list[Value], name: str) -> Sequence[Value]:
    """The list with another item at a place."""
    return [with_item(inputs[0], tensor(inputs[1]), tensor(inputs[2]))]


@structure("TensorArrayWriteV3")
def write(reading: Reading, canvas: Canvas, node: Node, inputs: list[Value], name: str) -> Sequence[Value]:
    """The list with another item at a place."""
    return [with_item(inputs[3], tensor(inputs[1]), tensor(inputs[2]))]


def with_item(held: Value, place: Ordered, made: Ordered) -> Value:
    """The list after an item was set."""
    if isinstance(held, Written):
        return Written(held.start, [*held.sets, (place, made)])
    if not isinstance(held, Items) or held.items is None or place.known is None:
        raise Unsupported("list", "it sets an item of a list at a place that is computed, outside of a loop that fills it")
    number, items = int(place.known), list(held.items)
    if not 0 <= number < MOST_ITEMS:
        raise Unsupported("list", f"it sets item {number} of a list")
    items += [None] * (number + 1 - len(items))
    items[number] = made
    return replace(held, items=tuple(items), length=len(items))


@structure("TensorListPushBack")
def push(reading: Reading, canvas: Canvas, node: Node, inputs: list[Value], name: str) -> Sequence[Value]:
    """The list with one item more."""
    held, made = inputs[0], tensor(inputs[1])
    if isinstance(held, Written):
        return [Written(held.start, [*held.sets, (None, made)])]
    if not isinstance(held, Items) or held.items is None or len(held.items) >= MOST_ITEMS:
        raise Unsupported("list", "it pushes an item to a list that was made from a tensor")
    items = (*held.items, made)
    return [replace(held, items=items, length=len(items))]


@structure("TensorListPopBack")
def pop(reading: Reading, canvas: Canvas, node: Node, inputs: list[Value], name: str) -> Sequence[Value]:
    """The list without its last item, and that item."""
    held = inputs[0]
    if not isinstance(held, Items) or not held.items:
        raise Unsupported("list", "it takes the last item of a list whose items are not known one by one")
    last = held.items[-1]
    left = replace(held, items=held.items[:-1], length=len(held.items) - 1)
    return [left, _blank(canvas, held) if last is None else last]


# -- all items ---------------------------------------------------------------------------------------------------------


@structure("TensorListStack")
def stack(reading: Reading, canvas: Canvas, node: Node, inputs: list[Value], name: str) -> Sequence[Value]:
    """All items in one tensor, along a new first axis."""
    return [stacked(canvas, inputs[0])]


@structure("TensorArrayGatherV3")
def gather(reading: Reading, canvas: Canvas, node: Node, inputs: list[Value], name: str) -> Sequence[Value]:
    """Items at given places."""
    whole, places = stacked(canvas, inputs[2]), tensor(inputs[1])
    if _everything(places, whole.shape[0]):
        return [whole]
    made = canvas.emit("Gather", [canvas.at(whole), canvas.at(places)], axis=0)
    return [canvas.result(made, (*places.shape, *whole.shape[1:]))]


@structure("TensorArrayScatterV3")
def scatter(reading: Reading, canvas: Canvas, node: Node, inputs: list[Value], name: str) -> Sequence[Value]:
    """Items from the slices of a tensor."""
    places, whole = tensor(inputs[1]), tensor(inputs[2])
    if not _everything(places, whole.shape[0]):
        raise Unsupported("list", "it fills an array at places that are not known to be all of them, in order",
                          "bind the length with --shape")  # fmt: skip
    return [Stack(whole)]


@structure("TensorArrayConcatV3", "TensorListConcatV2", "TensorListConcat")
def join(reading: Reading, canvas: Canvas, node: Node, inputs: list[Value], name: str) -> Sequence[Value]:
    """All items one behind another."""
    whole = stacked(canvas, inputs[1] if node.op.startswith("TensorArray") else inputs[0])
    if whole.rank < 2:
        raise Unsupported("list", "it joins items without axes")
    joined = shaping.reshape(canvas, whole, (-1, *whole.shape[2:]))
    if not isinstance(whole.shape[0], int) or not isinstance(whole.shape[1], int):
        raise Unsupported("dynamic-shape", "it joins so many items of such length that their lengths are not known")
    lengths = np.full(whole.shape[0], whole.shape[1], np.int64)
    return [joined, canvas.constant(lengths, f"{node.name}/lengths")]


@structure("TensorListLength", "TensorArraySizeV3")
def length(reading: Reading, canvas: Canvas, node: Node, inputs: list[Value], name: str) -> Sequence[Value]:
    """Number of items."""
    import onnx_ir

    held = inputs[-1]
    count = held.length if isinstance(held, Items | Stack) else held.start.length if isinstance(held, Written) else None
    if isinstance(count, int):
        return [canvas.constant(np.array(count, np.int32), node.name)]
    if not isinstance(held, Stack):
        raise Unsupported("list", "it counts the items of a list of computed length")
    order = held.tensor.made
    dims = canvas.emit("Shape", [canvas.at(held.tensor, order)], dtype=onnx_ir.DataType.INT64)
    place = canvas.literal(np.array(order.index(0), np.int64))
    counted = canvas.emit("Gather", [dims, place], axis=0)
    made = canvas.result(canvas.emit("Cast", [counted], to=6, dtype=onnx_ir.DataType.INT32), ())
    made.dims = (count,)
    return [made]


def stacked(canvas: Canvas, held: Value) -> Ordered:
    """A list as one tensor."""
    if isinstance(held, Stack):
        return held.tensor
    if not isinstance(held, Items) or not held.items:
        raise Unsupported("list", "it stacks a list of which no item is known", "bind all dims with --shape")
    parts = [_blank(canvas, held) if part is None else part for part in held.items]
    return shaping.stack(canvas, parts, 0)


def _blank(canvas: Canvas, held: Items) -> Ordered:
    """Zeros, as an item that was never set is read."""
    shape = held.shape or next((part.shape for part in held.items or () if part is not None), None)
    if shape is None or not all(isinstance(dim, int) for dim in shape):
        raise Unsupported("list", "it reads an item that was never set, of unbound shape", "bind all dims with --shape")
    return canvas.constant(np.zeros([int(dim or 0) for dim in shape], held.dtype), "blank")


def _everything(places: Ordered, count: Dim) -> bool:
    return places.known is not None and np.array_equal(places.known, np.arange(count if isinstance(count, int) else -1))


def tensor(value: Value) -> Ordered:
    """A value that must be a tensor."""
    if isinstance(value, Handle):
        return value.tensor
    if isinstance(value, Nothing) or not isinstance(value, Ordered):
        raise Unsupported("list", "it reads a list of tensors where a tensor belongs")
    return value


def scanned(canvas: Canvas, value: onnx_ir.Value, shape: tuple[Dim, ...], order: tuple[int, ...]) -> Ordered:
    """What a loop collected, one slice per round; order: the axis order of a slice."""
    whole = (0, *(axis + 1 for axis in order))
    assert len(apply(whole, shape)) == len(shape)
    return canvas.result(value, shape, whole)
