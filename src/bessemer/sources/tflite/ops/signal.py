"""Fourier transforms; complex tensors are pairs of reals along one more axis at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.sources.tflite.context import Context, Unsupported
from bessemer.sources.tflite.registry import op
from bessemer.wire.tflite.schema import TensorType

if TYPE_CHECKING:
    from bessemer.wire.tflite.records import Operator

COMPLEX = (TensorType.COMPLEX64, TensorType.COMPLEX128)
TAKE_COMPLEX = ("REAL", "IMAG", "COMPLEX_ABS")
MAKE_COMPLEX = ("RFFT2D",)
"""The operators that read such pairs, and those that make them."""


def refuse_complex(context: Context, name: str, operator: Operator) -> None:
    """Only the operators above know that a complex tensor has an axis more here."""
    taken = () if name in TAKE_COMPLEX else operator.inputs
    made = () if name in MAKE_COMPLEX else operator.outputs
    held = [index for index in (*taken, *made) if index >= 0 and context.tensor(index).type in COMPLEX]
    if held:
        reason = f"it computes with the complex tensor '{context.name(held[0])}', a type ONNX operators do not take"
        raise Unsupported("complex", reason, "split it by REAL and IMAG first")


def refuse_complex_output(context: Context, index: int) -> None:
    """A model cannot give pairs where the file says complex."""
    if context.tensor(index).type in COMPLEX:
        raise Unsupported("complex", f"the output '{context.name(index)}' is complex")


@op("RFFT2D")
def rfft2d(context: Context, operator: Operator) -> None:
    """The last axis first, its upper half left out, then the one before it (DFT is separable)."""
    source, result = operator.inputs[0], operator.outputs[0]
    height, width = context.integers(operator.inputs[1])
    rank = context.rank(source)
    value = context.emit(
        "Unsqueeze", [context.value(source), context.literal(np.array([-1], np.int64), "axes")]
    )
    for axis, length, half in ((rank - 1, width, 1), (rank - 2, height, 0)):
        operands = [context.literal(np.array(item, np.int64), "dft") for item in (length, axis)]
        value = context.emit("DFT", [value, *operands], onesided=half)
    context.register(result, value, tuple(range(rank)))


def _part(context: Context, index: int, which: int) -> Any:
    if context.value(index).producer() is None:
        raise Unsupported("complex", f"'{context.name(index)}' is complex where the model is given it")
    place = context.literal(np.array(which, np.int64), "part")
    return context.emit("Gather", [context.value(index), place], axis=-1)


@op("REAL")
def real(context: Context, operator: Operator) -> None:
    """The first of each pair."""
    context.result(operator.outputs[0], _part(context, operator.inputs[0], 0))


@op("IMAG")
def imag(context: Context, operator: Operator) -> None:
    """The second of each pair."""
    context.result(operator.outputs[0], _part(context, operator.inputs[0], 1))


@op("COMPLEX_ABS")
def complex_abs(context: Context, operator: Operator) -> None:
    """Length of each pair."""
    parts = [_part(context, operator.inputs[0], which) for which in (0, 1)]
    squares = [context.emit("Mul", [part, part]) for part in parts]
    context.result(operator.outputs[0], context.emit("Sqrt", [context.emit("Add", squares)]))
