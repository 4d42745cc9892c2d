"""Helpers that every family uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.layout import identity, inverse
from bessemer.ir.types import Perm
from bessemer.targets.tflite.context import Blocked, Context

if TYPE_CHECKING:
    import onnx_ir as ir

ACTIVATION = {"": 0, "RELU": 1, "RELU_N1_TO_1": 2, "RELU6": 3}


def value(node: ir.Node, index: int) -> ir.Value:
    """A required input."""
    found = node.inputs[index] if index < len(node.inputs) else None
    if found is None:
        raise Blocked("missing-input", f"input {index} of {node.op_type} is required")
    return found


def optional(node: ir.Node, index: int) -> ir.Value | None:
    """An optional input, None when absent."""
    return node.inputs[index] if index < len(node.inputs) else None


def required_const(ctx: Context, node: ir.Node, index: int) -> Any:
    """The array of an input that TFLite wants constant."""
    array = ctx.const(value(node, index))
    if array is None:
        raise Blocked(
            "dynamic-argument", f"input {index} of {node.op_type} must be known before the model runs"
        )
    return array


def static_shape(ctx: Context, v: ir.Value) -> tuple[int, ...]:
    """All dims; raises Blocked when one is unbound."""
    dims = ctx.shape(v)
    known = tuple(dim for dim in dims if dim is not None)
    if len(known) != len(dims):
        raise Blocked(
            "dynamic-shape", f"the shape of '{v.name}' must be known", "bind its dimensions with --shape"
        )
    return known


def physical_axis(perm: Perm, axis: int) -> int:
    """Where logical `axis` lies in the tensor T with `value = transpose(T, perm)`."""
    return perm[axis % len(perm)]


def need_type(ctx: Context, v: ir.Value, *types: str) -> None:
    """Raise Blocked unless the value's tensor type is one of `types`."""
    kind = ctx.type(v)
    if kind not in types:
        raise Blocked("type", f"LiteRT has no kernel for {kind} here", f"cast '{v.name}' to {types[0]}")


def need_rank(ctx: Context, v: ir.Value, most: int) -> None:
    """Raise Blocked when the value has more than `most` axes."""
    rank = ctx.rank(v)
    if rank > most:
        raise Blocked("rank", f"LiteRT's kernel takes at most {most} axes, '{v.name}' has {rank}")


def sole_consumer(ctx: Context, v: ir.Value) -> ir.Node | None:
    """The only node that reads `v`, when nothing else can see it (no graph output, no encoding)."""
    uses = list(v.uses())
    if len(uses) != 1 or v.is_graph_output() or ctx.encoding(v) is not None:
        return None
    node: ir.Node = uses[0][0]
    producer = v.producer()
    return node if producer is not None and node.graph is producer.graph else None


def fused(ctx: Context, node: ir.Node, last: ir.Node | None = None) -> tuple[ir.Value, int]:
    """The value that `node` may write directly and the ActivationFunctionType that gets there.

    A following Relu, Relu6, Clip(0, 6) or Clip(-1, 1) that nothing else sees between is marked done.
    `last`: a node already merged into `node`.
    """
    follower, kind = activation_after(ctx, last or node)
    if follower is None:
        return (last or node).outputs[0], 0
    ctx.done.add(follower)
    return follower.outputs[0], ACTIVATION[kind]


def activation_after(ctx: Context, node: ir.Node) -> tuple[ir.Node | None, str]:
    """The activation that may be fused into `node`, and its name."""
    result = node.outputs[0]
    follower = sole_consumer(ctx, result)
    if follower is None or ctx.type(result) != "FLOAT32" or follower.inputs[0] is not result:
        return None, ""
    kind = activation_of(ctx, follower)
    return (follower, kind) if kind else (None, "")


def final_value(ctx: Context, node: ir.Node) -> ir.Value:
    """What `node` writes once a following activation is fused."""
    follower, _ = activation_after(ctx, node)
    return (follower or node).outputs[0]


def activation_of(ctx: Context, node: ir.Node) -> str:
    """Name of the fused activation that `node` is, '' when it is none."""
    if node.domain not in ("", "ai.onnx"):
        return ""
    if node.op_type == "Relu":
        return "RELU"
    if node.op_type == "Clip":
        low, high = ctx.const(optional(node, 1)), ctx.const(optional(node, 2))
        return CLIPS.get((_scalar(low), _scalar(high)), "")
    return ""


CLIPS: dict[tuple[float | None, float | None], str] = {
    (0.0, 6.0): "RELU6",
    (-1.0, 1.0): "RELU_N1_TO_1",
    (0.0, None): "RELU",
}


def _scalar(array: Any) -> float | None:
    return None if array is None else float(np.asarray(array).reshape(-1)[0])


def logical(rank: int) -> Perm:
    """The permutation of a tensor in logical order."""
    return identity(rank)


def perm_shape(ctx: Context, v: ir.Value, perm: Perm) -> tuple[int | None, ...]:
    """Physical dims of the tensor T with `v = transpose(T, perm)`."""
    dims = ctx.shape(v)
    return tuple(dims[axis] for axis in inverse(perm))


def same_encoding(ctx: Context, node: ir.Node) -> bool:
    """Whether the first input and the first output hold the same integers: what moving data needs."""
    source, result = ctx.encoding(node.inputs[0]), ctx.encoding(node.outputs[0])
    return source is not None and source == result and source.per_tensor


def both_encoded(ctx: Context, node: ir.Node) -> bool:
    """Whether the first input and the first output are integers of one type: what rescaling kernels need."""
    source, result = ctx.encoding(node.inputs[0]), ctx.encoding(node.outputs[0])
    if source is None or result is None:
        return False
    return source.dtype == result.dtype and source.per_tensor and result.per_tensor


def compute_as(ctx: Context, index: int, type_: str) -> int:
    """The tensor in a type that the kernel has."""
    return ctx.cast(index, type_)


def store(ctx: Context, index: int, out: int) -> int:
    """Write `index` into the tensor `out`, converting its type (integers wrap)."""
    source, target = ctx.sub.tensors[index], ctx.sub.tensors[out]
    if source.type != target.type:
        return ctx.emit("CAST", [index], [out])
    return ctx.emit("RESHAPE", [index, shape_of(ctx, index)], [out])


def shape_of(ctx: Context, index: int) -> int:
    """INT32 tensor of the physical shape of `index`."""
    dims = ctx.sub.tensors[index].shape
    if None not in dims:
        return ctx.constant(np.array(dims, np.int32), "shape")
    if sum(dim is None for dim in dims) == 1:
        return ctx.constant(np.array([-1 if dim is None else dim for dim in dims], np.int32), "shape")
    out = ctx.temp("INT32", (len(dims),), "shape")
    return ctx.emit("SHAPE", [index], [out], out_type=2)


def reshape_op(ctx: Context, index: int, out: int) -> int:
    """RESHAPE `index` into the existing tensor `out`, whose shape has at most one unknown size."""
    return ctx.reshape(index, ctx.sub.tensors[out].shape, out)
