"""Recurrent layers: their state starts at zero, as after LiteRT's allocation or reset.

Formulas: TFLite's operator documentation (lstm_eval, svdf, rnn in the kernels' headers); Sak et al. 2014 (LSTM with
projection), Nakkiran et al. 2015 (SVDF). What ONNX's own LSTM and RNN cannot say (projection, layer norm, clipped
cells, other activations) becomes a Scan over time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.encoding import Encoding, QuantizedWeight, set_weight
from bessemer.ir.types import Array, int64s
from bessemer.sources.tflite.context import Context, Unsupported, options
from bessemer.sources.tflite.ops.common import activate, clip
from bessemer.sources.tflite.ops.control import Inner
from bessemer.sources.tflite.registry import op
from bessemer.sources.tflite.tensors import is_quantized
from bessemer.wire.tflite.schema import ActivationFunctionType, TensorType

if TYPE_CHECKING:
    import onnx_ir

    from bessemer.wire.tflite.records import Operator

ONNX_ACTIVATIONS: dict[int, str] = {ActivationFunctionType.TANH: "Tanh", ActivationFunctionType.RELU: "Relu"}
Cell = Callable[[Context, "onnx_ir.Value", Sequence["onnx_ir.Value"]], list["onnx_ir.Value"]]


# -- operands ------------------------------------------------------------------------------------------------------


def from_zero(context: Context, states: Sequence[int], made: Sequence[onnx_ir.Value] = ()) -> None:
    """Say what becomes of the states; raises Unsupported where they are not zero when the layer is reached.

    made: results of the layer; a TFLite file keeps the state of all or of none (`keeps_state`).
    """
    for index in states:
        _fresh(context, index)
    kept = bool(made) and all(keeps_state(value) for value in made)
    where = "in any other format" if kept else "here"
    context.notes.append(
        f"'{context.layer}': TFLite keeps the layer's state between calls; {where} every call starts from zero state"
    )


def keeps_state(value: onnx_ir.Value) -> bool:
    """Whether a layer's result, perhaps without its axis of directions, comes from a node marked as keeping its state."""
    from bessemer.ir.canonical import STATE_KEY

    maker = value.producer()
    if maker is not None and maker.op_type == "Squeeze" and maker.inputs[0] is not None:
        maker = maker.inputs[0].producer()
    return maker is not None and maker.metadata_props.get(STATE_KEY) == "kept"


def _fresh(context: Context, index: int) -> None:
    name = context.name(index)
    if not context.tensor(index).is_variable:
        raise Unsupported(
            "recurrent-state", f"the state '{name}' is given to the layer, which then does not keep it"
        )
    if isinstance(context, Inner):
        raise Unsupported(
            "recurrent-state", f"the state '{name}' may live on from one round of a loop to the next"
        )
    if index in context.states:
        raise Unsupported("recurrent-state", f"two layers share the state '{name}'")
    context.states.add(index)


def weights(context: Context, operator: Operator, place: int) -> Array | None:
    """Operand `place` as float32; None when it is left out."""
    index = operator.inputs[place] if place < len(operator.inputs) else -1
    if index < 0:
        return None
    held = context.known(index)
    if held is None:
        raise Unsupported("constant-operand", f"the weights '{context.name(index)}' are computed")
    return np.asarray(held, np.float32)


def needed(context: Context, operator: Operator, place: int) -> Array:
    """Operand `place` as float32, which the operator cannot do without."""
    held = weights(context, operator, place)
    if held is None:
        raise Unsupported("missing-operand", f"operand {place} is left out")
    return held


def need_shape(array: Array | None, shape: tuple[int, ...], what: str) -> None:
    """Raises Unsupported where operands do not fit together."""
    if array is not None and array.shape != shape:
        raise Unsupported(
            "weights-shape", f"the {what} have shape {array.shape} where {shape} fits the others"
        )


