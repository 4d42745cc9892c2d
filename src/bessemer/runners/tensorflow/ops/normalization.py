"""Batch normalisation and local response normalisation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bessemer.ir.types import Array
from bessemer.runners.tensorflow.registry import evaluates
from bessemer.wire.savedmodel.node import Node


@evaluates("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
def fused_batch_norm(node: Node, inputs: Sequence[Array]) -> Sequence[Array]:
    """By given moments, or (in training) by those of the batch; the variance that is returned is then unbiased."""
    x, scale, shift, mean, variance = inputs
    front = str(node.attrs.get("data_format", "NHWC")).startswith("NC")
    axis = 1 if front else x.ndim - 1
    wide, kept = x.astype(np.float64), mean
    others = tuple(place for place in range(x.ndim) if place != axis)
    if node.attrs.get("is_training", True):
        mean, variance = wide.mean(axis=others), wide.var(axis=others)
    shape = [-1 if place == axis else 1 for place in range(x.ndim)]
    scale, shift, centre, spread = (item.astype(np.float64).reshape(shape) for item in (scale, shift, mean, variance))
    made = (wide - centre) / np.sqrt(spread + float(node.attrs.get("epsilon", 1e-4))) * scale + shift
    count = x.size // x.shape[axis]
    unbiased = variance * (count / max(count - 1, 1)) if node.attrs.get("is_training", True) else variance
    moments = [np.asarray(item).astype(kept.dtype) for item in (mean, unbiased)]
    spare = np.zeros(0, np.float32)
    return [made.astype(x.dtype), *moments, *moments, spare][: 6 if node.op.endswith("V3") else 5]


@evaluates("BatchNormWithGlobalNormalization")
def batch_norm_v1(node: Node, inputs: Sequence[Array]) -> Array:
    """Operands: tensor, mean, variance, beta, gamma."""
    x, mean, variance, beta, gamma = (item.astype(np.float64) for item in inputs)
    factor = gamma if node.attrs.get("scale_after_normalization", True) else 1.0
    made = (x - mean) / np.sqrt(variance + float(node.attrs.get("variance_epsilon", 0.001))) * factor + beta
    return np.asarray(made).astype(inputs[0].dtype)


@evaluates("LRN")
def local_response(node: Node, inputs: Sequence[Array]) -> Array:
    """x / (bias + alpha * sum of squares of the channels around) ^ beta."""
    x, radius = inputs[0].astype(np.float64), int(node.attrs.get("depth_radius", 5))
    squares = np.pad(x * x, [(0, 0)] * (x.ndim - 1) + [(radius, radius)])
    sums = sum(squares[..., place : place + x.shape[-1]] for place in range(2 * radius + 1))
    scale = float(node.attrs.get("bias", 1.0)) + float(node.attrs.get("alpha", 1.0)) * np.asarray(sums)
    return np.asarray(x / scale ** float(node.attrs.get("beta", 0.5))).astype(inputs[0].dtype)


@evaluates("L2Loss")
def l2_loss(node: Node, inputs: Sequence[Array]) -> Array:
    """Half the sum of squares."""
    return np.asarray((inputs[0].astype(np.float64) ** 2).sum() / 2).astype(inputs[0].dtype)
