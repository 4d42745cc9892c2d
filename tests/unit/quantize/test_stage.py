"""The stage as a whole: what ranges it keeps, and that it says the same twice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bessemer.ir.encoding import weight_of
from bessemer.ir.errors import UsageError
from bessemer.quantize.levels import Quantize
from bessemer.quantize.observe import observe
from bessemer.quantize.plan import make_plan
from bessemer.quantize.scheme import SCHEMES
from bessemer.quantize.settle import CUTTING, group_ranges, wanted
from bessemer.quantize.stage import quantize

from .nets import conv_net, images


@pytest.mark.parametrize("method", CUTTING)
def test_what_follows_the_last_product_is_kept_whole(method: str) -> None:
    model = conv_net()
    samples = images(64)
    for sample in samples[:2]:  # a few loud ones, for there to be tails
        sample["x"][...] *= 8
    plan = make_plan(model.graph.graph, SCHEMES["int8"])
    seen = observe(model.graph, wanted(plan), samples)
    ranges = group_ranges(plan, seen, Quantize(method=method, percentile=99))
    whole = group_ranges(plan, seen, Quantize(method="minmax"))
    (answer,) = model.graph.graph.outputs
    last = next(place for place, group in enumerate(plan.groups) if answer in group.values)
    assert ranges[last] == whole[last]
    cut = [place for place in ranges if ranges[place] != whole[place]]
    assert len(cut) >= len(ranges) // 2


SCRIPT = """
import hashlib, os, sys
os.cpu_count = lambda: int(sys.argv[1])
from bessemer.quantize.levels import Quantize
from bessemer.quantize.stage import quantize
from tests.unit.quantize.nets import conv_net, images
made, record = quantize(conv_net(), Quantize(level=int(sys.argv[2]), method="entropy"), images(int(sys.argv[3])))
from bessemer.quantize.judge import emulated
from onnx_ir import to_proto
print(hashlib.sha256(to_proto(emulated(made.graph)).SerializeToString(deterministic=True)).hexdigest(), repr(record.snr))
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs sched_setaffinity")
@pytest.mark.parametrize(("level", "count"), [(1, 32), (3, 256)])
def test_repeated_and_with_other_threads_the_result_is_the_same(level: int, count: int) -> None:
    root = Path(__file__).parents[3]
    runs = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT, threads, str(level), str(count)],
            cwd=root, capture_output=True, text=True, check=True,
        ).stdout
        for threads in ("1", "4", "4")
    ]  # fmt: skip
    assert len(runs[0]) > 64
    assert runs[0] == runs[1] == runs[2]


@pytest.mark.parametrize("seed", range(4))
def test_equalization_is_left_out_where_it_costs(seed: int) -> None:
    model, samples = conv_net(seed), images(16)
    plain, even = (quantize(model, Quantize(level=level, method="minmax"), samples)[1].snr for level in (-100, 0))
    assert even >= plain


def test_adaround_can_be_asked_for_by_name() -> None:
    _, record = quantize(conv_net(), Quantize("int8x4", method="mse", adaround=True), images(80))
    assert record.level == 1
    assert any("AdaRound" in trial.steps for trial in record.trials)
    with pytest.raises(UsageError, match="AdaRound needs 64 calibration samples, there are 20"):
        quantize(conv_net(), Quantize("int8x4", adaround=True), images(20))
    with pytest.raises(UsageError, match="does not go with optimisation level 2"):
        Quantize(adaround=True, level=2)


def test_small_kernels_are_rounded_on_few_samples() -> None:
    from bessemer.quantize.algorithms.adaround import AdaRound
    from bessemer.quantize.algorithms.layerwise import Layerwise, is_small, walk_layers
    from bessemer.quantize.assign import assign
    from bessemer.quantize.judge import clone
    from bessemer.quantize.settle import settle

    model, samples = conv_net(), images(16)
    plan = make_plan(model.graph.graph, SCHEMES["int8x4"])
    seen = observe(model.graph, wanted(plan), samples)
    made = clone(model)
    plan, ranges = settle(made.graph.graph, make_plan(made.graph.graph, SCHEMES["int8x4"]), seen, Quantize(method="mse"))
    assign(made.graph.graph, plan, ranges)
    before = {product.name: weight_of(product.weight) for product in plan.products}
    walk_layers(made, model.graph, plan, samples, Layerwise(AdaRound(), small=True))
    moved = {product.name for product in plan.products if weight_of(product.weight) is not before[product.name]}
    assert moved == {product.name for product in plan.products if is_small(product)}
    assert 0 < len(moved) < len(plan.products)
    _, record = quantize(model, Quantize("int8x4", level=1), samples)
    assert any(trial.steps == "AdaRound of small kernels, bias correction" for trial in record.trials)