@dataclass
class Rows:
    """A matrix of weights, with its integers where the file has such (one scale per row).

    hybrid: how the runtime quantizes what such integers are multiplied with.
    """

    real: Array
    held: QuantizedWeight | None = None
    hybrid: str = ""

    @classmethod
    def of(cls, context: Context, operator: Operator, place: int) -> Rows:
        """Operand `place`."""
        real, held = (
            needed(context, operator, place),
            context.constants.weight(context.subgraph, operator.inputs[place]),
        )
        if real.ndim != 2:
            raise Unsupported("weights-shape", f"operand {place} has {real.ndim} axes, not two")
        if held is None or held.encoding.dtype != "INT8" or held.encoding.zero_point.any():
            return cls(real)
        if held.encoding.axis not in (None, 0):
            return cls(real)
        scale = np.broadcast_to(held.encoding.scale, real.shape[:1])
        exact = is_quantized(context.tensor(operator.inputs[0]))
        return cls(real, _by_row(held.integers, scale), "" if exact else rounding(operator))

    def negative(self) -> Rows:
        """With the sign of every element turned."""
        if self.held is None or self.held.integers.min(initial=0) == -128:
            return Rows(-self.real)
        return Rows(-self.real, _by_row(-self.held.integers, self.held.encoding.scale), self.hybrid)

    def value(self, context: Context, name: str, lead: bool = False) -> onnx_ir.Value:
        """As a constant; lead: with an axis of one in front."""
        made = context.literal(self.real[None] if lead else self.real, name)
        if self.held is not None:
            integers, encoding = self.held.integers, self.held.encoding
            moved = replace(encoding, axis=1 if lead else 0)
            set_weight(made, QuantizedWeight(integers[None] if lead else integers, moved))
        return made


def _by_row(integers: Array, scale: Array) -> QuantizedWeight:
    rows = scale.astype(np.float32)
    return QuantizedWeight(integers, Encoding("INT8", rows, np.zeros(rows.shape, np.int8), axis=0))


def stacked(parts: Sequence[Rows]) -> Rows:
    """One matrix on top of the other."""
    real = np.concatenate([part.real for part in parts])
    held = [part.held for part in parts if part.held is not None]
    if len(held) != len(parts):
        return Rows(real)
    scale = np.concatenate([item.encoding.scale for item in held])
    return Rows(real, _by_row(np.concatenate([item.integers for item in held]), scale), parts[0].hybrid)


def need_float(context: Context, operator: Operator) -> None:
    """Hybrid layers (integer weights) are read as float ones; an integer cell is another function."""
    record = context.tensor(operator.inputs[0])
    if record.type != TensorType.FLOAT32:
        raise Unsupported(
            "recurrent-quantized", "the layer is quantized: its integer cell has no counterpart in ONNX"
        )


def mark(context: Context, operator: Operator, place: int, made: onnx_ir.Value) -> None:
    """Record that the runtime quantizes the layer's float activations on the fly, if it does."""
    producer = made.producer()
    if producer is not None and is_quantized(context.tensor(operator.inputs[place])):
        _mark_hybrid(producer, rounding(operator))


def _mark_hybrid(node: onnx_ir.Node, how: str) -> None:
    from bessemer.ir.canonical import HYBRID_KEY, STATE_KEY

    node.metadata_props[HYBRID_KEY] = how
    node.metadata_props[STATE_KEY] = "zero"


def rounding(operator: Operator) -> str:
    """How a hybrid layer quantizes its activations."""
    return "asymmetric" if options(operator).get("asymmetric_quantize_inputs") else "symmetric"


def refuse_auxiliary(operator: Operator, first: int) -> None:
    """A second input sequence mixed into every step."""
    if any(index >= 0 for index in operator.inputs[first:]):
        raise Unsupported("recurrent-auxiliary", "the layer reads an auxiliary input besides its own")


# -- a cell over time ----------------------------------------------------------------------------------------------


class Step(Context):
    """What one step emits; the body of a Scan."""

    def __init__(self, outer: Context) -> None:
        super().__init__(outer.file, outer.subgraph, outer.constants, outer.notes)
        self._names, self.layer = outer._names, outer.layer

    def given(self, name: str, shape: Sequence[int | None]) -> onnx_ir.Value:
        """An input of the body."""
        import onnx_ir

        kind = onnx_ir.TensorType(onnx_ir.DataType.FLOAT)
        return onnx_ir.Value(
            name=self.unique(f"{self.layer}/{name}"), type=kind, shape=onnx_ir.Shape(list(shape))
        )


