"""Activations as exporters spell them become one operator; what only looks like them does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from tests.unit.passes.fuse.spelled import fused, kept, noise, optimized, parsed
from tests.unit.targets.tflite.conversion import agree

from bessemer.ir.encoding import Encoding, set_encoding
from bessemer.ir.model import layer_of
from bessemer.passes.fuse import Fuse
from bessemer.passes.shapes import InferShapes

ERF = "r = Constant<value = float {1.4142135381698608}>() d = Div(x, r) e = Erf(d)"
CONSTANTS = (
    "half = Constant<value = float {0.5}>() one = Constant<value = float {1.0}>() "
    "three = Constant<value = float {3.0}>() six = Constant<value = float {6.0}>() "
    "zero = Constant<value = float {0.0}>() cubic = Constant<value = float {0.044715}>() "
    "slope = Constant<value = float {0.7978845608028654}>() root = Constant<value = float {0.70710678}>() "
    "two = Constant<value = float {2.0}>() quick = Constant<value = float {1.702}>() "
    "twenty = Constant<value = float {20.0}>() sixth = Constant<value = float {0.1666666716337204}>() "
)

SPELLINGS = {
    "torch erf": ("Gelu", f"{ERF} a = Add(e, one) m = Mul(x, a) y = Mul(m, half)"),
    "half first": ("Gelu", f"{ERF} a = Add(one, e) h = Mul(half, x) y = Mul(h, a)"),
    "half in the sum": ("Gelu", "d = Mul(x, root) e = Erf(d) a = Add(e, one) h = Mul(a, half) y = Mul(x, h)"),
    "erfc": ("Gelu", "n = Neg(x) d = Mul(n, root) e = Erf(d) a = Sub(one, e) h = Mul(x, half) y = Mul(a, h)"),
    "halved by division": ("Gelu", f"{ERF} a = Add(e, one) m = Mul(x, a) y = Div(m, two)"),
    "tanh": (
        "Gelu",
        (
            "p = Pow(x, three) c = Mul(p, cubic) s = Add(x, c) k = Mul(s, slope) t = Tanh(k) a = Add(t, one) "
            "h = Mul(x, half) y = Mul(h, a)"
        ),
    ),
    "tanh with products": (
        "Gelu",
        (
            "q = Mul(x, x) c = Mul(cubic, q) o = Add(one, c) k = Mul(slope, x) z = Mul(k, o) t = Tanh(z) "
            "a = Add(one, t) m = Mul(a, x) y = Mul(half, m)"
        ),
    ),
    "silu": ("Swish", "s = Sigmoid(x) y = Mul(s, x)"),
    "quick gelu": ("Swish", "k = Mul(x, quick) s = Sigmoid(k) y = Mul(x, s)"),
    "hard swish": ("HardSwish", "a = Add(x, three) c = Clip(a, zero, six) m = Mul(x, c) y = Div(m, six)"),
    "hard swish, sixth first": (
        "HardSwish",
        "a = Add(x, three) c = Clip(a, zero, six) g = Mul(c, sixth) y = Mul(g, x)",
    ),
    "hard swish by HardSigmoid": (
        "HardSwish",
        "s = HardSigmoid<alpha = 0.16666667, beta = 0.5>(x) y = Mul(x, s)",
    ),
    "hard swish by Min and Relu": (
        "HardSwish",
        "a = Add(x, three) r = Relu(a) c = Min(r, six) g = Div(c, six) y = Mul(g, x)",
    ),
    "hard sigmoid": ("HardSigmoid", "a = Add(x, three) c = Clip(a, zero, six) y = Div(c, six)"),
    "hard sigmoid of a line": (
        "HardSigmoid",
        "k = Mul(x, sixth) a = Add(k, half) q = Max(a, zero) y = Min(q, one)",
    ),
    "mish": ("Mish", "p = Softplus(x) t = Tanh(p) y = Mul(x, t)"),
    "mish in pieces": ("Mish", "e = Exp(x) a = Add(e, one) p = Log(a) t = Tanh(p) y = Mul(t, x)"),
    "guarded softplus": ("Softplus", "b = Greater(x, twenty) p = Softplus(x) y = Where(b, x, p)"),
    "softplus": ("Softplus", "e = Exp(x) a = Add(one, e) y = Log(a)"),
}


def graph_of(body: str, outputs: str = "float[2,3,4] y") -> str:
    return f"g (float[2,3,4] x) => ({outputs}) {{ {CONSTANTS} {body} }}"


@pytest.mark.parametrize("case", SPELLINGS)
def test_a_spelling_becomes_one_operator_and_comes_back_for_an_old_opset(case: str) -> None:
    op, body = SPELLINGS[case]
    assert fused(graph_of(body), {"x": noise(2, 3, 4) * 4}) == {op: 1}


@pytest.mark.parametrize(
    "case", ["torch erf", "tanh", "silu", "quick gelu", "hard swish", "hard sigmoid", "mish"]
)
def test_litert_computes_the_same(case: str, tmp_path: Path) -> None:
    onnx.save(parsed(graph_of(SPELLINGS[case][1])), tmp_path / "spelled.onnx")
    agree(tmp_path / "spelled.onnx", tmp_path, {"x": noise(2, 3, 4) * 4})


NEAR_MISSES = {
    "another root": "d = Mul(x, half) e = Erf(d) a = Add(e, one) m = Mul(x, a) y = Mul(m, half)",
    "no half": f"{ERF} a = Add(e, one) y = Mul(x, a)",
    "another cubic": "p = Pow(x, three) c = Mul(p, half) s = Add(x, c) k = Mul(s, slope) t = Tanh(k) "
    "a = Add(t, one) h = Mul(x, half) y = Mul(h, a)",
    "two by the sigmoid": "w = Sigmoid(x) h = Exp(x) y = Mul(w, h)",
    "clip to one": "a = Add(x, three) c = Clip(a, zero, one) m = Mul(x, c) y = Div(m, six)",
    "softplus of two": "e = Exp(x) a = Add(two, e) y = Log(a)",
    "softplus guarded early": "b = Greater(x, two) p = Softplus(x) y = Where(b, x, p)",
    "square of tanh": "p = Softplus(x) t = Tanh(p) y = Mul(t, t)",
}


@pytest.mark.parametrize("case", NEAR_MISSES)
def test_other_formulas_stay(case: str) -> None:
    assert kept(graph_of(NEAR_MISSES[case]), {"x": noise(2, 3, 4)}) == ()


def test_what_others_read_stays_and_that_is_said() -> None:
    body = graph_of(
        f"{ERF} a = Add(e, one) m = Mul(x, a) [end] y = Mul(m, half) z = Relu(d)",
        "float[2,3,4] y, float[2,3,4] z",
    )
    assert kept(body, {"x": noise(2, 3, 4)}) == ("Gelu at 'end': others read 'd' too",)
    shown = graph_of("s = Sigmoid(x) [end] y = Mul(s, x)", "float[2,3,4] y, float[2,3,4] s")
    assert kept(shown, {"x": noise(2, 3, 4)}) == ()


def test_a_constant_that_adds_axes_is_no_scalar() -> None:
    body = "g (float[3] x) => (float[1,1,3] y) { a = Add(x, three) c = Clip(a, zero, six) m = Mul(x, c) y = Div(m, six) }"
    weights = {"three": np.full((1, 1, 1), 3, np.float32), "zero": np.float32(0), "six": np.float32(6)}
    kept(body, {"x": noise(3)}, {key: np.asarray(value) for key, value in weights.items()})


def test_an_encoded_intermediate_stays_encoded() -> None:
    graph = ir.from_proto(parsed(graph_of("s = Sigmoid(x) y = Mul(s, x)")))
    InferShapes().run(graph)
    value = next(node.outputs[0] for node in graph.graph if node.op_type == "Sigmoid")
    set_encoding(value, Encoding("UINT8", np.float32(1 / 256), np.uint8(0)))
    assert Fuse().run(graph).declined == (f"Swish at '{graph.graph[-1].name}': 's' is quantized",)


def test_the_operator_answers_for_all_layers() -> None:
    graph, _ = optimized(parsed(graph_of("[first] s = Sigmoid(x) [second] y = Mul(s, x)")))
    assert set(layer_of(graph.graph[-1]).split(";")) == {"first", "second"}
