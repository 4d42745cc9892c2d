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
    path: Path, op: str, *, lengths: list[int] | None = None, peep: bool = False, steps: int | str = STEPS,
    batch: int | str = BATCH, **attributes: Any,
) -> Path:  # fmt: skip
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
    shapes = [(steps, count, batch, HIDDEN), (count, batch, HIDDEN), (count, batch, HIDDEN)]
    results = [tensor(name, *shape) for name, shape in zip(outputs, shapes, strict=False)]
    return save(path, [node], [tensor("x", steps, batch, WIDTH)], results, held)


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


@pytest.mark.parametrize("lengths", [None, [2, 5, 1]])
@pytest.mark.parametrize("op", sorted(GATES))
def test_an_unknown_batch_is_unrolled(tmp_path: Path, op: str, lengths: list[int] | None) -> None:
    path = build(tmp_path / "m.onnx", op, batch="N", direction="bidirectional", lengths=lengths)
    prepared = agree(path, tmp_path, {"x": random(STEPS, BATCH, WIDTH)})
    assert "WHILE" not in prepared.operators


@pytest.mark.parametrize("lengths", [None, [2, 5, 1]])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", sorted(GATES))
def test_an_unknown_number_of_steps_is_a_loop(tmp_path: Path, op: str, direction: str, lengths: list[int] | None) -> None:
    path = build(tmp_path / "m.onnx", op, steps="T", batch="N", direction=direction, lengths=lengths)
    prepared = agree(path, tmp_path, {"x": random(STEPS, BATCH, WIDTH)})
    assert prepared.operators["WHILE"] == (2 if direction == "bidirectional" else 1)


@pytest.mark.parametrize("op", ["GRU", "LSTM"])
def test_many_steps_are_a_loop(tmp_path: Path, op: str) -> None:
    path = build(tmp_path / "m.onnx", op, steps=1500)
    prepared = agree(path, tmp_path, {"x": random(1500, BATCH, WIDTH)})
    assert sum(prepared.operators.values()) < 60


def test_the_loop_form_keeps_what_a_node_says(tmp_path: Path) -> None:
    for number, attributes in enumerate(({"linear_before_reset": 1}, {"clip": 0.4}, {})):
        path = build(tmp_path / f"gru{number}.onnx", "GRU", steps="T", **attributes)
        agree(path, tmp_path, {"x": random(STEPS, BATCH, WIDTH)})
    agree(build(tmp_path / "lstm.onnx", "LSTM", steps="T", peep=True), tmp_path, {"x": random(STEPS, BATCH, WIDTH)})


ACTIVATIONS = {
    "hard": ({"activations": ["HardSigmoid", "Tanh", "Relu"], "activation_alpha": [1 / 6], "activation_beta": [0.4]}),
    "linear": ({"activations": ["Sigmoid", "Affine", "Tanh"], "activation_alpha": [1.0], "activation_beta": [0.0]}),
    "soft": ({"activations": ["Sigmoid", "Softsign", "Softplus"]}),
    "elu": ({"activations": ["HardSigmoid", "Elu", "LeakyRelu"], "activation_alpha": [0.3, 0.7, 0.1]}),
}


@pytest.mark.parametrize("steps", [STEPS, "T"])
@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activations_with_parameters(tmp_path: Path, name: str, steps: int | str) -> None:
    path = build(tmp_path / "m.onnx", "LSTM", steps=steps, **ACTIVATIONS[name])
    agree(path, tmp_path, {"x": random(STEPS, BATCH, WIDTH)})
