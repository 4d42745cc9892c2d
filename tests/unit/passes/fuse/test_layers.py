"""Padding, biases and factors join the layer they belong to; what would change a number stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from tests.unit.passes.fuse.spelled import count, fused, kept, noise, optimized, parsed
from tests.unit.targets.tflite.conversion import agree

from bessemer.passes.batchnorm import FoldAffine
from bessemer.passes.shapes import InferShapes

FRAME = np.array([0, 0, 1, 2, 0, 0, 2, 1])


def padded(layer: str, pad: str = "p = Pad(x, frame)", outputs: str = "float[1,4,h,w] y") -> str:
    return f"g (float[1,3,8,8] x) => ({outputs}) {{ {pad} {layer} }}"


CONV = "y = Conv<strides = [2, 2]>(p, w)"
POOL = "y = AveragePool<kernel_shape = [3, 3]>(p)"
POOLED = "float[1,3,h,w] y"


@pytest.mark.parametrize(
    "layer",
    [
        CONV,
        "y = Conv<pads = [1, 1, 1, 1]>(p, w)",
        'y = Conv<auto_pad = "VALID", dilations = [2, 2]>(p, w, b)',
    ],
)
def test_zeros_around_a_convolution_are_its_pads(layer: str, tmp_path: Path) -> None:
    weights = {"frame": FRAME, "w": noise(4, 3, 3, 3), "b": noise(4)}
    assert fused(padded(layer), {"x": noise(1, 3, 8, 8)}, weights) == {"Conv": 1}
    onnx.save(parsed(padded(layer), weights), tmp_path / "spelled.onnx")
    agree(tmp_path / "spelled.onnx", tmp_path, {"x": noise(1, 3, 8, 8)})


def test_zeros_around_an_average_count(tmp_path: Path) -> None:
    text = padded(POOL, outputs=POOLED)
    assert fused(text, {"x": noise(1, 3, 8, 8)}, {"frame": FRAME}) == {"AveragePool": 1}
    onnx.save(parsed(text, {"frame": FRAME}), tmp_path / "spelled.onnx")
    agree(tmp_path / "spelled.onnx", tmp_path, {"x": noise(1, 3, 8, 8)})


def test_pads_of_named_axes() -> None:
    weights = {"frame": np.array([2, 1]), "axes": np.array([-1]), "w": noise(4, 3, 3, 3)}
    text = padded(CONV, "p = Pad(x, frame, , axes)")
    assert fused(text, {"x": noise(1, 3, 8, 8)}, weights) == {"Conv": 1}


UNLIKE = {
    "reflected": (CONV, 'p = Pad<mode = "reflect">(x, frame)', FRAME, "it does not pad with zeros (reflect)"),
    "ones": (
        CONV,
        "one = Constant<value = float {1.0}>() p = Pad(x, frame, one)",
        FRAME,
        "it does not pad with zeros",
    ),
    "channels": (
        "y = Conv(p, wide)",
        "p = Pad(x, frame)",
        np.array([0, 1, 0, 0, 0, 0, 0, 0]),
        "the channels",
    ),
    "cut": (CONV, "p = Pad(x, frame)", np.array([0, 0, -1, 0, 0, 0, 1, 0]), "it cuts"),
    "same": (
        'y = Conv<auto_pad = "SAME_UPPER">(p, w)',
        "p = Pad(x, frame)",
        FRAME,
        "the layer pads by SAME_UPPER",
    ),
    "own": (
        POOL.replace("<", "<pads = [1, 1, 1, 1], "),
        "p = Pad(x, frame)",
        FRAME,
        "leaves its own padding out",
    ),
    "ceil": (POOL.replace("<", "<ceil_mode = 1, "), "p = Pad(x, frame)", FRAME, "over fewer elements"),
    "wide": (POOL.replace("3, 3", "2, 2"), "p = Pad(x, frame)", FRAME, "padding only"),
}


@pytest.mark.parametrize("case", UNLIKE)
def test_other_padding_stays_and_that_is_said(case: str) -> None:
    layer, pad, frame, reason = UNLIKE[case]
    weights = {"frame": frame, "w": noise(4, 3, 3, 3), "wide": noise(4, 4, 3, 3)}
    text = padded(layer, pad, POOLED if "Pool" in layer else "float[1,4,h,w] y")
    (declined,) = kept(text, {"x": noise(1, 3, 8, 8)}, weights)
    assert reason in declined


def test_padding_that_others_read_stays() -> None:
    text = padded(CONV + " z = Relu(p)", outputs="float[1,4,h,w] y, float[1,3,11,11] z")
    assert kept(text, {"x": noise(1, 3, 8, 8)}, {"frame": FRAME, "w": noise(4, 3, 3, 3)}) == ()


def product(body: str, rows: str = "2", out: str = "2,5") -> str:
    return f"g (float[{rows},3] x) => (float[{out}] y) {{ {body} }}"


MATRIX = {
    "w": noise(3, 5),
    "b": noise(5),
    "k": noise(1, 5),
    "one": np.float32(2).reshape(1),
    "column": noise(2, 1),
}


@pytest.mark.parametrize("bias", ["b", "k"])
def test_a_product_and_a_row_are_a_gemm(bias: str, tmp_path: Path) -> None:
    text = product(f"m = MatMul(x, w) y = Add({bias}, m)", "N", "N,5")
    assert fused(text, {"x": noise(2, 3)}, MATRIX) == {"Gemm": 1}


def test_factors_after_a_product_join_it() -> None:
    text = product("m = MatMul(x, w) a = Add(m, b) f = Mul(a, k) y = Add(f, one)")
    assert fused(text, {"x": noise(2, 3)}, MATRIX) == {"Gemm": 1}


@pytest.mark.parametrize("group", [1, 2])
def test_factors_after_a_transposed_convolution_join_it(group: int) -> None:
    text = (
        f"g (float[1,4,5,5] x) => (float[1,6,7,7] y) {{ c = ConvTranspose<group = {group}>(x, w) "
        "m = Mul(c, k) y = Add(m, s) }"
    )
    weights = {"w": noise(4, 6 // group, 3, 3), "k": noise(6, 1, 1), "s": noise(1, 6, 1, 1)}
    assert fused(text, {"x": noise(1, 4, 5, 5)}, weights) == {"ConvTranspose": 1}


def test_factors_join_a_convolution_of_a_dynamic_batch() -> None:
    text = "g (float[N,3,5,5] x) => (float[N,4,3,3] y) { c = Conv(x, w) m = Mul(c, k) y = Add(m, s) }"
    weights = {"w": noise(4, 3, 3, 3), "k": noise(4, 1, 1), "s": np.asarray(noise(1)[0])}
    assert fused(text, {"x": noise(3, 3, 5, 5)}, weights) == {"Conv": 1}


def test_factors_that_cannot_join_are_named() -> None:
    def said(body: str, outputs: str) -> tuple[str, ...]:
        graph = ir.from_proto(parsed(f"g (float[1,3,5,5] x) => ({outputs}) {{ {body} }}", weights))
        InferShapes().run(graph)
        return FoldAffine().run(graph).declined

    weights = {"w": noise(4, 3, 3, 3), "k": noise(4, 1, 1), "row": noise(3)}
    shape = "float[1,4,3,3]"
    both = said("[conv] c = Conv(x, w) [scale] y = Mul(c, k) z = Relu(c)", f"{shape} y, {shape} z")
    assert both == ("Mul 'scale': others read the result of 'conv' too",)
    across = said("[conv] c = Conv(x, w) [shift] y = Add(c, row)", f"{shape} y")
    assert across == ("Add 'shift': its constant is not one number per channel",)


def test_a_scaled_gemm_and_a_factor_per_row_stay() -> None:
    scaled = product("m = Gemm<alpha = 0.5>(x, w, b) y = Mul(m, k)")
    assert fused(scaled, {"x": noise(2, 3)}, MATRIX) == {"Gemm": 1, "Mul": 1}
    rows = product("m = Gemm(x, w, b) y = Mul(m, column)")
    assert fused(rows, {"x": noise(2, 3)}, MATRIX) == {"Gemm": 1, "Mul": 1}


def test_products_of_more_axes_and_biases_that_are_no_row_stay() -> None:
    deep = "g (float[2,4,3] x) => (float[2,4,5] y) { m = MatMul(x, w) y = Add(m, b) }"
    assert kept(deep, {"x": noise(2, 4, 3)}, MATRIX) == ()
    (declined,) = kept(product("m = MatMul(x, w) y = Add(m, column)"), {"x": noise(2, 3)}, MATRIX)
    assert "the bias is no row" in declined
    graph, _ = optimized(parsed(product("m = MatMul(x, w) y = Add(m, column)"), MATRIX))
    assert count(graph) == {"MatMul": 1, "Add": 1}
