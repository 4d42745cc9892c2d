"""Recurrent layers: ONNX's LSTM, GRU and RNN where they say it, else a Scan over the steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bessemer.ir.types import Array
from bessemer.runners.keras.layer import Layer
from bessemer.sources.channels_last.elementwise import applied, chosen, number
from bessemer.sources.channels_last.loops import reversed_time, scan, zeros
from bessemer.sources.channels_last.shaping import concat, cut, expand_dims, squeeze
from bessemer.sources.drawing import Canvas, Ordered, Unsupported
from bessemer.sources.keras.activations import named
from bessemer.sources.keras.cells import Cell, cell_of
from bessemer.sources.keras.layers.core import floats
from bessemer.sources.keras.registry import layer

ACTIVATIONS: dict[str, tuple[str, tuple[float, ...], tuple[float, ...]]] = {
    "sigmoid": ("Sigmoid", (), ()), "tanh": ("Tanh", (), ()), "relu": ("Relu", (), ()),
    "softsign": ("Softsign", (), ()), "softplus": ("Softplus", (), ()), "linear": ("Affine", (1.0,), (0.0,)),
    "elu": ("Elu", (1.0,), ()), "leaky_relu": ("LeakyRelu", (0.2,), ()),
}  # fmt: skip
"""What ONNX's recurrent operators call an activation, with its alpha and beta."""

OPERATORS = {"LSTM": "LSTM", "GRU": "GRU", "SimpleRNN": "RNN"}
GATE_ORDER = {"LSTM": (0, 3, 1, 2), "GRU": (0, 1, 2), "SimpleRNN": (0,)}
"""ONNX's gates in Keras's: input, output, forget, cell; update, reset, hidden."""


@dataclass(frozen=True)
class Options:
    """How a recurrent layer is run and what it gives."""

    sequences: bool
    states: bool
    backwards: bool
    zero_masked: bool
    mask: Ordered | None

    @staticmethod
    def of(layer: Layer) -> Options:
        """From the config and the call."""
        config = layer.config
        return Options(
            bool(config.get("return_sequences", False)), bool(config.get("return_state", False)),
            bool(config.get("go_backwards", False)), bool(config.get("zero_output_for_mask", False)),
            first_mask(layer.call.get("mask")),
        )  # fmt: skip


@dataclass(frozen=True)
class Run:
    """What a recurrent layer made: outputs of all steps, the one of the step done last, and final states.

    timed: the outputs stand in the order of time though steps were done backwards.
    """

    outputs: Ordered
    last: Ordered
    states: list[Ordered]
    timed: bool = False

    def done(self, canvas: Canvas) -> Ordered:
        """Outputs in the order in which steps were done: what Keras gives."""
        return reversed_time(canvas, self.outputs) if self.timed else self.outputs

    def turned(self, canvas: Canvas) -> Ordered:
        """The same from the last step done to the first."""
        return self.outputs if self.timed else reversed_time(canvas, self.outputs)


def first_mask(held: Any) -> Ordered | None:
    """A layer's mask; of several, the first tensor's."""
    found = held[0] if isinstance(held, list | tuple) and held else held
    return found if isinstance(found, Ordered) else None


@layer("SimpleRNN", "GRU", "LSTM", "CuDNNGRU", "CuDNNLSTM", "RNN", "GRUV1", "LSTMV1", "GRUV2", "LSTMV2")
def recurrent(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> list[Ordered]:
    """A sequence (batch, time, depth), and perhaps initial states behind it."""
    note_state(canvas, layer)
    x, initial = sequence_and_states(canvas, layer, inputs)
    options = Options.of(layer)
    made = run(canvas, cells_of(layer), x, initial, options)
    output = made.done(canvas) if options.sequences else made.last
    if layer.config.get("time_major") and options.sequences:
        output = canvas.renamed(output, (1, 0, 2))
    return [output, *made.states] if options.states else [output]


def note_state(canvas: Canvas, layer: Layer) -> None:
    """Say that a stateful layer starts from zero."""
    if layer.config.get("stateful"):
        canvas.notes.append(f"'{layer.name}' is stateful: here its state is zero at the start of every call.")


def sequence_and_states(
    canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]
) -> tuple[Ordered, list[Ordered]]:
    """The sequence, batch first, and the initial states: inputs behind it or an argument of the call."""
    x, given = floats(canvas, inputs[0]), list(inputs[1:])
    held = layer.call.get("initial_state")
    if not given and held is not None:
        given = _flat(canvas, held)
    count = int(layer.config.get("num_constants") or 0)
    if count:
        raise Unsupported("constants", "constants beside the states of a recurrent layer")
    if layer.config.get("time_major"):
        x = canvas.renamed(x, (1, 0, 2))
    return x, [floats(canvas, state) for state in given]


