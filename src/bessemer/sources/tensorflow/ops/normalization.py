"""Batch normalisation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bessemer.ir.types import Array
from bessemer.sources.channels_last import normalization
from bessemer.sources.channels_last.elementwise import applied, cast, with_scalar
from bessemer.sources.channels_last.shaping import reshape
from bessemer.sources.drawing import Canvas, Ordered, Unsupported
from bessemer.sources.tensorflow.node import Node
from bessemer.sources.tensorflow.ops.common import bound, first
from bessemer.sources.tensorflow.registry import op


@op("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
def fused_batch_norm(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Sequence[Ordered]:
    """By given moments. In training mode by its own, of a single item alone: else the answer depends on the batch."""
    source, scale, shift, mean, variance = inputs
    epsilon = float(node.attrs.get("epsilon", 1e-4))
    axis = 1 if first(node) else source.rank - 1
    if node.attrs.get("is_training", True):
        return _by_its_own(canvas, node, inputs, axis, epsilon)
    known = [tensor.known for tensor in (mean, variance, scale, shift)]
    if any(held is None for held in known):
        made = _computed(canvas, source, (scale, shift, mean, variance), axis, epsilon)
    else:
        arrays: list[Array] = [np.asarray(held) for held in known]
        made = normalization.batch_norm(canvas, source, *arrays, axis=axis, epsilon=epsilon)
    spare = canvas.constant(np.zeros(0, np.float32), "spare")
    return [made, mean, variance, mean, variance, spare][: 6 if node.op.endswith("V3") else 5]


def _by_its_own(
    canvas: Canvas, node: Node, inputs: Sequence[Ordered], axis: int, epsilon: float
) -> Sequence[Ordered]:
    """By the moments of the one item in the batch: Keras spells LayerNormalization and instance normalization so."""
    source, scale, shift = inputs[:3]
    if source.shape[0] != 1:
        raise Unsupported(
            "training", "it normalises by the moments of the batch it sees (is_training)",
            "export the model in inference mode (training=False, or learning phase 0)",
        )  # fmt: skip
    others = [place for place in range(1, source.rank) if place != axis]
    sizes = [bound(source, place) for place in others]
    order = (0, axis, *others)
    ones = canvas.literal(np.ones(sizes, source.dtype.numpy()), "ones")
    normal = canvas.emit("LayerNormalization", [canvas.at(source, order), ones], axis=2, epsilon=epsilon)
    made = canvas.result(normal, source.shape, order)
    shape = tuple(-1 if place == axis else 1 for place in range(source.rank))
    for name, tensor, neutral in (("Mul", scale, 1.0), ("Add", shift, 0.0)):
        if _uniform(tensor) != neutral:
            made = applied(canvas, name, made, reshape(canvas, tensor, shape))
    gone = Ordered(node.name, inputs[1].shape, inputs[1].dtype)
    return [made, *[gone] * (5 if node.op.endswith("V3") else 4)]


def _uniform(tensor: Ordered) -> float | None:
    """The number that all elements are, known or filled in while the model runs; None where they differ."""
    if tensor.known is not None:
        held = tensor.known.reshape(-1)
        return float(held[0]) if held.size and (held == held[0]).all() else None
    node = tensor.orders[tensor.made].producer() if tensor.orders else None
    number = node.inputs[0].const_value if node is not None and node.op_type == "Expand" and node.inputs[0] else None
    return float(number.numpy().reshape(-1)[0]) if number is not None and number.size == 1 else None


def _computed(
    canvas: Canvas, source: Ordered, given: tuple[Ordered, Ordered, Ordered, Ordered], axis: int, epsilon: float
) -> Ordered:
    """Parameters that are computed while the model runs."""
    shape = tuple(-1 if place == axis else 1 for place in range(source.rank))
    scale, shift, mean, variance = (
        cast(canvas, reshape(canvas, tensor, shape), source.dtype) for tensor in given
    )
    deviation = applied(canvas, "Sqrt", with_scalar(canvas, "Add", variance, epsilon))
    factor = applied(canvas, "Div", scale, deviation)
    centred = applied(canvas, "Sub", source, mean)
    return applied(canvas, "Add", applied(canvas, "Mul", centred, factor), shift)


@op("BatchNormWithGlobalNormalization")
def batch_norm_v1(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """TensorFlow 0.x: operands tensor, mean, variance, beta, gamma."""
    source, mean, variance, beta, gamma = inputs
    epsilon = float(node.attrs.get("variance_epsilon", 0.001))
    scale = gamma
    if not node.attrs.get("scale_after_normalization", True):
        scale = canvas.constant(np.ones(mean.static, np.float32), "scale")
    return _computed(canvas, source, (scale, beta, mean, variance), source.rank - 1, epsilon)


@op("L2Loss")
def l2_loss(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Half the sum of squares."""
    from bessemer.sources.channels_last.reduce import reduced

    summed = reduced(canvas, inputs[0], "ReduceSumSquare", range(inputs[0].rank))
    return with_scalar(canvas, "Mul", summed, 0.5)


