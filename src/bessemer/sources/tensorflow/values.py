"""What a ref of a graph may mean beside a tensor: a variable, a list of tensors, nothing that can be read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bessemer.ir.layout import identity
from bessemer.sources.channels_last.dims import Dim
from bessemer.sources.channels_last.signal import Complex
from bessemer.sources.drawing import Canvas, Ordered

if TYPE_CHECKING:
    import onnx_ir


@dataclass(frozen=True)
class Handle:
    """A variable: its key, and its value."""

    key: str
    tensor: Ordered


@dataclass(frozen=True)
class Nothing:
    """The result of a node that cannot be read: what reads it is judged by its kind alone."""

    name: str


@dataclass(frozen=True)
class Stack:
    """A list of tensors that stand in one, along its first axis."""

    tensor: Ordered

    @property
    def length(self) -> Dim:
        """Number of items."""
        return self.tensor.shape[0]


@dataclass(frozen=True)
class Items:
    """A list of tensors one by one; None where nothing was set. length: of one that is only reserved."""

    items: tuple[Ordered | None, ...] | None
    length: Dim
    shape: tuple[Dim, ...] | None
    dtype: Any
    grows: bool = False
    """Whether items are pushed at its end; else they are set at places that are there already."""


@dataclass(eq=False)
class Written:
    """A list inside a loop's body while it is read: what is set in one round, and where (None: at the end)."""

    start: Items
    sets: list[tuple[Ordered | None, Ordered]] = field(default_factory=list)


Value = Ordered | Handle | Nothing | Stack | Items | Written
Listed = (Stack, Items, Written)


def standing(name: str, value: onnx_ir.Value, shape: tuple[Dim, ...]) -> Ordered:
    """A value as a tensor in its own axis order."""
    made = Ordered(name, shape, value.dtype)
    made.made = identity(len(shape))
    made.orders[made.made] = value
    return made


def borrowed(value: Value) -> Value:
    """A value of the graph around a branch or a body: orders that are drawn inside stay inside."""
    if isinstance(value, Ordered):
        return _copied(value)
    if isinstance(value, Handle):
        return Handle(value.key, _copied(value.tensor))
    if isinstance(value, Stack):
        return Stack(_copied(value.tensor))
    if isinstance(value, Items) and value.items is not None:
        items = tuple(None if item is None else _copied(item) for item in value.items)
        return Items(items, value.length, value.shape, value.dtype, value.grows)
    return value


def _copied(tensor: Ordered) -> Ordered:
    import copy

    if isinstance(tensor, Complex):
        return Complex(_copied(tensor.real), _copied(tensor.imag), tensor.dtype)
    made = copy.copy(tensor)
    made.orders = dict(tensor.orders)
    return made


def texts(name: str, array: Any) -> Ordered:
    """A constant of strings: known, and never drawn."""
    import onnx_ir

    return Ordered(name, tuple(array.shape), onnx_ir.DataType.STRING, array)


def constant(canvas: Canvas, array: Any, name: str) -> Ordered:
    """A constant of any type."""
    return texts(name, array) if array.dtype.kind == "O" else canvas.constant(array, name)
