"""What was fused reaches every opset and runtime again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from tests.unit.passes.fuse.spelled import noise, parsed

from bessemer.opening import normalise, open_model
from bessemer.request import ConvertOptions
from bessemer.runners.onnxruntime import OrtRunner
from bessemer.targets.registry import find, validate

BODY = """g (float[2,8,16] x) => (float[2,8,16] y) {
    two = Constant<value = float {2.0}>() eps = Constant<value = float {0.001}>() last = Constant<value_ints = [-1]>()
    one = Constant<value = float {1.0}>() half = Constant<value = float {0.5}>()
    root = Constant<value = float {1.41421356}>()
    s = Sigmoid(x) w = Mul(x, s)
    q = Pow(w, two) v = ReduceMean(q, last) a = Add(v, eps) r = Sqrt(a) u = Div(w, r) n = Mul(u, gamma)
    d = Div(n, root) e = Erf(d) f = Add(e, one) m = Mul(n, f) g = Mul(m, half)
    b = Reshape(g, groups) c = InstanceNormalization(b, ones, zeros) h = Reshape(c, back) k = Mul(h, column)
    y = Add(k, column)
}"""
WEIGHTS = {
    "gamma": noise(16), "groups": np.array([0, 4, -1]), "back": np.array([2, 8, 16]), "column": noise(8, 1),
    "ones": np.ones(4, np.float32), "zeros": np.zeros(4, np.float32),
}  # fmt: skip


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("opset", [None, 13, 17, 20, 23, 24, 26])
@pytest.mark.parametrize("name", ["onnx", "ort"])
def test_every_opset_runs_what_was_fused(
    name: str, opset: int | None, precision: str, tmp_path: Path
) -> None:
    path = tmp_path / "spelled.onnx"
    onnx.save(parsed(BODY, WEIGHTS), path)
    fed = {"x": noise(2, 8, 16)}
    want = OrtRunner(path).run(fed)["y"]
    model = open_model(path, ConvertOptions().opening)
    normalise(model, ConvertOptions())
    made = {node.op_type for node in model.graph.graph}
    assert made == {"Swish", "RMSNormalization", "Gelu", "GroupNormalization"}
    target = find(name).load()
    prepared = target.prepare(model, validate(name, target, {"opset": opset, "precision": precision}))
    artifact = target.write(prepared, tmp_path, "made")
    tolerance = 1e-5 if precision == "float32" else 2e-2
    np.testing.assert_allclose(OrtRunner(artifact.path).run(fed)["y"], want, rtol=tolerance, atol=tolerance)


def test_a_fused_operator_makes_no_file_newer(tmp_path: Path) -> None:
    path = tmp_path / "spelled.onnx"
    onnx.save(parsed(BODY, WEIGHTS), path)
    model = open_model(path, ConvertOptions().opening)
    normalise(model, ConvertOptions())
    target = find("onnx").load()
    artifact = target.write(target.prepare(model, validate("onnx", target, {})), tmp_path, "made")
    assert onnx.load(artifact.path).opset_import[0].version == 21
