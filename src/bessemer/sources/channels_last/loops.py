"""A step repeated along the time axis, as a Scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.layout import apply, identity
from bessemer.ir.types import Perm, Shape, int64s
from bessemer.sources.channels_last.shaping import cut
from bessemer.sources.drawing import Canvas, Ordered, Unsupported

if TYPE_CHECKING:
    import onnx_ir

Step = Callable[[Canvas, list[Ordered], list[Ordered]], tuple[list[Ordered], Ordered]]
"""(inside, states, items of one step) -> (states afterwards, what the step puts out)."""


def scan(
    canvas: Canvas,
    step: Step,
    states: Sequence[Ordered],
    sequences: Sequence[Ordered],
    *,
    backwards: bool = False,
    order: Perm | None = None,
) -> tuple[list[Ordered], Ordered]:
    """Final states and the outputs of all steps (batch, time, ...), in the order in which steps were done.

    sequences: (batch, time, ...), one item per step. order: in which axis order states of its rank stand inside.
    """
    inside = Canvas(canvas.notes, canvas)
    held = [_entry(inside, state.shape, state.dtype, _order(state.shape, order)) for state in states]
    items = [_item(inside, sequence, order) for sequence in sequences]
    after, out = step(inside, [tensor for tensor, _ in held], [tensor for tensor, _ in items])
    perm = out.made
    results = [
        *(inside.at(tensor, _order(old.shape, order)) for tensor, old in zip(after, states, strict=True)),
        inside.at(out, perm),
    ]
    body = inside.body([value for _, value in (*held, *items)], results)
    operands = [
        *(canvas.at(state, _order(state.shape, order)) for state in states),
        *(canvas.at(sequence, _timed(_order(_inner(sequence), order))) for sequence in sequences),
    ]
    made = canvas.emit(
        "Scan", operands, body=body, num_scan_inputs=len(sequences), outputs=len(states) + 1,
        scan_input_directions=[1] * len(sequences) if backwards else None,
    )  # fmt: skip
    values = [made] if not states else list(made)
    final = []
    for value, state, old in zip(values, after, states, strict=False):
        value.dtype = state.dtype
        final.append(canvas.result(value, old.shape, _order(old.shape, order)))
    values[-1].dtype = out.dtype
    shape = (out.shape[0], sequences[0].shape[1], *out.shape[1:])
    return final, canvas.result(values[-1], shape, _timed(perm))


def _order(shape: Shape, order: Perm | None) -> Perm:
    return order if order is not None and len(order) == len(shape) else identity(len(shape))


def _inner(sequence: Ordered) -> Shape:
    return (sequence.shape[0], *sequence.shape[2:])


def _timed(perm: Perm) -> Perm:
    """An order of one step's tensor, time put before it."""
    return (1, *(axis + 1 if axis else 0 for axis in perm))


def _item(inside: Canvas, sequence: Ordered, order: Perm | None) -> tuple[Ordered, onnx_ir.Value]:
    shape = _inner(sequence)
    return _entry(inside, shape, sequence.dtype, _order(shape, order))


def _entry(inside: Canvas, shape: Shape, dtype: object, perm: Perm) -> tuple[Ordered, onnx_ir.Value]:
    import onnx_ir

    name = inside.unique(f"{inside.layer}/step")
    value = onnx_ir.Value(name=name, shape=onnx_ir.Shape(list(apply(perm, shape))), type=onnx_ir.TensorType(dtype))  # type: ignore[arg-type]
    tensor = Ordered(name, shape, dtype)
    tensor.made, tensor.orders = perm, {perm: value}
    return tensor, value


def zeros(canvas: Canvas, like: Ordered, sizes: Sequence[int]) -> Ordered:
    """Zeros of (batch of `like`, *sizes), in its type."""
    import onnx_ir

    batch, kind = like.shape[0], like.dtype.numpy()
    if isinstance(batch, int):
        return canvas.constant(np.zeros((batch, *sizes), kind), "zeros")
    if any(not isinstance(size, int) for size in sizes):
        raise Unsupported("dynamic-shape", "a state of unbound size")
    value = canvas.at(like, like.made)
    place = like.made.index(0)
    count = canvas.emit("Shape", [value], start=place, end=place + 1, dtype=onnx_ir.DataType.INT64)
    shape = canvas.emit("Concat", [count, canvas.literal(int64s(sizes), "sizes")], axis=0)
    made = canvas.emit("Expand", [canvas.literal(np.zeros((), kind), "zero"), shape])
    return canvas.result(made, (batch, *sizes))


def reversed_time(canvas: Canvas, sequence: Ordered) -> Ordered:
    """(batch, time, ...) from the last step to the first."""

    return cut(canvas, sequence, 1, None, None, -1)
