"""What fine-tuning may change, as leaves of a torch graph: weights, biases, scales; and the way back into the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.encoding import (
    QuantizedWeight,
    encoding_of,
    set_encoding,
    set_weight,
    weight_of,
)
from bessemer.quantize.assign import held, weight_integers
from bessemer.quantize.plan import Group, Plan, Product, bias_operands, fused_follower

if TYPE_CHECKING:
    import onnx_ir

    from bessemer.ir.model import Model

STEPS = 20.0
"""Weights are trained in units of their integer steps, at the learning rate times this: Adam moves every number alike,
whatever its size, and in real units a layer of small weights would jump where one of large weights stands still.
(W4A8, held-out SNR: on the digits and on the MLPerf Tiny ResNet 10 and 30 times are within 1.3 dB of each other; real
units are as good on the digits and diverge on the ResNet.)"""

@dataclass
class Leaf:
    """A constant under training. place: its name in the student's graph; product: whose weight or bias it is.

    tensor: the constant divided by `unit`; integers: those that stand for it where only their scale is trained.
    """

    place: str
    product: Product
    kind: str
    tensor: Any
    unit: Any = 1.0
    fake: Any = None
    log_scale: Any = None
    integers: Any = None

    @property
    def real(self) -> Any:
        """The constant before it is quantized."""
        return self.tensor * self.unit

    @property
    def scale(self) -> Any:
        """The step between integers as it is now; None where it is not trained."""
        return None if self.log_scale is None else self.fake.scale * self.log_scale.exp()

    def seen(self) -> Any:
        """The constant as the student reads it, with gradients."""
        if self.integers is not None:
            return self.integers * self.scale
        return self.real if self.fake is None else self.fake(self.real, self.scale)

    @property
    def parameters(self) -> list[tuple[Any, float]]:
        """Torch leaves, each with the factor of its learning rate."""
        found = [] if self.integers is not None else [(self.tensor, STEPS if self.kind == "weight" else 1.0)]
        return found if self.log_scale is None else [*found, (self.log_scale, 1.0)]


@dataclass
class Step:
    """The scale of values that share one encoding, under training: the encoding's times exp(log_scale)."""

    group: Group
    start: Any
    log_scale: Any

    @property
    def scale(self) -> Any:
        """As it is now, with gradients."""
        return self.start * self.log_scale.exp()

    @property
    def parameters(self) -> list[tuple[Any, float]]:
        """As `Leaf.parameters`."""
        return [(self.log_scale, 1.0)]


def leaves(plan: Plan, *, bias_only: bool, train_scales: bool) -> list[Leaf]:
    """Weights and biases of the plan's products. bias_only: weights keep their integers; train_scales: not their scales."""
    weights = [product for product in plan.products if product.real is not None]
    if bias_only:
        found = [_scale_of_weight(product) for product in weights] if train_scales else []
    else:
        found = [_weight(product, train_scales=train_scales) for product in weights]
    biases = (_bias(product, rounds=not train_scales) for product in plan.products)
    return found + [item for item in biases if item is not None]


def steps(plan: Plan) -> list[Step]:
    """Scales of activations; those that a specification states, and those that constants share, stay."""
    import torch

    found = []
    for group in plan.groups:
        encoding = encoding_of(group.values[0]) if group.values else None
        if encoding is None or group.fixed is not None or group.constants or not encoding.per_tensor:
            continue
        log = torch.zeros(()).requires_grad_()
        found.append(Step(group, torch.tensor(np.asarray(encoding.scale, np.float32)), log))
    return found


def _weight(product: Product, *, train_scales: bool) -> Leaf:
    """Where the layer's integers are no longer the nearest (AdaRound), training starts from what they stand for."""
    import torch

    from bessemer.quantize.fake import Fake

    encoding, real = encoding_of(product.weight), product.real
    if encoding is None or real is None:
        raise ValueError(f"the weight of {product.name} has no integers")
    stands = weight_of(product.weight)
    if stands is not None and not np.array_equal(stands.integers, weight_integers(real, encoding)):
        real = held(product.weight)
    fake = Fake(encoding, real.shape, weight=True)
    leaf = (torch.tensor(real) / fake.scale).requires_grad_()
    scale = torch.zeros_like(fake.scale).requires_grad_() if train_scales else None
    return Leaf(product.weight.name or "", product, "weight", leaf, fake.scale, fake, scale)


