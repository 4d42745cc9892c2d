"""Choice, remainders and conversion between types."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bessemer.ir.canonical import WIDENED_KEY
from bessemer.targets.tflite.context import Blocked, Context
from bessemer.targets.tflite.ops.common import compute_as, store, value
from bessemer.targets.tflite.ops.elementwise import binary_perm, operand, spread, wider_shape
from bessemer.targets.tflite.registry import lower

if TYPE_CHECKING:
    import onnx_ir as ir

COMPARING = {
    "FLOAT32": "FLOAT32", "INT32": "INT32", "INT64": "INT64", "INT8": "INT32", "UINT8": "INT32", "INT16": "INT32",
    "UINT16": "INT32", "UINT32": "INT64", "BOOL": "INT32",
}  # fmt: skip
MOST = 4
"""Axes that the comparison kernels broadcast."""


def _operands(ctx: Context, node: ir.Node, kind: str, code: str) -> tuple[list[int], tuple[int, ...]]:
    values, result = [value(node, place) for place in range(len(node.inputs))], node.outputs[0]
    perm = binary_perm(ctx, values, ctx.rank(result))
    index = [compute_as(ctx, operand(ctx, v, perm), kind) for v in values]
    return spread(ctx, values, index, result, perm, MOST, code), perm


@lower("Where")
def where(ctx: Context, node: ir.Node) -> None:
    """SELECT_V2; narrow unsigned integers through INT64."""
    kind = ctx.type(node.outputs[0])
    computing = {"UINT16": "INT32", "UINT32": "INT64"}.get(kind, kind)
    if computing not in ("FLOAT32", "BOOL", "INT8", "UINT8", "INT16", "INT32", "INT64"):
        raise Blocked("type", f"LiteRT's SELECT_V2 has no {kind} kernel")
    values = [value(node, place) for place in range(3)]
    perm = binary_perm(ctx, values, ctx.rank(node.outputs[0]))
    index = [operand(ctx, v, perm) for v in values]
    index = [index[0], *(compute_as(ctx, item, computing) for item in index[1:])]
    index = spread(ctx, values, index, node.outputs[0], perm, MOST, "SELECT_V2")
    out = ctx.out(node.outputs[0], perm)
    if computing == kind:
        ctx.emit("SELECT_V2", index, [out])
        return
    store(ctx, ctx.emit("SELECT_V2", index, [ctx.temp(computing, ctx.sub.tensors[out].shape, "wide")]), out)


ROUNDING = {"FLOAT16": "FLOAT16"}
"""Narrow floats that CAST can round to on the way; values then go on in FLOAT32."""

EXACT = {"FLOAT", "DOUBLE", "INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "INT64", "BOOL", "FLOAT16"}


@lower("Cast")
def cast(ctx: Context, node: ir.Node) -> None:
    """Among the types LiteRT computes in. A cast to half precision rounds, as it does in ONNX."""
    x, y = value(node, 0), node.outputs[0]
    if x.dtype is None or y.dtype is None:
        raise Blocked("type", f"the type of '{x.name}' is unknown")
    wanted, given = y.dtype.name, x.dtype.name
    if WIDENED_KEY in node.meta and ctx.type(x) == ctx.type(y):
        perm = ctx.perm(x)
        ctx.alias(y, ctx.tensor(x, perm), perm)
        return
    if wanted not in EXACT:
        raise Blocked("type", f"LiteRT has no conversion to {wanted}")
    if given in ("UINT64", "COMPLEX64", "COMPLEX128"):
        raise Blocked("type", f"LiteRT has no conversion from {given}")
    perm = ctx.perm(x)
    index = ctx.tensor(x, perm)
    if wanted in ROUNDING and given not in ROUNDING:
        half = ctx.temp(ROUNDING[wanted], ctx.sub.tensors[index].shape, "half")
        index = ctx.emit("CAST", [index], [half])
    if ctx.sub.tensors[index].type == ctx.type(y):
        ctx.alias(y, index, perm)
        return
    ctx.emit("CAST", [index], [ctx.out(y, perm)])


@lower("Mod")
def mod(ctx: Context, node: ir.Node) -> None:
    """FLOOR_MOD has the divisor's sign (fmod=0); fmod=1 takes it of the sizes and gives it the dividend's sign."""
    x, y = value(node, 0), node.outputs[0]
    kind = ctx.type(x)
    computing = kind if kind in ("FLOAT32", "INT32", "INT64") else COMPARING.get(kind, "")
    if computing not in ("FLOAT32", "INT32", "INT64"):
        raise Blocked("type", f"LiteRT's FLOOR_MOD has no {kind} kernel")
    (a, b), perm = _operands(ctx, node, computing, "FLOOR_MOD")
    out = ctx.out(y, perm)
    shape = ctx.sub.tensors[out].shape
    if node.attributes.get_int("fmod", 0):
        if computing == "INT64":
            raise Blocked("type", "LiteRT's ABS has no INT64 kernel")
        sizes = [ctx.emit("ABS", [i], [ctx.temp(computing, ctx.sub.tensors[i].shape, "size")]) for i in (a, b)]
        rest = ctx.emit("FLOOR_MOD", sizes, [ctx.temp(computing, wider_shape(ctx, *sizes), "rest")])
        sign = ctx.emit("SIGN", [a], [ctx.temp(computing, ctx.sub.tensors[a].shape, "sign")])
        made = ctx.emit("MUL", [rest, sign], [ctx.temp(computing, shape, "mod")])
    else:
        made = ctx.emit("FLOOR_MOD", [a, b], [ctx.temp(computing, shape, "mod")])
    store(ctx, made, out)
