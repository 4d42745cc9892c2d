"""Compression: a share of the weights in four bits, where that hurts least.

The damage of a layer is the relative noise of the outputs with nothing but its weight in four bits. Noise of single
layers adds up nearly (errors of different weights are uncorrelated), so layers are taken in the order of damage for each
byte saved until the share is reached, and what turns out not to be needed is given back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bessemer.ir.encoding import QuantizedWeight, set_weight
from bessemer.ir.errors import UsageError
from bessemer.ir.model import Model
from bessemer.quantize.algorithms.weights_clipping import clip_for, clipped
from bessemer.quantize.assign import held, weight_encoding, weight_integers
from bessemer.quantize.clipping import names_of
from bessemer.quantize.judge import JUDGED, Judge, clone, spread
from bessemer.quantize.levels import COMPRESSION, Quantize
from bessemer.quantize.observe import Sample
from bessemer.quantize.plan import Product, make_plan
from bessemer.quantize.precision import LayerPrecision, is_called, mark, precision_of
from bessemer.quantize.remedies import called
from bessemer.quantize.scheme import SCHEMES
from bessemer.quantize.spell import spell

if TYPE_CHECKING:
    import onnx_ir

FOUR_BITS = ("Conv", "Gemm", "MatMul")
"""Operators with integer kernels for 4-bit weights everywhere (LiteRT has none for transposed convolutions)."""


@dataclass
class Unit:
    """Products that one glob names, with the bytes of their weights in 8 bits; damage: see above."""

    glob: str
    products: list[Product]
    bytes: int
    damage: float = 0.0

    @property
    def name(self) -> str:
        """What the report calls it."""
        return ", ".join(product.name for product in self.products)

    @property
    def price(self) -> float:
        """Damage for each byte."""
        return self.damage / max(self.bytes, 1)


def compress(model: Model, how: Quantize, samples: Sequence[Sample]) -> tuple[tuple[LayerPrecision, ...], str]:
    """Overrides to be put before those of `how`, which win, and a sentence on the share that they reach.

    model: a canonical float graph, which stays as it is. Raises UsageError for a scheme that is not 8 bits by 8 bits.
    """
    scheme = SCHEMES[how.precision]
    if (scheme.activations, scheme.weights) != ("INT8", "INT8"):
        raise UsageError(
            f"Compression level {how.compression} does not go with {how.precision}",
            why="it puts a share of an int8 model's weights into 4 bits",
            fix="Ask for int8, or leave compression out",
        )
    copy = clone(model)
    graph = copy.graph.graph
    mark(graph, scheme, how.layers)
    spell(copy.graph, scheme.activations)
    plan = make_plan(graph, scheme, how.keep)
    total = sum(_bytes(product) for product in plan.products)
    done = sum(_bytes(product) for product in plan.products if product.weights == "INT4")
    want = COMPRESSION[how.compression] * total
    stated = {node for node in graph for item in how.layers if item.weights and is_called(node, item.match)}
    free = [
        product for product in plan.products
        if product.node not in stated and product.node.op_type in FOUR_BITS
        and precision_of(product.node, scheme).activations == "INT8"
    ]  # fmt: skip
    found = list(units(graph, free))
    if sum(unit.bytes for unit in found) > want - done:
        _measure(copy, found, how, spread(samples, JUDGED))
    chosen = _choose(found, want - done)
    reached = (done + sum(unit.bytes for unit in chosen)) / total if total else 0.0
    said = f"Compression level {how.compression}: {reached:.0%} of the weights' bytes in 4 bits"
    if reached * total < want:
        said += f" (not {COMPRESSION[how.compression]:.0%}: the others are set otherwise, or have no 4-bit kernel)"
    return tuple(LayerPrecision(unit.glob, weights="int4") for unit in chosen), said


def units(graph: onnx_ir.Graph, products: Sequence[Product]) -> Iterator[Unit]:
    """Products by the globs that name them, in graph order."""
    left = list(products)
    while left:
        glob = called(graph, left[0].node)
        held_by = [product for product in left if is_called(product.node, glob)]
        left = [product for product in left if product not in held_by]
        yield Unit(glob, held_by, sum(_bytes(product) for product in held_by))


def _bytes(product: Product) -> int:
    """In 8 bits."""
    return 0 if product.weight.shape is None else math.prod(product.weight.shape.numpy())


def _measure(model: Model, found: Sequence[Unit], how: Quantize, samples: Sequence[Sample]) -> None:
    judge = Judge(model, samples)
    for unit in found:
        copy = clone(model)
        places = {node: place for place, node in enumerate(model.graph.graph)}
        nodes = list(copy.graph.graph)
        for product in unit.products:
            weight = nodes[places[product.node]].inputs[1]
            if weight is not None:
                clip = clip_for(how.weight_clips, names_of(product.node))
                real, power = clipped(held(weight), clip), how.scheme.power_of_two
                encoding = weight_encoding(real, product.axis, "INT4", clip, power_of_two=power)
                set_weight(weight, QuantizedWeight(weight_integers(real, encoding), encoding))
        unit.damage = 10 ** (-judge(copy) / 10)


def _choose(found: Sequence[Unit], need: float) -> list[Unit]:
    """Cheap ones first until `need` bytes are reached; then dear ones that it does not take are given back."""
    chosen: list[Unit] = []
    for unit in sorted(found, key=lambda item: item.price):
        if sum(item.bytes for item in chosen) >= need:
            break
        chosen.append(unit)
    for unit in sorted(chosen, key=lambda item: -item.damage):
        if sum(item.bytes for item in chosen) - unit.bytes >= need:
            chosen.remove(unit)
    return [unit for unit in found if unit in chosen]


def compressed(model: Model, how: Quantize, samples: Sequence[Sample]) -> tuple[Quantize, list[str]]:
    """The options with compression spelled out as overrides, and what to say of it."""
    if not how.compression:
        return how, []
    layers, said = compress(model, how, samples)
    return replace(how, layers=(*layers, *how.layers), compression=0), [said]
