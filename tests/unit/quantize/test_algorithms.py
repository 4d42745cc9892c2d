"""Algorithms against what their papers promise, on nets small enough to check by other means."""

from __future__ import annotations

from itertools import product

import numpy as np
import onnx_ir as ir
import pytest

from bessemer.ir.encoding import encoding_of, quantize, weight_of
from bessemer.quantize import patches
from bessemer.quantize.algorithms.adaround import AdaRound, adaround, shrinkage
from bessemer.quantize.algorithms.bias_correction import shift
from bessemer.quantize.algorithms.equalization import channel_reach, equalize, pairs
from bessemer.quantize.algorithms.layerwise import Layerwise, walk_layers
from bessemer.quantize.algorithms.reconstruct import Task
from bessemer.quantize.assign import assign
from bessemer.quantize.judge import Judge, clone, emulated
from bessemer.quantize.levels import Quantize
from bessemer.quantize.observe import observe
from bessemer.quantize.plan import make_plan
from bessemer.quantize.scheme import SCHEMES
from bessemer.quantize.settle import settle, wanted
from bessemer.quantize.stepwise import Walk
from bessemer.runners.graph import GraphRunner

from .nets import conv_net, digits, images


def outputs(graph: ir.Model, samples: list) -> np.ndarray:
    runner = GraphRunner(graph, optimize=False)
    return np.concatenate([next(iter(runner.run(sample).values())) for sample in samples])


def quantized(model, samples, method: str = "minmax", precision: str = "int8"):
    made = clone(model)
    plan = make_plan(made.graph.graph, SCHEMES[precision])
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


def toy(seed: int, inputs: int = 10, bounds: tuple[float, float] = (-np.inf, np.inf)) -> tuple[Task, np.ndarray]:
    """A layer of two outputs, as a task and its weight."""
    rng = np.random.default_rng(seed)
    base = rng.standard_normal((3, 400))
    x = (rng.standard_normal((inputs, 3)) @ base + 0.2 * rng.standard_normal((inputs, 400))).astype(np.float32)
    weight = rng.uniform(-3, 3, (1, 2, inputs)).astype(np.float32)
    return Task(x[None], weight @ x[None], None, bounds), weight


ONES, ZEROS, LIMITS = np.ones((1, 1, 2)), np.zeros((1, 2)), (-7.0, 7.0)


def loss(task: Task, integers: np.ndarray) -> np.ndarray:
    return task.loss((integers.swapaxes(-1, -2) @ task.x).astype(np.float32))


def test_adaround_is_near_the_best_rounding_that_exists() -> None:
    """Ten weights: all roundings can be tried. What nearest rounding loses comes back but for a twentieth."""
    lost = regained = 0.0
    for seed in range(6):
        layer, weight = toy(seed)
        found = adaround(layer, weight, ZEROS, ONES, LIMITS, AdaRound(damping=1e-6, refits=0))
        np.testing.assert_array_equal(found.scale, ONES)
        gained = loss(layer, found.integers)
        nearest = loss(layer, np.rint(weight).swapaxes(-1, -2))
        ups = np.array(list(product([0, 1], repeat=weight.shape[-1])))
        best = np.array([[loss_of(layer, weight[0, row], ups) for row in range(2)]])
        assert np.all(gained <= nearest)
        lost, regained = lost + (nearest - best).sum(), regained + (nearest - gained).sum()
    assert regained > 0.95 * lost


def loss_of(layer: Task, weight: np.ndarray, ups: np.ndarray) -> float:
    """Least loss of one output over all roundings up or down."""
    errors = np.floor(weight) + ups - weight
    return float(np.square(errors @ layer.x[0].astype(np.float64)).sum(-1).min())


def test_adaround_makes_use_of_what_a_clip_hides() -> None:
    rng = np.random.default_rng(0)
    mix = rng.standard_normal((32, 32)) * np.exp(-np.arange(32) / 8)
    x = np.maximum(mix @ rng.standard_normal((32, 2000)), 0).astype(np.float32)[None]
    weight = rng.uniform(-3, 3, (1, 8, 32)).astype(np.float32)
    wanted = weight @ x
    layer = Task(x, wanted - wanted.std(), None, (0.0, np.inf))
    losses = [
        layer.loss(adaround(layer, weight, None, np.ones((1, 1, 8)), LIMITS, AdaRound(refits=0, turns=turns)).made(x))
        for turns in (0, 6)
    ]
    assert np.all(losses[1] <= losses[0])
    assert losses[1].sum() < 0.97 * losses[0].sum()


