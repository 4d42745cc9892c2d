"""RNN, GRU and LSTM against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper
from tests.unit.targets.tflite.conversion import agree, random, save, tensor, weight

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
STEPS, BATCH, WIDTH, HIDDEN = 5, 3, 4, 6


def build(
    path: Path, op: str, *, lengths: list[int] | None = None, peep: bool = False, **attributes: Any
) -> Path:
    """A model of one node with constant weights and all its outputs."""
    count, gates = 2 if attributes.get("direction") == "bidirectional" else 1, GATES[op] * HIDDEN
    held = [weight("w", count, gates, WIDTH, scale=0.5), weight("r", count, gates, HIDDEN, scale=0.5)]
    held.append(weight("b", count, 2 * gates, scale=0.3))
    inputs = ["x", "w", "r", "b", ""]
    if lengths is not None:
        held.append(numpy_helper.from_array(np.array(lengths, np.int32), "lengths"))
        inputs[4] = "lengths"
    if peep:
        held.append(weight("p", count, 3 * HIDDEN))
        inputs += ["", "", "p"]
    outputs = ["y", "y_h", "y_c"][: 3 if op == "LSTM" else 2]
    node = helper.make_node(op, inputs, outputs, hidden_size=HIDDEN, **attributes)
    shapes = [(STEPS, count, BATCH, HIDDEN), (count, BATCH, HIDDEN), (count, BATCH, HIDDEN)]
    results = [tensor(name, *shape) for name, shape in zip(outputs, shapes, strict=False)]
    return save(path, [node], [tensor("x", STEPS, BATCH, WIDTH)], results, held)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", sorted(GATES))
def test_directions(tmp_path: Path, op: str, direction: str) -> None:
    path = build(tmp_path / "m.onnx", op, direction=direction)
    agree(path, tmp_path, {"x": random(STEPS, BATCH, WIDTH)})


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", sorted(GATES))
def test_sequences_of_their_own_length(tmp_path: Path, op: str, direction: str) -> None:
    path = build(tmp_path / "m.onnx", op, direction=direction, lengths=[2, 5, 1])
    agree(path, tmp_path, {"x": random(STEPS, BATCH, WIDTH)})


def test_reset_before_the_product(tmp_path: Path) -> None:
    path = build(tmp_path / "m.onnx", "GRU", linear_before_reset=1)
    agree(path, tmp_path, {"x": random(STEPS, BATCH, WIDTH)})


def test_clip(tmp_path: Path) -> None:
    path = build(tmp_path / "m.onnx", "GRU", clip=0.4)
    agree(path, tmp_path, {"x": random(STEPS, BATCH, WIDTH)})


def test_peepholes(tmp_path: Path) -> None:
    path = build(tmp_path / "m.onnx", "LSTM", peep=True)
    agree(path, tmp_path, {"x": random(STEPS, BATCH, WIDTH)})


def test_other_activations(tmp_path: Path) -> None:
    path = build(tmp_path / "m.onnx", "LSTM", activations=["Sigmoid", "Relu", "Tanh"])
    agree(path, tmp_path, {"x": random(STEPS, BATCH, WIDTH)})