def scan(
    context: Context, value: onnx_ir.Value, widths: Sequence[int], cell: Cell, backwards: bool
) -> onnx_ir.Value:
    """Run `cell` over the first axis of `value`, from zero states of `widths`; the first state of every step."""
    import onnx_ir

    dims = [dim if isinstance(dim, int) else None for dim in value.shape or ()]
    starts = [_zeros(context, value, dims[1], width) for width in widths]
    direction = [int(backwards)]
    made = context.emit(
        "Scan", [*starts, value], body=_body(context, dims[1:], widths, cell), num_scan_inputs=1,
        scan_input_directions=direction, scan_output_directions=direction, outputs=len(widths) + 1,
    )  # fmt: skip
    made[-1].shape = onnx_ir.Shape([dims[0], dims[1], widths[0]])
    sequence: onnx_ir.Value = made[-1]
    return sequence


def _body(context: Context, dims: Sequence[int | None], widths: Sequence[int], cell: Cell) -> onnx_ir.Graph:
    """One step: states and a row of `dims` in, states and the first of them once more out."""
    import onnx_ir

    step = Step(context)
    states = [step.given("state", [dims[0], width]) for width in widths]
    taken = step.given("step", dims)
    after = cell(step, taken, states)
    results = [step.emit("Identity", [item]) for item in (*after, after[0])]
    for item, width in zip(results, (*widths, widths[0]), strict=True):
        item.shape = onnx_ir.Shape([dims[0], width])
    return onnx_ir.Graph(
        [*states, taken], results, nodes=step.nodes, initializers=step.initializers, name=context.layer
    )


def _zeros(context: Context, value: onnx_ir.Value, batch: int | None, width: int, axis: int = 1) -> Any:
    """A state for as many rows as `value` has along `axis`."""
    import onnx_ir

    if batch is not None:
        return context.literal(np.zeros((batch, width), np.float32), "zero_state")
    front = context.emit("Shape", [value], start=axis, end=axis + 1, dtype=onnx_ir.DataType.INT64)
    dims = context.emit("Concat", [front, context.literal(int64s([width]), "width")], axis=0)
    return context.emit("ConstantOfShape", [dims], dtype=onnx_ir.DataType.FLOAT)


def product(context: Context, value: onnx_ir.Value, matrix: Rows, bias: Array | None = None) -> Any:
    """value matrix^T + bias."""
    operands = [value, matrix.value(context, "weights")]
    operands += [] if bias is None else [context.literal(bias, "bias")]
    made = context.emit("Gemm", operands, transB=1)
    if matrix.hybrid:
        _mark_hybrid(made.producer(), matrix.hybrid)
    return made


def time_first(context: Context, operator: Operator) -> tuple[onnx_ir.Value, tuple[int, ...]]:
    """The input sequence with time in front, and the axis order that this is."""
    order = (0, 1, 2) if options(operator).get("time_major") else (1, 0, 2)
    return context.value(operator.inputs[0], order), order


def one_step(context: Context, operator: Operator) -> onnx_ir.Value:
    """The input rows as a sequence of one step."""
    value = context.value(operator.inputs[0])
    made: onnx_ir.Value = context.emit(
        "Unsqueeze",
        [value, context.literal(int64s([0]), "axes")],
        shape=[1, *context.shape(operator.inputs[0])],
    )
    return made


def squeezed(context: Context, value: onnx_ir.Value, axis: int) -> Any:
    """Without an axis of one."""
    return context.emit("Squeeze", [value, context.literal(int64s([axis]), "axes")])


# -- plain recurrence ----------------------------------------------------------------------------------------------


