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


BLOCK = """
net (float[1,16,32] x) => (float[1,16,32] y) {
  n = LayerNormalization(x, g1, h1)
  q = MatMul(n, wq)
  k = MatMul(n, wk)
  v = MatMul(n, wv)
  kt = Transpose<perm=[0,2,1]>(k)
  s = MatMul(q, kt)
  sc = Mul(s, root)
  p = Softmax(sc)
  a = MatMul(p, v)
  o = MatMul(a, wo)
  r = Add(x, o)
  m = LayerNormalization(r, g2, h2)
  f = Reshape(m, flat)
  u = Gemm(f, w1, b1)
  ur = Relu(u)
  d = Gemm<transB=1>(ur, w2, b2)
  dr = Reshape(d, deep)
  y = Add(r, dr)
}
"""


def transformer(seed: int = 0, outlier: float = 30.0) -> Model:
    """One block; a few channels of each normalisation's gain are `outlier` times the others."""
    rng = np.random.default_rng(seed)
    shapes = {"wq": (32, 32), "wk": (32, 32), "wv": (32, 32), "wo": (32, 32), "w1": (32, 96), "w2": (32, 96)}
    weights = {name: (rng.standard_normal(shape) / 6).astype(np.float32) for name, shape in shapes.items()}
    weights |= {name: (rng.standard_normal(size) / 10).astype(np.float32) for name, size in
                {"b1": 96, "b2": 32, "h1": 32, "h2": 32}.items()}  # fmt: skip
    for gain, readers in (("g1", ("wq", "wk", "wv")), ("g2", ("w1",))):
        factors = np.ones(32, np.float32)
        factors[rng.choice(32, 3, replace=False)] = outlier
        weights[gain] = factors * rng.uniform(0.8, 1.2, 32).astype(np.float32)
        for name in readers:
            weights[name] /= (factors**0.8)[:, None]
    return model_of(BLOCK, weights | {
        "root": np.float32(32**-0.5).reshape(()), "flat": np.array([16, 32]), "deep": np.array([1, 16, 32]),
    })  # fmt: skip


def tokens(count: int, seed: int = 1) -> list[Sample]:
    """Correlated rows, as hidden states are."""
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(7).standard_normal((32, 32)) / 4 + np.eye(32)
    return [{"x": (rng.standard_normal((1, 16, 32)) @ mix).astype(np.float32)} for _ in range(count)]


DEMO = Path(__file__).resolve().parents[3] / "demo"


def digits() -> tuple[Model, list[Sample], list[Sample]]:
    """The demo net with 300 of its pictures to calibrate and the others to judge."""
    from bessemer.opening import normalise, open_model
    from bessemer.request import ConvertOptions

    model = open_model(DEMO / "digits.onnx", ConvertOptions().opening)
    normalise(model, ConvertOptions())
    name = model.graph.graph.inputs[0].name or ""
    pictures = np.load(DEMO / "digits_test.npz")["image"]
    samples = [{name: pictures[place : place + 1]} for place in range(len(pictures))]
    return model, samples[:300], samples[300:]