def _scale_of_weight(product: Product) -> Leaf:
    """A weight whose integers (minus their zero point) stand while its scales are trained."""
    import torch

    leaf = _weight(product, train_scales=True)
    integers = torch.tensor(held(product.weight)) / leaf.fake.scale
    return replace(leaf, tensor=integers, integers=integers)


def _bias(product: Product, *, rounds: bool) -> Leaf | None:
    """The constant added to a product; None where there is none, or where others read it too."""
    import torch

    from bessemer.quantize.fake import Fake

    value, kind = _bias_value(product)
    if value is None or value.const_value is None or len(value.uses()) != 1:
        return None
    encoding, real = encoding_of(value), held(value)
    fake = Fake(encoding, real.shape) if rounds and encoding is not None else None
    return Leaf(value.name or "", product, kind, torch.tensor(real).requires_grad_(), fake=fake)


def _bias_value(product: Product) -> tuple[onnx_ir.Value | None, str]:
    node = product.node
    if node.op_type != "MatMul":
        return (node.inputs[2], "bias") if len(node.inputs) > 2 and product.bias is not None else (None, "")
    follower = fused_follower(node)
    vectors = bias_operands(follower) if follower is not None else []
    return (vectors[0], "vector") if vectors else (None, "")


def write(model: Model, trained: Sequence[Leaf], scales: Sequence[Step]) -> None:
    """Trained values back into the graph: scales and weights first, biases are in units of them."""
    for step in scales:
        _put_step(step)
    writers: dict[str, Callable[[Model, Leaf], None]] = {"weight": _put_weight, "bias": _put_bias, "vector": _put_vector}
    for item in sorted(trained, key=lambda one: one.kind != "weight"):
        writers[item.kind](model, item)
    if scales or any(item.log_scale is not None for item in trained):
        _rescale_biases(model, trained)


def _put_step(step: Step) -> None:
    scale = np.asarray(step.scale.detach().numpy(), np.float32)
    for value in step.group.values:
        encoding = encoding_of(value)
        if encoding is not None:
            set_encoding(value, replace(encoding, scale=scale))


def _put_weight(model: Model, item: Leaf) -> None:
    real, encoding = item.real.detach().numpy(), encoding_of(item.product.weight)
    if encoding is None:
        return
    if item.scale is not None:
        encoding = replace(encoding, scale=item.scale.detach().numpy().reshape(encoding.scale.shape))
    stands = weight_of(item.product.weight)
    kept = stands.integers if item.integers is not None and stands is not None else weight_integers(real, encoding)
    set_weight(item.product.weight, QuantizedWeight(kept, encoding))
    item.product.real = real.copy() if item.integers is None else held(item.product.weight)


def _put_bias(model: Model, item: Leaf) -> None:
    from bessemer.quantize.algorithms.bias_correction import replace_bias

    item.product.bias = item.product.node.inputs[2]
    replace_bias(model.graph.graph, item.product, item.real.detach().numpy().copy())


def _put_vector(model: Model, item: Leaf) -> None:
    import onnx_ir

    value, _ = _bias_value(item.product)
    if value is not None:
        value.const_value = onnx_ir.tensor(item.real.detach().numpy().copy(), name=value.name)


def _rescale_biases(model: Model, trained: Sequence[Leaf]) -> None:
    """Biases that were not trained follow the scales of their weights."""
    from bessemer.quantize.algorithms.bias_correction import replace_bias

    done = {id(item.product) for item in trained if item.kind == "bias"}
    for item in trained:
        product = item.product
        value, kind = _bias_value(product)
        if id(product) not in done and value is not None and kind == "bias":
            product.bias = value
            replace_bias(model.graph.graph, product, held(value))
