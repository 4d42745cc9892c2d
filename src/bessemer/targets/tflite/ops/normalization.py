"""Normalizations as chains of kernels, in whatever axis order the data already has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.layout import channels_first, identity
from bessemer.ir.types import Perm
from bessemer.targets.tflite.context import Blocked, Context
from bessemer.targets.tflite.ops.common import need_type, optional, value
from bessemer.targets.tflite.registry import lower

if TYPE_CHECKING:
    import onnx_ir as ir


class Steps:
    """Emits float arithmetic on tensors that share one axis order."""

    def __init__(self, ctx: Context, perm: Perm) -> None:
        self.ctx, self.perm = ctx, perm

    def op(self, code: str, *inputs: int, **options: Any) -> int:
        """An intermediate with the shape of the first input."""
        shape = self.ctx.sub.tensors[inputs[0]].shape
        return self.ctx.emit(code, inputs, [self.ctx.temp("FLOAT32", shape, code.lower())], **options)

    def number(self, x: float) -> int:
        """A scalar."""
        return self.ctx.constant(np.float32(x), "scalar")

    def mean(self, x: int, axes: Sequence[int]) -> int:
        """Mean over logical axes, kept."""
        physical = sorted(self.perm[axis] for axis in axes)
        dims = self.ctx.sub.tensors[x].shape
        shape = tuple(1 if at in physical else dim for at, dim in enumerate(dims))
        index = self.ctx.constant(np.array(physical, np.int32), "axes")
        return self.ctx.emit("MEAN", [x, index], [self.ctx.temp("FLOAT32", shape, "mean")], keep_dims=True)

    def per_channel(self, v: ir.Value) -> int:
        """A vector over channels (logical axis 1) so that it broadcasts."""
        rank, at = len(self.perm), self.perm[1]
        shape = tuple(-1 if axis == at else 1 for axis in range(rank))
        array = self.ctx.const(v)
        if array is not None:
            return self.ctx.constant(array.astype(np.float32).reshape(shape), v.name or "vector")
        dims = tuple(self.ctx.shape(v)[0] if axis == at else 1 for axis in range(rank))
        return self.ctx.reshape(self.ctx.tensor(v), dims)

    def standardized(self, x: int, axes: Sequence[int], epsilon: float) -> int:
        """(x - mean) / sqrt(var + epsilon)."""
        centred = self.op("SUB", x, self.mean(x, axes))
        variance = self.mean(self.op("MUL", centred, centred), axes)
        return self.op("MUL", centred, self.op("RSQRT", self.op("ADD", variance, self.number(epsilon))))


@lower("BatchNormalization")
def batch_normalization(ctx: Context, node: ir.Node) -> None:
    """x * (scale / sqrt(var + eps)) + (bias - mean * ...), the factors computed now where they are
    constant.
    """
    source = value(node, 0)
    need_type(ctx, source, "FLOAT32")
    if node.attributes.get_int("training_mode", 0):
        raise Blocked(
            "training", "batch normalization in training mode updates its statistics", "export for inference"
        )
    epsilon = float(node.attributes.get_float("epsilon", 1e-5))
    perm = ctx.perm(source)
    steps = Steps(ctx, perm if len(perm) > 1 else identity(len(perm)))
    x = ctx.tensor(source, perm)
    arrays = [ctx.const(value(node, i)) for i in range(1, 5)]
    if all(array is not None for array in arrays):
        scale, bias, mean, var = (np.asarray(array, np.float64) for array in arrays)
        factor = scale / np.sqrt(var + epsilon)
        at = perm[1] if len(perm) > 1 else 0
        shape = tuple(-1 if axis == at else 1 for axis in range(len(perm)))
        m = ctx.constant(factor.astype(np.float32).reshape(shape), "factor")
        a = ctx.constant((bias - mean * factor).astype(np.float32).reshape(shape), "offset")
        scaled = steps.op("MUL", x, m)
        ctx.emit("ADD", [scaled, a], [ctx.out(node.outputs[0], perm)])
        return
    scale_, bias_, mean_, var_ = (steps.per_channel(value(node, i)) for i in range(1, 5))
    inverse_ = steps.op("RSQRT", steps.op("ADD", var_, steps.number(epsilon)))
    scaled = steps.op("MUL", steps.op("SUB", x, mean_), steps.op("MUL", inverse_, scale_))
    ctx.emit("ADD", [scaled, bias_], [ctx.out(node.outputs[0], perm)])


@lower("InstanceNormalization")
def instance_normalization(ctx: Context, node: ir.Node) -> None:
    """Each channel of each image by its own statistics."""
    source = value(node, 0)
    need_type(ctx, source, "FLOAT32")
    rank = ctx.rank(source)
    perm = ctx.perm(source) if rank <= 4 else channels_first(rank)
    steps = Steps(ctx, perm)
    epsilon = float(node.attributes.get_float("epsilon", 1e-5))
    unit = steps.standardized(ctx.tensor(source, perm), range(2, rank), epsilon)
    scaled = steps.op("MUL", unit, steps.per_channel(value(node, 1)))
    ctx.emit("ADD", [scaled, steps.per_channel(value(node, 2))], [ctx.out(node.outputs[0], perm)])


@lower("GroupNormalization")
def group_normalization(ctx: Context, node: ir.Node) -> None:
    """Statistics of channels, joined by group while they are small: the data itself keeps its axes and their order."""
    source, groups = value(node, 0), node.attributes.get_int("num_groups")
    need_type(ctx, source, "FLOAT32")
    channels, perm = ctx.shape(source)[1], ctx.perm(source)
    if channels is None or groups < 1 or channels % groups:
        raise Blocked("group-size", f"{channels} channels in {groups} groups")
    steps, x, spatial = Steps(ctx, perm), ctx.tensor(source, perm), range(2, len(perm))
    centred = steps.op("SUB", x, _by_group(steps, steps.mean(x, spatial), groups, channels))
    square = steps.mean(steps.op("MUL", centred, centred), spatial)
    variance = _by_group(steps, square, groups, channels)
    epsilon = steps.number(float(node.attributes.get_float("epsilon", 1e-5)))
    spread = steps.op("RSQRT", steps.op("ADD", variance, epsilon))
    scaled = steps.op("MUL", centred, steps.op("MUL", spread, steps.per_channel(value(node, 1))))
    ctx.emit("ADD", [scaled, steps.per_channel(value(node, 2))], [ctx.out(node.outputs[0], perm)])


def _by_group(steps: Steps, x: int, groups: int, channels: int) -> int:
    """Means over each group of a tensor with one number per channel, once for every channel."""
    ctx, shape, each = steps.ctx, steps.ctx.sub.tensors[x].shape, channels // groups
    batch = shape[steps.perm[0]]
    if each == 1:
        return x
    cube = ctx.reshape(x, (batch, groups, each))
    axis = ctx.constant(np.array([2], np.int32), "axes")
    mean = ctx.emit("MEAN", [cube, axis], [ctx.temp("FLOAT32", (batch, groups, 1), "mean")], keep_dims=True)
    ones = ctx.constant(np.ones((1, 1, each), np.float32), "ones")
    return ctx.reshape(ctx.emit("MUL", [mean, ones], [ctx.temp("FLOAT32", (batch, groups, each), "means")]), shape)


@lower("RMSNormalization")
def rms_normalization(ctx: Context, node: ir.Node) -> None:
    """Over the root of the mean square along the last axes, times the scale."""
    source = value(node, 0)
    need_type(ctx, source, "FLOAT32")
    rank = ctx.rank(source)
    steps, x = Steps(ctx, identity(rank)), ctx.tensor(source)
    epsilon = float(node.attributes.get_float("epsilon", 1e-5))
    square = steps.mean(steps.op("MUL", x, x), range(node.attributes.get_int("axis", -1) % rank, rank))
    spread = steps.op("RSQRT", steps.op("ADD", square, steps.number(epsilon)))
    ctx.emit("MUL", [steps.op("MUL", x, spread), ctx.tensor(value(node, 1))], [ctx.out(node.outputs[0])])


@lower("LayerNormalization")
def layer_normalization(ctx: Context, node: ir.Node) -> None:
    """Standardized over the last axes, in logical order because scale and bias broadcast there."""
    source = value(node, 0)
    need_type(ctx, source, "FLOAT32")
    rank = ctx.rank(source)
    axis = node.attributes.get_int("axis", -1) % rank
    steps = Steps(ctx, identity(rank))
    epsilon = float(node.attributes.get_float("epsilon", 1e-5))
    x, axes = ctx.tensor(source), range(axis, rank)
    mean = steps.mean(x, axes)
    centred = steps.op("SUB", x, mean)
    variance = steps.mean(steps.op("MUL", centred, centred), axes)
    spread = steps.op("RSQRT", steps.op("ADD", variance, steps.number(epsilon)))
    for position, extra in ((1, mean), (2, spread)):
        if len(node.outputs) > position and node.outputs[position].name:
            ctx.alias(node.outputs[position], extra)
    bias = optional(node, 2)
    unit = steps.op("MUL", centred, spread)
    scaled = steps.op("MUL", unit, ctx.tensor(value(node, 1)))
    if bias is None:
        ctx.alias(node.outputs[0], scaled)
    else:
        ctx.emit("ADD", [scaled, ctx.tensor(bias)], [ctx.out(node.outputs[0])])


@lower("LRN")
def local_response(ctx: Context, node: ir.Node) -> None:
    """LOCAL_RESPONSE_NORMALIZATION, whose alpha is not divided by the window's size."""
    source = value(node, 0)
    need_type(ctx, source, "FLOAT32")
    size = node.attributes.get_int("size")
    last = channels_first(4)
    if ctx.rank(source) != 4 or size % 2 == 0:
        raise Blocked("lrn-window", "LiteRT normalizes 4-D data over an odd number of channels")
    ctx.emit(
        "LOCAL_RESPONSE_NORMALIZATION",
        [ctx.tensor(source, last)],
        [ctx.out(node.outputs[0], last)],
        radius=size // 2,
        bias=float(node.attributes.get_float("bias", 1.0)),
        alpha=float(node.attributes.get_float("alpha", 1e-4)) / size,
        beta=float(node.attributes.get_float("beta", 0.75)),
    )


