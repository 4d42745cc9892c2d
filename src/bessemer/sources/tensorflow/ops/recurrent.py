"""Recurrent cells and layers that TensorFlow has as operators.

Facts from tensorflow/core/kernels/rnn: the gates of an LSTM stand as i, c, f, o (the newer layer: i, f, c, o), those of a
GRU as r, u; cuDNN keeps the matrices of all layers first, then all biases, input and recurrent ones apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.types import Array, Perm, int64s
from bessemer.sources.channels_last.dims import Dim
from bessemer.sources.channels_last.elementwise import applied, bias_add, clipped, pointwise, with_scalar
from bessemer.sources.channels_last.matmul import matmul
from bessemer.sources.channels_last.shaping import concat, reshape, sliced, split, stack, transpose, unstack
from bessemer.sources.drawing import Canvas, Ordered, Unsupported
from bessemer.sources.tensorflow.node import Node
from bessemer.sources.tensorflow.ops.common import bound, constant, integer
from bessemer.sources.tensorflow.registry import op

if TYPE_CHECKING:
    import onnx_ir

LONGEST = 512
"""Steps that are drawn one by one."""


@op("LSTMBlockCell")
def lstm_cell(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Sequence[Ordered]:
    """One step: x, cell, hidden, weights, peepholes (i, f, o), bias to i, cell, f, o, new input, tanh(cell), hidden."""
    x, cell, hidden, weights, *peepholes, bias = inputs
    forget = float(node.attrs.get("forget_bias", 1.0))
    clip = float(node.attrs.get("cell_clip", 3.0))
    return _lstm_step(canvas, node, x, (cell, hidden), weights, bias, peepholes, "icfo", forget, clip)


def _lstm_step(
    canvas: Canvas, node: Node, x: Ordered, state: tuple[Ordered, Ordered], weights: Ordered, bias: Ordered,
    peepholes: Sequence[Ordered], layout: str, forget: float, clip: float,
) -> list[Ordered]:  # fmt: skip
    cell, hidden = state
    sums = bias_add(canvas, matmul(canvas, concat(canvas, [x, hidden], 1), weights), bias)
    gates = dict(zip(layout, split(canvas, sums, 1, 4), strict=True))
    if forget:
        gates["f"] = with_scalar(canvas, "Add", gates["f"], forget)
    looks = bool(node.attrs.get("use_peephole"))

    def gate(name: str, seen: Ordered, weight: Ordered) -> Ordered:
        total = applied(canvas, "Add", gates[name], applied(canvas, "Mul", seen, weight)) if looks else gates[name]
        return applied(canvas, "Sigmoid", total)

    i, f = gate("i", cell, peepholes[0]), gate("f", cell, peepholes[1])
    entering = applied(canvas, "Tanh", gates["c"])
    kept = applied(canvas, "Add", applied(canvas, "Mul", entering, i), applied(canvas, "Mul", cell, f))
    kept = clipped(canvas, kept, -clip, clip) if clip > 0 else kept
    o = gate("o", kept, peepholes[2])
    shown = applied(canvas, "Tanh", kept)
    return [i, kept, f, o, entering, shown, applied(canvas, "Mul", shown, o)]


@op("GRUBlockCell")
def gru_cell(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Sequence[Ordered]:
    """One step: x, hidden, weights and biases of the gates and of the candidate to r, u, candidate, hidden."""
    x, hidden, gate_weights, weights, gate_bias, bias = inputs
    sums = bias_add(canvas, matmul(canvas, concat(canvas, [x, hidden], 1), gate_weights), gate_bias)
    r, u = (applied(canvas, "Sigmoid", part) for part in split(canvas, sums, 1, 2))
    seen = concat(canvas, [x, applied(canvas, "Mul", hidden, r)], 1)
    candidate = applied(canvas, "Tanh", bias_add(canvas, matmul(canvas, seen, weights), bias))

    def draw(*values: onnx_ir.Value) -> Any:
        """u h + (1 - u) c."""
        gate, old, new = values
        return canvas.emit("Add", [canvas.emit("Mul", [gate, canvas.emit("Sub", [old, new])]), new])

    return [r, u, candidate, pointwise(canvas, [u, hidden, candidate], draw)]


class Steps(Ordered):
    """A result of BlockLSTM that few graphs read: the steps are drawn one by one where somebody does."""

    def __init__(self, name: str, shape: tuple[Dim, ...], dtype: Any, steps: _Unrolled, place: int) -> None:
        super().__init__(name, shape, dtype)
        self.steps, self.place = steps, place

    def draw(self, canvas: Canvas, wanted: Perm) -> None:
        """The steps side by side."""
        self.orders[self.made] = canvas.at(self.steps.result(canvas, self.place))


class _Unrolled:
    """The steps of a BlockLSTM, drawn once for all of its results."""

    def __init__(self, node: Node, inputs: Sequence[Ordered], layout: str, count: int) -> None:
        self.node, self.inputs, self.layout, self.count = node, inputs, layout, count
        self.made: list[list[Ordered]] = []

    def result(self, canvas: Canvas, place: int) -> Ordered:
        """One of the seven results [time, batch, units]; zeros behind the last step."""
        if not self.made:
            self._draw(canvas)
        return stack(canvas, [step[place] for step in self.made], 0)

    def _draw(self, canvas: Canvas) -> None:
        _, x, cell, hidden, weights, *peepholes, bias = self.inputs
        steps = bound(x, 0)
        if steps > LONGEST:
            raise Unsupported("unrolled", f"{steps} steps drawn one by one", "use a Keras layer, whose loop is recognised")
        forget = _forget(self.node)
        clip = _clip(self.node)
        for row in unstack(canvas, x, 0, steps)[: self.count]:
            made = _lstm_step(
                canvas, self.node, row, (cell, hidden), weights, bias, peepholes, self.layout, forget, clip
            )
            cell, hidden = made[1], made[6]
            self.made.append(made)
        zeros = with_scalar(canvas, "Mul", self.made[0][6], 0.0)
        self.made += [[zeros] * 7] * (steps - self.count)


def _forget(node: Node) -> float:
    return float(node.attrs.get("forget_bias", 1.0)) if node.op == "BlockLSTM" else 0.0


def _clip(node: Node) -> float:
    return float(node.attrs.get("cell_clip", 3.0 if node.op == "BlockLSTM" else 0.0))


@op("BlockLSTM", "BlockLSTMV2")
def block_lstm(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Sequence[Ordered]:
    """A layer over [time, batch, depth]; its hidden states as ONNX's LSTM where it neither clips nor peeps."""
    longest, x, cell = inputs[:3]
    layout = "icfo" if node.op == "BlockLSTM" else "ifco"
    have = x.shape[0]
    count = integer(longest, "longest length") if longest.known is not None else have
    if not isinstance(count, int) or not isinstance(have, int):
        raise Unsupported("dynamic-shape", "a layer over an unbound number of steps", "bind the input's shape")
    steps = _Unrolled(node, inputs, layout, min(count, have))
    shape = (have, x.shape[1], cell.shape[1])
    results: list[Ordered] = [Steps(f"{node.name}:{place}", shape, x.dtype, steps, place) for place in range(7)]
    plain = not node.attrs.get("use_peephole") and _clip(node) <= 0 and count >= have
    if plain and inputs[4].known is not None and inputs[8].known is not None:
        results[6] = _whole(canvas, node, inputs, layout, shape)
    return results


