"""Normalizations as exporters spell them become one operator; other axes and shapes do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from tests.unit.passes.fuse.spelled import fused, kept, noise, parsed
from tests.unit.targets.tflite.conversion import agree

NUMBERS = (
    "two = Constant<value = float {2.0}>() one = Constant<value = float {1.0}>() "
    "eps = Constant<value = float {0.00001}>() minus = Constant<value = float {-0.5}>() "
    "plus = Constant<value = float {0.5}>() last = Constant<value_ints = [-1]>() "
)
CENTRED = "m = ReduceMean(x, last) d = Sub(x, m) "
VARIANCE = CENTRED + "q = Pow(d, two) v = ReduceMean(q, last) a = Add(v, eps) "
SQUARE = "q = Pow(x, two) v = ReduceMean(q, last) a = Add(v, eps) "
SPELLINGS = {
    "torch": (
        "LayerNormalization",
        VARIANCE + "s = Sqrt(a) n = Div(d, s) g = Mul(n, gamma) y = Add(g, beta)",
    ),
    "plain": ("LayerNormalization", VARIANCE + "s = Sqrt(a) y = Div(d, s)"),
    "scale only": ("LayerNormalization", VARIANCE + "s = Sqrt(a) n = Div(d, s) y = Mul(gamma, n)"),
    "reciprocal": (
        "LayerNormalization",
        VARIANCE + "s = Sqrt(a) r = Reciprocal(s) n = Mul(d, r) g = Mul(n, gamma) y = Add(beta, g)",
    ),
    "power": (
        "LayerNormalization",
        VARIANCE + "r = Pow(a, minus) n = Mul(r, d) g = Mul(n, gamma) y = Add(g, beta)",
    ),
    "one over": ("LayerNormalization", VARIANCE + "s = Pow(a, plus) r = Div(one, s) y = Mul(d, r)"),
    "product": (
        "LayerNormalization",
        CENTRED + "q = Mul(d, d) v = ReduceMean(q, last) a = Add(eps, v) s = Sqrt(a) n = Div(d, s) "
        "g = Mul(n, gamma) y = Add(g, beta)",
    ),
    "tensorflow": (
        "LayerNormalization",
        VARIANCE + "s = Sqrt(a) r = Reciprocal(s) k = Mul(r, gamma) f = Mul(x, k) o = Mul(m, k) "
        "c = Sub(beta, o) y = Add(f, c)",
    ),
    "llama": ("RMSNormalization", SQUARE + "s = Sqrt(a) r = Reciprocal(s) n = Mul(x, r) y = Mul(gamma, n)"),
    "root mean square": ("RMSNormalization", SQUARE + "s = Sqrt(a) n = Div(x, s) y = Mul(n, gamma)"),
}


def graph_of(body: str, outputs: str = "float[2,3,8] y", source: str = "float[2,3,8] x") -> str:
    return f"g ({source}) => ({outputs}) {{ {NUMBERS} {body} }}"


def vectors(*shape: int) -> dict[str, np.ndarray]:
    return {"gamma": noise(*shape), "beta": noise(*shape)}


@pytest.mark.parametrize("case", SPELLINGS)
def test_a_spelling_becomes_one_operator_and_comes_back_for_an_old_opset(case: str) -> None:
    op, body = SPELLINGS[case]
    assert fused(graph_of(body), {"x": noise(2, 3, 8)}, vectors(8)) == {op: 1}


@pytest.mark.parametrize("shape", [(1, 1, 8), (8,)])
def test_a_dynamic_batch_and_vectors_with_leading_ones(shape: tuple[int, ...]) -> None:
    body = graph_of(SPELLINGS["torch"][1], "float[N,3,8] y", "float[N,3,8] x")
    assert fused(body, {"x": noise(5, 3, 8)}, vectors(*shape)) == {"LayerNormalization": 1}


def test_several_last_axes() -> None:
    body = SPELLINGS["torch"][1].replace("last", "both")
    text = graph_of("both = Constant<value_ints = [1, 2]>() " + body)
    assert fused(text, {"x": noise(2, 3, 8)}, vectors(3, 8)) == {"LayerNormalization": 1}


def test_spatial_axes_with_vectors_per_channel_are_an_instance_normalization() -> None:
    body = SPELLINGS["torch"][1].replace("last", "space")
    text = graph_of("space = Constant<value_ints = [2, 3]>() " + body, "float[2,3,4,4] y", "float[2,3,4,4] x")
    assert fused(text, {"x": noise(2, 3, 4, 4)}, vectors(3, 1, 1)) == {"InstanceNormalization": 1}


@pytest.mark.parametrize("case", ["torch", "tensorflow", "llama"])
def test_litert_computes_the_same(case: str, tmp_path: Path) -> None:
    onnx.save(parsed(graph_of(SPELLINGS[case][1]), vectors(8)), tmp_path / "spelled.onnx")
    agree(tmp_path / "spelled.onnx", tmp_path, {"x": noise(2, 3, 8)})


def test_the_first_axis_stays_and_that_is_said() -> None:
    body = SPELLINGS["plain"][1].replace("last", "first").replace("Sqrt", "Sqrt").replace("s =", "[root] s =")
    declined = kept(graph_of("first = Constant<value_ints = [1]>() " + body), {"x": noise(2, 3, 8)})
    assert declined == ("'root': it normalizes axes [1] of 3, the operator takes the last ones",)


def test_what_others_read_stays_and_that_is_said() -> None:
    body = VARIANCE + "s = Sqrt(a) [end] y = Div(d, s) z = Exp(v)"
    declined = kept(graph_of(body, "float[2,3,8] y, float[2,3,1] z"), {"x": noise(2, 3, 8)})
    assert declined == ("LayerNormalization at 'end': others read 'v' too",)


NEAR_MISSES = {
    "cube": VARIANCE.replace("q = Pow(d, two)", "e = Mul(d, d) q = Mul(e, d)") + "s = Sqrt(a) y = Div(d, s)",
    "x over the deviation": VARIANCE + "s = Sqrt(a) y = Div(x, s)",
    "upside down": VARIANCE + "s = Sqrt(a) y = Div(s, d)",
    "another mean": "m = ReduceMax(x, last) d = Sub(x, m) q = Pow(d, two) w = ReduceSum(q, last) a = Add(w, eps) "
    "s = Sqrt(a) y = Div(d, s)",
}


@pytest.mark.parametrize("case", NEAR_MISSES)
def test_other_formulas_stay(case: str) -> None:
    assert kept(graph_of(NEAR_MISSES[case]), {"x": np.abs(noise(2, 3, 8)) + 1}) == ()


GROUPS = "r = Reshape(x, groups) n = InstanceNormalization<epsilon = 0.001>(r, ones, zeros) "
BACK = "b = Reshape(n, back) s = Mul(b, gamma) y = Add(s, beta)"


def grouped(back: list[int], count: int = 2) -> dict[str, np.ndarray]:
    return {
        "groups": np.array([0, count, -1]), "ones": np.ones(count, np.float32), "zeros": np.zeros(count, np.float32),
        "back": np.array(back), **vectors(6, 1, 1),
    }  # fmt: skip


@pytest.mark.parametrize("batch", ["2", "N"])
def test_a_group_normalization(batch: str, tmp_path: Path) -> None:
    shape = f"float[{batch},6,4,4]"
    target = "t = Shape(x) b = Reshape(n, t)" if batch == "N" else "b = Reshape(n, back)"
    text = graph_of(f"{GROUPS} {target} s = Mul(b, gamma) y = Add(s, beta)", f"{shape} y", f"{shape} x")
    weights = grouped([2, 6, 4, 4])
    assert fused(text, {"x": noise(2, 6, 4, 4)}, weights) == {"GroupNormalization": 1}
    onnx.save(parsed(text, weights), tmp_path / "spelled.onnx")
    if batch == "2":
        agree(tmp_path / "spelled.onnx", tmp_path, {"x": noise(2, 6, 4, 4)})


def test_groups_that_swallow_the_batch_stay() -> None:
    text = graph_of(
        f"{GROUPS} b = Reshape(n, back) s = Mul(b, gamma) y = Add(s, beta)",
        "float[2,6,4,4] y",
        "float[2,6,4,4] x",
    )
    weights = grouped([2, 6, 4, 4]) | {"groups": np.array([1, 2, -1])}
    assert kept(text, {"x": noise(2, 6, 4, 4)}, weights) == ()


def test_groups_with_vectors_of_their_own_stay() -> None:
    text = graph_of(
        f"{GROUPS} b = Reshape(n, back) s = Mul(b, gamma) y = Add(s, beta)",
        "float[2,6,4,4] y",
        "float[2,6,4,4] x",
    )
    weights = grouped([2, 6, 4, 4]) | {"ones": np.array([1, 2], np.float32)}
    assert kept(text, {"x": noise(2, 6, 4, 4)}, weights) == ()
