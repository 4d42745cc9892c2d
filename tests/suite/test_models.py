"""Whole models of other projects through the targets: verified, or refused with a reason; never wrong, never a crash."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from bessemer.conformance.models import GOOD, run_model
from bessemer.conformance.run import run_models

TARGETS = ("onnx", "ort", "tflite")
SAMPLE = 24


@pytest.mark.slow
def test_a_sample_of_real_graphs(real_asset: Callable[[str], Path]) -> None:
    every = sorted(path for path in real_asset("onnx_graphs").rglob("*.onnx") if path.is_file())
    chosen = every[:: max(1, len(every) // SAMPLE)]
    found = run_models(chosen, TARGETS, jobs=min(3, os.cpu_count() or 2))
    bad = [outcome for outcomes in found.values() for outcome in outcomes if outcome.verdict not in GOOD]
    assert not bad, bad[:10]
    counts = Counter(outcomes[0].verdict for outcomes in found.values())
    assert counts["verified"] >= len(chosen) // 2, counts
    assert all(outcome.reason for outcomes in found.values() for outcome in outcomes if outcome.verdict != "verified")


def saved(path: Path, *nodes: onnx.NodeProto) -> Path:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in "xy")
    graph = helper.make_graph(list(nodes), "g", [x], [y])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("nowhere", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def test_the_classes(tmp_path: Path) -> None:
    good = saved(tmp_path / "good.onnx", helper.make_node("Relu", ["x"], ["y"]))
    custom = saved(tmp_path / "custom.onnx", helper.make_node("Nothing", ["x"], ["y"], domain="nowhere"))
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(good.read_bytes()[:-9])
    verdicts = {path.stem: [item.verdict for item in run_model(str(path), ["onnx"])] for path in (good, custom, broken)}
    assert verdicts == {"good": ["verified"], "custom": ["unrunnable"], "broken": ["unreadable"]}
    assert "Nothing" in run_model(str(custom), ["onnx"])[0].reason


def test_a_worker_that_hangs_or_dies_is_named_and_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = saved(tmp_path / "good.onnx", helper.make_node("Relu", ["x"], ["y"]))
    monkeypatch.setattr("bessemer.conformance.run.MODEL_LIMIT", 0.05)
    assert [item.verdict for item in run_models([good], ["onnx", "ort"])[good]] == ["timeout", "timeout"]
    monkeypatch.setattr("bessemer.conformance.run.MODEL_LIMIT", 60.0)
    monkeypatch.setattr("bessemer.conformance.run.MODEL_MEMORY", 1 << 20)
    assert [item.verdict for item in run_models([good], ["onnx"])[good]] == ["crash"]
    monkeypatch.setattr("bessemer.conformance.run.MODEL_MEMORY", 6 << 30)
    assert [item.verdict for item in run_models([good], ["onnx"])[good]] == ["verified"]
