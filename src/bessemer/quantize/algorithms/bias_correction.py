"""Iterative bias correction: the mean that quantization shifts goes back into the bias, layer after layer.

Finkelstein, Almog, Grobman: "Fighting quantization bias with bias", arXiv 1906.03193, section 4.1 (IBC): for the
layers in order, b <- b + E[y] - E[y_q], the expectation per output channel, y_q with all earlier layers quantized
and corrected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.types import Array
from bessemer.passes.rewrite import make_constant
from bessemer.quantize.assign import assign_bias, held
from bessemer.quantize.observe import Sample, channel_means
from bessemer.quantize.plan import Plan, Product
from bessemer.quantize.stepwise import Walk
from bessemer.runners.graph import GraphRunner

if TYPE_CHECKING:
    import onnx_ir

    from bessemer.ir.model import Model

SAMPLES = 64
"""Samples that the paper and its implementations use."""


@dataclass(frozen=True)
class Shift:
    """What was found at one layer: the mean shift relative to the channel's mean size, before the correction."""

    layer: str
    shift: float


def float_means(model: Model, products: Sequence[Product], samples: Sequence[Sample]) -> dict[str, Array]:
    """Mean of every product's raw output per channel in the model as it is."""
    names = [product.node.outputs[0].name or "" for product in products]
    axes = {name: channel_axis(product.node) for name, product in zip(names, products, strict=True)}
    runner = GraphRunner(model.graph, names)
    totals: dict[str, Array] = {}
    for sample in samples:
        for name, array in runner.run(sample).items():
            mean = channel_means([array], axes[name])
            totals[name] = totals[name] + mean if name in totals else mean
    return {name: total / len(samples) for name, total in totals.items()}


def channel_axis(node: onnx_ir.Node) -> int:
    """Where a product's output counts channels."""
    return 1 if node.op_type in ("Conv", "ConvTranspose") else -1


def correct_biases(
    model: Model, plan: Plan, means: dict[str, Array], samples: Sequence[Sample]
) -> list[Shift]:
    """Correct every product that has, or may be given, a bias, in graph order. `means`: of the float model."""
    products = {product.node: product for product in plan.products if _correctable(product)}
    shifts = []
    for stop in Walk(model.graph, list(products), samples):
        name, axis = stop.node.outputs[0].name or "", channel_axis(stop.node)
        results = stop.run()
        delta = means[name] - channel_means(results, axis)
        size = float(np.abs(means[name]).mean()) or 1.0
        shifts.append(Shift(products[stop.node].name, float(np.abs(delta).mean()) / size))
        add_to_bias(model.graph.graph, products[stop.node], delta)
        for index, array in enumerate(results):
            results[index] = array + along(delta.astype(np.float32), axis, array.ndim)
    return shifts


def along(vector: Array, axis: int, rank: int) -> Array:
    """A vector as an array of `rank` axes that broadcasts along `axis`."""
    shape = [1] * rank
    shape[axis] = -1
    return vector.reshape(shape)


def _correctable(product: Product) -> bool:
    """A MatMul has no bias of its own; one that is not a constant cannot be changed."""
    node = product.node
    if node.op_type == "MatMul":
        return False
    return len(node.inputs) < 3 or node.inputs[2] is None or product.bias is not None


def add_to_bias(graph: onnx_ir.Graph, product: Product, delta: Array) -> None:
    """A new bias constant, in integers again where the old one was."""
    node, old = product.node, product.bias
    real = delta if old is None else held(old).astype(np.float64) + delta
    bias = make_constant(graph, real.astype(np.float32), f"{node.outputs[0].name}_bias")
    if len(node.inputs) < 3:
        node.resize_inputs(3)
    node.replace_input_with(2, bias)
    if old is not None and not old.uses() and old.name is not None:
        graph.initializers.pop(old.name, None)
    product.bias = bias
    assign_bias(graph, product)
