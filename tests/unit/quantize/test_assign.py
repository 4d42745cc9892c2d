"""Encodings from ranges: what the TFLite and ONNX specifications ask of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bessemer.ir.encoding import quantize
from bessemer.ir.numbers import integer_range
from bessemer.quantize.assign import activation_encoding, weight_encoding

ENDS = st.floats(0, 1e6).filter(lambda x: x == 0 or x > 1e-9)


@given(ENDS, ENDS, st.sampled_from(["INT8", "UINT8", "INT16"]), st.booleans())
def test_zero_is_exact_and_the_range_is_covered(low: float, high: float, dtype: str, symmetric: bool) -> None:
    encoding = activation_encoding((-low, high), dtype, symmetric=symmetric)
    zero = encoding.dequantize(quantize(np.zeros(1, np.float32), encoding))
    assert zero[0] == 0
    ends = np.array([-low, high], np.float32)
    back = encoding.dequantize(quantize(ends, encoding))
    assert np.all(np.abs(back - ends) <= float(encoding.scale) * (0.51 if not symmetric else 1.01) + 1e-6 * np.abs(ends))
    if symmetric:
        assert int(encoding.zero_point) == (128 if dtype == "UINT8" else 0)


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("dtype", ["INT8", "INT4"])
def test_weights_are_symmetric_and_never_use_the_lowest_integer(axis: int | None, dtype: str) -> None:
    weight = np.random.default_rng(0).standard_normal((5, 4, 3)).astype(np.float32)
    encoding = weight_encoding(weight, axis, dtype)
    integers = quantize(weight, encoding)
    last = integer_range(dtype)[1]
    assert not encoding.zero_point.any()
    assert integers.min() >= -last
    assert np.abs(integers).max() == last
    assert encoding.scale.shape == (() if axis is None else (weight.shape[axis],))
    assert np.abs(encoding.dequantize(integers) - weight).max() <= encoding.scale.max() * 0.501


def test_a_channel_of_zeros_has_a_usable_scale() -> None:
    encoding = weight_encoding(np.zeros((2, 3), np.float32), 0)
    assert np.all(encoding.scale > 0)
    assert np.all(np.isfinite(encoding.scale))


def test_trials_are_judged_on_samples_that_no_step_learns_from() -> None:
    from bessemer.quantize.judge import JUDGED, held_out

    many = [{"x": np.full(1, place)} for place in range(100)]
    judged, rest = held_out(many)
    assert len(judged) == JUDGED
    assert {int(item["x"][0]) for item in judged} | {int(item["x"][0]) for item in rest} == set(range(100))
    assert len(judged) + len(rest) == 100
    few, same = held_out(many[:20])
    assert len(few) == JUDGED
    assert len(same) == 20


def test_what_a_silu_closes_needs_no_integers() -> None:
    """x sigmoid(x) is nothing far below zero: the range of x ends where the product is under a quarter step."""
    import math

    from bessemer.quantize.levels import Quantize
    from bessemer.quantize.observe import observe
    from bessemer.quantize.plan import make_plan
    from bessemer.quantize.scheme import SCHEMES
    from bessemer.quantize.settle import group_ranges, wanted
    from bessemer.quantize.spell import spell

    from .nets import model_of

    text = "net (float[1,4] x) => (float[1,4] y) { a = MatMul(x, w)  s = Sigmoid(a)  m = Mul(a, s)  y = MatMul(m, w) }"
    model = model_of(text, {"w": np.eye(4, dtype=np.float32)})
    spell(model.graph)
    plan = make_plan(model.graph.graph, SCHEMES["int8"])
    samples = [{"x": np.float32([[-60, -5, 1, 10]])}]
    ranges = group_ranges(plan, observe(model.graph, wanted(plan), samples), Quantize(method="minmax"))
    spans = {value.name: ranges[place] for place, group in enumerate(plan.groups) for value in group.values}
    low, high = spans["a"]
    assert high == 10
    assert -12 < low < -4
    assert -low / (1 + math.exp(-low)) < 10 / 255 / 4
    assert spans["x"][0] == -60, "its reader is a product: nothing is cut"