def _flat(canvas: Canvas, held: Any) -> list[Ordered]:
    if isinstance(held, list | tuple):
        return [tensor for item in held for tensor in _flat(canvas, item)]
    return [held if isinstance(held, Ordered) else canvas.constant(np.asarray(held, np.float32), "state")]


def cells_of(layer: Layer) -> list[Cell]:
    """One cell, or those of a stack."""
    weights = list(layer.weights)
    if layer.kind != "RNN":
        return [cell_of(layer.kind, layer.config, weights, layer.generation)]
    return _cells(layer.config["cell"], weights, layer.generation)


def _cells(held: Any, weights: list[Array], generation: int) -> list[Cell]:
    if isinstance(held, list | tuple):
        return [cell for item in held for cell in _cells(item, weights, generation)]
    kind, config = str(held["class_name"]), held["config"]
    if kind != "StackedRNNCells":
        return [cell_of(kind, config, weights, generation)]
    if config.get("reverse_state_order"):
        raise Unsupported("reverse-state-order", "its states stand in reverse order")
    return _cells(config["cells"], weights, generation)


def run(canvas: Canvas, cells: list[Cell], x: Ordered, initial: list[Ordered], options: Options) -> Run:
    """Every step of all cells, one over the other."""
    if options.mask is None and all(plain(cell) for cell in cells):
        return _stacked(canvas, cells, x, initial, options.backwards)
    return _scanned(canvas, cells, x, initial, options)


def plain(cell: Cell) -> bool:
    """Whether ONNX has an operator for the cell."""
    return all(spelled(cell, spec) is not None for spec in _specs(cell))


def _specs(cell: Cell) -> list[Any]:
    if cell.kind == "SimpleRNN":
        return [cell.activation]
    return [cell.recurrent_activation, *[cell.activation] * (2 if cell.kind == "LSTM" else 1)]


def spelled(cell: Cell, spec: Any) -> tuple[str, tuple[float, ...], tuple[float, ...]] | None:
    """An activation in ONNX's words; None where they lack it."""
    name, options = named(spec)
    if name == "hard_sigmoid":
        return ("HardSigmoid", (1 / 6 if cell.generation >= 3 else 0.2,), (0.5,))
    return None if options else ACTIVATIONS.get(name)


def _stacked(canvas: Canvas, cells: list[Cell], x: Ordered, initial: list[Ordered], backwards: bool) -> Run:
    states: list[Ordered] = []
    for place, cell in enumerate(cells):
        given, initial = initial[: cell.states], initial[cell.states :]
        made = single(canvas, cell, x, given, backwards and place == 0)
        states = states + made.states
        if place + 1 < len(cells):
            x = made.done(canvas)
    return Run(made.outputs, made.last, states, made.timed)


def single(canvas: Canvas, cell: Cell, x: Ordered, initial: list[Ordered], backwards: bool) -> Run:
    """One cell as one operator."""
    (outputs,), states = operator(canvas, [cell], x, initial, "reverse" if backwards else "forward")
    return Run(outputs, states[0], states, backwards)


