"""If and Loop as LiteRT's control flow, against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from tests.unit.targets.tflite.conversion import execute, prepare, reference

from bessemer.ir.errors import Declined

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


def test_results_that_grow_are_declined_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(Declined) as refusal:
        prepare(saved(GROWING, tmp_path / "m.onnx"))
    assert [blocker.rule for blocker in refusal.value.blockers] == ["scan-outputs"]
