"""GPTQ, AWQ and SmoothQuant against what their papers promise."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from bessemer.ir.encoding import weight_of
from bessemer.ir.model import Model
from bessemer.quantize.algorithms.channel_scales import fold, sites
from bessemer.quantize.algorithms.gptq import Gptq, Hessian, Reach, gptq, inverse_upper
from bessemer.quantize.algorithms.smoothquant import factors_of, smooth
from bessemer.quantize.encodings import integer_format
from bessemer.quantize.encodings.base import Grain
from bessemer.quantize.judge import Judge, clone
from bessemer.quantize.layers import encode
from bessemer.quantize.weights import quantize_weights
from bessemer.runners.graph import GraphRunner
from bessemer.targets.registry import find, validate

from .nets import tokens, transformer


def asked(**options: str):
    return validate("ort", find("ort").load(), options)


def products(model: Model) -> list:
    return [
        node for node in model.graph.graph
        if node.op_type in ("MatMul", "Gemm") and node.inputs[1].const_value is not None
    ]  # fmt: skip


def result(model: Model, sample: dict) -> np.ndarray:
    return next(iter(GraphRunner(model.graph, optimize=False).run(sample).values()))


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("block", [0, 16, 32])
@pytest.mark.parametrize("order", [True, False])
def test_gptq_of_an_identity_hessian_is_rounding_to_nearest(block: int, symmetric: bool, order: bool) -> None:
    rows = np.random.default_rng(0).standard_normal((24, 200)).astype(np.float32)
    form = integer_format("INT4" if symmetric else "UINT4", symmetric=symmetric)
    mine = gptq(rows, Reach.of(np.eye(200), Gptq(act_order=order)), form, block)
    want = encode(rows, form, Grain(1, block) if block else Grain(0))
    np.testing.assert_array_equal(mine.integers, want.integers)
    np.testing.assert_allclose(mine.encoding.scale, want.encoding.scale, rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_gptq_comes_near_the_best_integers_of_a_small_problem(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((64, 8)) @ (np.eye(8) + rng.standard_normal((8, 8)))
    rows = rng.standard_normal((1, 8)).astype(np.float32)
    hessian = Hessian(8)
    hessian.add(x)
    form = integer_format("INT4", symmetric=True)
    made = gptq(rows, Reach.of(hessian.matrix, Gptq()), form, 0)
    nearest = encode(rows, form, Grain(0))
    scale = float(nearest.encoding.scale[0])

    def error(codes: np.ndarray) -> float:
        return float(np.sum((x @ (codes * scale - rows).T) ** 2))

    floor = np.floor(rows / scale)
    best = min(error(floor + np.array(bits)) for bits in product((0, 1), repeat=8))
    assert best <= error(made.integers) <= error(nearest.integers)
    assert error(made.integers) < 3 * best or error(made.integers) < 0.5 * error(nearest.integers)


def test_the_factor_is_that_of_the_inverse() -> None:
    x = np.random.default_rng(0).standard_normal((400, 150))
    hessian = Hessian(150)
    hessian.add(x)
    reach = Reach.of(hessian.matrix, Gptq(damping=0.01))
    damped = hessian.matrix + 0.01 * np.diag(hessian.matrix).mean() * np.eye(150)
    np.testing.assert_allclose(reach.factor, np.linalg.cholesky(np.linalg.inv(damped)).T, atol=1e-9)
    upper = np.triu(x[:150]) + 20 * np.eye(150)
    np.testing.assert_allclose(inverse_upper(upper) @ upper, np.eye(150), atol=1e-9)


def test_act_order_keeps_each_column_in_its_place() -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((500, 96)) * np.exp(rng.uniform(-2, 2, 96))
    rows = rng.standard_normal((16, 96)).astype(np.float32)
    hessian = Hessian(96)
    hessian.add(x)
    form = integer_format("UINT4", symmetric=False)
    for order in (False, True):
        made = gptq(rows, Reach.of(hessian.matrix, Gptq(act_order=order)), form, 32)
        gap = made.encoding.dequantize(made.integers) - rows
        plain = encode(rows, form, Grain(1, 32))
        nearest = plain.encoding.dequantize(plain.integers) - rows
        assert np.sum((x @ gap.T) ** 2) < np.sum((x @ nearest.T) ** 2)


def test_inputs_that_are_never_there_do_no_harm() -> None:
    x = np.random.default_rng(0).standard_normal((100, 40))
    x[:, [3, 17]] = 0
    hessian = Hessian(40)
    hessian.add(x)
    rows = np.random.default_rng(1).standard_normal((8, 40)).astype(np.float32)
    made = gptq(rows, Reach.of(hessian.matrix, Gptq()), integer_format("INT4", symmetric=True), 16)
    assert np.all(np.isfinite(made.encoding.scale)) and not made.integers[:, [3, 17]].any()


@pytest.mark.parametrize(("algorithm", "gain"), [("gptq", 0.5), ("awq", 5.0), ("awq+gptq", 6.0)])
@pytest.mark.parametrize("seed", range(3))
def test_algorithms_beat_rounding_to_nearest_on_outliers(algorithm: str, gain: float, seed: int) -> None:
    model, judge = transformer(seed), Judge(transformer(seed), tokens(32, seed=99))
    plain, _ = quantize_weights(model, asked(precision="int4"), None)
    better, record = quantize_weights(model, asked(precision="int4", algorithm=algorithm), tokens(64))
    assert len(record.layers) == 6
    assert judge(better) > judge(plain) + gain
    assert all(weight_of(node.inputs[1]) is not None for node in products(better))


def test_factors_fold_without_changing_the_function() -> None:
    model, samples = transformer(), tokens(4)
    before = [result(model, sample) for sample in samples]
    found = sites(products(model))
    assert [len(site.readers) for site in found] == [3, 1, 1], "q k v; first Gemm behind a Reshape; second behind Relu"
    rng = np.random.default_rng(0)
    for site in found:
        fold(model.graph.graph, site, np.exp(rng.uniform(-2, 2, site.value.shape[-1])).astype(np.float32))
    for want, sample in zip(before, samples, strict=True):
        np.testing.assert_allclose(result(model, sample), want, rtol=1e-3, atol=1e-3)


def test_smoothing_keeps_the_function_and_evens_the_ranges() -> None:
    model, samples = transformer(), tokens(8)
    before = result(model, samples[0])
    found = sites(products(model))
    name = found[0].value.name
    reach = np.abs(GraphRunner(model.graph, [name]).run(samples[0])[name]).max((0, 1))
    assert smooth(model, found, samples) == 3
    np.testing.assert_allclose(result(model, samples[0]), before, rtol=1e-3, atol=1e-3)
    even = np.abs(GraphRunner(model.graph, [name]).run(samples[0])[name]).max((0, 1))
    assert even.max() / np.median(even) < 0.5 * reach.max() / np.median(reach)


def test_smoothquants_equation() -> None:
    x, w = np.array([4.0, 1.0, 0.0]), np.array([1.0, 4.0, 2.0])
    np.testing.assert_allclose(factors_of(x, w, 0.5), [2.0, 0.5, 1.0])
    np.testing.assert_allclose(factors_of(x, w, 1.0), [4.0, 1.0, 1.0])


def test_a_value_that_others_read_takes_no_factor() -> None:
    model = clone(transformer())
    graph = model.graph.graph
    norm = next(node for node in graph if node.op_type == "LayerNormalization")
    graph.outputs.append(norm.outputs[0])
    assert len(sites(products(model))) == 2
