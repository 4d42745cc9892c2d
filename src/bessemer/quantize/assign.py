"""Ranges become encodings on values, weights and biases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.encoding import Encoding, QuantizedWeight, encoding_of, quantize, set_encoding, set_weight
from bessemer.ir.numbers import holder, storage, weight_range
from bessemer.ir.types import Array
from bessemer.passes.rewrite import constant
from bessemer.quantize.algorithms.weights_clipping import clip_for, clipped, fit
from bessemer.quantize.clipping import UNCLIPPED, Clip, Rule, names_of
from bessemer.quantize.encodings import integer_format
from bessemer.quantize.encodings.base import Grain
from bessemer.quantize.plan import Group, Plan, Product
from bessemer.quantize.ranges import Range
from bessemer.quantize.scheme import Scheme

if TYPE_CHECKING:
    import onnx_ir


def activation_encoding(span: Range, dtype: str, *, symmetric: bool, power_of_two: bool = False) -> Encoding:
    """Per tensor, so that 0 is exact; symmetric: zero point in the middle, the lowest integer unused."""
    low, high = np.asarray(min(span[0], 0.0)), np.asarray(max(span[1], 0.0))
    return integer_format(dtype, symmetric=symmetric).between(low, high, Grain(power_of_two=power_of_two))


def weight_encoding(
    weight: Array, axis: int | None, dtype: str = "INT8", clip: Clip = UNCLIPPED, *, power_of_two: bool = False
) -> Encoding:
    """Symmetric, the lowest integer unused: s = reach / (2^(b-1) - 1) for each index of `axis` (None: one).

    The reach is max|w| unless `clip` searches for a better one (`algorithms/weights_clipping.py`).
    """
    return fit(weight, integer_format(dtype, symmetric=True), Grain(axis, power_of_two=power_of_two), clip)


def assign(graph: onnx_ir.Graph, plan: Plan, ranges: Mapping[int, Range], clips: Sequence[Rule] = ()) -> None:
    """Attach every encoding of `plan`; `ranges` by the group's place in it, `clips` of weights by layers' names."""
    for place, group in enumerate(plan.groups):
        _assign_group(group, ranges[place], plan.scheme)
    for product in plan.products:
        assign_product(graph, product, plan, clip_for(clips, names_of(product.node)))


def _assign_group(group: Group, span: Range, scheme: Scheme) -> None:
    encoding = activation_encoding(
        span, group.activations, symmetric=group.symmetric, power_of_two=scheme.power_of_two
    )
    if group.fixed is not None:
        scale, zero = group.fixed
        kind = holder(group.activations)
        encoding = Encoding(group.activations, np.asarray(scale, np.float32), np.asarray(zero, kind))
    for value in group.values:
        set_encoding(value, encoding)
    for value in group.constants:
        real = held(value)
        set_weight(value, QuantizedWeight(quantize(real, encoding), encoding))


def assign_product(graph: onnx_ir.Graph, product: Product, plan: Plan, clip: Clip = UNCLIPPED) -> None:
    """Integers for the weight of one node, and for its bias in units of input scale times weight scale."""
    if encoding_of(product.weight) is None:
        product.real = real = clipped(held(product.weight), clip)
        axis, power = product.axis if plan.scheme.per_channel else None, plan.scheme.power_of_two
        encoding = weight_encoding(real, axis, product.weights, clip, power_of_two=power)
        encoding = wide_enough(encoding, product, power_of_two=power)
        set_weight(product.weight, QuantizedWeight(weight_integers(real, encoding), encoding))
    if product.bias is not None:
        assign_bias(graph, product)


def weight_integers(real: Array, encoding: Encoding) -> Array:
    """The nearest integers that a weight may have, one per item of the holding type."""
    nearest = quantize(real, encoding)
    if not storage(encoding.dtype).integer:
        return nearest
    return np.asarray(np.clip(nearest, *weight_range(encoding.dtype)), nearest.dtype)


def wide_enough(encoding: Encoding, product: Product, *, power_of_two: bool = False) -> Encoding:
    """Scales raised where the bias would not fit in 32 bits: a channel of tiny weights beside a large bias."""
    source = encoding_of(product.node.inputs[0])
    if product.bias is None or source is None:
        return encoding
    least = np.abs(held(product.bias)).reshape(-1) / (np.float64(source.scale) * 2**30)
    least = least.max() if encoding.per_tensor else least
    if least.shape != encoding.scale.shape:
        return encoding
    scale = np.maximum(encoding.scale, Grain(power_of_two=power_of_two).rounded(least))
    return Encoding(encoding.dtype, np.asarray(scale), encoding.zero_point, encoding.axis)


def assign_bias(graph: onnx_ir.Graph, product: Product) -> None:
    """INT32 at the accumulator's scale; a bias that several nodes share is given to each by itself."""
    bias, weight = product.bias, encoding_of(product.weight)
    source = encoding_of(product.node.inputs[0])
    if bias is None or weight is None or source is None or bias.shape is None or len(bias.shape) != 1:
        return
    real = held(bias)
    scale = np.asarray(np.float32(source.scale) * weight.scale.astype(np.float32), np.float32)
    axis = None if scale.ndim == 0 else 0
    encoding = Encoding("INT32", scale, np.zeros(scale.shape, np.int32), axis)
    steps = np.clip(np.rint(real.astype(np.float64) / scale.astype(np.float64)), -(2**31) + 1, 2**31 - 1)
    set_weight(own(graph, bias, product.node, 2), QuantizedWeight(steps.astype(np.int32), encoding))


def own(graph: onnx_ir.Graph, value: onnx_ir.Value, node: onnx_ir.Node, place: int) -> onnx_ir.Value:
    """The constant as input `place` of `node`, a copy where others read it too."""
    from bessemer.passes.rewrite import make_constant

    if len(value.uses()) == 1:
        return value
    copy = make_constant(graph, held(value), f"{value.name}_{node.name or node.op_type}")
    node.replace_input_with(place, copy)
    return copy


def held(value: onnx_ir.Value) -> Array:
    """The array of a constant."""
    array = constant(value, limit=1 << 62)
    if array is None:
        raise ValueError(f"'{value.name}' is no constant")
    return np.asarray(array, np.float32)