def test_shrinkage_sees_what_few_samples_do_not_say() -> None:
    """Ledoit and Wolf's estimate: near one for noise of as many samples as inputs, near none for many or for structure."""
    rng = np.random.default_rng(0)

    def of(x: np.ndarray) -> float:
        x = x.astype(np.float32)[None]
        layer = Task(x, x[:, :1], None, (-np.inf, np.inf), (1,) * x.shape[-1])
        return float(shrinkage(layer, (x @ x.swapaxes(-1, -2)).astype(np.float64), np.zeros(x.shape[:2]))[0])

    assert of(rng.standard_normal((40, 40))) > 0.85
    structured = rng.standard_normal((40, 3)) @ rng.standard_normal((3, 4000))
    assert of(structured) < 0.02
    assert of(structured[:, :40]) > 5 * of(structured)


@pytest.mark.parametrize("precision", ["int8", "int8x4"])
def test_adaround_brings_the_outputs_nearer_and_stays_in_range(precision: str) -> None:
    model, samples, others = digits()
    judge, made = Judge(model, others), {}
    for rounding in (None, AdaRound(positions=8192)):
        made[rounding], plan = quantized(model, samples, precision=precision)
        walk_layers(made[rounding], model.graph, plan, samples, Layerwise(rounding))
    plain, rounded = (judge(found) for found in made.values())
    assert rounded > plain + (4 if precision == "int8x4" else -0.1), (plain, rounded)
    top = 7 if precision == "int8x4" else 127
    for item in plan.products:
        weight, source = weight_of(item.weight), encoding_of(item.node.inputs[0])
        assert weight is not None and source is not None
        assert np.abs(weight.integers).max() <= top
        bias = encoding_of(item.node.inputs[2])
        assert bias is not None
        np.testing.assert_array_equal(bias.scale, np.float32(source.scale) * weight.encoding.scale)


def test_a_layer_makes_up_for_what_is_added_to_its_result() -> None:
    """y = conv(x) + other: `other` reaches the layer with an error that x predicts, and the weights take it over."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 12, 2000)).astype(np.float32)
    weight, error = rng.uniform(-1, 1, (1, 4, 12)).astype(np.float32), rng.uniform(-0.2, 0.2, (1, 4, 12)).astype(np.float32)
    other = rng.standard_normal((1, 4, 2000)).astype(np.float32)
    seen = Task(x, weight @ x + other, other + error @ x, (-np.inf, np.inf))
    scale = np.full((1, 1, 4), 1 / 64)
    found = adaround(seen, weight, None, scale, (-127, 127), AdaRound(refits=0))
    np.testing.assert_allclose((found.integers * scale).swapaxes(-1, -2), weight - error, atol=1 / 64)
    assert np.all(seen.loss(found.made(x)) < 0.02 * seen.loss(weight @ x))


def test_a_walk_is_the_same_when_it_is_repeated() -> None:
    def once() -> list[bytes]:
        samples, model = images(24), conv_net(1)
        made, plan = quantized(model, samples, precision="int8x4")
        walk_layers(made, model.graph, plan, samples, Layerwise(AdaRound(positions=2048)))
        held = [weight_of(item.weight) for item in plan.products]
        return [item.integers.tobytes() + item.encoding.scale.tobytes() for item in held if item is not None]

    assert once() == once()


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


def test_medians_leave_ordinary_positions_where_they_are() -> None:
    """One position in sixteen is clipped hard: the mean moves, the median of the errors does not."""
    rng = np.random.default_rng(0)
    right = [rng.standard_normal((1, 4, 8, 8)).astype(np.float32) for _ in range(6)]
    offsets = np.array([0.1, -0.2, 0.0, 0.3], np.float32).reshape(1, 4, 1, 1)
    got = [array - offsets for array in right]
    for array in got:
        array[:, :, ::4, ::4] -= 50
    assert shift(right, got, 1, "median") == pytest.approx(offsets.reshape(-1), abs=1e-5)
    assert shift(right, got, 1, "mean") == pytest.approx(offsets.reshape(-1) + 50 / 16, abs=1e-4)
