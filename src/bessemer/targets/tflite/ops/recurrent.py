"""RNN, GRU and LSTM, unrolled over time: the input products of all steps at once, then one step after the other.

Only the batch may be unknown before the model runs; other recurrences become loops (`expand/recurrent.py`).
An LSTM that kept its state between calls where it came from is one operator that keeps it (`kept_lstm`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.canonical import STATE_KEY
from bessemer.ir.encoding import Encoding, weight_of
from bessemer.passes.gates import GATES, Gate, activations
from bessemer.targets.tflite.builder import Tensor
from bessemer.targets.tflite.context import Blocked, Context
from bessemer.targets.tflite.ops.common import need_type, optional, static_shape, value
from bessemer.targets.tflite.ops.kept_lstm import SWAPPED, kept_lstm
from bessemer.targets.tflite.ops.weights import hybrid_options
from bessemer.targets.tflite.options import STEPS
from bessemer.targets.tflite.registry import lower

if TYPE_CHECKING:
    import onnx_ir as ir

PLAIN = {"sigmoid": "LOGISTIC", "tanh": "TANH", "relu": "RELU"}
LINE = {"hardsigmoid": "RELU_0_TO_1", "affine": ""}
"""What follows alpha * x + beta."""


class Cell:
    """One direction of a recurrent node: its weights, activations, and float steps on (batch, hidden) tensors."""

    def __init__(self, ctx: Context, node: ir.Node, direction: int, batch: int | None) -> None:
        self.ctx, self.node, self.direction, self.batch = ctx, node, direction, batch
        self.hidden = static_shape(ctx, value(node, 2))[-1]
        self.rows = GATES[node.op_type] * self.hidden
        self.clip = float(node.attributes.get_float("clip", 0.0))
        if self.clip and node.op_type == "LSTM":
            raise Blocked("clip", "runtimes disagree on whether clip bounds an LSTM's cell state")
        self.options = hybrid_options(node) if STATE_KEY not in node.metadata_props else {}
        self._matrices: dict[tuple[int, int, int], int] = {}
        self.activations: list[Gate] = activations(node)[direction]
        self.zeros = ctx.constant(np.zeros((1 if batch is None else batch, self.hidden), np.float32), "zeros")
        """The state before the first step where the node gives none."""

    def part(self, place: int, start: int, stop: int) -> int:
        """Rows start..stop of this direction's weights or biases in input `place`; zeros when it is absent."""
        v = optional(self.node, place)
        if v is None:
            return self.ctx.constant(np.zeros(stop - start, np.float32), "zeros")
        array = self.ctx.const(v)
        if array is not None:
            return self.ctx.constant(
                array[self.direction, start:stop].astype(np.float32), v.name or "weights"
            )
        dims = static_shape(self.ctx, v)
        begin = np.array([self.direction, start] + [0] * (len(dims) - 2), np.int32)
        size = np.array([1, stop - start, *dims[2:]], np.int32)
        index = [self.ctx.tensor(v), self.ctx.constant(begin, "begin"), self.ctx.constant(size, "size")]
        cut = self.ctx.emit("SLICE", index, [self.ctx.temp("FLOAT32", tuple(size.tolist()), "part")])
        return self.ctx.reshape(cut, tuple(size.tolist()[1:]))

    def matrix(self, place: int, start: int, stop: int) -> int:
        """Rows of this direction's matrix: INT8 with a scale for each where the node is hybrid, made once."""
        held = weight_of(optional(self.node, place))
        if not self.options or held is None:
            return self.part(place, start, stop)
        if (place, start, stop) not in self._matrices:
            rows = held.integers[self.direction, start:stop]
            scale = held.encoding.scale[self.direction, start:stop, 0]
            encoding = Encoding("INT8", scale, np.zeros(scale.shape, np.int8), 0)
            tensor = Tensor("matrix", "INT8", rows.shape, lambda: rows, encoding)
            self._matrices[place, start, stop] = self.ctx.sub.add(tensor)
        return self._matrices[place, start, stop]

    def op(self, code: str, *inputs: int, width: int | None = None) -> int:
        """A result of (batch, width); hidden wide unless said."""
        shape = (self.batch, self.hidden if width is None else width)
        return self.ctx.emit(code, inputs, [self.ctx.temp("FLOAT32", shape, code.lower())])

    def clipped(self, x: int) -> int:
        """The argument of an activation, within the node's clip."""
        if not self.clip:
            return x
        x = self.op("MINIMUM", x, self.number(self.clip))
        return self.op("MAXIMUM", x, self.number(-self.clip))

    def act(self, place: int, x: int) -> int:
        """Activation `place` of the node."""
        gate, x = self.activations[place], self.clipped(x)
        if gate.name in PLAIN:
            return self.op(PLAIN[gate.name], x)
        if gate.name not in LINE:
            raise Blocked("activation", f"{self.node.op_type} with the activation {gate.name} has no LiteRT form")
        line = x if gate.alpha == 1 else self.op("MUL", x, self.number(gate.alpha))
        line = line if gate.beta == 0 else self.op("ADD", line, self.number(gate.beta))
        return self.op(LINE[gate.name], line) if LINE[gate.name] else line

    def number(self, x: float) -> int:
        """A scalar constant."""
        return self.ctx.constant(np.float32(x), "number")

    def recur(self, h: int, start: int, stop: int) -> int:
        """h R^T + Rb over gate rows start..stop."""
        index = [h, self.matrix(2, start, stop), self.part(3, self.rows + start, self.rows + stop)]
        wide = self.ctx.temp("FLOAT32", (self.batch, stop - start), "recurrent")
        return self.ctx.emit("FULLY_CONNECTED", index, [wide], **self.options)

    def split(self, x: int, count: int) -> list[int]:
        """(batch, count * hidden) into `count` of (batch, hidden)."""
        outs = [self.ctx.temp("FLOAT32", (self.batch, self.hidden), "gate") for _ in range(count)]
        self.ctx.emit("SPLIT", [self.ctx.constant(np.int32(1), "axis"), x], outs, num_splits=count)
        return outs

    def products(self, x: int, steps: int) -> list[int]:
        """x W^T + Wb of every step; x is (steps, batch, width)."""
        index = [x, self.matrix(1, 0, self.rows), self.part(3, 0, self.rows)]
        cube = self.ctx.temp("FLOAT32", (steps, self.batch, self.rows), "products")
        self.ctx.emit("FULLY_CONNECTED", index, [cube], keep_num_dims=True, **self.options)
        outs = [self.ctx.temp("FLOAT32", (self.batch, self.rows), "product") for _ in range(steps)]
        self.ctx.emit("UNPACK", [cube], outs, num=steps, axis=0)
        return outs


