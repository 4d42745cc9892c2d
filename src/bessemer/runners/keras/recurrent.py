"""Recurrent layers in NumPy, one step after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.runners.keras.activation import activated
from bessemer.runners.keras.convolution import correlate, numbers
from bessemer.runners.keras.registry import evaluates

if TYPE_CHECKING:
    from bessemer.ir.types import Array
    from bessemer.runners.keras.layer import Layer

    Step = Callable[[Array, list[Array]], list[Array]]
    """(x, states) -> states; the first is the output."""


def cell(kind: str, config: dict[str, Any], weights: list[Array], generation: int) -> tuple[Step, list[int]]:
    """The step of a cell, and the sizes of its states. Takes its weights off the front."""
    kind, units = kind.removesuffix("Cell"), int(config["units"])
    kernel, recurrent = weights.pop(0), weights.pop(0)
    bias = weights.pop(0) if config.get("use_bias", True) else np.zeros(kernel.shape[1], np.float32)
    if kind.startswith("CuDNN"):
        kernel, recurrent, bias = _cudnn(kernel, recurrent, bias, kernel.shape[1] // units)
        kind, config = kind.removeprefix("CuDNN"), {"reset_after": True}

    def act(x: Array) -> Array:
        return activated(x, config.get("activation", "tanh"), generation)

    def gate(x: Array) -> Array:
        return activated(x, config.get("recurrent_activation", "sigmoid"), generation)

    def simple(x: Array, states: list[Array]) -> list[Array]:
        return [act(x @ kernel + bias + states[0] @ recurrent)]

    def lstm(x: Array, states: list[Array]) -> list[Array]:
        total = x @ kernel + states[0] @ recurrent + bias.reshape(-1, 4 * units).sum(axis=0)
        enter, forget, candidate, leave = np.split(total, 4, axis=1)
        memory = gate(forget) * states[1] + gate(enter) * act(candidate)
        return [gate(leave) * act(memory), memory]

    def gru(x: Array, states: list[Array]) -> list[Array]:
        (past,), biases = states, bias.reshape(-1, 3 * units)
        update, reset, candidate = np.split(x @ kernel + biases[0], 3, axis=1)
        parts = np.split(recurrent, 3, axis=1)
        inner = [np.zeros(units, np.float32)] * 3 if len(biases) == 1 else np.split(biases[1], 3)
        z = gate(update + past @ parts[0] + inner[0])
        r = gate(reset + past @ parts[1] + inner[1])
        after = r * (past @ parts[2] + inner[2]) if config.get("reset_after") else (r * past) @ parts[2]
        return [z * past + (1 - z) * act(candidate + after)]

    steps: dict[str, tuple[Step, int]] = {"SimpleRNN": (simple, 1), "LSTM": (lstm, 2), "GRU": (gru, 1)}
    step, count = steps[kind]
    return step, [units] * count


def _cudnn(kernel: Array, recurrent: Array, bias: Array, gates: int) -> tuple[Array, Array, Array]:
    """cuDNN's matrices are the transposes of ours in memory: (units, depth) row by row, kept as (depth, units)."""
    units = kernel.shape[1] // gates

    def plain(part: Array) -> Array:
        rows: Array = np.ascontiguousarray(part).reshape(units, -1)
        return rows.T

    return (
        np.hstack([plain(part) for part in np.hsplit(kernel, gates)]),
        np.hstack([plain(part) for part in np.hsplit(recurrent, gates)]), bias.reshape(2, -1),
    )  # fmt: skip


def stack(held: Any, weights: list[Array], generation: int) -> list[tuple[Step, list[int]]]:
    """Cells of an RNN layer's config."""
    if isinstance(held, list | tuple):
        return [item for part in held for item in stack(part, weights, generation)]
    if held["class_name"] == "StackedRNNCells":
        return stack(held["config"]["cells"], weights, generation)
    return [cell(held["class_name"], held["config"], weights, generation)]


def first_mask(held: Any) -> Array | None:
    """Of several masks the first one."""
    found = held[0] if isinstance(held, list | tuple) and held else held
    return found if isinstance(found, np.ndarray) else None


def loop(
    x: Array, states: list[Array], step: Callable[[Array, list[Array]], tuple[Array, list[Array]]], *,
    backwards: bool, mask: Array | None, zeroed: bool,
) -> tuple[Array, list[Array]]:  # fmt: skip
    """All outputs in the order of the steps, and the last states. A masked example keeps what it had."""
    order = range(x.shape[1])[::-1] if backwards else range(x.shape[1])
    outputs: list[Array] = []
    for at in order:
        out, new = step(x[:, at], states)
        if mask is not None:
            before = outputs[-1] if outputs and not zeroed else np.zeros_like(out)
            out = np.where(_wide(mask[:, at], out), out, before)
            new = [np.where(_wide(mask[:, at], a), a, b) for a, b in zip(new, states, strict=True)]
        outputs.append(out)
        states = new
    return np.stack(outputs, axis=1), states


def _wide(mask: Array, like: Array) -> Array:
    return mask.astype(bool).reshape(-1, *[1] * (like.ndim - 1))


def given(layer: Layer, inputs: Sequence[Array]) -> list[Array]:
    """Initial states: inputs behind the sequence, or an argument of the call."""
    if len(inputs) > 1:
        return list(inputs[1:])
    found: list[Array] = []

    def walk(item: Any) -> None:
        if isinstance(item, list | tuple):
            for part in item:
                walk(part)
        elif item is not None:
            found.append(np.asarray(item, np.float32))

    walk(layer.call.get("initial_state"))
    return found


