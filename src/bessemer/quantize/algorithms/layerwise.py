"""One walk through the quantized net beside the float one: round, then correct, layer after layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.encoding import Encoding, QuantizedWeight, encoding_of, quantize, set_weight
from bessemer.ir.numbers import holder
from bessemer.ir.types import Array
from bessemer.quantize import patches
from bessemer.quantize.algorithms.adaround import AdaRound, Layer, activation_bounds, adaround, sampled
from bessemer.quantize.algorithms.bias_correction import add_to_bias, along, channel_axis
from bessemer.quantize.assign import held
from bessemer.quantize.observe import Sample, channel_means
from bessemer.quantize.plan import Plan, Product
from bessemer.quantize.stepwise import Walk

if TYPE_CHECKING:
    import onnx_ir

    from bessemer.ir.model import Model


@dataclass(frozen=True)
class Layerwise:
    """Which layer-wise algorithms run: `rounding` (None: nearest) and the correction of biases."""

    rounding: AdaRound | None = None
    correct: bool = True

    @property
    def title(self) -> str:
        """As the report says it."""
        steps = ["AdaRound"] * (self.rounding is not None) + ["bias correction"] * self.correct
        return ", ".join(steps)


def walk_layers(model: Model, teacher: onnx_ir.Model, plan: Plan, samples: Sequence[Sample], how: Layerwise) -> None:
    """Choose integers and correct biases in graph order, in place. `teacher`: the float net, node for node the same."""
    products = {product.node: product for product in plan.products}
    students = [node for node in model.graph.graph if node in products]
    places = [place for place, node in enumerate(model.graph.graph) if node in products]
    originals = list(teacher.graph)
    teachers = [originals[place] for place in places]
    for mine, theirs in zip(
        Walk(model.graph, students, samples), Walk(teacher, teachers, samples), strict=True
    ):
        product, target = products[mine.node], theirs.run()
        if how.rounding is not None and patches.supported(mine.node):
            _round(product, mine.inputs(), target, how.rounding)
        if how.correct and correctable(product):
            results, axis = mine.run(), channel_axis(mine.node)
            delta = channel_means(target, axis) - channel_means(results, axis)
            add_to_bias(model.graph.graph, product, delta)
            for index, array in enumerate(results):
                results[index] = array + along(delta.astype(np.float32), axis, array.ndim)


def correctable(product: Product) -> bool:
    """A MatMul has no bias of its own; one that is not a constant cannot be changed."""
    node = product.node
    if node.op_type == "MatMul":
        return False
    return len(node.inputs) < 3 or node.inputs[2] is None or product.bias is not None


def _round(product: Product, inputs: list[Array], target: list[Array], how: AdaRound) -> None:
    node, encoding = product.node, encoding_of(product.weight)
    source = encoding_of(node.inputs[0])
    if encoding is None or len(product.weight.uses()) > 1 or product.real is None:
        return
    groups = patches.matrix(node, product.real).shape[0]
    read = [_seen(array, source) for array in inputs]
    x, y = sampled(node, read, target, groups, how)
    real = patches.matrix(node, product.real)
    scale = np.broadcast_to(encoding.spread(encoding.scale, product.real.shape), product.real.shape)
    bias = np.zeros(real.shape[:2]) if product.bias is None else held(product.bias).reshape(real.shape[:2])
    layer = Layer(
        x, y, real, patches.matrix(node, scale), bias[..., None].astype(np.float32), activation_bounds(node)
    )
    integers = patches.weight_of_matrix(node, adaround(layer, encoding.dtype, how), product.real.shape)
    set_weight(product.weight, QuantizedWeight(integers.astype(holder(encoding.dtype)), encoding))


def _seen(array: Array, encoding: Encoding | None) -> Array:
    """An activation as the node reads it."""
    return array if encoding is None else encoding.dequantize(quantize(array, encoding))