def _whole(
    canvas: Canvas, node: Node, inputs: Sequence[Ordered], layout: str, shape: tuple[Dim, ...]
) -> Ordered:
    _, x, cell, hidden, weights, *_, bias = inputs
    units, depth = bound(cell, 1), bound(x, 2)
    table, numbers = constant(weights, "weights"), constant(bias, "bias")
    columns = {name: slice(place * units, (place + 1) * units) for place, name in enumerate(layout)}
    rows = np.concatenate([table[:, columns[name]].T for name in "iofc"])  # ONNX's order of gates
    biases = np.concatenate([numbers[columns[name]] + (name == "f") * _forget(node) for name in "iofc"])
    biases = np.concatenate([biases, np.zeros_like(biases)]).astype(table.dtype)
    operands = [canvas.literal(array[None], name) for array, name in
                ((rows[:, :depth], "W"), (rows[:, depth:], "R"), (biases, "B"))]  # fmt: skip
    axis = canvas.literal(int64s([0]), "axes")
    states = [canvas.emit("Unsqueeze", [canvas.at(state), axis]) for state in (hidden, cell)]
    made = canvas.emit("LSTM", [canvas.at(x), *operands, None, *states], hidden_size=units, outputs=3)[0]
    return canvas.result(canvas.emit("Squeeze", [made, canvas.literal(int64s([1]), "axes")]), shape)


# -- cuDNN's layers ----------------------------------------------------------------------------------------------------

CUDNN = {"lstm": ("LSTM", 4, (0, 3, 1, 2)), "gru": ("GRU", 3, (1, 0, 2)), "rnn_tanh": ("RNN", 1, (0,)),
         "rnn_relu": ("RNN", 1, (0,))}  # fmt: skip
"""Mode: ONNX's operator, number of gates, and which of cuDNN's gates each of ONNX's is."""


