"""RNN, GRU and LSTM as loops: steps that are not known or too many to write out, activations without a kernel.

The equations are those of the ONNX specification of the three operators.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.canonical import STATE_KEY
from bessemer.ir.encoding import weight_of
from bessemer.passes.expansion import Nodes
from bessemer.passes.gates import GATES, Gate, activations
from bessemer.passes.rewrite import constant, dims
from bessemer.targets.tflite.expand.accumulate import Rows
from bessemer.targets.tflite.expand.registry import expand
from bessemer.targets.tflite.options import LOOPED, STEPS

if TYPE_CHECKING:
    import onnx_ir as ir

DIRECT = frozenset({"sigmoid", "tanh", "relu", "hardsigmoid", "affine"})
"""Activations that the unrolled form has."""


@expand("RNN", "GRU", "LSTM", needs="float weights of known shape")
def recurrent(nodes: Nodes, node: ir.Node) -> Sequence[ir.Value] | None:
    """Every direction is a loop of its own; None where the unrolled form serves."""
    clip = node.attributes.get_float("clip", None) if node.op_type == "LSTM" else None
    if node.metadata_props.get(STATE_KEY) is not None or clip or _unrollable(node):
        return None
    layout = node.attributes.get_int("layout", 0)
    x, recurrence = node.inputs[0], node.inputs[2]
    if x is None or x.shape is None or dims(recurrence) is None:
        return None
    x = nodes("Transpose", x, perm=[1, 0, 2]) if layout else x
    kind = node.attributes.get_string("direction", "forward").lower()
    turned = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}[kind]
    runs = [Direction(nodes, node, place).run(x, backward=back) for place, back in enumerate(turned)]
    results = [_joined(nodes, [run[0] for run in runs], 1)]
    results += [_joined(nodes, [run[at] for run in runs], 0) for at in range(1, len(runs[0]))]
    if layout:
        results[0] = nodes("Transpose", results[0], perm=[2, 0, 1, 3])
        results[1:] = [nodes("Transpose", state, perm=[1, 0, 2]) for state in results[1:]]
    return results[: len(node.outputs)]


def _unrollable(node: ir.Node) -> bool:
    """Whether the unrolled form serves, which alone holds integer weights."""
    quantized = any(weight_of(value) is not None for value in node.inputs)
    source, axis = node.inputs[0], node.attributes.get_int("layout", 0) or 0
    steps = None if source is None or source.shape is None else source.shape[axis]
    known = isinstance(steps, int) and steps <= (STEPS if quantized else LOOPED)
    return known and all(gate.name in DIRECT for gates in activations(node) for gate in gates)


def _joined(nodes: Nodes, parts: Sequence[ir.Value], axis: int) -> ir.Value:
    where = nodes.constant(np.array([axis]), "axis")
    return nodes("Concat", *(nodes("Unsqueeze", part, where) for part in parts), axis=axis)


class Direction:
    """One direction of a recurrent node."""

    def __init__(self, nodes: Nodes, node: ir.Node, place: int) -> None:
        self.nodes, self.node, self.place = nodes, node, place
        self.gates = activations(node)[place]
        self.hidden = (dims(node.inputs[2]) or (0,))[-1]
        self.turned = nodes("Transpose", self._needed(2), perm=[1, 0])
        self.clip = float(node.attributes.get_float("clip", 0.0))
        bias = self._part(3)
        rows = GATES[node.op_type] * self.hidden
        self.bias = (None, None) if bias is None else tuple(nodes.several(2, "Split", bias, np.array([rows, rows]), axis=0))
        self.holes = self._part(7)

    def _part(self, place: int) -> ir.Value | None:
        """This direction's part of an operand; of constants a constant."""
        value = self.node.inputs[place] if place < len(self.node.inputs) else None
        if value is None:
            return None
        array = constant(value, limit=1 << 30)
        if array is not None:
            return self.nodes.constant(array[self.place].astype(np.float32), f"direction{self.place}")
        return self.nodes("Gather", value, self.nodes.constant(np.array(self.place), "direction"), axis=0)

    def run(self, x: ir.Value, *, backward: bool) -> list[ir.Value]:
        """Hidden states (steps, batch, hidden), the last one, and of an LSTM the last cell state."""
        n, lengths = self.nodes, self._optional(4)
        x = self._backwards(x, lengths) if backward else x
        products = n("MatMul", x, n("Transpose", self._needed(1), perm=[1, 0]))
        products = products if self.bias[0] is None else n("Add", products, self.bias[0])
        steps, batch = (self._size(x, axis) for axis in (0, 1))
        width = n.constant(np.array([self.hidden]), "hidden")
        states = [self._initial(at, batch, width) for at in ((5, 6) if self.node.op_type == "LSTM" else (5,))]
        rows = Rows(n, steps, n("Concat", batch, width, axis=0), (_dim(x, 1), self.hidden), _float())
        results = self._loop(products, lengths, states, rows, _dim(x, 1))
        seen = rows.whole(results[-1])
        return [self._backwards(seen, lengths) if backward else seen, *results[:-1]]

    def _loop(
        self, products: ir.Value, lengths: ir.Value | None, states: list[ir.Value], rows: Rows, batch: int | str | None
    ) -> Sequence[ir.Value]:
        import onnx_ir as ir

        n = self.nodes
        step, going = n.argument("step", ir.DataType.INT64, ()), n.argument("going", ir.DataType.BOOL, ())
        held = [n.argument("state", ir.DataType.FLOAT, (batch, self.hidden)) for _ in states]
        kept = n.argument("rows", ir.DataType.FLOAT, rows.dims)

        def write(inner: Nodes) -> list[ir.Value]:
            new = self._step(inner, inner("Gather", products, step, axis=0), held)
            shown = new[0]
            if lengths is not None:
                column = inner.constant(np.array([1]), "axis")
                alive = inner("Unsqueeze", inner("Less", inner.cast(step, ir.DataType.INT32), lengths), column)
                shown = inner("Where", alive, new[0], inner.constant(np.array(0, np.float32), "zero"))
                new = [inner("Where", alive, after, before) for after, before in zip(new, held, strict=True)]
            return [going, *new, rows.write(inner, kept, step, shown)]

        body = n.body([step, going, *held, kept], write)
        known = constant(rows.count)
        trips = n("Squeeze", rows.count) if known is None else n.constant(known.reshape(()), "trips")
        return n.several(len(states) + 1, "Loop", trips, n.constant(np.array(True), "go"), *states, rows.empty(), body=body)

    def _step(self, n: Nodes, x: ir.Value, held: Sequence[ir.Value]) -> list[ir.Value]:
        return {"RNN": self._rnn, "GRU": self._gru, "LSTM": self._lstm}[self.node.op_type](n, x, held)

    def _rnn(self, n: Nodes, x: ir.Value, held: Sequence[ir.Value]) -> list[ir.Value]:
        return [self._act(n, 0, n("Add", x, self._recur(n, held[0])))]

    def _gru(self, n: Nodes, x: ir.Value, held: Sequence[ir.Value]) -> list[ir.Value]:
        """Gates z, r, h; linear_before_reset says where r multiplies."""
        h, size = held[0], self.hidden
        xs, split = self._split(n, x, (2, 1)), np.array([2 * size, size])
        if self.node.attributes.get_int("linear_before_reset", 0):
            outer, inner = n.several(2, "Split", self._recur(n, h), split, axis=1)
        else:
            wide, narrow = n.several(2, "Split", self.turned, split, axis=1)
            biases = (None, None) if self.bias[1] is None else n.several(2, "Split", self.bias[1], split, axis=0)
            outer, inner = _plus(n, n("MatMul", h, wide), biases[0]), None
        z, r = self._split(n, self._act(n, 0, n("Add", xs[0], outer)), (1, 1))
        reset = _plus(n, n("MatMul", n("Mul", r, h), narrow), biases[1]) if inner is None else n("Mul", r, inner)
        candidate = self._act(n, 1, n("Add", xs[1], reset))
        return [n("Add", candidate, n("Mul", z, n("Sub", h, candidate)))]

    def _lstm(self, n: Nodes, x: ir.Value, held: Sequence[ir.Value]) -> list[ir.Value]:
        """Gates i, o, f, c; peepholes in the order i, o, f."""
        h, c = held
        i, o, f, g = self._split(n, n("Add", x, self._recur(n, h)), (1, 1, 1, 1))
        holes = [None] * 3 if self.holes is None else n.several(3, "Split", self.holes, axis=0, num_outputs=3)
        i = self._act(n, 0, _peep(n, i, holes[0], c))
        if self.node.attributes.get_int("input_forget", 0):
            f = n("Sub", n.constant(np.array(1, np.float32), "one"), i)
        else:
            f = self._act(n, 0, _peep(n, f, holes[2], c))
        c = n("Add", n("Mul", f, c), n("Mul", i, self._act(n, 1, g)))
        o = self._act(n, 0, _peep(n, o, holes[1], c))
        return [n("Mul", o, self._act(n, 2, c)), c]

    def _recur(self, n: Nodes, h: ir.Value) -> ir.Value:
        return _plus(n, n("MatMul", h, self.turned), self.bias[1])

    def _split(self, n: Nodes, x: ir.Value, shares: tuple[int, ...]) -> Sequence[ir.Value]:
        return n.several(len(shares), "Split", x, np.array(shares) * self.hidden, axis=1)

    def _act(self, n: Nodes, place: int, x: ir.Value) -> ir.Value:
        gate = self.gates[place]
        if self.clip:
            low, high = (n.constant(np.array(bound, np.float32), "bound") for bound in (-self.clip, self.clip))
            x = n("Clip", x, low, high)
        return ACTIVATIONS[gate.name](n, gate, x)

    def _size(self, x: ir.Value, axis: int) -> ir.Value:
        """The size of an axis, as a vector of one."""
        known = _dim(x, axis)
        if isinstance(known, int):
            return self.nodes.constant(np.array([known]), "size")
        return self.nodes("Shape", x, start=axis, end=axis + 1)

    def _initial(self, place: int, batch: ir.Value, width: ir.Value) -> ir.Value:
        import onnx_ir as ir

        given = self._part(place)
        if given is None:
            zero = ir.tensor(np.zeros(1, np.float32))
            return self.nodes("ConstantOfShape", self.nodes("Concat", batch, width, axis=0), value=zero)
        if self.node.attributes.get_int("layout", 0):
            value, at = self.node.inputs[place], self.nodes.constant(np.array(self.place), "direction")
            return self.nodes("Gather", value, at, axis=1)
        return given

    def _optional(self, place: int) -> ir.Value | None:
        return self.node.inputs[place] if place < len(self.node.inputs) else None

    def _needed(self, place: int) -> ir.Value:
        part = self._part(place)
        if part is None:
            raise ValueError(f"input {place} of {self.node.op_type} is required")
        return part

    def _backwards(self, x: ir.Value, lengths: ir.Value | None) -> ir.Value:
        """(steps, batch, width) backwards in time, each sequence within its own length."""
        if lengths is not None:
            wide = self.nodes.cast(lengths, _long())
            return self.nodes("ReverseSequence", x, wide, time_axis=0, batch_axis=1)
        start, stop = np.array([-1]), np.array([np.iinfo(np.int64).min])
        return self.nodes("Slice", x, start, stop, np.array([0]), np.array([-1]))


