"""A network drawn as a canonical graph, every layer by its reader; what cannot be read is remembered, and all told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bessemer.ir.errors import Declined, UnreadableInput
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
            if not blind or reason.rule in OWN:
                self.canvas.block(layer.kind, reason)
            return self._stands(layer, inputs)
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
        return outgoing(layer, masks, count, self._both)

    def _made(self, layer: Layer, x: Ordered) -> Ordered:
        import onnx_ir

        canvas, flag = self.canvas, onnx_ir.DataType.BOOL
        value = canvas.at(x)
        refused = layer.config.get("mask_value", 0.0) if layer.kind == "Masking" else 0
        literal = canvas.literal(_scalar(refused, x))
        same = canvas.emit("Equal", [value, literal], shape=x.shape, dtype=flag)
        differs = canvas.emit("Not", [same], shape=x.shape)
        if layer.kind != "Masking":
            return canvas.result(differs, x.shape)
        number = canvas.emit("Cast", [differs], dtype=onnx_ir.DataType.INT32, to=onnx_ir.DataType.INT32, shape=x.shape)
        axes = canvas.literal(_axes([x.rank - 1]), "axes")
        most = canvas.emit("ReduceMax", [number, axes], keepdims=0, shape=x.shape[:-1])
        found = canvas.emit("Cast", [most], dtype=flag, to=flag, shape=x.shape[:-1])
        return canvas.result(found, x.shape[:-1])

    def _both(self, one: Ordered, other: Ordered) -> Ordered:
        made = self.canvas.emit("And", [self.canvas.at(one), self.canvas.at(other)], shape=one.shape)
        return self.canvas.result(made, one.shape)

    def _stands(self, layer: Layer, inputs: list[Ordered]) -> Sequence[Ordered]:
        shape: Shape = inputs[0].shape if inputs else ()
        dtype = inputs[0].dtype if inputs else None
        count = 4 if layer.config.get("return_state") else 1
        return [Stand(layer.path, shape, dtype) for _ in range(count)]


def _scalar(number: float, x: Ordered) -> Array:
    import numpy as np

    return np.asarray(number, x.dtype.numpy())


def _axes(axes: list[int]) -> Array:
    import numpy as np

    return np.asarray(axes, np.int64)


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


def draw(network: Network, weights: dict[str, tuple[Array, ...]], generation: int, path: Path, notes: list[str]) -> Any:
    """The `onnx_ir.Graph` of a network. Raises Declined with all blockers, UnreadableInput, Contradiction."""
    canvas = Canvas(notes)
    borders = inputs_of(network)
    fed = [_input(canvas, border) for border in borders]
    walk: Walk[Ordered] = Walk(Drawer(canvas, path), weights, generation)
    outputs, _ = walk.run(network, fed)
    if canvas.blockers:
        raise Declined(f"Reading {path.name}: ONNX", canvas.blockers)
    names = output_names(network, taken=[border.name for border in borders])
    values = [_output(canvas, tensor, name) for tensor, name in zip(outputs, names, strict=True)]
    return canvas.graph([canvas.at(tensor) for tensor in fed], values, network.name or path.stem)


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
    held = canvas.at(tensor)
    value: onnx_ir.Value = canvas.emit("Identity", [held], shape=tensor.shape)
    for other in (v for node in canvas.nodes for v in node.outputs if v.name == name and v is not value):
        other.name = canvas.unique(f"{name}_inner")
    value.name = name
    value.meta[TENSOR_KEY] = (name, tuple(range(tensor.rank)))
    return value
