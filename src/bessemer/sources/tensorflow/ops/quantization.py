"""Stand-ins of quantization-aware training: they become QuantizeLinear and DequantizeLinear, which are encodings here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bessemer.ir.types import Array, Perm
from bessemer.sources.drawing import Canvas, Ordered, Unsupported
from bessemer.sources.tensorflow.node import Node
from bessemer.sources.tensorflow.nudge import Grid, dequantized_grid, nudged
from bessemer.sources.tensorflow.ops.common import constant
from bessemer.sources.tensorflow.registry import op


@op("FakeQuantWithMinMaxArgs")
def fake_quant_args(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """The range stands in the node."""
    low, high = np.float32(node.attrs.get("min", -6.0)), np.float32(node.attrs.get("max", 6.0))
    return _quantized(canvas, inputs[0], _grid(node, np.asarray(low), np.asarray(high)))


@op("FakeQuantWithMinMaxVars")
def fake_quant_vars(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """The range stands in two variables."""
    low, high = (constant(tensor, "range").reshape(()) for tensor in inputs[1:3])
    return _quantized(canvas, inputs[0], _grid(node, low, high))


@op("FakeQuantWithMinMaxVarsPerChannel")
def fake_quant_channels(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """One range for each place of the last axis."""
    low, high = (constant(tensor, "range").reshape(-1) for tensor in inputs[1:3])
    return _quantized(canvas, inputs[0], _grid(node, low, high), inputs[0].rank - 1)


def _grid(node: Node, low: Array, high: Array) -> Grid:
    if not (high > low).all():
        raise Unsupported("fake-quant", f"its range from {low.min()} to {high.max()} is empty", "train or calibrate it")
    return nudged(low, high, int(node.attrs.get("num_bits", 8)), bool(node.attrs.get("narrow_range")))


def _quantized(canvas: Canvas, tensor: Ordered, grid: Grid, axis: int | None = None) -> Ordered:
    """Clipped to the grid's ends where its integers reach farther, then to its steps and back."""
    if tensor.known is not None:
        return Stored(tensor, grid, axis)
    kind = grid.dtype
    order = tensor.made
    value = canvas.at(tensor, order)
    limits = np.iinfo(kind)
    if grid.first > limits.min or grid.last < limits.max:
        value = _clipped(canvas, value, grid, tensor, axis)
    scale, zero = canvas.literal(grid.scale, "scale"), canvas.literal(grid.zero.astype(kind), "zero_point")
    place = None if axis is None else order.index(axis)
    whole = canvas.emit("QuantizeLinear", [value, scale, zero], axis=place, dtype=zero.dtype)
    made = canvas.emit("DequantizeLinear", [whole, scale, zero], axis=place, dtype=scale.dtype)
    return canvas.result(made, tensor.shape, order)


class Stored(Ordered):
    """A constant in integers: drawn in the first axis order that it is asked for in, so that none stands before a filter."""

    def __init__(self, tensor: Ordered, grid: Grid, axis: int | None) -> None:
        super().__init__(tensor.name, tensor.shape, tensor.dtype)
        self.reals, self.grid, self.axis = np.asarray(tensor.known), grid, axis

    def draw(self, canvas: Canvas, wanted: Perm) -> None:
        """Its integers, signed where they have a byte, and DequantizeLinear."""
        grid = self.grid
        less = 128 if grid.dtype == np.uint8 else 0
        kind = np.dtype(np.int8) if less else grid.dtype
        whole = (grid.steps(self.reals) - less).astype(kind).transpose(wanted)
        zero = canvas.literal((grid.zero - less).astype(kind), "zero_point")
        operands = [canvas.literal(whole, self.name), canvas.literal(grid.scale, "scale"), zero]
        place = None if self.axis is None else wanted.index(self.axis)
        made = canvas.emit("DequantizeLinear", operands, axis=place, dtype=operands[1].dtype)
        self.made, self.orders[wanted] = wanted, made


def _clipped(canvas: Canvas, value: Any, grid: Grid, tensor: Ordered, axis: int | None) -> Any:
    low, high = ((edge - grid.zero) * grid.scale for edge in (grid.first, grid.last))
    if axis is None:
        return canvas.emit("Clip", [value, *(canvas.literal(np.float32(edge), "bound") for edge in (low, high))])
    shape = [-1 if held == axis else 1 for held in tensor.made]
    for name, edge in (("Max", low), ("Min", high)):
        value = canvas.emit(name, [value, canvas.literal(np.asarray(edge, np.float32).reshape(shape), "bound")])
    return value


@op("QuantizeAndDequantizeV2", "QuantizeAndDequantizeV3", "QuantizeAndDequantizeV4")
def quantize_and_dequantize(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """A symmetric grid (or one from zero on) that spans a known range."""
    tensor, low, high = inputs[:3]
    if not node.attrs.get("range_given"):
        raise Unsupported("dynamic-range", "it measures the range of what it sees", "give it a range")
    bits = constant(inputs[3], "number of bits").reshape(()) if len(inputs) > 3 else node.attrs.get("num_bits", 8)
    if str(node.attrs.get("round_mode", "HALF_TO_EVEN")) != "HALF_TO_EVEN":
        raise Unsupported("rounding", "halves are rounded up, not to even", "use round_mode='HALF_TO_EVEN'")
    axis = int(node.attrs.get("axis", -1))
    flat: tuple[int, ...] = (-1,) if axis >= 0 else ()
    first, last = (constant(held, "range").reshape(flat) for held in (low, high))
    signed, narrow = bool(node.attrs.get("signed_input", True)), bool(node.attrs.get("narrow_range"))
    grid = dequantized_grid(first, last, int(bits), signed, narrow)
    return _quantized(canvas, tensor, grid, axis if axis >= 0 else None)
