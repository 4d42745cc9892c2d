"""An LSTM that kept its state between calls where it came from: one operator that keeps it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.canonical import HYBRID_KEY
from bessemer.ir.encoding import QuantizedWeight, set_weight, weight_of
from bessemer.ir.layout import identity
from bessemer.targets.tflite.builder import Tensor
from bessemer.targets.tflite.context import Context, held_by
from bessemer.targets.tflite.ops.common import ACTIVATION, optional, sole_consumer, static_shape, value
from bessemer.targets.tflite.ops.weights import hybrid_options, weight_tensor

if TYPE_CHECKING:
    import onnx_ir as ir

SWAPPED = (1, 0, 2)
TANH = 4
"""In ActivationFunctionType."""

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
