"""Algorithms against what their papers promise, on nets small enough to check by other means."""

from __future__ import annotations

from itertools import product

import numpy as np
import onnx_ir as ir
import pytest

from bessemer.ir.encoding import encoding_of, quantize, weight_of
from bessemer.quantize import patches
from bessemer.quantize.algorithms.adaround import AdaRound, Layer, adaround
from bessemer.quantize.algorithms.equalization import channel_reach, equalize, pairs
from bessemer.quantize.algorithms.layerwise import Layerwise, walk_layers
from bessemer.quantize.assign import assign
from bessemer.quantize.judge import Judge, clone, emulated
from bessemer.quantize.levels import Quantize
from bessemer.quantize.observe import observe
from bessemer.quantize.plan import make_plan
from bessemer.quantize.scheme import SCHEMES
from bessemer.quantize.settle import settle, wanted
from bessemer.quantize.stepwise import Walk
from bessemer.runners.graph import GraphRunner

from .nets import conv_net, images


def outputs(graph: ir.Model, samples: list) -> np.ndarray:
    runner = GraphRunner(graph, optimize=False)
    return np.concatenate([next(iter(runner.run(sample).values())) for sample in samples])


def quantized(model, samples, method: str = "minmax"):
    made = clone(model)
    plan = make_plan(made.graph.graph, SCHEMES["int8"])
    seen = observe(made.graph, wanted(plan), samples)
    plan, ranges = settle(made.graph.graph, plan, seen, Quantize(method=method))
    assign(made.graph.graph, plan, ranges)
    return made, plan


@pytest.mark.parametrize("seed", range(4))
def test_equalization_keeps_the_function_and_evens_the_channels(seed: int) -> None:
    model, samples = conv_net(seed, spread=64.0), images(8)
    before = outputs(model.graph, samples)
    found = pairs(model.graph.graph)
    uneven = channel_reach(model, found, samples)
    done = equalize(model, samples)
    assert done.pairs == len(found) == 1
    np.testing.assert_allclose(outputs(model.graph, samples), before, rtol=1e-4, atol=1e-4)
    even = channel_reach(model, pairs(model.graph.graph), samples)
    name = found[0].value.name or ""
    assert even[name].min() / even[name].max() > 4 * uneven[name].min() / uneven[name].max()


def test_equalization_brings_back_what_uneven_channels_cost() -> None:
    samples = images(32)
    even, uneven = conv_net(0), conv_net(0, spread=64.0)
    judge = Judge(uneven, samples)
    plain, _ = quantized(uneven, samples)
    equal = clone(uneven)
    equalize(equal, samples)
    better, _ = quantized(equal, samples)
    assert judge(better) > judge(plain) + 3
    assert judge(better) > Judge(even, samples)(quantized(even, samples)[0]) - 3


def test_a_walk_computes_what_the_whole_emulation_computes() -> None:
    samples = images(5)
    made, plan = quantized(conv_net(1), samples)
    last = None
    for stop in Walk(made.graph, [item.node for item in plan.products], samples):
        last = stop.run()
    assert last is not None
    for sample, mine in zip(samples, last, strict=True):
        theirs = outputs(emulated(made.graph), [sample])
        encoding = encoding_of(made.graph.graph.outputs[0])
        assert encoding is not None
        np.testing.assert_allclose(encoding.dequantize(quantize(mine, encoding)), theirs, atol=1e-6)


def test_bias_correction_makes_the_means_those_of_the_float_net() -> None:
    samples = images(16)
    model = conv_net(2)
    made, plan = quantized(model, samples)
    walk_layers(made, model.graph, plan, samples, Layerwise())
    names = [item.node.outputs[0].name or "" for item in plan.products]
    mine = Walk(made.graph, [item.node for item in plan.products], samples)
    theirs = {name: [] for name in names}
    runner = GraphRunner(model.graph, names)
    for sample in samples:
        for name, array in runner.run(sample).items():
            theirs[name].append(array)
    for stop in mine:
        got, want = np.concatenate(stop.run()), np.concatenate(theirs[stop.node.outputs[0].name or ""])
        axes = tuple(axis for axis in range(got.ndim) if axis != 1)
        shift = np.abs(got.mean(axes) - want.mean(axes)) / want.std(axes)
        assert shift.max() < 5e-3


