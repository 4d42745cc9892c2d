"""Arithmetic of two or more operands with broadcasting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.layout import identity, inverse, is_identity
from bessemer.ir.types import Perm
from bessemer.targets.tflite.builder import Dims
from bessemer.targets.tflite.context import Blocked, Context
from bessemer.targets.tflite.dtypes import NUMPY
from bessemer.targets.tflite.ops.common import compute_as, final_value, fused, perm_shape, store
from bessemer.targets.tflite.registry import lower

if TYPE_CHECKING:
    import onnx_ir as ir

CODES = {
    "Add": "ADD", "Sub": "SUB", "Mul": "MUL", "Div": "DIV", "Max": "MAXIMUM", "Min": "MINIMUM", "Pow": "POW",
    "Sum": "ADD", "Mean": "ADD",
}  # fmt: skip
KERNELS: dict[str, frozenset[str]] = {
    "ADD": frozenset({"FLOAT32", "INT32", "INT64"}),
    "SUB": frozenset({"FLOAT32", "INT32", "INT64"}),
    "MUL": frozenset({"FLOAT32", "INT32", "INT64"}),
    "DIV": frozenset({"FLOAT32", "INT32"}),
    "MAXIMUM": frozenset({"FLOAT32", "INT32", "INT64"}),
    "MINIMUM": frozenset({"FLOAT32", "INT32", "INT64"}),
    "POW": frozenset({"FLOAT32", "INT32"}),
}
"""Types whose unquantized kernels compute what ONNX means."""

WIDER = {"INT8": "INT32", "UINT8": "INT32", "INT16": "INT32", "UINT16": "INT32", "UINT32": "INT64"}
RANK = {"ADD": 6, "SUB": 6, "MUL": 6, "DIV": 5, "MAXIMUM": 8, "MINIMUM": 8, "POW": 4}
FUSING = frozenset({"ADD", "SUB", "MUL", "DIV"})


def binary_perm(ctx: Context, values: list[ir.Value], rank: int) -> Perm:
    """The axis order for a broadcasting operator: that of the first computed operand of full rank not
    in logical order.
    """
    for v in values:
        if ctx.rank(v) == rank and not ctx.is_const(v) and not is_identity(ctx.perm(v)):
            return ctx.perm(v)
    return identity(rank)


def operand(ctx: Context, v: ir.Value, perm: Perm) -> int:
    """A broadcast operand in the axis order `perm`; leading axes of size one are added where that order
    needs them.
    """
    rank = ctx.rank(v)
    if rank == len(perm):
        return ctx.tensor(v, perm)
    if is_identity(perm) or rank == 0:
        return ctx.tensor(v)
    lifted = (1,) * (len(perm) - rank) + ctx.shape(v)
    array = ctx.const(v)
    if array is not None and ctx.encoding(v) is None:
        moved = array.reshape([dim or 0 for dim in lifted]).transpose(inverse(perm))
        return ctx.constant(moved.astype(NUMPY[ctx.type(v)]), v.name or "const")
    return ctx.move(ctx.reshape(ctx.tensor(v), lifted), inverse(perm))


def spread(
    ctx: Context, values: Sequence[ir.Value], index: Sequence[int], result: ir.Value, perm: Perm, most: int, code: str
) -> list[int]:
    """Operands of a kernel that broadcasts at most so many axes: beyond that they are broadcast before it.

    index: the tensors of `values` in the axis order `perm`.
    """
    shape = perm_shape(ctx, result, perm)
    if len(shape) <= most or all(ctx.same_dims(values[0], v) for v in values):
        return list(index)
    if None in shape or len(shape) > 8:
        raise Blocked("rank", f"LiteRT's {code} broadcasts at most {most} axes, not {len(shape)}")
    return [_broadcast(ctx, item, shape) for item in index]


def _broadcast(ctx: Context, index: int, shape: Dims) -> int:
    tensor = ctx.sub.tensors[index]
    if tensor.shape == shape:
        return index
    if tensor.type.startswith("UINT"):
        raise Blocked("type", f"LiteRT's BROADCAST_TO has no {tensor.type} kernel")
    wanted = ctx.constant(np.array(shape, np.int32), "shape")
    return ctx.emit("BROADCAST_TO", [index, wanted], [ctx.temp(tensor.type, shape, "spread", tensor.encoding)])


def computing_type(code: str, kind: str) -> str:
    """The type in which `code` can compute values of `kind`. Raises Blocked when there is none."""
    if kind in KERNELS[code]:
        return kind
    wider = WIDER.get(kind, "")
    if wider not in KERNELS[code]:
        raise Blocked("type", f"LiteRT's {code} has no {kind} kernel")
    return wider


def _integer(ctx: Context, node: ir.Node) -> bool:
    """Integer ADD, SUB, MUL (and MAXIMUM, MINIMUM on equal encodings): both operands and the result
    encoded.
    """
    inputs = [ctx.encoding(v) for v in node.inputs]
    result = ctx.encoding(final_value(ctx, node) if CODES[node.op_type] in FUSING else node.outputs[0])
    every = [result, *inputs]
    if len(inputs) != 2 or any(e is None or not e.per_tensor for e in every):
        return False
    if len({e.dtype for e in every if e is not None}) != 1:
        return False
    if node.op_type in ("Max", "Min"):
        return inputs[0] == result and inputs[1] == result
    return node.op_type in ("Add", "Sub", "Mul") or (
        node.op_type == "Div" and result is not None and result.dtype == "UINT8"
    )


@lower("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "Sum", "Mean", integer=_integer)
def arithmetic(ctx: Context, node: ir.Node) -> None:
    """One operator per pair of operands; the last one writes the result with a fused activation."""
    code, values = CODES[node.op_type], [v for v in node.inputs if v is not None]
    rank = ctx.rank(node.outputs[0])
    kind = "" if ctx.integer else computing_type(code, ctx.type(node.outputs[0]))
    perm = binary_perm(ctx, values, rank)
    index = [operand(ctx, v, perm) for v in values]
    if kind:
        index = [compute_as(ctx, i, kind) for i in index]
    index = spread(ctx, values, index, node.outputs[0], perm, RANK[code], code)
    if node.op_type == "Mean":
        index = _averaged(ctx, index)
        code = "MUL"
    _chain(ctx, node, code, index, perm, kind)


def _averaged(ctx: Context, index: list[int]) -> list[int]:
    total = index[0]
    for item in index[1:]:
        shape = wider_shape(ctx, total, item)
        total = ctx.emit("ADD", [total, item], [ctx.temp("FLOAT32", shape, "sum")])
    return [total, ctx.constant(np.float32(1 / len(index)), "share")]


def wider_shape(ctx: Context, a: int, b: int) -> tuple[int | None, ...]:
    """Shape of a broadcast of two tensors."""
    x, y = ctx.sub.tensors[a].shape, ctx.sub.tensors[b].shape
    rank = max(len(x), len(y))
    left, right = (1,) * (rank - len(x)) + x, (1,) * (rank - len(y)) + y
    return tuple(q if p == 1 else p for p, q in zip(left, right, strict=True))


def _chain(ctx: Context, node: ir.Node, code: str, index: list[int], perm: Perm, kind: str) -> None:
    if len(index) == 1:
        ctx.alias(node.outputs[0], index[0], perm)
        return
    total = index[0]
    for item in index[1:-1]:
        total = ctx.emit(code, [total, item], [ctx.temp(kind, wider_shape(ctx, total, item), "partial")])
    direct = not kind or kind == ctx.type(node.outputs[0])
    result, activation = fused(ctx, node) if code in FUSING and direct else (node.outputs[0], 0)
    options = {"fused_activation_function": activation} if code in FUSING else {}
    out = ctx.out(result, perm)
    if direct:
        ctx.emit(code, [total, index[-1]], [out], **options)
        return
    wide = ctx.temp(kind, ctx.sub.tensors[out].shape, "wide")
    store(ctx, ctx.emit(code, [total, index[-1]], [wide], **options), out)
