"""Through a network call by call, whatever its tensors are: values of a graph being drawn, or arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar

from bessemer.ir.types import Array
from bessemer.runners.keras.layer import Layer
from bessemer.sources.keras.network import (
    Contradiction,
    Network,
    Node,
    Ref,
    Spec,
    order_of,
    refs_in,
    replaced,
)

Tensor = TypeVar("Tensor")
MAX_CALLS = 20_000
"""Calls of layers, those inside of models called many times counted each time."""


class Visitor(Protocol[Tensor]):
    """What is done with each layer."""

    def call(self, layer: Layer, inputs: list[Tensor]) -> Sequence[Tensor]:
        """Outputs of one call."""
        ...

    def mask(
        self, layer: Layer, inputs: list[Tensor], masks: list[Tensor | None], count: int
    ) -> Sequence[Tensor | None]:
        """Which steps of the `count` outputs count (Keras's masks); None where all do."""
        ...


class Walk(Generic[Tensor]):
    """One pass through a network. weights: by path of a layer."""

    def __init__(self, visitor: Visitor[Tensor], weights: dict[str, tuple[Array, ...]], generation: int) -> None:
        self.visitor, self.weights, self.generation = visitor, weights, generation
        self._calls = MAX_CALLS
        self._orders: dict[int, list[tuple[Spec, int]]] = {}

    def run(
        self, network: Network, inputs: Sequence[Tensor], masks: Sequence[Tensor | None] | None = None,
        prefix: str = "", where: str = "",
    ) -> tuple[list[Tensor], list[Tensor | None]]:  # fmt: skip
        """Outputs and their masks. prefix: path of the network's layers; where: the same with the calls numbered."""
        if len(inputs) != len(network.inputs):
            raise Contradiction(f"'{network.name}' takes {len(network.inputs)} inputs and is given {len(inputs)}")
        made: dict[Ref, Tensor] = dict(zip(network.inputs, inputs, strict=True))
        held: dict[Ref, Tensor | None] = dict(zip(network.inputs, masks or [None] * len(inputs), strict=True))
        given = {(ref.layer, ref.node) for ref in network.inputs}
        for spec, place in self._order(network):
            node = spec.nodes[place] if spec.nodes else Node((), {})
            if (spec.name, place) in given or (spec.inner is not None and not node.args and not node.kwargs):
                continue
            self._call(spec, node, place, made, held, prefix, where)
        return [_found(made, ref) for ref in network.outputs], [held.get(ref) for ref in network.outputs]

    def _order(self, network: Network) -> list[tuple[Spec, int]]:
        if id(network) not in self._orders:
            self._orders[id(network)] = order_of(network)
        return self._orders[id(network)]

    def _call(
        self, spec: Spec, node: Node, place: int, made: dict[Ref, Tensor], held: dict[Ref, Tensor | None], prefix: str,
        where: str,
    ) -> None:  # fmt: skip
        self._calls -= 1
        if self._calls < 0:
            raise Contradiction(f"its layers are called over {MAX_CALLS} times")
        refs = refs_in(list(node.args))
        tensors = [_found(made, ref) for ref in refs]
        masks = [held.get(ref) for ref in refs]
        number = "" if place == 0 or (spec.inner is not None and place == 1) else f"#{place}"
        path = f"{where}{spec.name}{number}"
        if spec.inner is not None:
            outputs, out_masks = self.run(spec.inner, tensors, masks, f"{prefix}{spec.name}/", f"{path}/")
        else:
            call = self._arguments(node, refs, made, held)
            layer = Layer(
                spec.name, spec.kind, spec.config, self.weights.get(prefix + spec.name, ()), self.generation, path, call
            )
            outputs = list(self.visitor.call(layer, tensors))
            out_masks = list(self.visitor.mask(layer, tensors, masks, len(outputs)))
        for index, (tensor, mask) in enumerate(zip(outputs, out_masks, strict=True)):
            made[Ref(spec.name, place, index)] = tensor
            held[Ref(spec.name, place, index)] = mask

    def _arguments(
        self, node: Node, refs: list[Ref], made: dict[Ref, Tensor], held: dict[Ref, Tensor | None]
    ) -> dict[str, Any]:
        """Arguments by name; 'args' where those by place are more than tensors, 'mask' as the inputs carry it, and
        '<name>_mask' as a tensor given by name does."""
        more = refs_in(node.kwargs)
        by = {ref: _found(made, ref) for ref in [*refs, *more]}
        call: dict[str, Any] = {
            name: replaced(item, by) for name, item in node.kwargs.items() if not (name == "mask" and item is None)
        }
        flat = list(node.args[0]) if len(node.args) == 1 and isinstance(node.args[0], list) else list(node.args)
        if not all(isinstance(item, Ref) for item in flat) or (len(node.args) > 1 and refs != flat):
            call["args"] = replaced(list(node.args), by)
        for name, item in node.kwargs.items():
            if isinstance(item, Ref) and held.get(item) is not None:
                call.setdefault(f"{name}_mask", held[item])
        masks = [held.get(ref) for ref in refs]
        if "mask" not in call and any(mask is not None for mask in masks):
            call["mask"] = masks[0] if len(masks) == 1 else masks
        return call


def _found(made: dict[Ref, Tensor], ref: Ref) -> Tensor:
    if ref not in made:
        raise Contradiction(f"it reads output {ref.tensor} of '{ref.layer}', which has fewer")
    return made[ref]
