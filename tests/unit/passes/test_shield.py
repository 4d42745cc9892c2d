"""Weights left in float between integer neighbours stay float in ONNX Runtime with all of its optimizers on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bessemer.ir.model import Model, Origin
from bessemer.passes.base import run_passes
from bessemer.passes.qdq import KERNELS_KEY
from bessemer.passes.standard import standard_passes
from bessemer.quantize.judge import emulated, energy
from bessemer.quantize.levels import Quantize
from bessemer.quantize.stage import quantize
from bessemer.runners.graph import GraphRunner
from bessemer.targets.registry import find, validate

NET = """
<ir_version: 8, opset_import: ["" : 18]>
net (float[1,4,12,12] x) => (float[1,4,12,12] y) {
  a = Conv<pads=[1,1,1,1]>(x, w0)
  b = Relu(a)
  c = Conv<pads=[1,1,1,1]>(b, w1)
  d = Relu(c)
  y = Conv<pads=[1,1,1,1]>(d, w2)
}
"""


def uneven() -> Model:
    """The channels of the middle layer's weight differ by a factor of 300, undone behind it."""
    import onnx
    import onnx_ir

    rng = np.random.default_rng(0)
    weights = [rng.standard_normal(shape).astype(np.float32) / 6 for shape in ((8, 4, 3, 3), (8, 8, 3, 3), (4, 8, 3, 3))]
    factors = np.geomspace(1, 300, 8).astype(np.float32)
    weights[1] *= factors[:, None, None, None]
    weights[2] /= factors[None, :, None, None]
    proto = onnx.parser.parse_model(NET)
    named = zip(("w0", "w1", "w2"), weights, strict=True)
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in named)
    for place, node in enumerate(proto.graph.node):
        node.name = f"node{place}"
    graph = onnx_ir.from_proto(proto)
    run_passes(graph, standard_passes({}))
    return Model(graph, Origin("onnx", Path("net.onnx")))


@pytest.mark.parametrize("target", ["onnx", "ort"])
def test_float_weights_are_read_as_they_are(target: str, tmp_path: Path) -> None:
    import onnxruntime

    rng = np.random.default_rng(1)
    samples = [{"x": rng.standard_normal((1, 4, 12, 12)).astype(np.float32)} for _ in range(8)]
    made, _ = quantize(uneven(), Quantize(level=-100, method="minmax", keep=("node2",)), samples)
    made.graph.metadata_props[KERNELS_KEY] = "integer"
    want = GraphRunner(emulated(made.graph), optimize=False).run(samples[0])["y"]
    loaded = find(target).load()
    written = loaded.write(loaded.prepare(made, validate(target, loaded, {})), tmp_path, "net")
    session = onnxruntime.InferenceSession(str(written.path))
    (got,) = session.run(None, samples[0])
    assert energy(got - want) < 1e-4 * energy(want)
