"""Iterative bias correction: the mean that quantization shifts goes back into the bias, layer after layer.

Finkelstein, Almog, Grobman: "Fighting quantization bias with bias", arXiv 1906.03193, section 4.1 (IBC): for the
layers in order, b <- b + E[y] - E[y_q], the expectation per output channel, y_q with all earlier layers quantized
and corrected.

Ours besides: the median over positions and samples in place of the expectation. Where ranges clip, a few large errors
make most of the mean; corrected by it every ordinary position is off. (MobileNetV2, averaged ranges, 16 ImageNet images:
outputs at 18.5 dB uncorrected, 11.0 dB corrected by means, 21.2 dB by medians.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from bessemer.ir.types import Array
from bessemer.passes.rewrite import make_constant
from bessemer.quantize.assign import assign_bias, held
from bessemer.quantize.observe import channel_means
from bessemer.quantize.plan import Product

if TYPE_CHECKING:
    import onnx_ir


Center = Literal["mean", "median"]
CORRECTIONS: dict[Center, str] = {"mean": "bias correction", "median": "bias correction by medians"}
"""What the middle of a channel's errors is, and how the report calls the correction by it."""

ELEMENTS = 512
"""Elements of a channel and sample at most, evenly spread, whose errors a median is taken of."""


def shift(right: Sequence[Array], got: Sequence[Array], axis: int, center: Center) -> Array:
    """The middle of `right - got` for each index of `axis`, over all samples and positions, in float64."""
    if center == "mean":
        return channel_means(right, axis) - channel_means(got, axis)
    errors = [_errors(*pair, axis) for pair in zip(right, got, strict=True)]
    return np.asarray(np.median(np.concatenate(errors, 1), axis=1))


def _errors(right: Array, got: Array, axis: int) -> Array:
    """(channels, at most 2 ELEMENTS) of `right - got`."""
    pair = [np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1) for array in (right, got)]
    stride = max(1, pair[0].shape[1] // ELEMENTS)
    return np.asarray(pair[0][:, ::stride] - pair[1][:, ::stride], np.float64)


def channel_axis(node: onnx_ir.Node) -> int:
    """Where a product's output counts channels."""
    return 1 if node.op_type in ("Conv", "ConvTranspose") else -1


def along(vector: Array, axis: int, rank: int) -> Array:
    """A vector as an array of `rank` axes that broadcasts along `axis`."""
    shape = [1] * rank
    shape[axis] = -1
    return vector.reshape(shape)


def add_to_bias(graph: onnx_ir.Graph, product: Product, delta: Array) -> None:
    """A new bias constant, in integers again where the old one was."""
    old = product.bias
    real = delta if old is None else held(old).astype(np.float64) + delta
    replace_bias(graph, product, real.astype(np.float32))


def replace_bias(graph: onnx_ir.Graph, product: Product, real: Array) -> None:
    """A bias constant of these float32 values, in integers where the product computes in integers."""
    node, old = product.node, product.bias
    bias = make_constant(graph, real, f"{node.outputs[0].name}_bias")
    if len(node.inputs) < 3:
        node.resize_inputs(3)
    node.replace_input_with(2, bias)
    if old is not None and not old.uses() and old.name is not None:
        graph.initializers.pop(old.name, None)
    product.bias = bias
    assign_bias(graph, product)
