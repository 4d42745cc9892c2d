"""Arithmetic of two operands with broadcasting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bessemer.ir.layout import identity, is_identity
from bessemer.ir.types import Perm
from bessemer.targets.tflite.context import Blocked, Context
from bessemer.targets.tflite.ops.common import fused, value
from bessemer.targets.tflite.registry import lower

if TYPE_CHECKING:
    import onnx_ir as ir

BINARY = {"Add": "ADD", "Sub": "SUB", "Mul": "MUL", "Div": "DIV"}


def binary_perm(ctx: Context, a: ir.Value, b: ir.Value, rank: int) -> Perm:
    """The axis order for a broadcasting operator: that of the computed operand with full rank that is not logical."""
    for v in (a, b):
        if ctx.rank(v) == rank and not ctx.is_const(v) and not is_identity(ctx.perm(v)):
            return ctx.perm(v)
    return identity(rank)


def operand(ctx: Context, v: ir.Value, perm: Perm) -> int:
    """A broadcast operand in the axis order `perm`; leading axes of size one are added where that order needs them."""
    rank = ctx.rank(v)
    if rank == len(perm):
        return ctx.tensor(v, perm)
    index = ctx.tensor(v)
    if is_identity(perm) or rank == 0:
        return index
    if any(dim is None for dim in ctx.shape(v)[1:]) and sum(dim is None for dim in ctx.shape(v)) > 1:
        raise Blocked("dynamic-broadcast", f"'{v.name}' has more than one unknown size", "bind its dimensions with --shape")
    lifted = (1,) * (len(perm) - rank) + ctx.shape(v)
    from bessemer.ir.layout import inverse

    tensor = ctx.sub.tensors[index]
    if tensor.data is not None and not ctx.integer:
        import numpy as np

        array = np.asarray(ctx.const(v)).reshape([d or 0 for d in lifted]).transpose(inverse(perm))
        from bessemer.targets.tflite.dtypes import NUMPY

        return ctx.constant(array.astype(NUMPY[tensor.type]), v.name or "const")
    return ctx.move(ctx.reshape(index, lifted), inverse(perm))


def lower_binary(ctx: Context, node: ir.Node, code: str, **options: int) -> None:
    """Emit a broadcasting operator of two inputs."""
    a, b = value(node, 0), value(node, 1)
    result, activation = fused(ctx, node)
    perm = binary_perm(ctx, a, b, ctx.rank(node.outputs[0]))
    inputs = [operand(ctx, a, perm), operand(ctx, b, perm)]
    ctx.emit(code, inputs, [ctx.out(result, perm)], fused_activation_function=activation, **options)


@lower("Add", "Sub", "Mul", "Div")
def arithmetic(ctx: Context, node: ir.Node) -> None:
    """ADD, SUB, MUL, DIV with a fused activation."""
    lower_binary(ctx, node, BINARY[node.op_type])
