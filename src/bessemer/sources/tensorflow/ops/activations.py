"""Activations, bias, softmax."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bessemer.sources.channels_last import elementwise
from bessemer.sources.channels_last.elementwise import along, applied, clipped
from bessemer.sources.drawing import Canvas, Ordered
from bessemer.sources.tensorflow.node import Node
from bessemer.sources.tensorflow.registry import op

PLAIN = {
    "Relu": "Relu", "Elu": "Elu", "Sigmoid": "Sigmoid", "Tanh": "Tanh", "Softplus": "Softplus", "Softsign": "Softsign",
}  # fmt: skip


@op(*PLAIN)
def plain(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Operators that mean the same in ONNX."""
    return applied(canvas, PLAIN[node.op], inputs[0])


@op("Relu6")
def relu6(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Clip to 0..6."""
    return elementwise.relu6(canvas, inputs[0])


@op("ReluN1To1")
def relu_n1_to_1(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Clip to -1..1."""
    return clipped(canvas, inputs[0], -1.0, 1.0)


@op("LeakyRelu")
def leaky_relu(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Slope alpha below zero."""
    return applied(canvas, "LeakyRelu", inputs[0], alpha=float(node.attrs.get("alpha", np.float32(0.2))))


@op("Selu")
def selu(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Scaled exponential unit."""
    return elementwise.selu(canvas, inputs[0])


@op("Softmax", "LogSoftmax")
def softmax(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Over the last axis."""
    return along(canvas, node.op, inputs[0], -1)

