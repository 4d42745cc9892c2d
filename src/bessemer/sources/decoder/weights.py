"""Weights as constants of a graph that are read when somebody asks, one at a time, in float32."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.checkpoint import Lazy
from bessemer.runners.decoder.tables import Floats

if TYPE_CHECKING:
    import onnx_ir

BAND = 1 << 22
"""Elements that are decoded together."""
HALVES = {"F16": "FLOAT16", "BF16": "BFLOAT16"}


def most_stored(roles: Mapping[str, Lazy]) -> str:
    """'FLOAT16' or 'BFLOAT16' where most weights are stored so; else ''."""
    held: dict[str, int] = {}
    for tensor in roles.values():
        held[tensor.type] = held.get(tensor.type, 0) + tensor.size
    return HALVES.get(max(held, key=lambda kind: held[kind]), "") if held else ""


def table(tensor: Lazy) -> onnx_ir.TensorProtocol:
    """As it stands, [rows, columns] or [columns]."""
    return _lazy(tensor.shape, lambda: _read(tensor, 0, tensor.rows).reshape(tensor.shape))


def turned(tensor: Lazy, place: int | None = None) -> onnx_ir.TensorProtocol:
    """A matrix [results, columns] as MatMul wants it, [columns, results]; entry `place` of a stack of them."""
    rows = tensor.rows if place is None else tensor.shape[-2]
    start = 0 if place is None else place * rows

    def made() -> Floats:
        found = np.empty((tensor.columns, rows), np.float32)
        step = max(BAND // tensor.columns, 1)
        for first in range(0, rows, step):
            last = min(first + step, rows)
            found[:, first:last] = _read(tensor, start + first, start + last).T
        return found

    return _lazy((tensor.columns, rows), made)


def shifted(tensor: Lazy, offset: float) -> onnx_ir.TensorProtocol:
    """A small tensor plus a number."""

    def made() -> Floats:
        found: Floats = _read(tensor, 0, tensor.rows).reshape(tensor.shape) + np.float32(offset)
        return found

    return _lazy(tensor.shape, made)


def entry(tensor: Lazy, place: int) -> Floats:
    """Row `place` of a small tensor."""
    row: Floats = _read(tensor, place, place + 1)[0]
    return row


def _read(tensor: Lazy, start: int, stop: int) -> Floats:
    """Rows as float32, decoded a band at a time."""
    from bessemer.weights.views import floats

    step = max(BAND // max(tensor.columns, 1), 1)
    if stop - start <= step:
        return floats(tensor, start, stop)
    found = np.empty((stop - start, tensor.columns), np.float32)
    for first in range(start, stop, step):
        last = min(first + step, stop)
        found[first - start : last - start] = floats(tensor, first, last)
    return found


def _lazy(shape: tuple[int, ...], read: Callable[[], Floats]) -> onnx_ir.TensorProtocol:
    import onnx_ir

    return onnx_ir.LazyTensor(
        lambda: onnx_ir.tensor(read()), dtype=onnx_ir.DataType.FLOAT, shape=onnx_ir.Shape(shape), cache=False
    )
