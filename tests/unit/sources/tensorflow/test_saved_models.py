"""Models that TensorFlow saved: our graph in ONNX Runtime and our evaluator answer as TensorFlow did."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from bessemer.ir.errors import Declined, UsageError
from bessemer.runners.tensorflow import runner
from bessemer.runners.tensorflow.loading import Ends
from bessemer.sources.base import OpenOptions
from bessemer.sources.sniff import identify
from bessemer.wire.savedmodel.bundle import Bundle
from bessemer.wire.savedmodel.tensors import tensor

BUILDER = Path(__file__).with_name("saved_models.py")
CLOSE = {"rtol": 1e-4, "atol": 2e-5}
HELD = {
    "lstm": "LSTM", "lstm_sequences": "LSTM", "lstm_gate_by_gate": "LSTM", "lstm_backwards": "LSTM", "lstm_cell": "LSTM",
    "lstm_unbound_time": "LSTM", "gru": "GRU", "gru_sequences": "GRU", "gru_reset_before": "GRU", "simple_rnn": "RNN",
    "gru_unbound_time": "GRU", "frozen_lstm": "LSTM", "frozen_basic_lstm": "LSTM", "frozen_gru": "GRU",
    "checkpoint_gru": "GRU", "branch": "If", "switch_case": "If", "frozen_cond": "If", "loop_until_large": "Loop",
    "loop_of_known_length": "Loop", "loop_collects": "Loop", "frozen_while": "Loop", "conv_lstm": "Loop",
}  # fmt: skip
"""What a model's structure must have become."""
SAME = (
    "branch", "branch_taken_other_way", "checkpoint_gru", "checkpoint_partitioned", "conv_lstm", "convolutions", "dense",
    "frozen_basic_lstm", "frozen_cond", "frozen_dense", "frozen_gru", "frozen_lstm", "frozen_while", "gru",
    "gru_reset_before", "gru_sequences", "gru_unbound_time", "half_and_integers", "keras_network", "keras_three",
    "loop_collects", "loop_of_known_length", "loop_unrolled", "loop_until_large", "lstm", "lstm_backwards",
    "lstm_bidirectional", "lstm_cell", "lstm_gate_by_gate", "lstm_sequences", "lstm_unbound_time", "map_fn",
    "nested_calls", "saved_model_of_version_one", "sharded_variables", "simple_rnn", "stacked_cells", "switch_case",
    "checkpoint_of_version_one", "two_signatures", "unbound_batch_reshape", "without_signatures", "lstm_masked",
)  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models, made by TensorFlow in one process of its own, once for all workers of a run."""
    if find_spec("tensorflow") is None or find_spec("tf_keras") is None:
        pytest.skip("TensorFlow is not installed")
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "tensorflow-models"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "index.json").exists():
            command = [sys.executable, str(BUILDER), str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=900)
            assert done.returncode == 0, done.stderr[-3000:]
    return folder


def opened(folder: Path, name: str) -> tuple[Path, OpenOptions, dict[str, Any], dict[str, Any]]:
    """Path, options, inputs and TensorFlow's answers of a case."""
    stated = json.loads((folder / "index.json").read_text())[name]
    held = np.load(folder / f"{name}.npz")
    inputs = {key[3:]: held[key] for key in held.files if key.startswith("in:")}
    wanted = {key[4:]: held[key] for key in held.files if key.startswith("out:")}
    wanted = {f"{key}_out" if key in inputs else key: value for key, value in wanted.items()}
    return folder / stated["path"], OpenOptions(signature=stated["signature"]), inputs, wanted