def rnn_step(cell: Cell, x: int, h: int, c: int) -> tuple[int, int]:
    """h = f(x + h R^T)."""
    return cell.act(0, cell.op("ADD", x, cell.recur(h, 0, cell.rows))), c


def gru_step(cell: Cell, x: int, h: int, c: int) -> tuple[int, int]:
    """Gates z, r, h in ONNX's order; linear_before_reset says where r multiplies."""
    n = cell.hidden
    xz, xr, xh = cell.split(x, 3)
    hz, hr = cell.split(cell.recur(h, 0, 2 * n), 2)
    z, r = cell.act(0, cell.op("ADD", xz, hz)), cell.act(0, cell.op("ADD", xr, hr))
    if cell.node.attributes.get_int("linear_before_reset", 0):
        inner = cell.op("MUL", r, cell.recur(h, 2 * n, 3 * n))
    else:
        inner = cell.recur(cell.op("MUL", r, h), 2 * n, 3 * n)
    candidate = cell.act(1, cell.op("ADD", xh, inner))
    return cell.op("ADD", candidate, cell.op("MUL", z, cell.op("SUB", h, candidate))), c


def lstm_step(cell: Cell, x: int, h: int, c: int) -> tuple[int, int]:
    """Gates i, o, f, c in ONNX's order; peepholes, in the order i, o, f, where given."""
    n = cell.hidden
    total = cell.op("ADD", x, cell.recur(h, 0, cell.rows), width=cell.rows)
    i, o, f, g = cell.split(total, 4)
    i, f = _peep(cell, i, 0, c), _peep(cell, f, 2 * n, c)
    i = cell.act(0, i)
    coupled = cell.node.attributes.get_int("input_forget", 0)
    f = cell.op("SUB", cell.number(1.0), i) if coupled else cell.act(0, f)
    c = cell.op("ADD", cell.op("MUL", f, c), cell.op("MUL", i, cell.act(1, g)))
    o = cell.act(0, _peep(cell, o, n, c))
    return cell.op("MUL", o, cell.act(2, c)), c


def _peep(cell: Cell, gate: int, start: int, c: int) -> int:
    if optional(cell.node, 7) is None:
        return gate
    return cell.op("ADD", gate, cell.op("MUL", c, cell.part(7, start, start + cell.hidden)))


STEP = {"RNN": rnn_step, "GRU": gru_step, "LSTM": lstm_step}


@lower("RNN", "GRU", "LSTM")
def recurrent(ctx: Context, node: ir.Node) -> None:
    """Every direction by itself; results joined along the direction axis."""
    if node.metadata_props.get(STATE_KEY) == "kept":
        kept_lstm(ctx, node)
        return
    source, layout = value(node, 0), node.attributes.get_int("layout", 0)
    need_type(ctx, source, "FLOAT32")
    dims = ctx.shape(source)
    steps, batch = (dims[1], dims[0]) if layout else (dims[0], dims[1])
    if steps is None or steps > STEPS:
        raise Blocked("unrolled", f"{steps or 'unknown'} steps: at most {STEPS} are unrolled", "shorten the sequence")
    kind = node.attributes.get_string("direction", "forward").lower()
    places = {"forward": (0,), "reverse": (1,), "bidirectional": (0, 1)}[kind]
    x = ctx.tensor(source, SWAPPED if layout else None)
    runs = [
        _direction(Cell(ctx, node, place, batch), x, steps, backward=bool(turned))
        for place, turned in enumerate(places)
    ]
    _results(ctx, node, runs, layout=bool(layout))


