"""The exact integer emulation against LiteRT's reference kernels: bit for bit on random layers."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.unit.quantize.nets import model_of

from bessemer.ir.errors import UsageError
from bessemer.ir.model import Model
from bessemer.quantize.levels import Quantize
from bessemer.quantize.stage import quantize
from bessemer.runners.litert import LiteRTRunner
from bessemer.runners.tflite_arithmetic import multiplier, rescale, rescale_once
from bessemer.runners.tflite_reference import TFLiteReference
from bessemer.targets.tflite.options import TFLiteOptions
from bessemer.targets.tflite.target import TARGET

LAYERS = {
    "conv": "o = Conv<kernel_shape=[K,K], strides=[S,S], pads=[1,1,1,1]>(x, wc, bc)",
    "same": 'o = Conv<auto_pad="SAME_UPPER", strides=[S,S], kernel_shape=[K,K]>(x, wc, bc)',
    "dilated": "o = Conv<kernel_shape=[K,K], dilations=[2,2]>(x, wc)",
    "depthwise": 'o = Conv<auto_pad="SAME_UPPER", strides=[S,S], group=C, kernel_shape=[K,K]>(x, wd, bd)',
    "relu": "a = Conv<kernel_shape=[K,K]>(x, wc, bc)\n o = Relu(a)",
    "relu6": "a = Conv<kernel_shape=[K,K]>(x, wc, bc)\n o = Clip(a, zero, six)",
    "dense": "t = Transpose<perm=[0,2,3,1]>(x)\n a = MatMul(t, wm)\n o = Add(a, bm)",
    "add": "o = Add(x, z)",
    "add-relu": "a = Add(x, z)\n o = Relu(a)",
    "sub": "o = Sub(x, z)",
    "mul": "o = Mul(x, z)",
    "gate": "g = Sigmoid(z)\n o = Mul(x, g)",
    "average": "o = AveragePool<kernel_shape=[2,2], strides=[S,S]>(x)",
    "average-same": 'o = AveragePool<kernel_shape=[3,3], auto_pad="SAME_UPPER">(x)',
    "max": "o = MaxPool<kernel_shape=[3,3], pads=[1,1,1,1], strides=[S,S]>(x)",
    "mean": "o = GlobalAveragePool(x)",
    "softmax": "o = Softmax<axis=1>(x)",
    "tanh": "o = Tanh(x)",
    "sigmoid": "o = Sigmoid(x)",
    "clip": "o = Relu(x)",
    "concat": "s = Sigmoid(x)\n o = Concat<axis=2>(x, s, z)",
}


def net(name: str, channels: int, kernel: int, stride: int, seed: int) -> tuple[Model, list[dict[str, np.ndarray]]]:
    """A layer and a product behind it, with data of random scales."""
    rng = np.random.default_rng(seed)
    many = 5 if name in ("conv", "same", "dilated", "relu", "relu6", "dense") else channels
    body = LAYERS[name].replace("K,K", f"{kernel},{kernel}").replace("S,S", f"{stride},{stride}")
    shapes = {
        "wc": (5, channels, kernel, kernel), "bc": (5,), "wd": (channels, 1, kernel, kernel), "bd": (channels,),
        "wm": (channels, 5), "bm": (5,), "last": (3, many, 1, 1),
    }  # fmt: skip
    scale = 2 ** rng.uniform(-3, 3, 4)
    constants = {key: (rng.standard_normal(shape) * scale[0]).astype(np.float32) for key, shape in shapes.items()}
    constants |= {"zero": np.float32(0), "six": np.float32(6)}
    behind = "t2 = Transpose<perm=[0,3,1,2]>(o)\n y = Conv(t2, last)" if name == "dense" else "y = Conv(o, last)"
    dims = f"1,{channels},9,8"
    whole = f"{body.replace('=C', f'={channels}')}\n {behind}"
    text = f"net (float[{dims}] x, float[{dims}] z) => (float[a,b,c,d] o, float[e,f,g,h] y) {{ {whole} }}"
    used = {key: np.asarray(array) for key, array in constants.items() if key in whole}
    sizes = {"x": scale[1], "z": scale[2]}
    shape = (1, channels, 9, 8)
    samples = [
        {key: (rng.standard_normal(shape) * size).astype(np.float32) for key, size in sizes.items()} for _ in range(3)
    ]
    return model_of(text, used), samples


def exactly(name: str, channels: int, kernel: int, stride: int, seed: int) -> None:
    model, samples = net(name, channels, kernel, stride, seed)
    made, _ = quantize(model, Quantize(method="minmax", level=-100), samples)
    prepared = TARGET.prepare(made, TFLiteOptions())
    with tempfile.TemporaryDirectory() as folder:
        path = TARGET.write(prepared, Path(folder), "net").path
        runtime, ours = LiteRTRunner(path, reference_kernels=True), TFLiteReference(path)
        for sample in samples:
            want, got = runtime.run(sample), ours.run(sample)
            for key, border in prepared.outputs.items():
                mine = got[next(full for full in got if full.split("/")[0] == border.name.split("/")[0])]
                assert np.array_equal(want[border.name], mine), (name, key, np.abs(want[border.name] - mine).max())


@pytest.mark.parametrize("name", LAYERS)
@settings(max_examples=6, deadline=None, derandomize=True)
@given(st.integers(1, 9), st.sampled_from([1, 3]), st.sampled_from([1, 2]), st.integers(0, 2**20))
def test_layers_are_bit_exact(name: str, channels: int, kernel: int, stride: int, seed: int) -> None:
    exactly(name, channels, kernel, stride, seed)


@given(st.floats(1e-6, 900), st.integers(-(2**24), 2**24))
def test_both_roundings_are_within_one_of_the_real_product(real: float, x: int) -> None:
    assume(abs(x * real) < 2**30)  # the kernels' results are 32-bit integers
    factor = multiplier(real)
    for rule in (rescale, rescale_once):
        assert abs(int(rule(np.array([x]), factor)[0]) - x * real) <= 1 + abs(x * real) * 2.0**-30


def test_an_operator_that_is_not_emulated_is_refused(tmp_path: Path) -> None:
    model = model_of("net (float[1,4] x) => (float[1,4] y) { y = Erf(x) }", {})
    path = TARGET.write(TARGET.prepare(model, TFLiteOptions()), tmp_path, "net").path
    with pytest.raises(UsageError, match="not emulated"):
        TFLiteReference(path).run({"x": np.zeros((1, 4), np.float32)})
