"""The search for mixed precision: budgets hold, predictions order choices as measurements do, and the choice is near the
best of all."""

from __future__ import annotations

import itertools
import random
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from bessemer.ir.encoding import encoding_of, weight_of
from bessemer.ir.errors import UsageError
from bessemer.ir.model import Model
from bessemer.opening import normalise, open_model
from bessemer.passes.stats import node_macs
from bessemer.quantize.algorithms.mixed_precision import (
    Asked,
    Problem,
    make_problem,
    measured,
    prepared,
    search,
    spelled,
)
from bessemer.quantize.levels import Quantize
from bessemer.quantize.observe import Sample
from bessemer.quantize.precision import parsed
from bessemer.quantize.replan import Replan
from bessemer.quantize.scheme import PRODUCTS
from bessemer.quantize.spell import spell
from bessemer.request import ConvertOptions

from .nets import conv_net, images, model_of

DEMO = Path(__file__).resolve().parents[3] / "demo"
PLAIN = Quantize(method="minmax", level=-100)

FOUR = """
net (float[1,3,16,16] x) => (float[1,8,16,16] y) {
  a = Conv<pads=[1,1,1,1]>(x, w1)
  b = Relu(a)
  c = Conv<pads=[1,1,1,1]>(b, w2)
  d = Relu(c)
  e = Conv(d, w3)
  f = Add(e, b)
  y = Conv(f, w4)
}
"""


@cache
def four() -> Replan:
    rng = np.random.default_rng(3)
    shapes = {"w1": (8, 3, 3, 3), "w2": (8, 8, 3, 3), "w3": (8, 8, 1, 1), "w4": (8, 8, 1, 1)}
    weights = {name: rng.standard_normal(shape).astype(np.float32) / 3 for name, shape in shapes.items()}
    model = model_of(FOUR, weights)
    for place, node in enumerate(model.graph.graph):
        node.name = f"{node.op_type}{place}"
    return Replan(model, PLAIN, images(16))


@cache
def digits() -> Replan:
    options = ConvertOptions()
    model = normalise(open_model(DEMO / "digits.onnx", options.opening), options).model
    spell(model.graph)
    with np.load(DEMO / "digits_calibration.npz") as archive:
        x = next(archive[name] for name in archive.files if archive[name].ndim > 1).astype(np.float32)
    name = model.graph.graph.inputs[0].name or ""
    samples: list[Sample] = [{name: x[place : place + 1]} for place in range(64)]
    return Replan(model, PLAIN, samples)


def paid(model: Model, metric: str) -> float:
    """What a quantized model costs relative to int8, read off its encodings."""
    spent, whole = 0.0, 0.0
    for node in model.graph.graph:
        weight = weight_of(node.inputs[1]) if node.op_type in PRODUCTS else None
        source = encoding_of(node.inputs[0])
        if weight is None or source is None:
            continue
        wide, macs = int(source.dtype[3:]), node_macs(node) or 0
        narrow = int(weight.encoding.dtype[3:])
        size = weight.integers.size
        each = {
            "bops": (macs * wide * narrow, macs * 64),
            "macs": (macs * ((narrow == 8) + (wide == 16)), macs),
            "weights": (size * narrow, size * 8),
        }
        spent, whole = spent + each[metric][0], whole + each[metric][1]
    return spent / whole


@pytest.mark.parametrize("metric", ["bops", "macs", "weights"])
@pytest.mark.parametrize("budget", [0.55, 0.8, 1.0, 1.3, 2.0])
def test_a_budget_is_never_exceeded(metric: str, budget: float) -> None:
    for replan in (four(), digits()):
        found = search(replan, Asked(metric, budget))
        made, _ = replan(found.overrides())
        assert paid(made, metric) <= budget + 1e-9
        assert found.best.share == pytest.approx(paid(made, metric))
        assert found.best.measured == pytest.approx(replan.judge(made))


def test_predictions_order_choices_as_measurements_do() -> None:
    """Thirty random choices on digits: rank correlation."""
    replan, rng = digits(), random.Random(0)
    problem = make_problem(replan, Asked())
    choices = [tuple(rng.choice(layer.options) for layer in problem.layers) for _ in range(30)]
    predicted = [problem.noise(choice) for choice in choices]
    found = [-replan.snr(spelled(problem, choice)) for choice in choices]
    ranks = [np.argsort(np.argsort(item)) for item in (predicted, found)]
    assert np.corrcoef(ranks)[0, 1] > 0.9