def _float() -> ir.DataType:
    import onnx_ir as ir

    return ir.DataType.FLOAT


def _long() -> ir.DataType:
    import onnx_ir as ir

    return ir.DataType.INT64


def _dim(value: ir.Value, axis: int) -> int | str | None:
    dim = None if value.shape is None else value.shape[axis]
    return dim if isinstance(dim, int) or dim is None else dim.value


def _plus(n: Nodes, x: ir.Value, bias: ir.Value | None) -> ir.Value:
    return x if bias is None else n("Add", x, bias)


def _peep(n: Nodes, gate: ir.Value, hole: ir.Value | None, c: ir.Value) -> ir.Value:
    return gate if hole is None else n("Add", gate, n("Mul", c, hole))


def _plain(op: str) -> Callable[[Nodes, Gate, ir.Value], ir.Value]:
    return lambda n, gate, x: n(op, x)


def _with_alpha(op: str) -> Callable[[Nodes, Gate, ir.Value], ir.Value]:
    return lambda n, gate, x: n(op, x, alpha=gate.alpha)


def _line(n: Nodes, gate: Gate, x: ir.Value) -> ir.Value:
    slope, offset = (n.constant(np.array(number, np.float32), "line") for number in (gate.alpha, gate.beta))
    return n("Add", n("Mul", x, slope), offset)


def _scaled_tanh(n: Nodes, gate: Gate, x: ir.Value) -> ir.Value:
    alpha, beta = (n.constant(np.array(number, np.float32), "scale") for number in (gate.alpha, gate.beta))
    return n("Mul", alpha, n("Tanh", n("Mul", beta, x)))


ACTIVATIONS: dict[str, Callable[[Nodes, Gate, ir.Value], ir.Value]] = {
    "sigmoid": _plain("Sigmoid"),
    "tanh": _plain("Tanh"),
    "relu": _plain("Relu"),
    "softsign": _plain("Softsign"),
    "softplus": _plain("Softplus"),
    "elu": _with_alpha("Elu"),
    "leakyrelu": _with_alpha("LeakyRelu"),
    "thresholdedrelu": _with_alpha("ThresholdedRelu"),
    "hardsigmoid": lambda n, gate, x: n("HardSigmoid", x, alpha=gate.alpha, beta=gate.beta),
    "affine": _line,
    "scaledtanh": _scaled_tanh,
}