def rnn(
    context: Context, operator: Operator, value: onnx_ir.Value, first: int, backwards: bool
) -> onnx_ir.Value:
    """h = act(x W^T + h R^T + b) at every step; operands W, R, b from place `first`."""
    matrix, recurrent = Rows.of(context, operator, first), Rows.of(context, operator, first + 1)
    bias, hidden = weights(context, operator, first + 2), recurrent.real.shape[0]
    need_shape(recurrent.real, (hidden, hidden), "recurrent weights")
    need_shape(matrix.real, (hidden, matrix.real.shape[1]), "input weights")
    need_shape(bias, (hidden,), "biases")
    bias = np.zeros(hidden, np.float32) if bias is None else bias
    kind = int(options(operator).get("fused_activation_function", 0))
    made: onnx_ir.Value
    if kind not in ONNX_ACTIVATIONS:

        def cell(step: Context, x: onnx_ir.Value, states: Sequence[onnx_ir.Value]) -> list[onnx_ir.Value]:
            total = step.emit("Add", [product(step, x, matrix, bias), product(step, states[0], recurrent)])
            return [activate(step, total, kind)]

        made = scan(context, value, [hidden], cell, backwards)
    else:
        both = np.concatenate([bias, np.zeros_like(bias)])[None]
        arrays = [
            matrix.value(context, "W", True),
            recurrent.value(context, "R", True),
            context.literal(both, "B"),
        ]
        outputs = context.emit(
            "RNN", [value, *arrays], hidden_size=hidden, outputs=2, activations=[ONNX_ACTIVATIONS[kind]],
            direction="reverse" if backwards else "forward",
        )  # fmt: skip
        mark(context, operator, first, outputs[0])
        made = squeezed(context, outputs[0], 1)
    return made


@op("RNN")
def read_rnn(context: Context, operator: Operator) -> None:
    """One step."""
    need_float(context, operator)
    made = rnn(context, operator, one_step(context, operator), 1, backwards=False)
    from_zero(context, operator.inputs[4:5])
    context.result(operator.outputs[0], squeezed(context, made, 0))


@op("UNIDIRECTIONAL_SEQUENCE_RNN")
def sequence_rnn(context: Context, operator: Operator) -> None:
    """All steps."""
    need_float(context, operator)
    value, order = time_first(context, operator)
    made = rnn(context, operator, value, 1, backwards=False)
    from_zero(context, operator.inputs[4:5])
    context.result(operator.outputs[0], made, order)


@op("BIDIRECTIONAL_SEQUENCE_RNN")
def both_ways_rnn(context: Context, operator: Operator) -> None:
    """Operands of the way back follow those of the way there."""
    need_float(context, operator)
    refuse_auxiliary(operator, 9)
    value, order = time_first(context, operator)
    ways = [rnn(context, operator, value, first, back) for first, back in ((1, False), (5, True))]
    _both_ways(context, operator, ways, order, (operator.inputs[4], operator.inputs[8]))


def _both_ways(
    context: Context,
    operator: Operator,
    ways: list[onnx_ir.Value],
    order: tuple[int, ...],
    states: Sequence[int],
) -> None:
    from_zero(context, states, ways)
    if options(operator).get("merge_outputs"):
        ways = [context.emit("Concat", ways, axis=-1)]
    for index, made in zip(operator.outputs, ways, strict=True):
        context.result(index, made, order)


# -- SVDF ----------------------------------------------------------------------------------------------------------


@op("SVDF")
def svdf(context: Context, operator: Operator) -> None:
    """Each filter's features of the last steps, weighted over time, summed over the rank.

    With integers the features are kept in the state's own encoding, which is therefore set on them.
    """
    from bessemer.ir.encoding import set_encoding
    from bessemer.sources.tflite.tensors import encoding_for

    fields, (source, filters) = options(operator), operator.inputs[:2]
    feature = context.emit("Gemm", [context.value(source), context.value(filters)], transB=1)
    mark(context, operator, 1, feature)
    state = context.tensor(operator.inputs[4])
    if is_quantized(state):
        set_encoding(feature, encoding_for(state))
    made = _over_time(context, feature, needed(context, operator, 2), int(fields["rank"]))
    bias = context.optional(operator.inputs, 3)
    made = made if bias is None else context.emit("Add", [made, bias])
    from_zero(context, operator.inputs[4:5])
    # LiteRT's integer kernel leaves the activation to the result's own range.
    if not is_quantized(context.tensor(source)):
        made = activate(context, made, int(fields.get("fused_activation_function", 0)))
    context.result(operator.outputs[0], made)


