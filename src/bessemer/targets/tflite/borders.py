"""Inputs and outputs of the file: names, types and axis order, with a sentence for each change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.encoding import Encoding
from bessemer.ir.errors import Blocker
from bessemer.ir.layout import apply, channels_first, channels_last, identity, inverse, is_identity
from bessemer.ir.types import Perm
from bessemer.targets.base import Border, Prepared
from bessemer.targets.tflite.builder import Tensor
from bessemer.targets.tflite.context import Blocked, Context, Placed, held_by, refuse_beyond_float32
from bessemer.targets.tflite.dtypes import NUMPY, border_dtype

if TYPE_CHECKING:
    import onnx_ir as ir

IMAGE_OPS = frozenset(
    {"Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "Resize", "DepthToSpace"}
)
PASSING = frozenset({"Add", "Sub", "Mul", "Div", "Relu", "Clip", "Pad", "Cast", "BatchNormalization"})


def place_inputs(ctx: Context, graph: ir.Graph, blockers: list[Blocker], prepared: Prepared) -> None:
    """Create the input tensors."""
    for value in graph.inputs:
        if value.name in graph.initializers:
            continue
        try:
            _place_input(ctx, value, prepared)
        except Blocked as problem:
            blockers.append(
                Blocker(value.name or "", "Input", problem.rule, problem.reason, rewrite=problem.rewrite)
            )


def _place_input(ctx: Context, value: ir.Value, prepared: Prepared) -> None:
    from bessemer.targets.tflite.driver import _need_tensor

    _need_tensor(value)
    name, shape = value.name or "", ctx.shape(value)
    rank = len(shape)
    order = channels_first(rank) if ctx.options.io == "nhwc" and feeds_image_op(value) else identity(rank)
    encoding = ctx.encoding(value)
    inner, kind = ctx.type(value), ctx.type(value)
    if kind == "INT64" and ctx.options.int64 == "int32":
        kind = "INT32"
    outside = _integers_outside(ctx, value)
    kind = kind if outside is None else outside.dtype
    index = ctx.sub.add(Tensor(name, kind, apply(inverse(order), shape), encoding=outside))
    ctx.sub.inputs.append(index)
    ctx.module.inputs[name] = index
    prepared.inputs[name] = Border(name, border_dtype(kind), _moved(order), outside)
    _note(value, prepared.inputs[name], "Input", prepared)
    if encoding is None:
        ctx.placed[value] = Placed(ctx.cast(index, inner), order)
    else:
        ctx.alias(value, index, order)
        ctx.flush()


def _integers_outside(ctx: Context, value: ir.Value) -> Encoding | None:
    """How a real input or output is represented in the file where integers were asked for. Raises Blocked."""
    wanted, encoding = ctx.options.io_type.upper(), ctx.encoding(value)
    if wanted == "FLOAT32" or ctx.type(value) != "FLOAT32":
        return None
    if encoding is None or not encoding.per_tensor:
        why = "it has no encoding: what computes it or reads it stays float"
        raise Blocked("io-type", f"'{value.name}' cannot be {wanted} in the file; {why}", "io_type=float32")
    if encoding.dtype == wanted:
        return encoding
    if {encoding.dtype, wanted} != {"INT8", "UINT8"}:
        why = f"it is {encoding.dtype} inside"
        rewrite = f"io_type={encoding.dtype.lower()}"
        raise Blocked("io-type", f"'{value.name}' cannot be {wanted} in the file; {why}", rewrite)
    zero = encoding.zero_point.astype(np.int16) + (128 if wanted == "UINT8" else -128)
    return Encoding(wanted, encoding.scale, zero.astype(NUMPY[wanted]))


def feeds_image_op(value: ir.Value, depth: int = 6) -> bool:
    """Whether the value reaches an operator that wants channels last through ones that do not care."""
    if value.shape is None or len(value.shape) < 4 or depth == 0:
        return False
    for node in value.consumers():
        if node.op_type in IMAGE_OPS and node.inputs[0] is value:
            return True
        if node.op_type in PASSING and feeds_image_op(node.outputs[0], depth - 1):
            return True
    return False


def place_outputs(ctx: Context, graph: ir.Graph, blockers: list[Blocker], prepared: Prepared) -> None:
    """Give every graph output a tensor of its own, in the promised axis order and type."""
    for value in graph.outputs:
        try:
            _place_output(ctx, value, prepared)
        except Blocked as problem:
            blockers.append(
                Blocker(value.name or "", "Output", problem.rule, problem.reason, rewrite=problem.rewrite)
            )


def _place_output(ctx: Context, value: ir.Value, prepared: Prepared) -> None:
    rank, name = ctx.rank(value), value.name or ""
    order = identity(rank)
    if ctx.options.io == "nhwc" and rank >= 4 and ctx.perm(value) == channels_first(rank):
        order = channels_first(rank)
    outside = None if ctx.is_const(value) else _integers_outside(ctx, value)
    ctx.integer = outside is not None
    index = _fixed(ctx, value) if ctx.is_const(value) else ctx.tensor(value, order)
    ctx.integer = False
    index = index if outside is None else ctx.requantized(index, outside)
    if ctx.sub.tensors[index].type == "INT64" and ctx.options.int64 == "int32":
        index = ctx.cast(index, "INT32")
    tensor = ctx.sub.tensors[index]
    if index in ctx.sub.inputs or index in ctx.sub.outputs or tensor.data is not None:
        index = _copied(ctx, index, name)
    ctx.sub.outputs.append(index)
    kind = ctx.sub.tensors[index].type
    ctx.module.outputs[name] = index
    prepared.outputs[name] = Border(name, border_dtype(kind), _moved(order), outside)
    _note(value, prepared.outputs[name], "Output", prepared)


def _fixed(ctx: Context, value: ir.Value) -> int:
    """An output that is a constant, in full precision: a lone DEQUANTIZE is more than the runtime can
    set up.
    """
    kind = ctx.type(value)
    if held_by(value).dtype.name == "DOUBLE":
        refuse_beyond_float32(value, held_by(value).numpy())
    return ctx.constant(held_by(value).numpy().astype(NUMPY[kind], copy=False), f"{value.name}/constant")


def _copied(ctx: Context, index: int, name: str) -> int:
    """An output that is also an input, a constant or another output needs a tensor of its own."""
    tensor = ctx.sub.tensors[index]
    out = ctx.temp(tensor.type, tensor.shape, f"{name}/copy", tensor.encoding)
    if sum(dim is None for dim in tensor.shape) <= 1:
        return ctx.reshape(index, tensor.shape, out)
    shape = ctx.temp("INT32", (len(tensor.shape),), f"{name}/shape")
    ctx.emit("SHAPE", [index], [shape], out_type=2)
    return ctx.emit("RESHAPE", [index, shape], [out])


def _moved(order: Perm) -> Perm | None:
    return None if is_identity(order) else channels_last(len(order))


def _note(value: ir.Value, border: Border, what: str, prepared: Prepared) -> None:
    said, encoding = [], border.encoding
    original = "float" if value.dtype is None else str(value.dtype.name).lower()
    want = {"float": "float32", "double": "float64"}.get(original, original)
    if encoding is not None:
        zero = int(encoding.zero_point)
        said.append(f"is {border.dtype} in the file: {float(encoding.scale):.9g} * (integer {-zero:+d}) in the original")
    elif border.dtype != want:
        said.append(f"is {border.dtype} in the file ({want} in the original)")
    if border.perm is not None:
        said.append("is channels last in the file (channels first in the original)")
    if said:
        prepared.notes.append(f"{what} '{value.name}' {' and '.join(said)}.")


def landmarks(ctx: Context, graph: ir.Graph, prepared: Prepared) -> None:
    """Say where the values of the canonical graph stand, for finding the first one that departs."""
    for node in graph:
        for value in node.outputs:
            place = ctx.placed.get(value)
            if place is None or not value.name:
                continue
            tensor = ctx.sub.tensors[place.index]
            encoding = tensor.encoding
            plain = encoding is None and tensor.type in ("FLOAT32", "INT32", "INT64", "BOOL")
            if plain or (encoding is not None and encoding.per_tensor):
                perm = None if is_identity(place.perm) else inverse(place.perm)
                prepared.values[value.name] = Border(tensor.name, border_dtype(tensor.type), perm)
                if encoding is not None:
                    prepared.encodings[value.name] = encoding