def operator(
    canvas: Canvas, cells: list[Cell], x: Ordered, initial: list[Ordered], direction: str
) -> tuple[list[Ordered], list[Ordered]]:
    """An LSTM, GRU or RNN node over one direction or two: each direction's outputs in the order of time, and states."""
    first, units = cells[0], cells[0].units
    weights = [canvas.literal(np.stack(arrays), "rnn") for arrays in zip(*map(_weights, cells), strict=True)]
    words = [spelled(cell, spec) for cell in cells for spec in _specs(cell)]
    known = [word for word in words if word is not None]
    alphas, betas = ([number for word in known for number in word[place]] for place in (1, 2))
    starts = [_start(canvas, initial[place :: first.states]) for place in range(first.states)]
    inputs = [canvas.at(x, (1, 0, 2)), *weights, None, *starts]
    while inputs[-1] is None:
        inputs.pop()
    made = canvas.emit(
        OPERATORS[first.kind], inputs, hidden_size=units, direction=direction if direction != "forward" else None,
        activations=[word[0] for word in known], activation_alpha=list(map(float, alphas)) or None,
        activation_beta=list(map(float, betas)) or None, outputs=1 + first.states,
        linear_before_reset=1 if first.kind == "GRU" and first.reset_after else None,
    )  # fmt: skip
    batch, steps = x.shape[0], x.shape[1]
    whole = canvas.result(made[0], (steps, len(cells), batch, units))
    ends = [canvas.result(value, (len(cells), batch, units)) for value in made[1:]]
    outputs = [canvas.renamed(_pick(canvas, whole, 1, place), (1, 0, 2)) for place in range(len(cells))]
    return outputs, [_pick(canvas, end, 0, place) for place in range(len(cells)) for end in ends]


def _pick(canvas: Canvas, tensor: Ordered, axis: int, place: int) -> Ordered:
    """One direction's part."""
    part = tensor if tensor.shape[axis] == 1 else cut(canvas, tensor, axis, place, place + 1)
    return squeeze(canvas, part, [axis])


def _start(canvas: Canvas, states: list[Ordered]) -> Any:
    """Initial states of all directions, one operand; None for zeros."""
    if not states:
        return None
    raised = [expand_dims(canvas, state, [0]) for state in states]
    return canvas.at(raised[0] if len(raised) == 1 else concat(canvas, raised, 0))


def _weights(cell: Cell) -> tuple[Array, Array, Array]:
    """W (gates * units, depth), R (gates * units, units) and B (2 * gates * units) in ONNX's order of gates."""
    order, units = GATE_ORDER[cell.kind], cell.units
    columns = np.concatenate([np.arange(gate * units, (gate + 1) * units) for gate in order])
    biases = np.zeros((2, len(columns)), np.float32)
    if cell.bias is not None:
        held = cell.bias.reshape(-1, len(columns))[:, columns]
        biases[: len(held)] = held
    return cell.kernel.T[columns], cell.recurrent.T[columns], biases.reshape(-1)


def _scanned(canvas: Canvas, cells: list[Cell], x: Ordered, initial: list[Ordered], options: Options) -> Run:
    """Steps in a loop; a masked step keeps the states, and puts out what the step before did (or zeros)."""
    units = [cell.units for cell in cells for _ in range(cell.states)]
    states = initial or [zeros(canvas, x, [size]) for size in units]
    sequences = [x]
    if options.mask is not None:
        sequences.append(expand_dims(canvas, options.mask, [2]))
        states = [*states, zeros(canvas, x, [cells[-1].units])]

    def step(inside: Canvas, held: list[Ordered], items: list[Ordered]) -> tuple[list[Ordered], Ordered]:
        new, out = _through(inside, cells, held, items[0])
        if len(items) == 1:
            return new, out
        kept = [chosen(inside, items[1], after, before) for after, before in zip(new, held, strict=False)]
        other = number(inside, 0, out) if options.zero_masked else held[-1]
        out = chosen(inside, items[1], out, other)
        return [*kept, out], out

    final, outputs = scan(canvas, step, states, sequences, backwards=options.backwards)
    final = final[: len(units)]
    return Run(outputs, last_step(canvas, outputs), final)