def test_four_layers_have_81_choices() -> None:
    assert len(every(make_problem(four(), Asked()))) == 81


def every(problem: Problem) -> list[tuple[str, ...]]:
    return list(itertools.product(*(layer.options for layer in problem.layers)))


@pytest.mark.parametrize("budget", [0.55, 0.7, 0.9, 1.1, 1.5])
def test_the_prediction_that_is_found_is_the_least_of_all(budget: float) -> None:
    """Within 0.1 dB of all 81 choices."""
    problem = make_problem(four(), Asked())
    affordable = [choice for choice in every(problem) if problem.share(choice) <= budget]
    best = min(map(problem.noise, affordable))
    assert problem.noise(problem.solve(budget)) <= best * 10**0.01


def test_what_is_measured_is_near_the_best_of_all() -> None:
    """Within 0.5 dB of all 81 choices, each planned and run; predictions are within 1.5 dB."""
    replan = four()
    problem = make_problem(replan, Asked())
    ran = [measured(replan, problem, 9.0, choice) for choice in every(problem)]
    for budget in (0.55, 0.7, 0.9, 1.1, 1.5, 2.0):
        best = max(item.measured for item in ran if item.share <= budget)
        assert search(replan, Asked("bops", budget)).best.measured >= best - 0.5
    assert max(abs(item.measured - item.predicted) for item in ran) < 1.5


def test_a_wide_junction_needs_its_makers_and_who_reads_the_sum() -> None:
    """b = the first layer's result, read by the second; f = b + the third's result, read by the fourth."""
    problem = make_problem(four(), Asked())
    junction = next(item for item in problem.junctions if item.values == {"b", "e", "f"})
    assert junction.needs == {0, 2, 3}
    assert junction.reads == {1: "b"}
    assert junction.noise_of({0, 1, 2}) == junction.noise[8]
    assert junction.noise_of({0, 1, 2, 3}) == junction.noise[16]
    assert junction.noise[16] < junction.noise_of({0, 2, 3}) < junction.noise[8]


def test_the_table_of_budgets_takes_the_best_that_fits() -> None:
    found = search(digits(), Asked("bops", 0.8, "pareto"))
    assert [item.budget for item in found.table] == [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2]
    assert all(item.share <= item.budget + 1e-9 for item in found.table)
    predicted = [item.predicted for item in found.table]
    assert predicted == sorted(predicted)
    assert found.best.measured == max(item.measured for item in found.table if item.share <= 0.8)


def test_what_the_user_set_stays() -> None:
    how = Quantize(method="minmax", level=-100, layers=parsed(["head=w8", "stem/*=a16", "block1/*=float"]))
    replan = Replan(digits().teacher, how, digits().samples)
    found = search(replan, Asked("bops", 0.9))
    names = [layer.unit.glob for layer in found.problem.layers]
    assert not any("block1" in name for name in names), "a float layer is no part of the choice"
    options = {name: layer.options for name, layer in zip(names, found.problem.layers, strict=True)}
    assert options["head"] == ("a8_w8", "a16_w8")
    assert options["stem/conv"] == ("a16_w8",)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("speed",), "no metric"), (("bops", 0.8, "magic"), "no optimizer"), (("bops", 0.0), "leaves nothing"),
        (("bops", 1.0, "linear", ("a4_w4",)), "'a4_w4' is no candidate"),
    ],
)  # fmt: skip
def test_a_search_that_cannot_be_meant(given: tuple[object, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Asked(*given)  # type: ignore[arg-type]


def test_a_budget_below_the_cheapest_is_an_error_with_the_least() -> None:
    with pytest.raises(UsageError, match=r"the cheapest that the layers allow costs 0\.50"):
        search(four(), Asked("bops", 0.3))


def test_other_schemes_and_compression_are_refused() -> None:
    for how in (Quantize("int16x8"), Quantize(compression=2)):
        with pytest.raises(UsageError, match="searched from int8"):
            prepared(conv_net(), how, images(16))


def test_the_stage_settles_the_method() -> None:
    replan = prepared(conv_net(), Quantize(level=3), images(16))
    assert replan.how.method != "auto"
    assert search(replan, Asked("weights", 0.6)).best.share <= 0.6 + 1e-9
