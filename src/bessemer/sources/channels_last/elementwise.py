"""Operators on single elements: operands meet in one axis order, which the result keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.types import Array
from bessemer.sources.channels_last.dims import broadcast
from bessemer.sources.drawing import Canvas, Ordered

if TYPE_CHECKING:
    import onnx_ir


def pointwise(
    canvas: Canvas, tensors: Sequence[Ordered], draw: Callable[..., onnx_ir.Value], *, name: str = ""
) -> Ordered:
    """What `draw(*values)` makes of broadcasting operands, all in one order; it must keep axes where they are."""
    values, order = canvas.together(tensors)
    shape = broadcast(*(tensor.shape for tensor in tensors))
    return canvas.result(draw(*values), shape, order, name)


def applied(
    canvas: Canvas, operator: str, *tensors: Ordered, dtype: Any = None, name: str = "", **attributes: Any
) -> Ordered:
    """One node on broadcasting operands. dtype: of the result, where it differs from the first operand's."""

    def draw(*values: onnx_ir.Value) -> Any:
        return canvas.emit(operator, values, dtype=dtype, **attributes)

    return pointwise(canvas, tensors, draw, name=name)


def compared(canvas: Canvas, operator: str, *tensors: Ordered, name: str = "") -> Ordered:
    """Equal, Less, And, IsNaN, ...: the result is boolean."""
    import onnx_ir

    return applied(canvas, operator, *tensors, dtype=onnx_ir.DataType.BOOL, name=name)


def along(canvas: Canvas, operator: str, tensor: Ordered, axis: int, *, name: str = "", **attributes: Any) -> Ordered:
    """One node that works along one axis of the original and keeps the shape (Softmax, LogSoftmax, Hardmax)."""
    place = tensor.made.index(axis % tensor.rank)
    made = canvas.emit(operator, [canvas.at(tensor, tensor.made)], axis=place, **attributes)
    return canvas.result(made, tensor.shape, tensor.made, name)


def scalar(canvas: Canvas, number: float | bool | Array, like: Ordered | onnx_ir.Value) -> onnx_ir.Value:
    """A constant of rank 0 in the type of `like`."""
    kind = np.dtype(np.float32) if like.dtype is None else like.dtype.numpy()
    return canvas.literal(np.asarray(number).astype(kind), "number")


def number(canvas: Canvas, held: float, like: Ordered) -> Ordered:
    """The same as a tensor."""
    return canvas.constant(np.asarray(held, like.dtype.numpy()), "number")


def chosen(canvas: Canvas, condition: Ordered, yes: Ordered, no: Ordered, *, name: str = "") -> Ordered:
    """`yes` where the condition holds, else `no`; all three broadcast."""
    return applied(canvas, "Where", condition, yes, no, dtype=yes.dtype, name=name)


def cast(canvas: Canvas, tensor: Ordered, dtype: Any, *, name: str = "") -> Ordered:
    """Elements in another ONNX type (`onnx_ir.DataType`); reals are cut to integers towards zero."""
    if tensor.dtype == dtype:
        return tensor
    return applied(canvas, "Cast", tensor, dtype=dtype, to=int(dtype), name=name)


def clipped(
    canvas: Canvas, tensor: Ordered, low: float | None, high: float | None, *, name: str = ""
) -> Ordered:
    """Elements between two constants, either of which may be left out."""

    def draw(value: onnx_ir.Value) -> Any:
        bounds = [None if bound is None else scalar(canvas, bound, tensor) for bound in (low, high)]
        return canvas.emit("Clip", [value, *(bounds if bounds[1] is not None else bounds[:1])])

    return pointwise(canvas, [tensor], draw, name=name)


def relu6(canvas: Canvas, tensor: Ordered, *, name: str = "") -> Ordered:
    """Elements between 0 and 6."""
    return clipped(canvas, tensor, 0.0, 6.0, name=name)


def with_scalar(canvas: Canvas, operator: str, tensor: Ordered, number: float, *, name: str = "") -> Ordered:
    """A binary node whose second operand is a number."""

    def draw(value: onnx_ir.Value) -> Any:
        return canvas.emit(operator, [value, scalar(canvas, number, tensor)])

    return pointwise(canvas, [tensor], draw, name=name)


def bias_add(
    canvas: Canvas, tensor: Ordered, bias: Ordered, *, first: bool = False, name: str = ""
) -> Ordered:
    """One number per channel; channels are the last axis, or the second where they come `first`."""
    axis = 1 if first else tensor.rank - 1
    order = tensor.made
    shape = tuple(tensor.shape[axis] if held == axis else 1 for held in order)
    while shape and shape[0] == 1:  # leading axes of one broadcast by themselves
        shape = shape[1:]
    if len(shape) < 2:
        row = canvas.at(bias)
    elif bias.known is not None:
        row = canvas.literal(bias.known.reshape([bias.known.size if dim != 1 else 1 for dim in shape]), bias.name)
    else:
        row = canvas.reshaped(canvas.at(bias), shape)
    made = canvas.emit("Add", [canvas.at(tensor, order), row])
    return canvas.result(made, tensor.shape, order, name)


def squared_difference(canvas: Canvas, first: Ordered, second: Ordered, *, name: str = "") -> Ordered:
    """(a - b)^2."""

    def draw(left: onnx_ir.Value, right: onnx_ir.Value) -> Any:
        delta = canvas.emit("Sub", [left, right])
        return canvas.emit("Mul", [delta, delta])

    return pointwise(canvas, [first, second], draw, name=name)


def selu(canvas: Canvas, tensor: Ordered, *, name: str = "") -> Ordered:
    """Klambauer et al. 2017 (arXiv:1706.02515), its constants in full."""
    return applied(
        canvas, "Selu", tensor, alpha=1.6732632423543772, gamma=1.0507009873554805, name=name
    )