def last_step(canvas: Canvas, outputs: Ordered) -> Ordered:
    """The output of the step done last."""
    return squeeze(canvas, cut(canvas, outputs, 1, -1, None), [1])


def _through(
    inside: Canvas, cells: list[Cell], held: list[Ordered], x: Ordered
) -> tuple[list[Ordered], Ordered]:
    states: list[Ordered] = []
    for cell in cells:
        new = cell.step(inside, held[len(states) : len(states) + cell.states], x)
        states, x = states + new, new[0]
    return states, x


@layer("Bidirectional")
def bidirectional(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> list[Ordered]:
    """Two layers, one of which reads the sequence from its end; their outputs merged in the order of time."""
    note_state(canvas, layer)
    ahead, back = directions(layer)
    x, initial = sequence_and_states(canvas, ahead, inputs)
    if not initial and layer.call.get("initial_state") is not None:
        initial = _flat(canvas, layer.call["initial_state"])
    options, half = Options.of(ahead), len(initial) // 2
    runs = _both(canvas, ahead, back, x, initial[:half], initial[half:], options)
    outputs = [made.last for made in runs]
    if options.sequences:
        outputs = [runs[0].done(canvas), runs[1].turned(canvas)]
    states = [state for made in runs for state in made.states] if options.states else []
    return [*joined(canvas, outputs, layer.config.get("merge_mode", "concat")), *states]


def directions(layer: Layer) -> tuple[Layer, Layer]:
    """The layers of either direction, with their halves of the weights.

    Of whole sequences, masked steps put out zeros whatever the layers say.
    """
    held = layer.config["layer"]
    other = layer.config.get("backward_layer") or {
        **held, "config": {**held["config"], "go_backwards": not held["config"].get("go_backwards", False)}
    }  # fmt: skip
    half = len(layer.weights) // 2
    call = {key: item for key, item in layer.call.items() if key == "mask"}
    zeroed = {"zero_output_for_mask": held["config"].get("return_sequences", False)}
    first, second = (
        Layer(layer.name, side["class_name"], side["config"] | zeroed, weights, layer.generation, layer.path, call)
        for side, weights in ((held, layer.weights[:half]), (other, layer.weights[half:]))
    )
    return first, second


def _both(
    canvas: Canvas, ahead: Layer, back: Layer, x: Ordered, first: list[Ordered], second: list[Ordered], options: Options
) -> tuple[Run, Run]:
    """Both directions, each in the order in which it does its steps; one operator where their cells are alike."""
    left, right = cells_of(ahead), cells_of(back)
    other = Options.of(back)
    alike = len(left) == len(right) == 1 and options.mask is None and plain(left[0]) and plain(right[0])
    alike = alike and _kind(left[0]) == _kind(right[0]) and not options.backwards and other.backwards
    if not alike:
        return run(canvas, left, x, first, options), run(canvas, right, x, second, other)
    outputs, states = operator(canvas, [left[0], right[0]], x, [*first, *second], "bidirectional")
    count = left[0].states
    ends = states[:count], states[count:]
    return (
        Run(outputs[0], ends[0][0], ends[0]),
        Run(outputs[1], ends[1][0], ends[1], timed=True),
    )  # fmt: skip


def _kind(cell: Cell) -> tuple[Any, ...]:
    return cell.kind, cell.units, cell.reset_after


def joined(canvas: Canvas, outputs: list[Ordered], mode: str | None) -> list[Ordered]:
    """Both directions merged; mode None: side by side as two tensors."""
    left, right = outputs
    if mode is None:
        return outputs
    if mode == "concat":
        return [concat(canvas, outputs, -1)]
    if mode not in ("sum", "ave", "mul"):
        raise Unsupported("merge-mode", f"the merge mode {mode!r} is not known")
    made = applied(canvas, "Mul" if mode == "mul" else "Add", left, right)
    return [applied(canvas, "Mul", made, number(canvas, 0.5, made)) if mode == "ave" else made]
