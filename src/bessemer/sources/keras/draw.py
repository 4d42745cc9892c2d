"""A network drawn as a canonical graph, every layer by its reader; what cannot be read is remembered, and all told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bessemer.ir.errors import Blocker, Declined, UnreadableInput
from bessemer.ir.types import Array, Shape
from bessemer.runners.keras.layer import Layer
from bessemer.sources.drawing import TENSOR_KEY, Canvas, Ordered, Unsupported
from bessemer.sources.keras.border import Border, inputs_of, output_names
from bessemer.sources.keras.expected import misfit
from bessemer.sources.keras.masks import makes_mask, outgoing
from bessemer.sources.keras.network import Contradiction, Network
from bessemer.sources.keras.registry import readers
from bessemer.sources.keras.walk import Walk

if TYPE_CHECKING:
    import onnx_ir

BROKEN = (IndexError, KeyError, ValueError, TypeError, AttributeError, OverflowError, ArithmeticError, MemoryError)
"""What contradictory configs and weights end in where nobody looked for it."""
OWN = ("no-reader", "lambda")
"""Reasons that lie in a layer alone, whatever it reads."""


class Stand(Ordered):
    """In place of a result that no reader made; what reads it is judged by its class alone."""


class Drawer:
    """Draws each layer that the walk comes by."""

    def __init__(self, canvas: Canvas, path: Path) -> None:
        self.canvas, self.path, self.known = canvas, path, readers()
        self.partly = True
        """Whether each blocker stands in the graph, so that a cut can leave it out: a lost mask does not."""

    def call(self, layer: Layer, inputs: list[Ordered]) -> Sequence[Ordered]:
        """The layer's outputs, named after it; stand-ins where it cannot be read."""
        self.canvas.layer = layer.path
        reader = self.known.get(layer.kind)
        blind = any(isinstance(item, Stand) for item in [*inputs, *_tensors(layer.call)])
        try:
            if reader is None:
                raise Unsupported("no-reader", f"the layer class {layer.kind} has no reading in ONNX here")
            if blind and layer.kind != "Lambda":
                return self._stands(layer, inputs)
            if inputs and (problem := misfit(layer, inputs[0].shape)):
                raise self._broken(layer, problem)
            made = reader(self.canvas, layer, inputs)
        except Unsupported as reason:
            return self._stands(layer, inputs, reason if not blind or reason.rule in OWN else None)
        except BROKEN as error:
            if blind:
                return self._stands(layer, inputs)
            why = f"its config and its weights contradict each other ({type(error).__name__}: {error})"
            raise self._broken(layer, why) from None
        outputs = [made] if isinstance(made, Ordered) else list(made)
        for index, tensor in enumerate(outputs):
            _name(tensor, layer.path if len(outputs) == 1 else f"{layer.path}:{index}")
        return outputs

    def _broken(self, layer: Layer, why: str) -> UnreadableInput:
        return UnreadableInput(
            f"{self.path} is broken or hostile", where=f"layer '{layer.path}' ({layer.kind})", why=why
        )

    def mask(
        self, layer: Layer, inputs: list[Ordered], masks: list[Ordered | None], count: int
    ) -> Sequence[Ordered | None]:
        """Masks of a layer's outputs."""
        if makes_mask(layer) and inputs and not isinstance(inputs[0], Stand):
            return [self._made(layer, inputs[0]), *[None] * (count - 1)]
        try:
            return outgoing(layer, masks, count, self._joined, inputs[0].rank if inputs else 0)
        except Unsupported as reason:
            self.canvas.block(layer.kind, reason)
            self.partly = False
            return [None] * count

    def _made(self, layer: Layer, x: Ordered) -> Ordered:
        """Where tokens are not 0; where a step has any feature other than the mask value."""
        import onnx_ir

        from bessemer.sources.channels_last.reduce import logical

        canvas = self.canvas
        refused = layer.config.get("mask_value", 0.0) if layer.kind == "Masking" else 0
        literal = canvas.literal(_scalar(refused, x))
        same = canvas.emit("Equal", [canvas.at(x), literal], shape=x.shape, dtype=onnx_ir.DataType.BOOL)
        differs = canvas.result(canvas.emit("Not", [same], shape=x.shape), x.shape)
        return logical(canvas, differs, False, [x.rank - 1]) if layer.kind == "Masking" else differs

    def _joined(self, operator: str, one: Ordered, other: Ordered) -> Ordered:
        made = self.canvas.emit(operator, [self.canvas.at(one), self.canvas.at(other)], shape=one.shape)
        return self.canvas.result(made, one.shape)

    def _stands(
        self, layer: Layer, inputs: list[Ordered], problem: Unsupported | None = None
    ) -> Sequence[Ordered]:
        """Results of a layer that was not read; `problem`: why, where the reason lies in the layer itself."""
        if problem is not None:
            tensors = [item for item in inputs if not isinstance(item, Stand)]
            self.canvas.unread(layer.kind, problem, tensors, [(layer.path, (), None)])
        shape: Shape = inputs[0].shape if inputs else ()
        dtype = inputs[0].dtype if inputs else None
        count = 4 if layer.config.get("return_state") else 1
        return [Stand(layer.path, shape, dtype) for _ in range(count)]


