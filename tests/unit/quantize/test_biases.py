"""What moves into biases without changing the float function: still channels, and what ReLU never cuts."""

from __future__ import annotations

import numpy as np
import pytest

from bessemer.ir.errors import UsageError
from bessemer.ir.model import Model
from bessemer.quantize.algorithms.absorption import absorb
from bessemer.quantize.algorithms.equalization import is_layer, rows_of
from bessemer.quantize.algorithms.static_channels import zero_static
from bessemer.quantize.assign import held
from bessemer.quantize.judge import Judge, clone
from bessemer.quantize.levels import Quantize
from bessemer.quantize.moments import channel_moments
from bessemer.quantize.observe import Sample
from bessemer.quantize.stage import quantize
from bessemer.runners.graph import GraphRunner

from .nets import CONV, SHAPES, conv_net, images, model_of


def outputs(model: Model, samples: list[Sample]) -> np.ndarray:
    runner = GraphRunner(model.graph, optimize=False)
    return np.concatenate([next(iter(runner.run(sample).values())) for sample in samples])


def with_still_channels(kernel: float, behind: float = 1.0) -> Model:
    """conv_net, the kernels of two channels of its first layer this small, their readers' weights this large."""
    weights = {value.name: held(value).copy() for value in conv_net().graph.graph.initializers.values()}
    weights["w1"][[2, 5]] *= kernel
    weights["b1"][[2, 5]] = 0.7, 0.4
    weights["w2"][[2, 5]] *= behind
    return model_of(CONV, {name: weights[name] for name in SHAPES})


def test_moments_are_those_of_numpy() -> None:
    model, samples = conv_net(), images(7)
    nodes = [node for node in model.graph.graph if is_layer(node)]
    seen = channel_moments(model.graph, nodes, samples)
    runner = GraphRunner(model.graph, [node.outputs[0].name or "" for node in nodes])
    found = [runner.run(sample) for sample in samples]
    for node in nodes:
        every = np.concatenate([result[node.outputs[0].name or ""] for result in found]).astype(np.float64)
        axes = tuple(axis for axis in range(every.ndim) if axis != 1)
        np.testing.assert_allclose(seen[node].mean, every.mean(axes), rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(seen[node].variance, every.var(axes), rtol=1e-4)


def test_still_channels_lose_their_weights_and_the_outputs_stay() -> None:
    model, samples = with_still_channels(1e-6), images(16)
    done = zero_static(model, samples)
    assert sum(done.layers.values()) == 2
    assert "2 channels of" in done.notes[0] and "never vary" in done.notes[0]
    first = next(node for node in done.model.graph.graph if is_layer(node))
    np.testing.assert_array_equal(np.flatnonzero(~rows_of(first).reshape(8, -1).any(1)), [2, 5])
    assert first.inputs[2] is not None
    np.testing.assert_allclose(held(first.inputs[2])[[2, 5]], [0.7, 0.4], atol=1e-5)
    before = outputs(model, samples)
    assert np.abs(outputs(done.model, samples) - before).max() <= 1e-5 * np.abs(before).max()
    assert np.abs(rows_of(next(node for node in model.graph.graph if is_layer(node)))).reshape(8, -1).any(1).all()


def test_a_whisper_that_the_next_layer_amplifies_is_heard() -> None:
    model = with_still_channels(1e-4, behind=1e4)
    done = zero_static(model, images(16))
    assert done.model is model and not done.notes


def test_a_net_of_small_numbers_is_not_still() -> None:
    weights = {value.name: held(value).copy() for value in conv_net().graph.graph.initializers.values()}
    for name in ("w1", "b1"):
        weights[name] *= 1e-6
    assert not zero_static(model_of(CONV, {name: weights[name] for name in SHAPES}), images(16)).layers


def test_the_stage_zeroes_where_it_is_asked_to_and_has_the_samples() -> None:
    model, samples = with_still_channels(1e-6), images(16)
    for asked in (False, True):
        notes = quantize(model, Quantize(method="mse", level=0, zero_static=asked), samples)[1].notes
        assert any("never vary" in note for note in notes) == asked
    with pytest.raises(UsageError, match="15 calibration samples do not show which channels never vary"):
        quantize(model, Quantize(method="mse", level=0, zero_static=True), samples[:15])


HIGH = """
net (float[1,4,12,12] x) => (float[1,6,N,M] y) {
  a = Conv(x, w1, b1)
  r = Relu(a)
  POOL
  y = Conv<PADS>(p, w2, b2)
}
"""


def high_bias(pool: str = "p = Identity(r)", pads: str = "group=1") -> Model:
    """Biases far above what the kernels do: nothing is ever cut by the ReLU."""
    rng = np.random.default_rng(4)
    groups = 2 if "group=2" in pads else 1
    weights = {"w1": rng.uniform(-0.1, 0.1, (8, 4, 1, 1)), "b1": rng.uniform(1, 9, 8),
               "w2": rng.standard_normal((6, 8 // groups, 3, 3)), "b2": rng.standard_normal(6)}  # fmt: skip
    text = HIGH.replace("POOL", pool).replace("PADS", pads)
    return model_of(text, {name: array.astype(np.float32) for name, array in weights.items()})


def uniform(count: int) -> list[Sample]:
    rng = np.random.default_rng(5)
    return [{"x": rng.uniform(-1, 1, (1, 4, 12, 12)).astype(np.float32)} for _ in range(count)]


POOLS = ["p = Identity(r)", "p = MaxPool<kernel_shape=[2,2], pads=[1,1,1,1]>(r)",
         "p = AveragePool<kernel_shape=[2,2], pads=[1,1,1,1]>(r)", "p = LeakyRelu(r)"]  # fmt: skip


@pytest.mark.parametrize("pads", ["group=1", "group=2", "strides=[2,2]"])
@pytest.mark.parametrize("pool", POOLS)
def test_high_biases_move_and_the_function_stays(pool: str, pads: str) -> None:
    model, samples = high_bias(pool, pads), uniform(16)
    before = outputs(model, samples)
    low = clone(model)
    assert absorb(low, samples) == 8
    np.testing.assert_allclose(outputs(low, samples), before, rtol=1e-5, atol=1e-4)
    bias = next(node for node in low.graph.graph if is_layer(node)).inputs[2]
    was = next(node for node in model.graph.graph if is_layer(node)).inputs[2]
    assert bias is not None and was is not None
    assert np.all(held(bias) < 0.2 * held(was)), "most of it is gone"


@pytest.mark.parametrize(
    ("pool", "pads"),
    [
        ("p = Identity(r)", "pads=[1,1,1,1]"),
        ("p = Identity(r)", 'auto_pad="SAME_UPPER"'),
        ("p = AveragePool<kernel_shape=[2,2], pads=[1,1,1,1], count_include_pad=1>(r)", "group=1"),
        ("p = Sigmoid(r)", "group=1"),
    ],
)
def test_what_sees_the_border_or_bends_keeps_its_biases(pool: str, pads: str) -> None:
    model, samples = high_bias(pool, pads), uniform(4)
    before = outputs(model, samples)
    assert absorb(model, samples) == 0
    np.testing.assert_array_equal(outputs(model, samples), before)


def test_absorption_brings_what_high_biases_cost() -> None:
    model, samples = high_bias(), uniform(16)
    level0 = quantize(model, Quantize(method="minmax", level=0), samples)
    plain, _ = quantize(model, Quantize(method="minmax", level=-100), samples)
    judge = Judge(model, uniform(40)[16:])
    assert any("high biases of 8 channels" in note for note in level0[1].notes)
    assert judge(level0[0]) > judge(plain) + 6
