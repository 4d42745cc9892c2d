"""The quantize stage on one screen: plan, observe, choose ranges, assign; try several ways and keep the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bessemer.ir.errors import UsageError
from bessemer.ir.model import Model, layer_of
from bessemer.quantize.assign import assign
from bessemer.quantize.histogram import Histogram
from bessemer.quantize.judge import Judge, clone, held_out, spread
from bessemer.quantize.levels import LEVELS, Level, Quantize, choose_level
from bessemer.quantize.observe import Sample, observe
from bessemer.quantize.plan import Plan, make_plan
from bessemer.quantize.scheme import SCHEMES
from bessemer.quantize.settle import settle, wanted

if TYPE_CHECKING:
    import onnx_ir

    from bessemer.quantize.algorithms.finetune import FineTune
    from bessemer.quantize.algorithms.layerwise import Layerwise

@dataclass
class Trial:
    """One way to quantize, and the signal-to-noise ratio of its outputs in dB."""

    method: str
    steps: str
    snr: float


@dataclass
class Quantized:
    """What the stage did, for the report."""

    precision: str
    method: str
    level: int
    why: str
    samples: int
    values: int
    weights: int
    snr: float
    float_macs: float | None = None
    trials: list[Trial] = field(default_factory=list)
    floats: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    teacher: Model | None = None
    """The float model that the trials were held against, node for node like the result."""
    histograms: dict[str, Histogram] = field(default_factory=dict)


def quantize(model: Model, how: Quantize, samples: Sequence[Sample]) -> tuple[Model, Quantized]:
    """A copy of a canonical float model with encodings chosen. Raises UsageError for data that cannot serve."""
    from threadpoolctl import threadpool_limits

    from bessemer.quantize.spell import spell
    from bessemer.runners.torch.runner import load_torch

    if not samples:
        raise UsageError("The calibration data holds no sample")
    number, why = choose_level(how, len(samples))
    if LEVELS[number].train:
        load_torch(f"Optimisation level {number}")
    model = clone(model)
    spell(model.graph, SCHEMES[how.precision].activations)
    with threadpool_limits(1, user_api="blas"):  # small products: threads cost more than they bring
        bench = _Bench.of(model, how, LEVELS[number], samples)
        best = bench.best()
    made, record = best
    record.level, record.why = number, why
    return made, record


class _Bench:
    """Tries ways to quantize one model and keeps the best."""

    def __init__(
        self,
        model: Model,
        how: Quantize,
        level: Level,
        samples: Sequence[Sample],
        judge: Judge,
        rest: Sequence[Sample],
    ) -> None:
        self.model, self.how, self.level, self.judge, self.rest = model, how, level, judge, rest
        plan = make_plan(model.graph.graph, SCHEMES[how.precision], how.keep)
        if not plan.products:
            raise UsageError(
                "There is nothing to quantize: no convolution or matrix product has a constant weight"
            )
        self.seen = observe(model.graph, wanted(plan), samples)
        self.trials: list[Trial] = []

    @classmethod
    def of(cls, model: Model, how: Quantize, level: Level, samples: Sequence[Sample]) -> _Bench:
        """With the float model equalized where the level says so and it brings something."""
        from bessemer.quantize.algorithms.equalization import equalize

        judged, rest = held_out(samples)
        judge = Judge(model, judged)
        plain = cls(clone(model), how, level, samples, judge, rest)
        if not level.equalize:
            return plain
        copy = clone(model)
        if not equalize(copy, spread(samples, 64)).pairs:
            return plain
        even = cls(copy, how, level, samples, judge, rest)
        # With a scale for each channel of a weight, evening channels out may cost activations more than it brings.
        method = "mse" if how.method == "auto" else how.method
        best = max(even, plain, key=lambda bench: bench._try(method, None)[1].snr)
        best.trials.clear()
        return best

    def best(self) -> tuple[Model, Quantized]:
        """The best of all trials."""
        methods = AUTO if self.how.method == "auto" else (self.how.method,)
        plain = sorted((self._try(method, None) for method in methods), key=lambda item: -item[1].snr)
        steps = self._steps()
        starts = plain[: 1 if self.level.train else 2]
        refined = [self._try(record.method, steps) for _, record in starts] if steps is not None else []
        chosen = max((*plain, *refined), key=lambda item: item[1].snr)
        chosen[1].trials = self.trials
        chosen[1].teacher, chosen[1].histograms = self.model, self.seen.histograms
        return chosen

    def _steps(self) -> Layerwise | FineTune | None:
        from bessemer.quantize.algorithms.adaround import AdaRound
        from bessemer.quantize.algorithms.finetune import FineTune
        from bessemer.quantize.algorithms.layerwise import Layerwise

        if self.level.train:
            return FineTune(seed=self.how.seed)
        if not self.level.correct:
            return None
        return Layerwise(AdaRound(seed=self.how.seed) if self.level.rounding else None)

    def _try(self, method: str, steps: Layerwise | FineTune | None) -> tuple[Model, Quantized]:
        from bessemer.quantize.algorithms.finetune import FineTune, finetune
        from bessemer.quantize.algorithms.layerwise import walk_layers

        made = clone(self.model)
        graph = made.graph.graph
        plan = make_plan(graph, SCHEMES[self.how.precision], self.how.keep)
        plan, ranges = settle(graph, plan, self.seen, replace(self.how, method=method))
        assign(graph, plan, ranges)
        if isinstance(steps, FineTune):
            finetune(made, self.model.graph, plan, spread(self.rest, steps.samples), steps)
        elif steps is not None:
            count = self.level.samples if steps.rounding is not None else CORRECTED
            walk_layers(made, self.model.graph, plan, spread(self.rest, count), steps)
        snr = self.judge(made)
        self.trials.append(Trial(method, steps.title if steps is not None else "", snr))
        return made, _record(graph, plan, self.how, method, self.seen.samples, snr)


AUTO = ("minmax", "mse", "percentile")
"""Methods that 'auto' tries."""


CORRECTED = 64
"""Samples for bias correction."""


def _record(
    graph: onnx_ir.Graph, plan: Plan, how: Quantize, method: str, samples: int, snr: float
) -> Quantized:
    floats = [
        (layer_of(item.node) or item.node.name or item.node.op_type, item.reason) for item in plan.floats
    ]
    values = sum(len(group.values) for group in plan.groups)
    return Quantized(
        how.precision,
        method,
        0,
        "",
        samples,
        values,
        len(plan.products),
        snr,
        float_share(graph, plan),
        floats=floats,
    )


def float_share(graph: onnx_ir.Graph, plan: Plan) -> float | None:
    """Share of the multiply-accumulates that nodes do which stay float; None where sizes are unbound."""
    from bessemer.passes.stats import node_macs

    stays = {item.node for item in plan.floats}
    macs = {node: node_macs(node) for node in graph}
    if any(count is None for count in macs.values()):
        return None
    total = sum(count or 0 for count in macs.values())
    return sum(macs[node] or 0 for node in stays) / total if total else None
