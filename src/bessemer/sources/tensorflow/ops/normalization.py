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
from bessemer.sources.tensorflow.ops.common import first
from bessemer.sources.tensorflow.registry import op


@op("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
def fused_batch_norm(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Sequence[Ordered]:
    """By given moments. Raises Unsupported in training mode: then the answer depends on what else is in the batch."""
    source, scale, shift, mean, variance = inputs
    if node.attrs.get("is_training", True):
        raise Unsupported(
            "training", "it normalises by the moments of the batch it sees (is_training)",
            "export the model in inference mode (training=False, or learning phase 0)",
        )  # fmt: skip
    epsilon = float(node.attrs.get("epsilon", 1e-4))
    known = [tensor.known for tensor in (mean, variance, scale, shift)]
    axis = 1 if first(node) else source.rank - 1
    if any(held is None for held in known):
        made = _computed(canvas, source, (scale, shift, mean, variance), axis, epsilon)
    else:
        arrays: list[Array] = [np.asarray(held) for held in known]
        made = normalization.batch_norm(canvas, source, *arrays, axis=axis, epsilon=epsilon)
    spare = canvas.constant(np.zeros(0, np.float32), "spare")
    return [made, mean, variance, mean, variance, spare][: 6 if node.op.endswith("V3") else 5]


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


