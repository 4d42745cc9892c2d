"""ONNX Runtime and the reference evaluator as Runners."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bessemer.ir.errors import RuntimeRefused, UsageError
from bessemer.runners.isolated import IsolatedRunner, RuntimeDied
from bessemer.runners.onnx_reference import ReferenceRunner, StandardRunner
from bessemer.runners.onnxruntime import OrtRunner
from bessemer.sources.base import OpenOptions


def model(path: Path, nodes: list[Any], kind: int = TensorProto.FLOAT, opset: int = 17) -> Path:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, [4])],
        [helper.make_tensor_value_info("y", kind, [4])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10), path)
    return path


CHAIN = [helper.make_node("Exp", ["x"], ["e"]), helper.make_node("Neg", ["e"], ["y"])]
X = np.array([0.0, 1.0, -1.0, 2.0], np.float32)


@pytest.mark.parametrize("kind", [OrtRunner, ReferenceRunner, StandardRunner])
def test_run_and_tap_agree_with_numpy(tmp_path: Path, kind: Any) -> None:
    path = model(tmp_path / "m.onnx", CHAIN)
    runner = kind(path)
    np.testing.assert_allclose(runner.run({"x": X})["y"], -np.exp(X), rtol=1e-6)
    tapped = runner.tap({"x": X}, ["e", "nowhere"])
    assert set(tapped) == {"e"}
    np.testing.assert_allclose(tapped["e"], np.exp(X), rtol=1e-6)
    assert [file.name for file in tmp_path.iterdir()] == ["m.onnx"], "a tap leaves no file behind"


def test_bfloat16_crosses_the_border(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", [helper.make_node("Identity", ["x"], ["y"])], TensorProto.BFLOAT16)
    fed = X.astype(ml_dtypes.bfloat16)
    got = OrtRunner(path).run({"x": fed})["y"]
    assert got.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(got, fed)


def test_the_evaluator_takes_over_where_there_is_no_kernel(tmp_path: Path) -> None:
    path = model(
        tmp_path / "m.onnx", [helper.make_node("Mod", ["x", "x"], ["y"], fmod=1)], TensorProto.BFLOAT16
    )
    with pytest.raises(RuntimeRefused):
        OrtRunner(path)
    assert "reference evaluator" in StandardRunner(path).runtime


def test_a_missing_input_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'x'"):
        OrtRunner(model(tmp_path / "m.onnx", CHAIN)).run({})


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2", "float8_e5m2fnuz"])
def test_small_floats_cross_the_border(tmp_path: Path, name: str) -> None:
    """numpy calls some of them floats (kind 'f') and some nothing."""
    dtype = np.dtype(getattr(ml_dtypes, name))
    kind = int(onnx.helper.np_dtype_to_tensor_dtype(dtype))
    path = model(tmp_path / "m.onnx", [helper.make_node("Identity", ["x"], ["y"])], kind, opset=25)
    fed = np.array([1.0, 2.0, 4.0, 0.5], np.float32).astype(dtype)
    got = OrtRunner(path).run({"x": fed})["y"]
    assert got.dtype == dtype
    np.testing.assert_array_equal(got.astype(np.float32), fed.astype(np.float32))


def test_where_both_refuse_both_reasons_are_said(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", [helper.make_node("Nothing", ["x"], ["y"], domain="")])
    with pytest.raises(RuntimeRefused) as refusal:
        StandardRunner(path)
    assert "ONNX Runtime refuses" in str(refusal.value)
    assert "reference evaluator refuses" in str(refusal.value)


def test_an_optional_sequence_comes_out_of_the_evaluator_as_it_is(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 16]>
    g (bool c, float[2] x) => (optional(seq(float[2])) y) {
        y = If (c) <
            then_branch = t () => (optional(seq(float[2])) p) { s = SequenceConstruct (x) p = Optional (s) },
            else_branch = e () => (optional(seq(float[2])) q) { z = SequenceConstruct (x, x) q = Optional (z) }
        >
    }"""
    path = tmp_path / "m.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    for chosen, count in ((True, 1), (False, 2)):
        fed = {"c": np.array(chosen), "x": np.ones(2, np.float32)}
        for runner in (OrtRunner(path), ReferenceRunner(path)):
            assert len(runner.run(fed)["y"]) == count


def test_a_child_that_fails_names_the_file(tmp_path: Path) -> None:
    child = IsolatedRunner("os:abort", str(tmp_path / "m.onnx"), OpenOptions())
    with child as runner, pytest.raises(RuntimeDied, match=r"refused m\.onnx"):
        runner.signature  # noqa: B018  # the access is the test


def test_the_runtimes_reason_is_said_without_its_source_lines(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", [helper.make_node("Mod", ["x", "x"], ["y"])])
    with pytest.raises(RuntimeRefused, match="fmod attribute must be true") as refusal:
        OrtRunner(path).run({"x": X})
    assert ".cc:" not in str(refusal.value)
