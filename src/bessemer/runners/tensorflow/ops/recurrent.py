"""Recurrent cells and layers, step by step, in float64."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bessemer.ir.types import Array
from bessemer.runners.tensorflow.registry import evaluates
from bessemer.wire.savedmodel.node import Node


def _sigmoid(x: Array) -> Array:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))


def _lstm_step(node: Node, x: Array, cell: Array, hidden: Array, held: Sequence[Array], layout: str) -> list[Array]:
    """held: weights, peepholes (i, f, o), bias. Results: i, cell, f, o, new input, tanh(cell), hidden."""
    first = node.op in ("LSTMBlockCell", "BlockLSTM")
    clip = float(node.attrs.get("cell_clip", 3.0 if first else 0.0))
    sums = np.concatenate([x, hidden], axis=1) @ held[0] + held[4]
    gates = dict(zip(layout, np.split(sums, 4, axis=1), strict=True))
    peeps = held[1:4] if node.attrs.get("use_peephole") else [np.zeros(1)] * 3
    i = _sigmoid(gates["i"] + cell * peeps[0])
    f = _sigmoid(gates["f"] + cell * peeps[1] + (float(node.attrs.get("forget_bias", 1.0)) if first else 0.0))
    new = np.tanh(gates["c"])
    kept = new * i + cell * f
    kept = np.clip(kept, -clip, clip) if clip > 0 else kept
    o = _sigmoid(gates["o"] + kept * peeps[2])
    return [i, kept, f, o, new, np.tanh(kept), np.tanh(kept) * o]


@evaluates("LSTMBlockCell")
def lstm_cell(node: Node, inputs: Sequence[Array]) -> Sequence[Array]:
    """One step."""
    x, cell, hidden, *held = (item.astype(np.float64) for item in inputs)
    return [item.astype(inputs[0].dtype) for item in _lstm_step(node, x, cell, hidden, held, "icfo")]


@evaluates("BlockLSTM", "BlockLSTMV2")
def block_lstm(node: Node, inputs: Sequence[Array]) -> Sequence[Array]:
    """So many steps; zeros behind them."""
    x, cell, hidden, *held = (item.astype(np.float64) for item in inputs[1:])
    made = [np.zeros((len(x), *cell.shape)) for _ in range(7)]
    for step in range(min(int(inputs[0]), len(x))):
        results = _lstm_step(node, x[step], cell, hidden, held, "icfo" if node.op == "BlockLSTM" else "ifco")
        cell, hidden = results[1], results[6]
        for whole, part in zip(made, results, strict=True):
            whole[step] = part
    return [item.astype(inputs[1].dtype) for item in made]


@evaluates("GRUBlockCell")
def gru_cell(node: Node, inputs: Sequence[Array]) -> Sequence[Array]:
    """One step."""
    x, hidden, gate_weights, weights, gate_bias, bias = (item.astype(np.float64) for item in inputs)
    r, u = np.split(_sigmoid(np.concatenate([x, hidden], axis=1) @ gate_weights + gate_bias), 2, axis=1)
    new = np.tanh(np.concatenate([x, hidden * r], axis=1) @ weights + bias)
    return [item.astype(inputs[0].dtype) for item in (r, u, new, u * hidden + (1 - u) * new)]


GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


@evaluates("CudnnRNN", "CudnnRNNV2", "CudnnRNNV3")
def cudnn(node: Node, inputs: Sequence[Array]) -> Sequence[Array]:
    """Stacked layers of cuDNN; sequences have the full length."""
    x, hidden, cell, flat = (item.astype(np.float64) for item in inputs[:4])
    mode = str(node.attrs.get("rnn_mode", "lstm"))
    ways = 2 if str(node.attrs.get("direction", "unidirectional")) == "bidirectional" else 1
    major = bool(node.attrs.get("time_major", True))
    if not major:
        x, hidden, cell = (item.transpose(1, 0, 2) for item in (x, hidden, cell))
    units, layers, gates = hidden.shape[2], hidden.shape[0] // ways, GATES[mode]
    sizes = [[x.shape[2] if layer == 0 else units * ways, units] for layer in range(layers) for _ in range(ways)]
    cuts = [gates * units * width for pair in sizes for width in pair] + [gates * units] * (2 * layers * ways)
    parts = np.split(flat, np.cumsum(cuts)[:-1])
    last, kept = [], []
    for layer in range(layers):
        sides = []
        for way in range(ways):
            number = layer * ways + way
            w, r = (part.reshape(gates, units, -1) for part in parts[2 * number : 2 * number + 2])
            first = 2 * layers * ways + 2 * number
            bw, br = (part.reshape(gates, units) for part in parts[first : first + 2])
            row = x[::-1] if way else x
            made, h, c = _cudnn_way(mode, row, hidden[number], cell[number] if mode == "lstm" else None, w, r, bw, br)
            sides.append(made[::-1] if way else made)
            last.append(h)
            kept.append(cell[number] if c is None else c)
        x = np.concatenate(sides, axis=2)
    results = [x, np.stack(last), np.stack(kept) if mode == "lstm" else cell]
    results = results if major else [item.transpose(1, 0, 2) for item in results]
    spare = np.zeros(0, np.float32)
    return [*(item.astype(inputs[0].dtype) for item in results), spare, np.zeros(0, np.int8)]


def _cudnn_way(
    mode: str, x: Array, h: Array, c: Array | None, w: Array, r: Array, bw: Array, br: Array
) -> tuple[Array, Array, Array | None]:
    made = []
    for row in x:
        seen = np.einsum("bd,gud->gbu", row, w) + bw[:, None]
        back = np.einsum("bd,gud->gbu", h, r) + br[:, None]
        if mode == "lstm":
            i, f, o = (_sigmoid(seen[gate] + back[gate]) for gate in (0, 1, 3))
            c = f * c + i * np.tanh(seen[2] + back[2])
            h = o * np.tanh(c)
        elif mode == "gru":
            reset, update = (_sigmoid(seen[gate] + back[gate]) for gate in (0, 1))
            h = (1 - update) * np.tanh(seen[2] + reset * back[2]) + update * h
        else:
            h = np.tanh(seen[0] + back[0]) if mode == "rnn_tanh" else np.maximum(seen[0] + back[0], 0)
        made.append(h)
    return np.stack(made), h, c