@lower("LpNormalization")
def lp_normalization(ctx: Context, node: ir.Node) -> None:
    """x over the sum of |x| or the root of the sum of squares along one axis; 0 where that is 0."""
    source = value(node, 0)
    need_type(ctx, source, "FLOAT32")
    perm = ctx.perm(source)
    steps = Steps(ctx, perm)
    axis = node.attributes.get_int("axis", -1) % len(perm)
    x = ctx.tensor(source, perm)
    one = node.attributes.get_int("p", 2) == 1
    part = steps.op("ABS", x) if one else steps.op("MUL", x, x)
    shape = tuple(1 if at == perm[axis] else dim for at, dim in enumerate(ctx.sub.tensors[x].shape))
    axes = ctx.constant(np.array([perm[axis]], np.int32), "axes")
    total = ctx.emit("SUM", [part, axes], [ctx.temp("FLOAT32", shape, "sum")], keep_dims=True)
    norm = total if one else steps.op("SQRT", total)
    empty = ctx.emit("EQUAL", [norm, steps.number(0.0)], [ctx.temp("BOOL", shape, "empty")])
    safe = ctx.emit("SELECT_V2", [empty, steps.number(1.0), norm], [ctx.temp("FLOAT32", shape, "norm")])
    ctx.emit("DIV", [x, safe], [ctx.out(node.outputs[0], perm)])
