"""Small nets from ONNX text, with real structure: convolutions, depthwise ones, residuals, dense layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from bessemer.ir.model import Model, Origin
from bessemer.passes.base import run_passes
from bessemer.passes.standard import standard_passes
from bessemer.quantize.observe import Sample

CONV = """
net (float[1,3,16,16] x) => (float[1,10] y) {
  a = Conv<pads=[1,1,1,1]>(x, w1, b1)
  ar = Relu(a)
  d = Conv<pads=[1,1,1,1], group=8, strides=[2,2]>(ar, w2, b2)
  dr = Relu(d)
  p = Conv(dr, w3, b3)
  r = Conv<strides=[2,2]>(ar, w4)
  s = Add(p, r)
  sr = Relu(s)
  g = GlobalAveragePool(sr)
  f = Flatten(g)
  y = Gemm<transB=1>(f, w5, b5)
}
"""

SHAPES = {
    "w1": (8, 3, 3, 3), "b1": (8,), "w2": (8, 1, 3, 3), "b2": (8,), "w3": (12, 8, 1, 1), "b3": (12,),
    "w4": (12, 8, 1, 1), "w5": (10, 12), "b5": (10,),
}  # fmt: skip


def model_of(text: str, weights: dict[str, np.ndarray]) -> Model:
    """A canonical model of a graph in ONNX's own notation."""
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]>\n{text}')
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in weights.items())
    graph = ir.from_proto(proto)
    run_passes(graph, standard_passes({}))
    return Model(graph, Origin("onnx", Path("net.onnx")))


def conv_net(seed: int = 0, spread: float = 1.0) -> Model:
    """`spread`: channels of the first layers differ by up to this factor, undone behind them."""
    rng = np.random.default_rng(seed)
    size = {"w": 0.4, "b": 0.2}
    weights = {
        name: (rng.standard_normal(shape) * size[name[0]]).astype(np.float32) for name, shape in SHAPES.items()
    }
    factors = np.exp(rng.uniform(-1, 1, 8) * np.log(spread)).astype(np.float32)
    weights["w2"] *= factors[:, None, None, None]
    weights["b2"] *= factors
    weights["w3"] /= factors[None, :, None, None]
    return model_of(CONV, weights)


def images(count: int, seed: int = 1) -> list[Sample]:
    rng = np.random.default_rng(seed)
    return [{"x": rng.standard_normal((1, 3, 16, 16)).astype(np.float32)} for _ in range(count)]
