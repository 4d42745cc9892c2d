"""LSTMs of a TFLite file come back as the operator they were: the same bits, the same memory from call to call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.sources.tflite import test_recurrent as layers
from tests.unit.sources.tflite.single import Array, Builder
from tests.unit.targets.tflite.conversion import execute, prepare

from bessemer.runners.litert import LiteRTRunner
from bessemer.targets.tflite.target import TARGET

pytest.importorskip("ai_edge_litert")


def calls(path: Path, feeds: list[Array]) -> list[Array]:
    """One interpreter, asked again and again."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    answers = []
    for array in feeds:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], array)
        interpreter.invoke()
        answers.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    return answers


@pytest.mark.parametrize("traits", ["", "hybrid", "peephole", "relu", "hybrid relu"])
@pytest.mark.parametrize("name", ["LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM"])
@pytest.mark.parametrize("time_major", [False, True])
def test_same_bits_and_same_memory(tmp_path: Path, name: str, traits: str, time_major: bool) -> None:
    build = Builder()
    out = layers.one_way(build, name, traits, time_major)
    path = build.save([out], tmp_path / "m.tflite")
    prepared = prepare(path)
    assert prepared.operators["UNIDIRECTIONAL_SEQUENCE_LSTM"] == 1
    assert not {"TRANSPOSE", "TANH", "FULLY_CONNECTED"} & set(prepared.operators)
    again = TARGET.write(prepared, tmp_path, "again").path
    feeds = [*build.feeds.values()] * 3
    for want, got in zip(calls(path, feeds), calls(again, feeds), strict=True):
        np.testing.assert_array_equal(got, want)
    assert not np.array_equal(*calls(again, feeds)[:2])


@pytest.mark.parametrize("asymmetric", [False, True])
def test_hybrid_rounding_is_kept(tmp_path: Path, asymmetric: bool) -> None:
    build = Builder()
    out = layers.one_way(build, "UNIDIRECTIONAL_SEQUENCE_LSTM", "hybrid", time_major=False)
    held: Any = build.graph.operators[-1].builtin_options
    held.fields["asymmetric_quantize_inputs"] = asymmetric
    path = build.save([out], tmp_path / "m.tflite")
    want = LiteRTRunner(path).run(build.feeds)
    for name, array in execute(prepare(path), tmp_path, build.feeds).items():
        np.testing.assert_array_equal(array, want[name])


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("traits", ["", "hybrid", "peephole"])
def test_both_ways(tmp_path: Path, traits: str, merged: bool) -> None:
    build = Builder()
    outs = layers.two_ways(build, traits, merged, time_major=True)
    path = build.save(outs, tmp_path / "m.tflite")
    prepared = prepare(path)
    assert prepared.operators["UNIDIRECTIONAL_SEQUENCE_LSTM"] == 2
    want = LiteRTRunner(path, reference_kernels=True).run(build.feeds)
    for name, array in execute(prepared, tmp_path, build.feeds).items():
        np.testing.assert_allclose(array, want[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("traits", ["coupled", "hybrid coupled"])
def test_coupled_gates(tmp_path: Path, traits: str) -> None:
    """The input gate comes back as a gate of its own: sigmoid(-z) for 1 - sigmoid(z)."""
    build = Builder()
    out = layers.one_way(build, "UNIDIRECTIONAL_SEQUENCE_LSTM", traits, time_major=False)
    path = build.save([out], tmp_path / "m.tflite")
    want = LiteRTRunner(path).run(build.feeds)
    for name, array in execute(prepare(path), tmp_path, build.feeds).items():
        np.testing.assert_allclose(array, want[name], rtol=1e-5, atol=1e-5)


def test_half_weights_stay_half(tmp_path: Path) -> None:
    build = Builder()
    out = layers.one_way(build, "UNIDIRECTIONAL_SEQUENCE_LSTM", "", time_major=False)
    path = build.save([out], tmp_path / "m.tflite")
    want = LiteRTRunner(path).run(build.feeds)
    for name, array in execute(prepare(path, precision="float16"), tmp_path, build.feeds).items():
        np.testing.assert_allclose(array, want[name], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("traits", ["hybrid peephole", "hybrid projection clip"])
def test_other_hybrid_cells_keep_their_integers(tmp_path: Path, traits: str) -> None:
    """No operator says them again: other operators round other activations, and the bound says so."""
    from bessemer.targets.tflite.target import REROUNDED
    from bessemer.verify.closeness import Closeness

    build = Builder()
    out = layers.one_way(build, "UNIDIRECTIONAL_SEQUENCE_LSTM", traits, time_major=False)
    path = build.save([out], tmp_path / "m.tflite")
    prepared = prepare(path)
    assert "UNIDIRECTIONAL_SEQUENCE_LSTM" not in prepared.operators
    assert prepared.closeness == REROUNDED
    want = LiteRTRunner(path).run(build.feeds)
    for name, array in execute(prepared, tmp_path, build.feeds).items():
        assert Closeness.parse(REROUNDED).holds(want[name], array)
    kinds = {tensor.type for tensor in prepared.payload.subgraphs[0].tensors if tensor.data}
    assert ("INT8" in kinds) == ("projection" in traits)
