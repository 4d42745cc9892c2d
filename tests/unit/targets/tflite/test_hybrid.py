"""int8 weights beside float activations in LiteRT's hybrid kernels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.unit.quantize.nets import model_of

from bessemer.ir.canonical import HYBRID_KEY
from bessemer.ir.errors import Declined, UsageError
from bessemer.ir.model import Model
from bessemer.quantize.hybrid import make_hybrid
from bessemer.runners.graph import GraphRunner
from bessemer.targets.tflite.options import TFLiteOptions
from bessemer.targets.tflite.target import TARGET

NETS: dict[str, tuple[str, tuple[int, ...], tuple[int, ...]]] = {
    "conv": ("y = Conv<pads=[1,1,1,1]>(x, w, b)", (1, 16, 8, 10), (32, 16, 3, 3)),
    "no-bias": ("y = Conv<strides=[2,2]>(x, w)", (2, 16, 8, 10), (32, 16, 3, 3)),
    "relu": ("a = Conv(x, w, b)\n y = Relu(a)", (1, 16, 8, 10), (32, 16, 3, 3)),
    "depthwise": ("y = Conv<group=128>(x, w, b)", (1, 128, 8, 10), (128, 1, 3, 3)),
    "dilated-depthwise": ("y = Conv<group=128, dilations=[2,2]>(x, w, b)", (1, 128, 8, 10), (128, 1, 3, 3)),
    "grouped": ("y = Conv<group=2>(x, w, b)", (1, 32, 8, 10), (32, 16, 3, 3)),
    "dilated": ("y = Conv<dilations=[2,2]>(x, w, b)", (1, 16, 8, 10), (32, 16, 3, 3)),
    "one-axis": ("y = Conv<pads=[1,1]>(x, w, b)", (1, 16, 20), (32, 16, 3)),
    "gemm": ("y = Gemm<transB=1>(x, w, b)", (3, 64), (32, 64)),
    "gemm-turned": ("y = Gemm(x, w, b)", (3, 64), (64, 32)),
    "matmul": ("y = MatMul(x, w)", (2, 5, 64), (64, 32)),
    "matmul-bias": ("a = MatMul(x, w)\n y = Add(a, b)", (2, 5, 64), (64, 32)),
}


def made(name: str) -> tuple[Model, dict[str, np.ndarray]]:
    body, shape, weight = NETS[name]
    rng = np.random.default_rng(0)
    channels = weight[1] if name in ("gemm-turned", "matmul", "matmul-bias") else weight[0]
    constants = {"w": rng.standard_normal(weight), "b": rng.standard_normal(channels)}
    out = ",".join(f"d{axis}" for axis in range(len(shape)))
    text = f"net (float[{','.join(map(str, shape))}] x) => (float[{out}] y) {{ {body} }}"
    model = model_of(text, {key: array.astype(np.float32) for key, array in constants.items() if f" {key}" in body})
    return model, {"x": (rng.standard_normal(shape) + 0.3).astype(np.float32)}


@pytest.mark.parametrize("name", NETS)
def test_a_hybrid_kernel_loses_no_more_than_eight_bits_do(name: str, tmp_path: Path) -> None:
    model, inputs = made(name)
    want = GraphRunner(model.graph).run(inputs)["y"]
    make_hybrid(model)
    prepared = TARGET.prepare(model, TFLiteOptions(precision="int8-dynamic"))
    assert not {"QUANTIZE", "DEQUANTIZE"} & set(prepared.operators)
    weights = [tensor for tensor in prepared.payload.subgraphs[0].tensors if tensor.type == "INT8"]
    assert len(weights) == 1
    assert weights[0].encoding.scale.shape == ((128,) if "depthwise" in name else (32,))
    got = TARGET.runner(TARGET.write(prepared, tmp_path, "net").path).run(inputs)[prepared.outputs["y"].name]
    assert 10 * np.log10((want**2).sum() / ((got - want) ** 2).sum()) > 36
    assert not np.array_equal(got, want)


@pytest.mark.parametrize(
    ("body", "weight", "keep", "reason"),
    [
        ("y = Conv(x, w)", (4, 16, 1, 1), (), "fewer than 1024"),
        ("y = Conv(x, w)", (64, 16, 1, 1), ("Conv",), "kept by"),
        ("y = ConvTranspose(x, w)", (16, 64, 1, 1), (), "ConvTranspose"),
        ("a = Conv(x, w)\n y = Add(a, w)", (64, 16, 1, 1), (), "read by others"),
    ],
)
def test_what_cannot_be_hybrid_is_said(body: str, weight: tuple[int, ...], keep: tuple[str, ...], reason: str) -> None:
    rng = np.random.default_rng(0)
    shape = "64,16,64,16" if "Add" in body else "1,16,8,10"
    text = f"net (float[{'1,16,1,16' if 'Add' in body else shape}] x) => (float[a,b,c,d] y) {{ {body} }}"
    if "Add" in body:
        text = "net (float[1,16,1,1] x) => (float[a,b,c,d] y) { a = Conv(x, w)\n y = Add(a, w) }"
    model = model_of(text, {"w": rng.standard_normal(weight).astype(np.float32)})
    with pytest.raises(UsageError, match="nothing to quantize") as caught:
        make_hybrid(model, keep)
    assert reason in caught.value.why
    assert all(HYBRID_KEY not in node.metadata_props for node in model.graph.graph)


def test_integer_borders_need_integers_inside() -> None:
    model, _ = made("conv")
    make_hybrid(model)
    with pytest.raises(Declined):
        TARGET.prepare(model, TFLiteOptions(precision="int8-dynamic", io_type="int8"))


def test_weights_that_nobody_quantized_are_no_dynamic_range_model() -> None:
    model, _ = made("conv")
    with pytest.raises(UsageError):
        TARGET.prepare(model, TFLiteOptions(precision="int8-dynamic"))
