"""A Keras file evaluated in plain numpy, layer by layer, from the same records as the graph but not through it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from bessemer.ir.errors import Blocker, Declined, UsageError
from bessemer.ir.signature import Signature, TensorSpec
from bessemer.ir.types import Array, Shape
from bessemer.runners.keras.layer import Layer
from bessemer.runners.keras.registry import evaluators
from bessemer.sources.keras.border import BATCH, inputs_of, output_names
from bessemer.sources.keras.masks import makes_mask, outgoing
from bessemer.sources.keras.network import Network
from bessemer.sources.keras.walk import Walk

UNKNOWN: Array = np.full((), np.nan)
"""In place of what was not evaluated while other layers are tapped."""


BATCHES = (3, 2)
"""Sizes of unbound batches that tell what varies with them."""


class Evaluator:
    """Evaluates each layer that the walk comes by. kept: results by path, of the layers asked for.

    Where some are asked for, layers without an evaluator are passed over, with all that depends on them.
    """

    def __init__(self, wanted: frozenset[str]) -> None:
        self.wanted, self.kept, self.known = wanted, dict[str, Array](), evaluators()

    def call(self, layer: Layer, inputs: list[Array]) -> Sequence[Array]:
        """The layer's outputs. Raises Declined for a class without an evaluator."""
        evaluator = self.known.get(layer.kind)
        if self.wanted and (evaluator is None or any(item is UNKNOWN for item in inputs)):
            return [UNKNOWN] * (4 if layer.config.get("return_state") else 1)
        if evaluator is None:
            reason = f"the layer class {layer.kind} has no evaluator"
            raise Declined("The reference evaluator of Keras", [Blocker(layer.path, layer.kind, "no-evaluator", reason)])
        made = evaluator(layer, inputs)
        outputs: list[Array] = list(made) if isinstance(made, list | tuple) else [np.asarray(made)]
        for index, array in enumerate(outputs):
            name = layer.path if len(outputs) == 1 else f"{layer.path}:{index}"
            if name in self.wanted:
                self.kept[name] = np.asarray(array)
        return outputs

    def mask(
        self, layer: Layer, inputs: list[Array], masks: list[Array | None], count: int
    ) -> Sequence[Array | None]:
        """Masks of a layer's outputs."""
        if not makes_mask(layer):
            return outgoing(layer, masks, count, _joined, inputs[0].ndim if inputs else 0)
        if layer.kind == "Embedding":
            return [np.asarray(inputs[0] != 0), *[None] * (count - 1)]
        refused = layer.config.get("mask_value", 0.0)
        return [np.asarray((inputs[0] != refused).any(axis=-1)), *[None] * (count - 1)]


def _joined(operator: str, one: Array, other: Array) -> Array:
    return np.logical_and(one, other) if operator == "And" else np.logical_or(one, other)


def _batched(array: Array) -> Array:
    """The same for another batch, where the first axis is one."""
    whole = array.ndim and array.shape[0] == BATCHES[0]
    return np.broadcast_to(array[:1], (BATCHES[1], *array.shape[1:])) if whole else array


def _common(one: tuple[int, ...], other: tuple[int, ...]) -> Shape:
    return tuple(a if a == b else None for a, b in zip(one, other, strict=True))


class KerasReference:
    """A network as a `Runner`, on the CPU."""

    def __init__(self, network: Network, weights: dict[str, tuple[Array, ...]], generation: int) -> None:
        self._network, self._weights, self._generation = network, weights, generation
        self.runtime = f"Bessemer's reference evaluator of Keras layers (numpy {np.__version__})"
        self._borders = inputs_of(network)
        self._names = output_names(network, taken=[border.name for border in self._borders])

    @cached_property
    def signature(self) -> Signature:
        """Inputs as the file says; outputs as they come of inputs of zeros. Unbound is what varies with unbound dims: the
        first axis, where the batch is all that is unbound.
        """
        inputs = tuple(
            TensorSpec(name, dtype, tuple(None if isinstance(dim, str) else dim for dim in shape))
            for name, dtype, shape in self._borders
        )
        try:
            first, second = (self._on_zeros(size) for size in (2, 3))
        except Declined:  # a layer has no evaluator: what does not depend on it can be tapped all the same
            return Signature(inputs, tuple(TensorSpec(name, "", ()) for name in self._names))
        outputs = tuple(
            TensorSpec(name, one.dtype.name, _common(one.shape, other.shape))
            for name, one, other in zip(self._names, first, second, strict=True)
        )
        return Signature(inputs, outputs)

    def _on_zeros(self, size: int) -> list[Array]:
        """Outputs for unbound dims of `size`, those behind the batch of eight times as much."""
        zeros = {
            name: np.zeros([dim if isinstance(dim, int) else size if dim == BATCH else 8 * size for dim in shape], dtype)
            for name, dtype, shape in self._borders
        }
        return list(self.run(zeros).values())

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name. Raises UsageError for an input that is missing."""
        return self._evaluated(inputs, frozenset())[0]

    def tap(self, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        """Results of layers by their paths."""
        return self._evaluated(inputs, frozenset(names))[1]

    def _evaluated(
        self, inputs: Mapping[str, Array], wanted: frozenset[str]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        missing = [border.name for border in self._borders if border.name not in inputs]
        if missing:
            raise UsageError(f"The model needs the input '{missing[0]}'")
        fed = [np.asarray(inputs[border.name], border.dtype) for border in self._borders]
        visitor = Evaluator(wanted)
        walk: Walk[Array] = Walk(visitor, self._weights, self._generation)
        with np.errstate(all="ignore"):
            outputs, _ = walk.run(self._network, fed)
        return {name: np.asarray(array) for name, array in zip(self._names, outputs, strict=True)}, visitor.kept
