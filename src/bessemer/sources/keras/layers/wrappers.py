"""Layers around a layer."""

from __future__ import annotations

from collections.abc import Sequence

from bessemer.ir.types import Array
from bessemer.runners.keras.layer import Layer
from bessemer.sources.channels_last.shaping import reshape
from bessemer.sources.drawing import Canvas, Ordered, Unsupported
from bessemer.sources.keras.registry import layer, readers

Dim = int | str | None
ANYWHERE = ("Dense", "Activation", "Dropout", "LeakyReLU", "ELU", "ReLU", "ThresholdedReLU", "Embedding", "Identity",
            "GaussianNoise", "GaussianDropout", "AlphaDropout", "Rescaling")  # fmt: skip
"""Layers that do the same to a tensor with one more axis in front."""

RECURRENT = ("SimpleRNN", "GRU", "LSTM", "RNN", "Bidirectional", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")


@layer("TimeDistributed")
def time_distributed(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """The inner layer on every step: steps are examples of a larger batch."""
    (x,), held = inputs, layer.config["layer"]
    kind, config = str(held["class_name"]), held["config"]
    reader = readers().get(kind)
    if reader is None:
        raise Unsupported("no-reader", f"the layer {kind} inside it has no reading here")
    if layer.call.get("mask") is not None and kind in RECURRENT:
        raise Unsupported("mask", f"a mask on every step of an inner {kind}")
    inner = Layer(layer.name, kind, config, layer.weights, layer.generation, layer.path, {})
    if kind in ANYWHERE:
        return only(reader(canvas, inner, [x]))
    return unfolded(canvas, only(reader(canvas, inner, [folded(canvas, x)])), x)


def only(made: Ordered | Sequence[Ordered]) -> Ordered:
    """The one tensor that a layer made."""
    if isinstance(made, Ordered):
        return made
    if len(made) != 1:
        raise Unsupported("outputs", "an inner layer with several outputs")
    return made[0]


def folded(canvas: Canvas, x: Ordered) -> Ordered:
    """(batch, time, ...) as (batch * time, ...)."""
    batch, steps = x.shape[:2]
    rows = batch * steps if isinstance(batch, int) and isinstance(steps, int) else None
    return reshape(canvas, x, (rows, *x.shape[2:]))


def unfolded(canvas: Canvas, made: Ordered, x: Ordered) -> Ordered:
    """(batch * time, ...) as (batch of x, time of x, ...)."""
    import onnx_ir

    from bessemer.ir.types import int64s

    shape = (*x.shape[:2], *made.shape[1:])
    if sum(not isinstance(dim, int) for dim in shape) <= 1:
        return reshape(canvas, made, shape)
    rest = [dim for dim in made.shape[1:] if isinstance(dim, int)]
    if len(rest) != made.rank - 1:
        raise Unsupported("dynamic-shape", f"steps of unbound sizes {list(made.shape[1:])}", "bind them")
    front = canvas.emit("Shape", [canvas.at(x)], start=0, end=2, dtype=onnx_ir.DataType.INT64)
    sizes = canvas.emit("Concat", [front, canvas.literal(int64s(rest), "rest")], axis=0) if rest else front
    return canvas.result(canvas.emit("Reshape", [canvas.at(made), sizes]), shape)


@layer("SpectralNormalization")
def spectral_normalization(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Sequence[Ordered]:
    """In inference the inner layer with its kernel as stored; the power iteration's vector is left aside."""
    held = layer.config["layer"]
    kind = str(held["class_name"])
    weights = without_vector(layer.weights)
    inner = Layer(layer.name, kind, held["config"], weights, layer.generation, layer.path, layer.call)
    reader = readers().get(kind)
    if reader is None:
        raise Unsupported("no-reader", f"the layer {kind} inside it has no reading here")
    made = reader(canvas, inner, inputs)
    return [made] if isinstance(made, Ordered) else made


def without_vector(weights: Sequence[Array]) -> tuple[Array, ...]:
    """The inner layer's weights: without the wrapper's vector (1, n), wherever a generation lists it.

    A dense kernel of one row looks alike; it always stands before the vector.
    """
    width = next(array.shape[-1] for array in weights if array.ndim > 1)
    vector = max(place for place, array in enumerate(weights) if array.shape == (1, width))
    return tuple(array for place, array in enumerate(weights) if place != vector)
