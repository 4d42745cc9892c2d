"""The LSTM of 8-bit activations and a 16-bit cell, in reals that stand where LiteRT's integers can.

The grids are those of TFLite's quantization specification for LSTM: gates before their activation in steps of 2^-12
(or as the intermediates say, under layer norm), after it in steps of 2^-15, the cell in its state's own steps, the
hidden and the output in their tensors' steps. What stays different is LiteRT's fixed-point sigmoid and tanh.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.sources.tflite.context import Context, Unsupported
from bessemer.sources.tflite.ops.common import clip
from bessemer.sources.tflite.ops.recurrent import Gate, Lstm, product
from bessemer.sources.tflite.tensors import encoding_for
from bessemer.wire.tflite.schema import TensorType

if TYPE_CHECKING:
    import onnx_ir

    from bessemer.wire.tflite.records import Operator


@dataclass(frozen=True)
class Grid:
    """The reals that integers from `low` to `high` stand for."""

    scale: float
    zero: int = 0
    low: int = -32768
    high: int = 32767

    @classmethod
    def of(cls, context: Context, index: int, kind: int) -> Grid:
        """That of a tensor, which must have type `kind`."""
        record = context.tensor(index)
        encoding = encoding_for(record)
        if record.type != kind or encoding is None or not encoding.per_tensor:
            raise Unsupported("lstm-quantized", f"'{context.name(index)}' has no scale of the expected type")
        narrow = kind == TensorType.INT8
        low, high = (-128, 127) if narrow else (-32768, 32767)
        return cls(float(encoding.scale), int(encoding.zero_point), low, high)

    def steps(self, step: Context, value: onnx_ir.Value) -> Any:
        """Whole steps from zero, not bounded yet."""
        return step.emit("Round", [step.emit("Div", [value, step.literal(np.float32(self.scale), "scale")])])

    def real(self, step: Context, steps: onnx_ir.Value) -> Any:
        """What the steps stand for, within the grid."""
        inside = clip(step, steps, float(self.low - self.zero), float(self.high - self.zero))
        return step.emit("Mul", [inside, step.literal(np.float32(self.scale), "scale")])

    def snap(self, step: Context, value: onnx_ir.Value) -> Any:
        """The nearest real of the grid."""
        return self.real(step, self.steps(step, value))

    def clipped(self, step: Context, value: onnx_ir.Value, bound: float) -> Any:
        """LiteRT bounds the stored integers at whole steps, whatever their zero point."""
        if bound <= 0:
            return value
        limit = int(min(max(bound / self.scale, self.low), self.high))
        return clip(step, value, (-limit - self.zero) * self.scale, (limit - self.zero) * self.scale)


SHOWN = Grid(2.0**-15)
"""Gates behind their activation."""

RAW = Grid(2.0**-12)
"""Gates before it."""


@dataclass(frozen=True)
class Grids:
    """Those that the file chooses; gates: before layer norm, where there is one."""

    output: Grid
    cell: Grid
    hidden: Grid
    gates: tuple[Grid, ...]


def grids(context: Context, operator: Operator, layer: Lstm) -> Grids:
    """Raises Unsupported for the other integer cells (12 intermediates, 16-bit activations)."""
    inner = operator.intermediates or ()
    if context.tensor(operator.inputs[0]).type != TensorType.INT8 or len(inner) != 5:
        raise Unsupported(
            "lstm-quantized", "only the integer cell of 8-bit activations and a 16-bit state is read"
        )
    output = Grid.of(context, operator.inputs[18], TensorType.INT8)
    hidden = Grid.of(context, inner[4], TensorType.INT8)
    if layer.projection is None and hidden != output:
        raise Unsupported(
            "lstm-quantized", "without projection the hidden and the output must share their scale"
        )
    raw = [RAW] * 4
    for number, gate in enumerate(layer.gates):
        if gate.norm is not None and inner[number] >= 0:
            raw[number] = Grid.of(context, inner[number], TensorType.INT16)
    return Grids(output, Grid.of(context, operator.inputs[19], TensorType.INT16), hidden, tuple(raw))


def integer_cell(
    layer: Lstm, held: Grids, step: Context, x: onnx_ir.Value, states: Sequence[onnx_ir.Value]
) -> list[onnx_ir.Value]:
    """One step: the operations of the float cell, each brought back to its grid."""
    output, cell = states
    before = [
        _gate(step, gate, held.gates[number], x, output, cell if number in (0, 1) else None)
        for number, gate in enumerate(layer.gates[:3])
    ]
    let_in, kept = (SHOWN.snap(step, step.emit("Sigmoid", [item])) for item in before[:2])
    new = SHOWN.snap(step, step.emit("Tanh", [before[2]]))
    parts = [held.cell.steps(step, step.emit("Mul", pair)) for pair in ([kept, cell], [let_in, new])]
    cell = held.cell.clipped(step, held.cell.real(step, step.emit("Add", parts)), layer.cell_clip)
    shown = _gate(step, layer.gates[3], held.gates[3], x, output, cell)
    shown = SHOWN.snap(step, step.emit("Sigmoid", [shown]))
    turned = SHOWN.snap(step, step.emit("Tanh", [cell]))
    output = held.hidden.snap(step, step.emit("Mul", [shown, turned]))
    if layer.projection is not None:
        made = product(step, output, layer.projection, layer.projection_bias)
        output = held.output.clipped(step, held.output.snap(step, made), layer.projection_clip)
    return [output, cell]


def _gate(
    step: Context, gate: Gate, grid: Grid, x: onnx_ir.Value, output: onnx_ir.Value, cell: onnx_ir.Value | None
) -> Any:
    """Products are rounded one by one, as they are added to the 16-bit sum."""
    terms = [product(step, x, gate.weights, None if gate.norm is not None else gate.bias)]
    terms.append(product(step, output, gate.recurrent))
    if gate.peephole is not None and cell is not None:
        terms.append(step.emit("Mul", [cell, step.literal(gate.peephole, "peephole")]))
    total = grid.real(step, step.emit("Sum", [grid.steps(step, term) for term in terms]))
    if gate.norm is None:
        return total
    operands = [step.literal(gate.norm, "norm"), step.literal(gate.bias, "bias")]
    return RAW.snap(step, step.emit("LayerNormalization", [total, *operands], axis=-1, epsilon=1e-8))
