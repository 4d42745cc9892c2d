"""Iterative bias correction: the mean that quantization shifts goes back into the bias, layer after layer.

Finkelstein, Almog, Grobman: "Fighting quantization bias with bias", arXiv 1906.03193, section 4.1 (IBC): for the
layers in order, b <- b + E[y] - E[y_q], the expectation per output channel, y_q with all earlier layers quantized
and corrected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.types import Array
from bessemer.passes.rewrite import make_constant
from bessemer.quantize.assign import assign_bias, held
from bessemer.quantize.plan import Product

if TYPE_CHECKING:
    import onnx_ir


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
