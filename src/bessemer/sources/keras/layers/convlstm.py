"""Convolutional LSTMs: a Scan over images."""

from __future__ import annotations

from collections.abc import Sequence

from bessemer.ir.types import Array
from bessemer.runners.keras.layer import Layer
from bessemer.sources.channels_last.conv import conv
from bessemer.sources.channels_last.elementwise import applied, chosen, number
from bessemer.sources.channels_last.loops import scan, zeros
from bessemer.sources.channels_last.shaping import expand_dims, split
from bessemer.sources.channels_last.windows import channel_axis, order_of
from bessemer.sources.drawing import Canvas, Ordered
from bessemer.sources.keras.activations import activate
from bessemer.sources.keras.layers.convolution import is_first, windows
from bessemer.sources.keras.layers.core import floats
from bessemer.sources.keras.layers.recurrent import Options, first_mask, last_step, note_state
from bessemer.sources.keras.layers.wrappers import folded, unfolded
from bessemer.sources.keras.registry import layer


@layer("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
def conv_lstm(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> list[Ordered]:
    """Kernels (*window, depth, 4 filters) of the input and (*window, filters, 4 filters) of the state; i, f, c, o."""
    note_state(canvas, layer)
    x, kernel = floats(canvas, inputs[0]), layer.weights[0]
    options, count = Options.of(layer), kernel.ndim - 2
    bias = canvas.constant(layer.weights[2], "bias") if layer.config.get("use_bias", True) else None
    images = folded(canvas, x)
    seen = conv(canvas, images, canvas.constant(kernel, "kernel"), bias, **windows(layer, count))
    sequence = unfolded(canvas, seen, x)
    initial = [floats(canvas, state) for state in inputs[1:]]
    if not initial:
        initial = [zeros(canvas, x, _state_shape(sequence, layer))] * 2
    states, outputs = _steps(canvas, layer, sequence, initial, options)
    output = outputs if options.sequences else last_step(canvas, outputs)
    return [output, *states] if options.states else [output]


def _state_shape(sequence: Ordered, layer: Layer) -> list[int]:
    """(*sizes, filters) of a state, in the layer's own order."""
    sizes = list(sequence.shape[2:])
    place = channel_axis(len(sizes) + 1, is_first(layer)) - 1
    sizes[place] = layer.weights[1].shape[-2]
    return sizes  # type: ignore[return-value]


def _steps(
    canvas: Canvas, layer: Layer, sequence: Ordered, initial: list[Ordered], options: Options
) -> tuple[list[Ordered], Ordered]:
    mask, first = first_mask(layer.call.get("mask")), is_first(layer)
    sequences, states = [sequence], list(initial)
    rank = sequence.rank - 1
    if mask is not None:
        for axis in range(2, sequence.rank):
            mask = expand_dims(canvas, mask, [axis])
        sequences, states = [sequence, mask], [*initial, zeros(canvas, sequence, _state_shape(sequence, layer))]

    def step(inside: Canvas, held: list[Ordered], items: list[Ordered]) -> tuple[list[Ordered], Ordered]:
        new = _cell(inside, layer, held, items[0], layer.weights[1], first)
        if len(items) == 1:
            return new, new[0]
        kept = [chosen(inside, items[1], after, before) for after, before in zip(new, held, strict=False)]
        out = chosen(inside, items[1], new[0], number(inside, 0, new[0]) if options.zero_masked else held[-1])
        return [*kept, out], out

    final, outputs = scan(
        canvas, step, states, sequences, backwards=options.backwards, order=order_of(rank, first)
    )
    return final[:2], outputs


def _cell(
    inside: Canvas, layer: Layer, held: list[Ordered], seen: Ordered, kernel: Array, first: bool
) -> list[Ordered]:
    config, filters = layer.config, kernel.shape[-2]

    def gate(tensor: Ordered) -> Ordered:
        return activate(inside, tensor, config.get("recurrent_activation", "hard_sigmoid"), layer.generation)

    def act(tensor: Ordered) -> Ordered:
        return activate(inside, tensor, config.get("activation", "tanh"), layer.generation)

    past = conv(inside, held[0], inside.constant(kernel, "kernel"), padding="same", first=first)
    total = applied(inside, "Add", seen, past)
    parts = split(inside, total, channel_axis(total.rank, first), [filters] * 4)
    kept = applied(inside, "Mul", gate(parts[1]), held[1])
    memory = applied(inside, "Add", kept, applied(inside, "Mul", gate(parts[0]), act(parts[2])))
    return [applied(inside, "Mul", gate(parts[3]), act(memory)), memory]
