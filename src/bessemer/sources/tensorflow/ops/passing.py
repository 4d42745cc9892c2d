"""Operators that pass their operands on, and what is known before anything runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bessemer.sources.channels_last.shaping import shape_vector
from bessemer.sources.drawing import Canvas, Ordered, Unsupported
from bessemer.sources.tensorflow.node import Node
from bessemer.sources.tensorflow.ops.common import kind_of
from bessemer.sources.tensorflow.registry import op


@op(
    "Identity", "Snapshot", "StopGradient", "PreventGradient", "CheckNumerics", "PlaceholderWithDefault", "DeepCopy",
    "CheckNumericsV2", "DebugIdentity", "DebugGradientIdentity", "ReadVariableOp", "OptimizationBarrier", "Copy",
)  # fmt: skip
def passing(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """The operand itself; what is checked at run time is not checked here."""
    return inputs[0]


@op("IdentityN")
def passing_all(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Sequence[Ordered]:
    """All operands as they are."""
    return inputs


@op("EnsureShape")
def ensure_shape(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """The operand, of which the model's author promises a shape. Raises Unsupported where it cannot be so."""
    (tensor,) = inputs
    promised = node.attrs.get("shape")
    if promised is None or tensor.known is not None:
        return tensor
    if len(promised) != tensor.rank:
        raise Unsupported("shape", f"it promises {len(promised)} axes of a tensor that has {tensor.rank}")
    merged = tuple(
        held if want is None or isinstance(held, int) else want for held, want in zip(tensor.shape, promised, strict=True)
    )
    if merged == tensor.shape:
        return tensor
    return canvas.result(canvas.at(tensor, tensor.made), merged, tensor.made)


@op("Const")
def const(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """The tensor in the node."""
    return canvas.constant(np.asarray(node.attrs["value"]), node.name)


@op("Shape")
def shape(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Dims in the tensor's own order."""
    return shape_vector(canvas, inputs[0], kind_of(node, "out_type", np.int32))


@op("ShapeN")
def shapes(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Sequence[Ordered]:
    """Dims of every operand."""
    return [shape_vector(canvas, tensor, kind_of(node, "out_type", np.int32)) for tensor in inputs]


@op("Size")
def size(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Number of elements."""
    kind, tensor = kind_of(node, "out_type", np.int32), inputs[0]
    if all(isinstance(dim, int) for dim in tensor.shape):
        return canvas.constant(np.asarray(np.prod(tensor.static, dtype=np.int64), kind.numpy()), node.name)
    import onnx_ir

    counted = canvas.emit("Size", [canvas.at(tensor, tensor.made)], dtype=onnx_ir.DataType.INT64)
    if kind != onnx_ir.DataType.INT64:
        counted = canvas.emit("Cast", [counted], to=int(kind), dtype=kind)
    return canvas.result(counted, ())


@op("Rank")
def rank(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Number of axes."""
    return canvas.constant(np.array(inputs[0].rank, np.int32), node.name)


@op("ZerosLike", "OnesLike")
def constant_like(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """As many zeros, or ones, as the operand has elements."""
    import onnx_ir

    tensor = inputs[0]
    number = np.full((), int(node.op == "OnesLike"), tensor.dtype.numpy())
    if all(isinstance(dim, int) for dim in tensor.shape) and np.prod(tensor.static) <= 1 << 16:
        return canvas.constant(np.broadcast_to(number, tensor.static).copy(), node.name)
    dims = canvas.emit("Shape", [canvas.at(tensor, tensor.made)], dtype=onnx_ir.DataType.INT64)
    made = canvas.emit("ConstantOfShape", [dims], value=onnx_ir.tensor(number.reshape(1)), dtype=tensor.dtype)
    return canvas.result(made, tensor.shape, tensor.made)