def _over_time(context: Context, feature: onnx_ir.Value, times: Array, rank: int) -> Any:
    """The newest feature stands last in each filter's memory; what came before is zero."""
    if times.ndim != 2 or rank < 1 or len(times) % rank:
        raise Unsupported(
            "svdf-rank", f"weights over time of shape {times.shape} do not divide into rank {rank}"
        )
    rows, memory = times.shape
    column = context.emit("Unsqueeze", [feature, context.literal(int64s([2]), "axes")])
    pads = context.literal(int64s([0, 0, memory - 1, 0, 0, 0]), "past")
    held = context.emit("Pad", [column, pads])
    weighted = context.emit("Mul", [held, context.literal(times, "time_weights")])
    spread = context.reshaped(weighted, [None, rows // rank, rank * memory])
    return context.emit("ReduceSum", [spread, context.literal(int64s([2]), "axes")], keepdims=0)


# -- LSTM ----------------------------------------------------------------------------------------------------------


@dataclass
class Gate:
    """act(W x + R h + P c + b); with layer norm the bias comes after it."""

    weights: Rows
    recurrent: Rows
    peephole: Array | None
    bias: Array
    norm: Array | None

    def negative(self) -> Gate:
        """sigmoid(-z) = 1 - sigmoid(z): the gate that lets in what this one does not keep."""
        hole = None if self.peephole is None else -self.peephole
        norm = None if self.norm is None else -self.norm
        if norm is not None:
            return Gate(self.weights, self.recurrent, self.peephole, -self.bias, norm)
        return Gate(self.weights.negative(), self.recurrent.negative(), hole, -self.bias, None)


@dataclass
class Lstm:
    """One direction of a layer; gates i, f, c, o."""

    gates: list[Gate]
    projection: Rows | None
    projection_bias: Array | None
    cell_clip: float
    projection_clip: float
    activation: int

    @property
    def hidden(self) -> int:
        """Width of the cell state."""
        return int(self.gates[1].weights.real.shape[0])

    @property
    def widths(self) -> list[int]:
        """Of the output and the cell, the two states."""
        return [int(self.gates[0].recurrent.real.shape[1]), self.hidden]

    @property
    def plain(self) -> bool:
        """Whether ONNX's LSTM is the same function."""
        special = self.projection is not None or self.cell_clip > 0 or self.gates[1].norm is not None
        return not special and self.activation in ONNX_ACTIVATIONS


def lstm_of(context: Context, operator: Operator, first: int, norms: int) -> Lstm:
    """Operands from place `first`; layer norm weights from place `norms` (past the end: none)."""
    fields = options(operator)
    if fields.get("diagonal_recurrent_tensors"):
        raise Unsupported("lstm-variant", "its recurrent weights are diagonals")
    gates: list[Gate | None] = [_gate(context, operator, first, norms, number) for number in range(4)]
    forget = gates[1]
    if forget is None:
        raise Unsupported("missing-operand", "the LSTM has no forget gate")
    for gate in gates:
        _check(forget, gate)
    projected = first + 15 < len(operator.inputs) and operator.inputs[first + 15] >= 0
    whole = [gate if gate is not None else forget.negative() for gate in gates]
    hidden, outputs = forget.weights.real.shape[0], forget.recurrent.real.shape[1]
    projection = Rows.of(context, operator, first + 15) if projected else None
    need_shape(np.eye(hidden) if projection is None else projection.real, (outputs, hidden), "projection")
    bias = weights(context, operator, first + 16)
    need_shape(bias, (outputs,), "projection biases")
    return Lstm(
        whole, projection, bias,
        float(fields.get("cell_clip") or 0), float(fields.get("proj_clip") or 0),
        int(fields.get("fused_activation_function") or 0),
    )  # fmt: skip


def _check(forget: Gate, gate: Gate | None) -> None:
    """All gates have the sizes of the forget gate."""
    if gate is None:
        return
    hidden = forget.weights.real.shape[0]
    need_shape(gate.weights.real, forget.weights.real.shape, "input weights")
    need_shape(gate.recurrent.real, (hidden, forget.recurrent.real.shape[1]), "recurrent weights")
    for vector, what in ((gate.bias, "biases"), (gate.peephole, "peepholes"), (gate.norm, "norms")):
        need_shape(vector, (hidden,), what)


def _gate(context: Context, operator: Operator, first: int, norms: int, number: int) -> Gate | None:
    """None: the input gate of a layer that couples it with the forget gate."""
    if number == 0 and operator.inputs[first] < 0:
        return None
    recurrent = Rows.of(context, operator, first + 4 + number)
    hole = {0: first + 8, 1: first + 9, 3: first + 10}.get(number)
    bias = weights(context, operator, first + 11 + number)
    return Gate(
        Rows.of(context, operator, first + number), recurrent,
        None if hole is None else weights(context, operator, hole),
        np.zeros(recurrent.real.shape[0], np.float32) if bias is None else bias,
        weights(context, operator, norms + number),
    )  # fmt: skip


def lstm(
    context: Context, operator: Operator, layer: Lstm, value: onnx_ir.Value, backwards: bool
) -> onnx_ir.Value:
    """The outputs of all steps, time in front."""
    if not layer.plain:
        return scan(context, value, layer.widths, lambda *given: _lstm_cell(layer, *given), backwards)
    ordered = [layer.gates[number] for number in (0, 3, 1, 2)]
    bias = np.concatenate([*(gate.bias for gate in ordered), np.zeros(4 * layer.hidden, np.float32)])
    arrays = [
        stacked([gate.weights for gate in ordered]).value(context, "W", lead=True),
        stacked([gate.recurrent for gate in ordered]).value(context, "R", lead=True),
        context.literal(bias[None], "B"),
    ]
    kind = ONNX_ACTIVATIONS[layer.activation]
    made = context.emit(
        "LSTM", [value, *arrays, *_peepholes(context, ordered[:3])], hidden_size=layer.hidden,
        direction="reverse" if backwards else "forward", outputs=3,
        activations=None if kind == "Tanh" else ["Sigmoid", kind, kind],
    )  # fmt: skip
    mark(context, operator, 2, made[0])
    _mark_state(layer, value, made[0])
    sequence: onnx_ir.Value = squeezed(context, made[0], 1)
    return sequence


def _mark_state(layer: Lstm, value: onnx_ir.Value, made: onnx_ir.Value) -> None:
    """What TFLite can say again as one operator with a memory: states of a bound batch, no integers but matrices."""
    from bessemer.ir.canonical import HYBRID_KEY, STATE_KEY

    node, bound = made.producer(), value.shape is not None and isinstance(value.shape[1], int)
    holes = any(gate.peephole is not None for gate in layer.gates)
    if node is not None and bound and not (holes and HYBRID_KEY in node.metadata_props):
        node.metadata_props[STATE_KEY] = "kept"


def _peepholes(context: Context, gates: Sequence[Gate]) -> list[Any]:
    """What follows the biases: lengths and states left out, then the peepholes of gates i, o, f; or nothing."""
    if all(gate.peephole is None for gate in gates):
        return []
    rows = [np.zeros_like(gate.bias) if gate.peephole is None else gate.peephole for gate in gates]
    return [None, None, None, context.literal(np.concatenate(rows)[None], "P")]


def _lstm_cell(
    layer: Lstm, step: Context, x: onnx_ir.Value, states: Sequence[onnx_ir.Value]
) -> list[onnx_ir.Value]:
    output, cell = states
    admit, keep, _, _ = layer.gates
    new = activate(step, _pre(step, layer.gates[2], x, output, None), layer.activation)
    let_in = step.emit("Sigmoid", [_pre(step, admit, x, output, cell)])
    kept = step.emit("Sigmoid", [_pre(step, keep, x, output, cell)])
    cell = step.emit("Add", [step.emit("Mul", [kept, cell]), step.emit("Mul", [let_in, new])])
    cell = _bounded(step, cell, layer.cell_clip)
    shown = step.emit("Sigmoid", [_pre(step, layer.gates[3], x, output, cell)])
    output = step.emit("Mul", [shown, activate(step, cell, layer.activation)])
    if layer.projection is not None:
        output = product(step, output, layer.projection, layer.projection_bias)
        output = _bounded(step, output, layer.projection_clip)
    return [output, cell]


def _bounded(step: Context, value: onnx_ir.Value, bound: float) -> Any:
    return clip(step, value, -bound, bound) if bound > 0 else value


def _pre(
    step: Context, gate: Gate, x: onnx_ir.Value, output: onnx_ir.Value, cell: onnx_ir.Value | None
) -> Any:
    """What the gate's activation is given."""
    bias = None if gate.norm is not None else gate.bias
    total = step.emit("Add", [product(step, x, gate.weights, bias), product(step, output, gate.recurrent)])
    if gate.peephole is not None and cell is not None:
        total = step.emit("Add", [total, step.emit("Mul", [cell, step.literal(gate.peephole, "peephole")])])
    if gate.norm is None:
        return total
    operands = [step.literal(gate.norm, "norm"), step.literal(gate.bias, "bias")]
    return step.emit("LayerNormalization", [total, *operands], axis=-1, epsilon=1e-8)


@op("UNIDIRECTIONAL_SEQUENCE_LSTM")
def sequence_lstm(context: Context, operator: Operator) -> None:
    """All steps."""
    value, order = time_first(context, operator)
    context.result(operator.outputs[0], _one_way(context, operator, value), order)


def _one_way(context: Context, operator: Operator, value: onnx_ir.Value) -> onnx_ir.Value:
    """Float, hybrid or integer."""
    layer = lstm_of(context, operator, 1, 20)
    if context.tensor(operator.inputs[0]).type == TensorType.FLOAT32:
        made = lstm(context, operator, layer, value, backwards=False)
    else:
        made = scan(context, value, layer.widths, _integer_cell(context, operator, layer), backwards=False)
    from_zero(context, operator.inputs[18:20], [made])
    return made


def _integer_cell(context: Context, operator: Operator, layer: Lstm) -> Cell:
    from bessemer.sources.tflite.ops.integer_lstm import grids, integer_cell

    held = grids(context, operator, layer)
    context.notes.append(
        f"'{context.layer}': the integer LSTM is emulated in floats on the same steps; LiteRT's fixed-point sigmoid "
        "and tanh may differ in the last bit"
    )
    return lambda *given: integer_cell(layer, held, *given)


@op("BIDIRECTIONAL_SEQUENCE_LSTM")
def both_ways_lstm(context: Context, operator: Operator) -> None:
    """Operands of the way back follow those of the way there."""
    need_float(context, operator)
    refuse_auxiliary(operator, 39)
    value, order = time_first(context, operator)
    layers = [lstm_of(context, operator, first, len(operator.inputs)) for first in (1, 18)]
    ways = [
        lstm(context, operator, layer, value, back) for layer, back in zip(layers, (False, True), strict=True)
    ]
    _both_ways(context, operator, ways, order, operator.inputs[35:39])


@op("LSTM")
def read_lstm(context: Context, operator: Operator) -> None:
    """One step, of the full kernel or of the basic one (five operands, all gates in one matrix)."""
    if options(operator).get("kernel_type"):
        need_float(context, operator)
        _basic_lstm(context, operator)
        return
    if context.tensor(operator.inputs[0]).type == TensorType.FLOAT32:
        made = _one_way(context, operator, one_step(context, operator))
        context.result(operator.outputs[-1], squeezed(context, made, 0))
        return
    layer, value = lstm_of(context, operator, 1, 20), context.value(operator.inputs[0])
    from_zero(context, operator.inputs[18:20])
    states = [
        _zeros(context, value, context.shape(operator.inputs[0])[0], width, 0) for width in layer.widths
    ]
    made = _integer_cell(context, operator, layer)(context, value, states)[0]
    context.result(operator.outputs[-1], made)


def _basic_lstm(context: Context, operator: Operator) -> None:
    """Gates i, c, f, o of [x, h]; outputs h, c, the joined operands and the gates before their activations."""
    output, cell = (_state(context, operator.inputs[place]) for place in (1, 4))
    joined = context.emit("Concat", [context.value(operator.inputs[0]), output], axis=1)
    operands = [joined, context.value(operator.inputs[2]), context.value(operator.inputs[3])]
    raw = context.emit("Gemm", operands, transB=1)
    admit, new, keep, show = context.emit("Split", [raw], axis=1, num_outputs=4, outputs=4)
    let_in, kept, shown = (context.emit("Sigmoid", [gate]) for gate in (admit, keep, show))
    fresh = context.emit("Mul", [let_in, context.emit("Tanh", [new])])
    cell = context.emit("Add", [fresh, context.emit("Mul", [kept, cell])])
    results = [context.emit("Mul", [shown, context.emit("Tanh", [cell])]), cell, joined, raw]
    for index, made in zip(operator.outputs, results, strict=False):
        context.result(index, made)


def _state(context: Context, index: int) -> onnx_ir.Value:
    """Zeros for a state that the runtime keeps; what the model is given otherwise."""
    if not context.tensor(index).is_variable:
        return context.value(index)
    from_zero(context, [index])
    return context.literal(np.zeros(context.static(index), np.float32), "zero_state")