def toy(seed: int, inputs: int = 10) -> Layer:
    rng = np.random.default_rng(seed)
    base = rng.standard_normal((3, 400))
    x = (rng.standard_normal((inputs, 3)) @ base + 0.2 * rng.standard_normal((inputs, 400))).astype(np.float32)
    weight = rng.uniform(-3, 3, (1, 2, inputs)).astype(np.float32)
    return Layer(x[None], weight @ x[None], weight, np.ones_like(weight), np.zeros((1, 2, 1), np.float32), (-np.inf, np.inf))


def loss(layer: Layer, integers: np.ndarray) -> np.ndarray:
    return np.square(integers.astype(np.float64) @ layer.x - layer.y).sum(-1)


def test_adaround_is_near_the_best_rounding_that_exists() -> None:
    """Ten weights: all roundings can be tried. What nearest rounding loses comes back but for a twentieth."""
    lost = regained = 0.0
    for seed in range(6):
        layer = toy(seed)
        found = loss(layer, adaround(layer, "INT4", AdaRound(iterations=500)))
        nearest = loss(layer, np.rint(layer.weight))
        ups = np.array(list(product([0, 1], repeat=layer.weight.shape[-1])))
        best = np.array([[loss_of(layer, row, ups) for row in range(2)]])
        assert np.all(found <= nearest)
        lost, regained = lost + (nearest - best).sum(), regained + (nearest - found).sum()
    assert regained > 0.95 * lost


def loss_of(layer: Layer, row: int, ups: np.ndarray) -> float:
    """Least loss of one output over all roundings."""
    errors = np.floor(layer.weight[0, row]) + ups - layer.weight[0, row]
    return float(np.square(errors @ layer.x[0].astype(np.float64)).sum(-1).min())


def test_adaround_rounds_up_or_down_and_no_further() -> None:
    samples = images(16)
    model = conv_net(3)
    made, plan = quantized(model, samples)
    walk_layers(made, model.graph, plan, samples, Layerwise(AdaRound(iterations=100)))
    for item in plan.products:
        held = weight_of(item.weight)
        assert held is not None
        assert item.real is not None
        gap = np.abs(held.encoding.dequantize(held.integers) - item.real)
        scale = held.encoding.spread(held.encoding.scale, gap.shape)
        assert np.all(gap < scale * 1.001)


@pytest.mark.parametrize(
    "attributes",
    [
        {"pads": [1, 1, 1, 1]},
        {"strides": [2, 1], "dilations": [1, 2], "pads": [0, 2, 1, 2]},
        {"group": 4, "strides": [2, 2], "auto_pad": "SAME_UPPER"},
        {"group": 2, "strides": [2, 2], "auto_pad": "SAME_LOWER"},
    ],
)
def test_columns_times_the_weight_are_the_convolution(attributes: dict) -> None:
    import onnx
    import onnxruntime

    rng = np.random.default_rng(0)
    groups = attributes.get("group", 1)
    w, x = (rng.standard_normal(shape).astype(np.float32) for shape in ((8, 4 // groups, 3, 3), (2, 4, 11, 9)))
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["x", "w"], ["y"], **attributes)],
        "g", [info("x", 1, x.shape)], [info("y", 1, None)], [onnx.numpy_helper.from_array(w, "w")],
    )  # fmt: skip
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    y = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"x": x})[0]
    node = next(iter(ir.from_proto(proto).graph))
    places = rng.permutation(patches.positions(node, y.shape))[:40]
    made = patches.matrix(node, w) @ patches.columns(node, x, y.shape, places)
    np.testing.assert_allclose(made, patches.rows(node, y, groups, places), atol=1e-5)
    np.testing.assert_array_equal(patches.weight_of_matrix(node, patches.matrix(node, w), w.shape), w)