@op("CudnnRNN", "CudnnRNNV2", "CudnnRNNV3")
def cudnn(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Sequence[Ordered]:
    """Stacked layers over [time, batch, depth], one way or both ways; weights lie in one flat vector."""
    x, hidden, cell, flat = inputs[:4]
    mode = str(node.attrs.get("rnn_mode", "lstm"))
    if str(node.attrs.get("input_mode", "linear_input")) == "skip_input":
        raise Unsupported("cudnn", "a layer without input matrices (skip_input)", "use linear_input")
    both = str(node.attrs.get("direction", "unidirectional")) == "bidirectional"
    ways = 2 if both else 1
    units, layers = bound(hidden, 2), bound(hidden, 0) // ways
    lengths = inputs[4] if node.op.endswith("V3") else None
    if not node.attrs.get("time_major", True):
        x, hidden, cell = (transpose(canvas, item, (1, 0, 2)) for item in (x, hidden, cell))
    parts = _parts(constant(flat, "weights"), mode, layers, ways, bound(x, 2), units)
    states: list[list[Ordered]] = [[], []]
    for layer in range(layers):
        cut = range(layer * ways, (layer + 1) * ways)
        starts = [sliced(canvas, state, [cut.start], [cut.stop], [0]) for state in (hidden, cell)]
        x, *ends = _layer(canvas, mode, x, starts, parts[layer], units, both, lengths)
        for held, end in zip(states, ends, strict=False):
            held.append(end)
    last = concat(canvas, states[0], 0)
    kept = concat(canvas, states[1], 0) if mode == "lstm" else cell
    if not node.attrs.get("time_major", True):
        x, last, kept = (transpose(canvas, item, (1, 0, 2)) for item in (x, last, kept))
    spare = canvas.constant(np.zeros(0, np.float32), "reserve")
    return [x, last, kept, spare, canvas.constant(np.zeros(0, np.int8), "reserve")]


def _parts(flat: Array, mode: str, layers: int, ways: int, depth: int, units: int) -> list[list[Array]]:
    """Per layer: W [ways, gates * units, depth], R [ways, gates * units, units], B [ways, 2 * gates * units]."""
    _, gates, order = CUDNN[mode]
    place = 0

    def taken(count: int) -> Array:
        nonlocal place
        place += count
        if place > flat.size:
            raise Unsupported("cudnn", f"{flat.size} weights are too few for {layers} layers of {units} units")
        return flat[place - count : place]

    found: list[list[Array]] = []
    for layer in range(layers):
        width = depth if layer == 0 else units * ways
        pairs = []
        for _ in range(ways):
            w = taken(gates * units * width).reshape(gates, units, width)[list(order)]
            r = taken(gates * units * units).reshape(gates, units, units)[list(order)]
            pairs.append((w.reshape(-1, width), r.reshape(-1, units)))
        found.append([np.stack([pair[which] for pair in pairs]) for which in (0, 1)])
    for held in found:
        rows = [[taken(gates * units).reshape(gates, units)[list(order)].reshape(-1) for _ in range(2)]
                for _ in range(ways)]  # fmt: skip
        held.append(np.stack([np.concatenate(pair) for pair in rows]))
    return found


def _layer(
    canvas: Canvas, mode: str, x: Ordered, starts: Sequence[Ordered], weights: Sequence[Array], units: int, both: bool,
    lengths: Ordered | None,
) -> list[Ordered]:  # fmt: skip
    """One layer: [time, batch, ways * units], and the states it ends in, [ways, batch, units]."""
    operator, _, _ = CUDNN[mode]
    operands = [canvas.literal(array, name) for array, name in zip(weights, "WRB", strict=True)]
    held = None if lengths is None or lengths.known is not None else canvas.at(lengths)
    states = [canvas.at(state) for state in starts[: 2 if mode == "lstm" else 1]]
    ways = 2 if both else 1
    attributes: dict[str, Any] = {"direction": "bidirectional"} if both else {}
    if mode == "gru":
        attributes["linear_before_reset"] = 1
    if mode == "rnn_relu":
        attributes["activations"] = ["Relu"] * ways
    outputs = 3 if mode == "lstm" else 2
    made = canvas.emit(
        operator, [canvas.at(x), *operands, held, *states], hidden_size=units, outputs=outputs, **attributes
    )
    time, batch = x.shape[:2]
    every = canvas.result(made[0], (time, ways, batch, units))
    side = reshape(canvas, transpose(canvas, every, (0, 2, 1, 3)), (_kept(time), _kept(batch), ways * units))
    ends = [canvas.result(value, (ways, batch, units)) for value in made[1:]]
    return [side, *ends]


def _kept(dim: Dim) -> Dim:
    return -1 if dim is None else dim
