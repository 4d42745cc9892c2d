"""Recurrent cells step by step, for loops that no ONNX operator has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bessemer.ir.types import Array
from bessemer.sources.channels_last.elementwise import applied, number
from bessemer.sources.channels_last.matmul import matmul
from bessemer.sources.channels_last.shaping import split
from bessemer.sources.drawing import Canvas, Ordered, Unsupported
from bessemer.sources.keras.activations import activate

GATES = {"SimpleRNN": 1, "GRU": 3, "LSTM": 4}
"""Columns of a kernel per unit. LSTM: input, forget, cell, output; GRU: update, reset, candidate."""


@dataclass(frozen=True)
class Cell:
    """A SimpleRNN, GRU or LSTM cell. kernel (depth, gates * units), recurrent (units, gates * units).

    bias: (gates * units), or (2, gates * units) where a GRU has one for either product.
    """

    kind: str
    units: int
    kernel: Array
    recurrent: Array
    bias: Array | None
    activation: Any
    recurrent_activation: Any
    reset_after: bool
    generation: int

    @property
    def states(self) -> int:
        """How many states there are: an LSTM's output and its memory."""
        return 2 if self.kind == "LSTM" else 1

    def act(self, canvas: Canvas, tensor: Ordered) -> Ordered:
        """The activation of candidates."""
        return activate(canvas, tensor, self.activation, self.generation)

    def gate(self, canvas: Canvas, tensor: Ordered) -> Ordered:
        """The activation of gates."""
        return activate(canvas, tensor, self.recurrent_activation, self.generation)

    def step(self, canvas: Canvas, states: Sequence[Ordered], x: Ordered) -> list[Ordered]:
        """The states after one step; the first is the output."""
        if self.kind == "LSTM":
            return self._lstm(canvas, states, x)
        if self.kind == "GRU":
            return self._gru(canvas, states[0], x)
        total = applied(canvas, "Add", self._input(canvas, x), self._times(canvas, states[0], self.recurrent))
        return [self.act(canvas, total)]

    def _times(self, canvas: Canvas, tensor: Ordered, matrix: Array) -> Ordered:
        return matmul(canvas, tensor, canvas.constant(matrix, "kernel"))

    def _input(self, canvas: Canvas, x: Ordered) -> Ordered:
        product = self._times(canvas, x, self.kernel)
        if self.bias is None:
            return product
        return applied(canvas, "Add", product, canvas.constant(self.bias.reshape(-1, self.kernel.shape[1])[0], "bias"))

    def _lstm(self, canvas: Canvas, states: Sequence[Ordered], x: Ordered) -> list[Ordered]:
        output, memory = states
        total = applied(canvas, "Add", self._input(canvas, x), self._times(canvas, output, self.recurrent))
        enter, forget, candidate, leave = split(canvas, total, 1, [self.units] * 4)
        kept = applied(canvas, "Mul", self.gate(canvas, forget), memory)
        new = applied(canvas, "Mul", self.gate(canvas, enter), self.act(canvas, candidate))
        memory = applied(canvas, "Add", kept, new)
        return [applied(canvas, "Mul", self.gate(canvas, leave), self.act(canvas, memory)), memory]

    def _gru(self, canvas: Canvas, output: Ordered, x: Ordered) -> list[Ordered]:
        update, reset, candidate = split(canvas, self._input(canvas, x), 1, [self.units] * 3)
        two = 2 * self.units
        inner = self._times(canvas, output, self.recurrent if self.reset_after else self.recurrent[:, :two])
        if self.reset_after and self.bias is not None and self.bias.ndim == 2:
            inner = applied(canvas, "Add", inner, canvas.constant(self.bias[1], "bias"))
        parts = split(canvas, inner, 1, [self.units] * (3 if self.reset_after else 2))
        update = self.gate(canvas, applied(canvas, "Add", update, parts[0]))
        reset = self.gate(canvas, applied(canvas, "Add", reset, parts[1]))
        if self.reset_after:
            past = applied(canvas, "Mul", reset, parts[2])
        else:
            past = self._times(canvas, applied(canvas, "Mul", reset, output), self.recurrent[:, two:])
        fresh = self.act(canvas, applied(canvas, "Add", candidate, past))
        rest = applied(canvas, "Sub", number(canvas, 1, update), update)
        return [applied(canvas, "Add", applied(canvas, "Mul", update, output), applied(canvas, "Mul", rest, fresh))]


def cell_of(kind: str, config: dict[str, Any], weights: list[Array], generation: int) -> Cell:
    """The cell of a layer or of a cell's own config; takes its weights off the front of `weights`."""
    plain = kind.removesuffix("Cell").removesuffix("V2").removesuffix("V1")
    if plain in ("CuDNNLSTM", "CuDNNGRU"):
        return _cudnn(plain, config, weights, generation)
    if plain not in GATES:
        raise Unsupported("cell", f"the cell '{kind}' is none of LSTM, GRU and SimpleRNN", "use a built-in cell")
    kernel, recurrent = weights.pop(0), weights.pop(0)
    bias = weights.pop(0) if config.get("use_bias", True) else None
    after = bool(config.get("reset_after", False)) if plain == "GRU" else False
    units = int(config["units"])
    return Cell(
        plain, units, kernel, recurrent, bias, config.get("activation", "tanh"),
        config.get("recurrent_activation", "sigmoid" if plain != "SimpleRNN" else None), after, generation,
    )  # fmt: skip


def _cudnn(kind: str, config: dict[str, Any], weights: list[Array], generation: int) -> Cell:
    """cuDNN keeps each gate's matrix (depth, units) with the bytes of its transpose, and a bias for either product.

    The recurrent matrices are square, so that reading those bytes is a plain transpose.
    """
    import numpy as np

    plain, units = kind.removeprefix("CuDNN"), int(config["units"])
    gates = GATES[plain]
    kernel, recurrent, bias = weights.pop(0), weights.pop(0), weights.pop(0)
    unpacked = [part.T.reshape(part.shape, order="F") for part in np.hsplit(kernel, gates)]
    square = [part.T for part in np.hsplit(recurrent, gates)]
    biases = bias.reshape(2, -1)
    return Cell(
        plain, units, np.hstack(unpacked), np.hstack(square), biases.sum(0) if plain == "LSTM" else biases, "tanh",
        "sigmoid", plain == "GRU", generation,
    )  # fmt: skip