def run(layer: Layer, x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
    """A recurrent layer's outputs and final states."""
    weights, config = list(layer.weights), layer.config
    if layer.kind == "RNN":
        cells = stack(config["cell"], weights, layer.generation)
    else:
        cells = [cell(layer.kind.removesuffix("V1").removesuffix("V2"), config, weights, layer.generation)]
    if not states:
        states = [np.zeros((len(x), size), np.float32) for _, sizes in cells for size in sizes]

    def step(item: Array, held: list[Array]) -> tuple[Array, list[Array]]:
        new: list[Array] = []
        for one, sizes in cells:
            made = one(item, held[len(new) : len(new) + len(sizes)])
            new, item = new + made, made[0]
        return item, new

    return loop(
        x, states, step, backwards=bool(config.get("go_backwards")), mask=first_mask(layer.call.get("mask")),
        zeroed=bool(config.get("zero_output_for_mask")),
    )  # fmt: skip


@evaluates("SimpleRNN", "GRU", "LSTM", "CuDNNGRU", "CuDNNLSTM", "RNN", "GRUV1", "LSTMV1", "GRUV2", "LSTMV2")
def recurrent(layer: Layer, inputs: Sequence[Array]) -> list[Array]:
    """A sequence, and perhaps states."""
    major = bool(layer.config.get("time_major"))
    x = inputs[0].swapaxes(0, 1) if major else inputs[0]
    outputs, states = run(layer, x, given(layer, inputs))
    return _asked(layer, outputs.swapaxes(0, 1) if major else outputs, outputs[:, -1], states)


def _asked(layer: Layer, outputs: Array, ending: Array, states: list[Array]) -> list[Array]:
    made = [outputs if layer.config.get("return_sequences") else ending]
    return [*made, *states] if layer.config.get("return_state") else made


@evaluates("Bidirectional")
def bidirectional(layer: Layer, inputs: Sequence[Array]) -> list[Array]:
    """Both directions, merged."""
    held = layer.config["layer"]
    turned = {**held, "config": {**held["config"], "go_backwards": not held["config"].get("go_backwards", False)}}
    sides = [held, layer.config.get("backward_layer") or turned]
    half, states = len(layer.weights) // 2, given(layer, inputs)
    made, ends = [], []
    for place, side in enumerate(sides):
        config = side["config"] | {"zero_output_for_mask": side["config"].get("return_sequences")}  # it forces that
        inner = replace(
            layer, kind=side["class_name"], config=config, weights=layer.weights[place * half : (place + 1) * half],
            call={"mask": layer.call.get("mask")},
        )  # fmt: skip
        outputs, final = run(inner, inputs[0], states[place * len(states) // 2 : (place + 1) * len(states) // 2])
        outputs = outputs[:, ::-1] if place else outputs
        made.append(outputs if held["config"].get("return_sequences") else (outputs[:, 0] if place else outputs[:, -1]))
        ends += final
    merged = _merged(made, layer.config.get("merge_mode", "concat"))
    return [*merged, *ends] if held["config"].get("return_state") else merged


def _merged(made: list[Array], mode: str | None) -> list[Array]:
    left, right = made
    if mode is None:
        return made
    modes: dict[str, Callable[[], Any]] = {
        "concat": lambda: np.concatenate(made, axis=-1), "sum": lambda: left + right, "ave": lambda: (left + right) / 2,
        "mul": lambda: left * right,
    }  # fmt: skip
    return [modes[mode]()]


@evaluates("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
def conv_lstm(layer: Layer, inputs: Sequence[Array]) -> list[Array]:
    """Gates by convolutions."""
    config, first = layer.config, layer.config.get("data_format") == "channels_first"
    x = np.moveaxis(inputs[0], 2, -1) if first else inputs[0]
    kernel, past = layer.weights[:2]
    count, filters = kernel.ndim - 2, past.shape[-2]
    bias = layer.weights[2] if config.get("use_bias", True) else np.zeros(4 * filters, np.float32)
    strides, gaps = numbers(config.get("strides", 1), count), numbers(config.get("dilation_rate", 1), count)

    def act(item: Array) -> Array:
        return activated(item, config.get("activation", "tanh"), layer.generation)

    def gate(item: Array) -> Array:
        return activated(item, config.get("recurrent_activation", "hard_sigmoid"), layer.generation)

    def step(item: Array, states: list[Array]) -> tuple[Array, list[Array]]:
        seen = correlate(item, kernel, strides, gaps, str(config.get("padding", "valid"))) + bias
        total = seen + correlate(states[0], past, [1] * count, [1] * count, "same")
        enter, forget, candidate, leave = np.split(total, 4, axis=-1)
        memory = gate(forget) * states[1] + gate(enter) * act(candidate)
        out = gate(leave) * act(memory)
        return out, [out, memory]

    states = given(layer, inputs)
    if not states:
        size = correlate(x[:, 0], kernel, strides, gaps, str(config.get("padding", "valid"))).shape[:-1]
        states = [np.zeros((*size, filters), np.float32)] * 2
    elif first:
        states = [np.moveaxis(state, 1, -1) for state in states]
    outputs, states = loop(
        x, states, step, backwards=bool(config.get("go_backwards")), mask=first_mask(layer.call.get("mask")), zeroed=False
    )
    ending = outputs[:, -1]
    if first:
        outputs, ending = np.moveaxis(outputs, -1, 2), np.moveaxis(ending, -1, 1)
        states = [np.moveaxis(state, -1, 1) for state in states]
    return _asked(layer, outputs, ending, states)