def _scalar(number: float, x: Ordered) -> Array:
    import numpy as np

    return np.asarray(number, x.dtype.numpy())


def _tensors(item: Any) -> list[Any]:
    if isinstance(item, Mapping):
        return [found for part in item.values() for found in _tensors(part)]
    if isinstance(item, list | tuple):
        return [found for part in item for found in _tensors(part)]
    return [item]


def _name(tensor: Ordered, name: str) -> None:
    """Values that hold a layer's result go by its path; what was passed on keeps its first name."""
    for order, value in tensor.orders.items():
        held = value.meta.get(TENSOR_KEY)
        if value.producer() is None or (held is not None and held[0] != value.name):
            continue
        value.meta[TENSOR_KEY] = (name, order)


def draw(
    network: Network, weights: dict[str, tuple[Array, ...]], generation: int, path: Path, notes: list[str]
) -> tuple[Any, list[Blocker]]:
    """The `onnx_ir.Graph` of a network, and the blockers whose stand-ins it holds (`ir.unread`).

    Raises Declined with all blockers where a part could not be told from the rest, UnreadableInput, Contradiction.
    """
    canvas = Canvas(notes)
    borders = inputs_of(network)
    fed = [_input(canvas, border) for border in borders]
    drawer = Drawer(canvas, path)
    walk: Walk[Ordered] = Walk(drawer, weights, generation)
    outputs, _ = walk.run(network, fed)
    blockers = list(canvas.blockers)
    if blockers and not drawer.partly:
        raise Declined(f"Reading {path.name}: ONNX", blockers)
    names = output_names(network, taken=[border.name for border in borders])
    values = [_output(canvas, tensor, name) for tensor, name in zip(outputs, names, strict=True)]
    graph = canvas.graph([canvas.at(tensor) for tensor in fed], values, network.name or path.stem)
    return graph, blockers


def _input(canvas: Canvas, border: Border) -> Ordered:
    import onnx_ir

    kinds = {"string": "STRING", "float32": "FLOAT", "float64": "DOUBLE"}
    try:
        dtype = onnx_ir.DataType[kinds.get(border.dtype, border.dtype.upper())]
    except KeyError:
        raise Contradiction(f"its input '{border.name}' has the type '{border.dtype}'") from None
    return canvas.input(border.name, border.shape, dtype)


def _output(canvas: Canvas, tensor: Ordered, name: str) -> onnx_ir.Value:
    """An output in its own order under its own name."""
    canvas.layer = name
    if isinstance(tensor, Stand):
        problem = Unsupported("output", f"nothing makes the output '{name}'")
        return canvas.stand_in("output", problem, [], because=list(canvas.blockers))[0]
    held = canvas.at(tensor)
    value: onnx_ir.Value = canvas.emit("Identity", [held], shape=tensor.shape)
    for other in (v for node in canvas.nodes for v in node.outputs if v.name == name and v is not value):
        other.name = canvas.unique(f"{name}_inner")
    value.name = name
    value.meta[TENSOR_KEY] = (name, tuple(range(tensor.rank)))
    return value