Run = tuple[list[int], int, int]
"""Hidden states of every step, the last hidden state, the last cell state."""


def _direction(cell: Cell, x: int, steps: int, *, backward: bool) -> Run:
    ctx, lengths = cell.ctx, _lengths(cell.ctx, cell.node, steps)
    if backward:
        x = _turned(ctx, x, lengths)
    h, c = _initial(cell, 5), _initial(cell, 6) if cell.node.op_type == "LSTM" else -1
    seen = []
    for step, product in enumerate(cell.products(x, steps)):
        new_h, new_c = STEP[cell.node.op_type](cell, product, h, c)
        shown = new_h
        if lengths is not None:
            alive = _alive(cell, lengths, step)
            shown = cell.op("SELECT_V2", alive, new_h, cell.number(0.0))
            new_h = cell.op("SELECT_V2", alive, new_h, h)
            new_c = cell.op("SELECT_V2", alive, new_c, c) if c >= 0 else c
        h, c = new_h, new_c
        seen.append(shown)
    if backward and lengths is None:
        seen.reverse()
    elif backward and lengths is not None:
        cube = _turned(ctx, _packed(ctx, seen, 0), lengths)
        seen = [ctx.temp("FLOAT32", (cell.batch, cell.hidden), "state") for _ in seen]
        ctx.emit("UNPACK", [cube], seen, num=steps, axis=0)
    return seen, h, c


def _lengths(ctx: Context, node: ir.Node, steps: int) -> int | None:
    """Sequence lengths, None when all sequences are whole."""
    given = optional(node, 4)
    array = ctx.const(given)
    if given is None or (array is not None and (array == steps).all()):
        return None
    return ctx.int32(given)


def _turned(ctx: Context, x: int, lengths: int | None) -> int:
    """(steps, batch, width) backwards in time, each sequence within its own length."""
    out = ctx.temp("FLOAT32", ctx.sub.tensors[x].shape, "turned")
    if lengths is None:
        return ctx.emit("REVERSE_V2", [x, ctx.constant(np.zeros(1, np.int32), "axis")], [out])
    return ctx.emit("REVERSE_SEQUENCE", [x, lengths], [out], seq_dim=0, batch_dim=1)


def _alive(cell: Cell, lengths: int, step: int) -> int:
    """(batch, 1): whether the sequence has this step."""
    ctx = cell.ctx
    mask = ctx.temp("BOOL", (cell.batch,), "alive")
    ctx.emit("GREATER", [lengths, ctx.constant(np.int32(step), "step")], [mask])
    return ctx.reshape(mask, (cell.batch, 1))


def _initial(cell: Cell, place: int) -> int:
    """(batch, hidden) of the first state; zeros, one row for every sequence of an unknown batch, where the node has none."""
    ctx, v = cell.ctx, optional(cell.node, place)
    shape = (cell.batch, cell.hidden)
    if v is None:
        return cell.zeros
    x = ctx.tensor(v, SWAPPED if cell.node.attributes.get_int("layout", 0) else None)
    begin = ctx.constant(np.array([cell.direction, 0, 0], np.int32), "begin")
    size = ctx.constant(np.array([1, -1, cell.hidden], np.int32), "size")
    return ctx.reshape(
        ctx.emit("SLICE", [x, begin, size], [ctx.temp("FLOAT32", (1, *shape), "state")]), shape
    )


def _packed(ctx: Context, index: Sequence[int], axis: int) -> int:
    shape = ctx.sub.tensors[index[0]].shape
    out = ctx.temp("FLOAT32", (*shape[:axis], len(index), *shape[axis:]), "packed")
    return ctx.emit("PACK", index, [out], values_count=len(index), axis=axis)


def _results(ctx: Context, node: ir.Node, runs: list[Run], *, layout: bool) -> None:
    """Y as (steps, directions, batch, hidden), Y_h and Y_c as (directions, batch, hidden); layout 1 only turns axes."""
    outputs = [v if v is not None and v.name else None for v in node.outputs]
    if outputs and outputs[0] is not None:
        cubes = [_packed(ctx, seen, 0) for seen, _, _ in runs]
        ctx.alias(node.outputs[0], _packed(ctx, cubes, 1), (2, 0, 1, 3) if layout else None)
    for place in (1, 2):
        if len(outputs) > place and outputs[place] is not None:
            last = _packed(ctx, [run[1] if place == 1 else run[2] for run in runs], 0)
            ctx.alias(node.outputs[place], last, SWAPPED if layout else None)
