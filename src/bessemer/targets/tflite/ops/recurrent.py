"""RNN, GRU and LSTM, unrolled over time: the input products of all steps at once, then one step after the other.

An LSTM that kept its state between calls where it came from is one operator that keeps it (`kept_lstm`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.canonical import HYBRID_KEY, STATE_KEY
from bessemer.ir.encoding import Encoding, QuantizedWeight, set_weight, weight_of
from bessemer.ir.layout import identity
from bessemer.targets.tflite.builder import Tensor
from bessemer.targets.tflite.context import Blocked, Context, held_by
from bessemer.targets.tflite.ops.common import (
    ACTIVATION,
    need_type,
    optional,
    sole_consumer,
    static_shape,
    value,
)
from bessemer.targets.tflite.ops.gates import gates
from bessemer.targets.tflite.ops.weights import hybrid_options, weight_tensor
from bessemer.targets.tflite.registry import lower

if TYPE_CHECKING:
    import onnx_ir as ir

STEPS = 1024
"""Steps that are unrolled at most: each is a dozen operators."""

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
DEFAULTS = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}
SWAPPED = (1, 0, 2)
TANH = 4
"""In ActivationFunctionType."""


class Cell:
    """One direction of a recurrent node: its weights, activations, and float steps on (batch, hidden) tensors."""

    def __init__(self, ctx: Context, node: ir.Node, direction: int, batch: int) -> None:
        self.ctx, self.node, self.direction, self.batch = ctx, node, direction, batch
        self.hidden = static_shape(ctx, value(node, 2))[-1]
        self.rows = GATES[node.op_type] * self.hidden
        self.clip = float(node.attributes.get_float("clip", 0.0))
        if self.clip and node.op_type == "LSTM":
            raise Blocked("clip", "runtimes disagree on whether clip bounds an LSTM's cell state")
        self.options = hybrid_options(node) if STATE_KEY not in node.metadata_props else {}
        self._matrices: dict[tuple[int, int, int], int] = {}
        names = DEFAULTS[node.op_type]
        given = [str(name) for name in node.attributes.get_strings("activations", [])] or [*names, *names]
        self.gates = gates(node, given, len(names), direction)

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
        return self.gates[place].draw(self.op, self.number, self.clipped(x))

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
        width = self.ctx.sub.tensors[x].shape[-1]
        flat = self.ctx.reshape(x, (steps * self.batch, width))
        index = [flat, self.matrix(1, 0, self.rows), self.part(3, 0, self.rows)]
        wide = self.ctx.temp("FLOAT32", (steps * self.batch, self.rows), "products")
        cube = self.ctx.reshape(
            self.ctx.emit("FULLY_CONNECTED", index, [wide], **self.options), (steps, self.batch, self.rows)
        )
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
    dims = static_shape(ctx, source)
    steps, batch = (dims[1], dims[0]) if layout else (dims[0], dims[1])
    if steps > STEPS:
        raise Blocked(
            "unrolled", f"{steps} steps would be unrolled; at most {STEPS} are", "shorten the sequence"
        )
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
    """(batch, hidden) of the first state, zeros where the node has none."""
    ctx, v = cell.ctx, optional(cell.node, place)
    shape = (cell.batch, cell.hidden)
    if v is None:
        return ctx.constant(np.zeros(shape, np.float32), "zeros")
    x = ctx.tensor(v, SWAPPED if cell.node.attributes.get_int("layout", 0) else None)
    begin = ctx.constant(np.array([cell.direction, 0, 0], np.int32), "begin")
    size = ctx.constant(np.array([1, *shape], np.int32), "size")
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


# -- LSTM as one operator --------------------------------------------------------------------------------------------

GATE_ROWS = {"i": 0, "f": 2, "c": 3, "o": 1}
"""TFLite's order of gates, each with its place in ONNX's."""


def kept_lstm(ctx: Context, node: ir.Node) -> None:
    """UNIDIRECTIONAL_SEQUENCE_LSTM, as which LiteRT read it: hybrid where it was, its state kept from call to call."""
    source = value(node, 0)
    turned = ctx.perm(source) == SWAPPED
    order = SWAPPED if turned else identity(3)
    x, backward = ctx.tensor(source, order), node.attributes.get_string("direction", "forward") == "reverse"
    steps, batch, _ = static_shape(ctx, source)
    hidden = static_shape(ctx, value(node, 2))[-1]
    shape = (batch, steps, hidden) if turned else (steps, batch, hidden)
    operands = [*_matrices(ctx, node, hidden), *_holes(ctx, node, hidden), *_biases(ctx, node, hidden)]
    states = [ctx.sub.add(Tensor("state", "FLOAT32", (batch, hidden), variable=True)) for _ in range(2)]
    x = _backwards(ctx, x, time=int(turned)) if backward else x
    relu = "Relu" in node.attributes.get_strings("activations", [])
    out = ctx.emit(
        "UNIDIRECTIONAL_SEQUENCE_LSTM", [x, *operands, -1, -1, *states], [ctx.temp("FLOAT32", shape, "lstm")],
        fused_activation_function=ACTIVATION["RELU"] if relu else TANH, cell_clip=0.0, proj_clip=0.0,
        time_major=not turned, **hybrid_options(node),
    )  # fmt: skip
    out = _backwards(ctx, out, time=int(turned)) if backward else out
    result = node.outputs[0]
    follower = sole_consumer(ctx, result)
    if follower is not None and follower.op_type == "Squeeze":
        ctx.done.add(follower)
        ctx.alias(follower.outputs[0], out, order)
        return
    ctx.alias(result, ctx.reshape(ctx.move(out, order), (steps, 1, batch, hidden)))


def _matrices(ctx: Context, node: ir.Node, hidden: int) -> list[int]:
    """Input and recurrent matrices by gate; integers only where all of them are."""
    parts = [
        _rows(value(node, place), row * hidden, (row + 1) * hidden)
        for place in (1, 2)
        for row in GATE_ROWS.values()
    ]
    integer = HYBRID_KEY in node.metadata_props and all(
        held is not None and held.encoding.per_tensor for held in map(weight_of, parts)
    )
    order = identity(2)
    return [weight_tensor(ctx, node, part, order) if integer else ctx.tensor(part) for part in parts]


def _rows(matrix: ir.Value, start: int, stop: int) -> ir.Value:
    """Rows of the only direction as a constant of their own, read when it is written."""
    import onnx_ir as ir

    held, weight = held_by(matrix), weight_of(matrix)
    shape = ir.Shape((stop - start, int(held.shape[2])))
    made = ir.Value(name=matrix.name, shape=shape, type=matrix.type)
    if weight is None:
        made.const_value = ir.LazyTensor(
            lambda: ir.tensor(np.asarray(held.numpy())[0, start:stop]), dtype=held.dtype, shape=shape
        )
        return made
    scale, zero = weight.encoding.scale, weight.encoding.zero_point
    if not weight.encoding.per_tensor:
        scale, zero = scale[start:stop], zero[start:stop]
    same = scale.ndim and bool((scale == scale[0]).all() and (zero == zero[0]).all())
    if same:
        scale, zero = scale[0], zero[0]
    axis = 0 if np.ndim(scale) else None
    encoding = replace(weight.encoding, scale=np.asarray(scale), zero_point=np.asarray(zero), axis=axis)
    set_weight(made, QuantizedWeight(weight.integers[0, start:stop], encoding))
    return made


def _holes(ctx: Context, node: ir.Node, hidden: int) -> list[int]:
    """Peepholes i, f, o; ONNX holds them as i, o, f."""
    if optional(node, 7) is None:
        return [-1, -1, -1]
    rows = np.asarray(held_by(value(node, 7)).numpy(), np.float32).reshape(3, hidden)
    return [ctx.constant(rows[place], "peephole") for place in (0, 2, 1)]


def _biases(ctx: Context, node: ir.Node, hidden: int) -> list[int]:
    """Both of ONNX's biases in one, by gate."""
    both = np.asarray(held_by(value(node, 3)).numpy(), np.float32).reshape(2, 4, hidden)
    return [ctx.constant(both[0, row] + both[1, row], "bias") for row in GATE_ROWS.values()]


def _backwards(ctx: Context, x: int, time: int) -> int:
    """Last step first."""
    out = ctx.temp("FLOAT32", ctx.sub.tensors[x].shape, "turned")
    return ctx.emit("REVERSE_V2", [x, ctx.constant(np.array([time], np.int32), "axis")], [out])