def answered(graph: Any, inputs: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What ONNX Runtime computes with a graph."""
    import onnx_ir
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    onnx_ir.save(graph, folder / "graph.onnx")
    session = onnxruntime.InferenceSession(folder / "graph.onnx", providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


def compare(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        assert found[name].shape == value.shape, name
        assert found[name].dtype == value.dtype, name
        np.testing.assert_allclose(found[name], value, **CLOSE, err_msg=name)


@pytest.mark.parametrize("name", SAME)
def test_the_graph_means_what_tensorflow_computes(built: Path, name: str, tmp_path: Path) -> None:
    path, options, inputs, wanted = opened(built, name)
    model = identify(path).load().open(path, options)
    assert {spec.name for spec in model.signature.inputs} == set(inputs)
    compare(answered(model.graph, inputs, tmp_path), wanted)
    if name in HELD:
        kinds = Counter(node.op_type for node in model.graph.graph.all_nodes())
        assert kinds[HELD[name]] == (2 if name == "frozen_cond" else 1)
        assert HELD[name] == "Loop" or not kinds["Loop"]


@pytest.mark.parametrize("name", SAME)
def test_the_evaluator_computes_what_tensorflow_does(built: Path, name: str) -> None:
    path, options, inputs, wanted = opened(built, name)
    compare(runner.of(path, options.signature, "reference").run(inputs), wanted)


def test_both_runners_tap_the_same_values(built: Path) -> None:
    path, _, inputs, _ = opened(built, "frozen_dense")
    taps = [runner.of(path, None, which).tap(inputs, ["Softmax", "nowhere"]) for which in ("reference", "runtime")]
    assert set(taps[0]) == set(taps[1]) == {"Softmax"}
    np.testing.assert_allclose(taps[0]["Softmax"], taps[1]["Softmax"], **CLOSE)


def test_tensorflow_itself_answers_alike(built: Path) -> None:
    for name in ("two_signatures", "frozen_dense", "checkpoint_partitioned"):
        path, options, inputs, wanted = opened(built, name)
        compare(runner.of(path, options.signature, "runtime").run(inputs), wanted)


def test_a_signature_is_asked_for_where_there_are_several(built: Path) -> None:
    path = built / "two_signatures"
    with pytest.raises(UsageError, match=r"2 signatures.*down, up"):
        identify(path).load().open(path, OpenOptions())
    with pytest.raises(UsageError, match="no signature 'left'"):
        identify(path).load().open(path, OpenOptions(signature="left"))


def test_the_file_in_a_saved_model_stands_for_its_folder(built: Path) -> None:
    path, _, inputs, wanted = opened(built, "dense")
    compare(runner.of(path / "saved_model.pb", None, "reference").run(inputs), wanted)
    assert identify(path / "saved_model.pb").name == identify(path).name == "tensorflow"


def test_state_is_declined(built: Path) -> None:
    path, options, _, _ = opened(built, "stateful")
    with pytest.raises(Declined, match="is assigned while the model runs"):
        identify(path).load().open(path, options)


def test_all_missing_operators_are_named_at_once(built: Path) -> None:
    path, options, _, _ = opened(built, "many_missing")
    with pytest.raises(Declined) as caught:
        identify(path).load().open(path, options)
    kinds = {blocker.op for blocker in caught.value.blockers}
    assert {"AsString", "RandomStandardNormal", "StringLength"} <= kinds


def test_a_graph_may_be_cut_at_any_value(built: Path, tmp_path: Path) -> None:
    path, _, inputs, wanted = opened(built, "frozen_dense")
    product = runner.of(path, None, "reference", Ends(outputs=("matmul",))).run(inputs)["matmul"]
    options = OpenOptions(inputs=("matmul",), outputs=("Softmax",), shapes={"matmul": (3, 4)})
    model = identify(path).load().open(path, options)
    compare({"y": answered(model.graph, {"matmul": product}, tmp_path)["Softmax"]}, wanted)


def test_every_encoding_of_constants(built: Path) -> None:
    held = np.load(built / "tensors.npz", allow_pickle=True)
    assert len(held["protos"]) > 150
    for proto, (kind, shape, content) in zip(held["protos"], held["arrays"], strict=True):
        found = tensor(memoryview(proto))
        assert found.dtype.name == kind and found.shape == tuple(shape)
        if kind == "object":
            assert found.tolist() == content
        else:
            wanted = np.frombuffer(content, getattr(ml_dtypes, kind, None) or np.dtype(kind)).reshape(shape)
            assert found.tobytes() == wanted.tobytes(), (kind, shape)


def test_bundles_hold_what_was_saved(built: Path) -> None:
    wanted = np.load(built / "bundle.npz", allow_pickle=True)
    held = Bundle(built / "bundle" / "values")
    keys = {key[2:] for key in wanted.files if key.startswith("k:")}
    assert set(held) == keys and len(keys) > 900
    for key in keys:
        assert held[key].dtype == wanted[f"k:{key}"].dtype
        assert held[key].tolist() == wanted[f"k:{key}"].tolist(), key
    parts = Bundle(built / "bundle" / "values-parts")
    np.testing.assert_array_equal(parts["odd\x01name"], wanted["whole"])
