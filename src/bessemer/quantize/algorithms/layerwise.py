"""One walk through the quantized net beside the float one: round, then correct, layer after layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.encoding import Encoding, QuantizedWeight, encoding_of, set_weight
from bessemer.ir.numbers import holder, weight_range
from bessemer.quantize import patches
from bessemer.quantize.algorithms.adaround import AdaRound, Rounded, adaround
from bessemer.quantize.algorithms.bias_correction import (
    CORRECTIONS,
    Center,
    add_to_bias,
    along,
    channel_axis,
    replace_bias,
    shift,
)
from bessemer.quantize.algorithms.reconstruct import task
from bessemer.quantize.assign import held
from bessemer.quantize.observe import Sample
from bessemer.quantize.plan import Plan, Product
from bessemer.quantize.stepwise import Stop, Walk

if TYPE_CHECKING:
    import onnx_ir

    from bessemer.ir.model import Model


FEW_INPUTS = 32
"""Of an output, up to which a kernel is small: those of depthwise convolutions, and a first layer's."""


@dataclass(frozen=True)
class Layerwise:
    """Which layer-wise algorithms run: `rounding` (None: nearest) and the correction of biases, towards `center`.

    small: only weights with few inputs for each output (FEW_INPUTS) are rounded: a few pictures say enough about them.
    """

    rounding: AdaRound | None = None
    correct: bool = True
    center: Center = "mean"
    small: bool = False

    @property
    def repeats(self) -> int:
        """How many further starting points it is worth to be tried from."""
        return 3 if self.rounding is None or self.small else 1

    @property
    def title(self) -> str:
        """As the report says it."""
        rounding = "AdaRound of small kernels" if self.small else "AdaRound"
        steps = [rounding] * (self.rounding is not None) + [CORRECTIONS[self.center]] * self.correct
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
        product = products[mine.node]
        _round(model.graph.graph, product, mine, theirs, how, fixed=plan.scheme.power_of_two)
        if how.correct and correctable(product):
            _correct(model.graph.graph, product, mine, theirs, how.center)


def _correct(graph: onnx_ir.Graph, product: Product, mine: Stop, theirs: Stop, center: Center) -> None:
    results, axis = mine.run(), channel_axis(mine.node)
    delta = shift(theirs.run(), results, axis, center)
    add_to_bias(graph, product, delta)
    for index, array in enumerate(results):
        results[index] = array + along(delta.astype(np.float32), axis, array.ndim)


def is_small(product: Product) -> bool:
    """Whether a weight has few inputs for each output."""
    shape = () if product.weight.shape is None else product.weight.shape.numpy()
    return product.node.op_type == "Conv" and math.prod(shape[1:]) <= FEW_INPUTS


def correctable(product: Product) -> bool:
    """A MatMul has no bias of its own; one that is not a constant cannot be changed."""
    node = product.node
    if node.op_type == "MatMul":
        return False
    return len(node.inputs) < 3 or node.inputs[2] is None or product.bias is not None


def _round(
    graph: onnx_ir.Graph, product: Product, mine: Stop, theirs: Stop, how: Layerwise, *, fixed: bool
) -> None:
    """New integers, and where a channel has a scale of its own, new scales unless `fixed`; a bias that suits them."""
    node, encoding, rounding = product.node, encoding_of(product.weight), how.rounding
    if rounding is None or not patches.supported(node):
        return
    if encoding is None or len(product.weight.uses()) > 1 or product.real is None:
        return
    real, free = patches.matrix(node, product.real), how.correct and correctable(product)
    if how.small and not is_small(product):
        return
    seen = task(mine, theirs, real, rounding.positions, rounding.seed)
    bias = np.zeros(real.shape[:2]) if product.bias is None else held(product.bias).reshape(real.shape[:2])
    limits = weight_range(encoding.dtype)
    spread = np.broadcast_to(encoding.spread(encoding.scale, product.real.shape), product.real.shape)
    scale = patches.matrix(node, spread)[..., :1].swapaxes(-1, -2).astype(np.float64)
    own = encoding.axis == product.axis and not encoding.block_size and not fixed
    options = rounding if own else replace(rounding, refits=0)
    found = adaround(seen, real, None if free else bias, scale, limits, options)
    if own and not _holds(found, encoding_of(node.inputs[0])):
        found = adaround(seen, real, None if free else bias, scale, limits, replace(rounding, refits=0))
    if own:
        encoding = replace(encoding, scale=found.scale.reshape(encoding.scale.shape).astype(np.float32))
    integers = patches.weight_of_matrix(node, found.integers.swapaxes(-1, -2), product.real.shape)
    set_weight(product.weight, QuantizedWeight(integers.astype(holder(encoding.dtype)), encoding))
    if free or product.bias is not None:
        replace_bias(graph, product, found.bias.reshape(-1).astype(np.float32))


def _holds(found: Rounded, source: Encoding | None) -> bool:
    """Whether the bias fits in 32 bits at the accumulator's scale."""
    if source is None:
        return True
    return bool(np.all(np.abs(found.bias) < found.scale[:, 0] * np.float64(source.scale) * 2**30))
