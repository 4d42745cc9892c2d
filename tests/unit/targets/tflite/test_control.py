"""If and Loop as LiteRT's control flow, against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from tests.unit.targets.tflite.conversion import execute, prepare, reference

from bessemer.ir.errors import Declined
from bessemer.targets.base import Prepared

pytest.importorskip("ai_edge_litert")

LOOP = """<ir_version: 8, opset_import: ["": 17]>
g (int64 n, float[2,3] x) => (float[2,3] y, int64 c) {
  zero = Constant<value = int64 {0}>()
  go = Constant<value = bool {1}>()
  y, c = Loop(n, go, x, zero) <body = b (int64 i, bool going, float[2,3] s, int64 k)
      => (bool again, float[2,3] t, int64 m) {
    half = Constant<value = float {0.5}>()
    small = Mul(s, half)
    t = Add(small, x)
    m = Add(k, i)
    most = Constant<value = float {3.0}>()
    high = ReduceMax<keepdims = 0>(t)
    again = Less(high, most)
  }>
}"""

BRANCHES = """<ir_version: 8, opset_import: ["": 17]>
g (bool which, float[N,3] x, float[3] w) => (float[M,3] y, float[3] z) {
  y, z = If(which) <
    then_branch = yes () => (float[A,3] a, float[3] same) {
      doubled = Add(x, x)
      a = Concat<axis = 0>(doubled, x)
      same = Identity(w)
    },
    else_branch = no () => (float[B,3] b, float[3] fixed) {
      b = Mul(x, w)
      fixed = Constant<value = float[3] {1.0, 2.0, 3.0}>()
    }>
}"""

GROWING = """<ir_version: 8, opset_import: ["": 17]>
g (int64 n, float[2] x) => (float[K,2] y) {
  go = Constant<value = bool {1}>()
  y = Loop(n, go) <body = b (int64 i, bool going) => (bool again, float[2] t) {
    again = Identity(going)
    t = Add(x, x)
  }>
}"""


STOPPING = """<ir_version: 8, opset_import: ["": 17]>
g (int64 n, float[2,W] x) => (float[2,W] y, float[K,2,W] z) {
  go = Constant<value = bool {1}>()
  y, z = Loop(n, go, x) <body = b (int64 i, bool going, float[2,W] s) => (bool again, float[2,W] t, float[2,W] u) {
    two = Constant<value = float {2.0}>()
    t = Mul(s, two)
    u = Neg(t)
    most = Constant<value = float {30.0}>()
    high = ReduceMax<keepdims = 0>(t)
    again = Less(high, most)
  }>
}"""

SCAN = """<ir_version: 8, opset_import: ["": 17]>
g (float[3] h, {x} x) => (float[3] y, {x} z) {{
  y, z = Scan<num_scan_inputs = 1, scan_input_axes = [{axis}], scan_output_axes = [{axis}],
    scan_input_directions = [{back}], scan_output_directions = [{back}],
    body = b (float[3] s, float[3] p) => (float[3] t, float[3] u) {{
      a = Add(s, p)
      t = Tanh(a)
      u = Neg(t)
    }}>(h, x)
}}"""


def compared(prepared: Prepared, folder: Path, path: Path, fed: dict[str, Any]) -> None:
    got, expected = execute(prepared, folder, fed), reference(path, fed)
    for name, array in expected.items():
        assert got[name].shape == array.shape
        np.testing.assert_allclose(got[name], array, rtol=1e-6, atol=1e-6, err_msg=name)


def saved(text: str, path: Path) -> Path:
    model = onnx.parser.parse_model(text)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("steps", [0, 1, 7, 40])
def test_a_loop_stops_by_count_and_by_condition(tmp_path: Path, steps: int) -> None:
    path = saved(LOOP, tmp_path / "m.onnx")
    fed = {"n": np.array(steps, np.int64), "x": np.array([[0.1, 0.2, 0.3], [1.4, 1.6, -2]], np.float32)}
    prepared = prepare(path)
    assert prepared.operators["WHILE"] == 1
    got, expected = execute(prepared, tmp_path, fed), reference(path, fed)
    for name, array in expected.items():
        np.testing.assert_allclose(got[name], array, rtol=1e-6)


@pytest.mark.parametrize("which", [True, False])
def test_only_the_branch_taken_runs_and_sizes_may_differ(tmp_path: Path, which: bool) -> None:
    path = saved(BRANCHES, tmp_path / "m.onnx")
    rng = np.random.default_rng(1)
    fed = {
        "which": np.array(which), "x": rng.normal(size=(2, 3)).astype(np.float32),
        "w": rng.normal(size=3).astype(np.float32),
    }  # fmt: skip
    prepared = prepare(path)
    assert prepared.operators["IF"] == 1
    got, expected = execute(prepared, tmp_path, fed), reference(path, fed)
    for name, array in expected.items():
        assert got[name].shape == array.shape
        np.testing.assert_allclose(got[name], array, rtol=1e-6)


@pytest.mark.parametrize("steps", [0, 1, 7])
def test_results_that_grow_become_rows(tmp_path: Path, steps: int) -> None:
    path = saved(GROWING, tmp_path / "m.onnx")
    fed = {"n": np.array(steps, np.int64), "x": np.array([1, 2], np.float32)}
    prepared = prepare(path)
    assert prepared.operators["WHILE"] == 1
    compared(prepared, tmp_path, path, fed)


@pytest.mark.parametrize("steps", [1, 3, 9])
def test_rows_of_a_loop_that_stops_early_are_cut(tmp_path: Path, steps: int) -> None:
    """The condition fails in the fifth step; rows have as many columns as an outer value says."""
    path = saved(STOPPING, tmp_path / "m.onnx")
    fed = {"n": np.array(steps, np.int64), "x": np.ones((2, 3), np.float32)}
    compared(prepare(path), tmp_path, path, fed)


def test_an_unbounded_loop_whose_results_grow_is_declined_with_the_reason(tmp_path: Path) -> None:
    text = GROWING.replace("(int64 n, float[2] x)", "(float[2] x)").replace("Loop(n, go)", "Loop(, go)")
    with pytest.raises(Declined) as refusal:
        prepare(saved(text, tmp_path / "m.onnx"))
    assert [blocker.rule for blocker in refusal.value.blockers] == ["scan-outputs"]


@pytest.mark.parametrize("backwards", [0, 1])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_scan_over_an_unknown_number_of_steps(tmp_path: Path, axis: int, backwards: int) -> None:
    x = "float[T,3]" if axis == 0 else "float[3,T]"
    path = saved(SCAN.format(x=x, axis=axis, back=backwards), tmp_path / "m.onnx")
    prepared = prepare(path)
    assert prepared.operators["WHILE"] == 1
    for steps in (1, 6):
        shape = (steps, 3) if axis == 0 else (3, steps)
        fed = {"h": np.zeros(3, np.float32), "x": np.random.default_rng(2).normal(size=shape).astype(np.float32)}
        compared(prepared, tmp_path, path, fed)
