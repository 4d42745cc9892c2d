"""The quantize stage on one screen: plan, observe, choose ranges, assign; try several ways and keep the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from bessemer.ir.errors import UsageError
from bessemer.ir.model import Model, layer_of
from bessemer.passes.stats import node_macs
from bessemer.quantize import clipping
from bessemer.quantize.algorithms.activation_clipping import collect
from bessemer.quantize.assign import assign
from bessemer.quantize.histogram import Histogram
from bessemer.quantize.judge import Judge, clone, held_out, spread
from bessemer.quantize.levels import LEVELS, Level, Quantize, choose_level
from bessemer.quantize.observe import Sample, Statistics
from bessemer.quantize.plan import Plan, make_plan
from bessemer.quantize.precision import mark, settle_precisions
from bessemer.quantize.promote import LEAST, Promotion, promote
from bessemer.quantize.settle import settle

if TYPE_CHECKING:
    import onnx_ir

    from bessemer.quantize.algorithms.finetune import FineTune
    from bessemer.quantize.algorithms.layerwise import Layerwise

@dataclass
class Trial:
    """One way to quantize, and the signal-to-noise ratio of its outputs in dB; floats: nodes promoted to float."""

    method: str
    steps: str
    snr: float
    floats: int = 0


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
    layers: list[str] = field(default_factory=list)
    """Overrides of layers' precision, as `--layer` spells them."""
    teacher: Model | None = None
    """The float model that the trials were held against, node for node like the result."""
    histograms: dict[str, Histogram] = field(default_factory=dict)


def quantize(model: Model, how: Quantize, samples: Sequence[Sample]) -> tuple[Model, Quantized]:
    """A copy of a canonical float model with encodings chosen. Raises UsageError for data that cannot serve."""
    from threadpoolctl import threadpool_limits

    from bessemer.quantize.algorithms.compression import compressed
    from bessemer.quantize.spell import spell
    from bessemer.runners.torch.runner import load_torch

    if not samples:
        raise UsageError("The calibration data holds no sample")
    number, why = choose_level(how, len(samples))
    if LEVELS[number].train:
        load_torch(f"Optimisation level {number}")
    model = clone(model)
    how, said = compressed(model, how, samples)
    scheme = how.scheme
    mark(model.graph.graph, scheme, how.layers)
    spell(model.graph, scheme.activations)
    settle_precisions(model.graph.graph, scheme, how.keep)
    with threadpool_limits(1, user_api="blas"):  # small products: threads cost more than they bring
        made, record = _Bench.of(model, how, LEVELS[number], samples).best()
    record.level, record.why = number, why
    record.layers, record.notes = [str(item) for item in how.layers], [*said, *record.notes]
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
        notes: Sequence[str],
    ) -> None:
        self.model, self.how, self.level, self.judge, self.rest = model, how, level, judge, rest
        plan = make_plan(model.graph.graph, how.scheme, how.keep)
        if not plan.products:
            raise UsageError(
                "There is nothing to quantize: no convolution or matrix product has a constant weight"
            )
        layers = [clipping.names_of(product.node) for product in plan.products]
        clipping.refuse_idle(how.weight_clips, layers, "layer with integer weights")
        self.samples = samples
        self.seen = self._collect(plan)
        self.trials: list[Trial] = []
        self.promotion = Promotion()
        self.notes = notes

    @classmethod
    def of(cls, model: Model, how: Quantize, level: Level, samples: Sequence[Sample]) -> _Bench:
        """With the float model equalized where the level says so and it brings something."""
        from bessemer.quantize.algorithms.absorption import absorb
        from bessemer.quantize.algorithms.equalization import equalize
        from bessemer.quantize.algorithms.static_channels import zero_static

        judged, rest = held_out(samples)
        judge = Judge(model, judged)
        some, notes = spread(samples, 64), list[str]()
        if how.zero_static:
            zeroed = zero_static(model, some)
            model, notes = zeroed.model, zeroed.notes
        best = cls(clone(model), how, level, samples, judge, rest, notes)
        if not level.equalize:
            return best
        even = clone(best.model)
        if equalize(even, some).pairs:
            # With a scale for each channel of a weight, evening channels out may cost activations more than it brings.
            best = cls(even, how, level, samples, judge, rest, best.notes).unless_worse_than(best)
        low = clone(best.model)
        if count := absorb(low, some):
            said = [*best.notes, f"high biases of {count} channels moved into the layers behind"]
            best = cls(low, how, level, samples, judge, rest, said).unless_worse_than(best)
        return best

    def unless_worse_than(self, other: _Bench) -> _Bench:
        """The other, where this one's outputs are not nearer to the float model's with rounding alone."""
        return self if self.plain > other.plain else other

    @cached_property
    def plain(self) -> float:
        """Signal-to-noise ratio with rounding alone."""
        snr = self._try("mse" if self.how.method == "auto" else self.how.method, None)[1].snr
        self.trials.clear()
        return snr

    def best(self) -> tuple[Model, Quantized]:
        """The best of all trials; where none is near enough, of those with a few nodes in float too."""
        chosen = self._best()
        if self.how.promote and self.level.equalize and chosen[1].snr < LEAST:
            chosen = max(chosen, self._promoted(chosen[1].method), key=lambda item: item[1].snr)
        chosen[1].trials = self.trials
        chosen[1].notes.extend(self.notes)
        chosen[1].teacher, chosen[1].histograms = self.model, self.seen.histograms
        return chosen

    def _promoted(self, method: str) -> tuple[Model, Quantized]:
        """The best with the nodes in float that cost most in integers."""
        made, plan = self._make(method)
        judge = Judge(self.model, spread(self.judge.samples, PROMOTED))
        self.promotion = promote(self.model, made, plan, judge)
        if self.promotion.places:
            self.seen = self._collect(self._plan(self.model))  # values show that were inside a kernel
        chosen = self._best()
        count, share = len(self.promotion.places), self.promotion.share
        if count:
            chosen[1].notes.append(
                f"{count} operators compute in float ({share:.1%} of the multiply-accumulates): with everything in "
                f"integers the outputs had {max(trial.snr for trial in self.trials if not trial.floats):.1f} dB"
            )
        return chosen

    def _best(self) -> tuple[Model, Quantized]:
        methods = AUTO if self.how.method == "auto" else (self.how.method,)
        found = sorted((self._try(method, None) for method in methods), key=lambda item: -item[1].snr)
        ways = self._ways()
        if not ways:
            return found[0]
        first, *others = [record.method for _, record in found if record.snr > found[0][1].snr - NEAR]
        tried = [(way, self._try(first, way)) for way in ways]
        best = max(tried, key=lambda item: item[1][1].snr)[0]
        second = [self._try(method, best) for method in others[: best.repeats]]
        return max((*found, *(made for _, made in tried), *second), key=lambda item: item[1].snr)

    def _ways(self) -> list[Layerwise | FineTune]:
        """What the level does once ranges are chosen, by its cost."""
        from bessemer.quantize.algorithms.adaround import AdaRound
        from bessemer.quantize.algorithms.finetune import FineTune
        from bessemer.quantize.algorithms.layerwise import Layerwise, is_small

        if self.level.train:
            return [FineTune(seed=self.how.seed)]
        ways: list[Layerwise | FineTune] = []
        if self.level.correct:
            ways += [Layerwise(center="mean"), Layerwise(center="median")]
            if any(is_small(product) for product in self._plan(self.model).products):
                ways += [Layerwise(AdaRound(seed=self.how.seed), small=True)]
        if self.level.rounding or self.how.adaround:
            ways += [Layerwise(AdaRound(seed=self.how.seed))]
        return ways

    def _try(self, method: str, steps: Layerwise | FineTune | None) -> tuple[Model, Quantized]:
        from bessemer.quantize.algorithms.finetune import FineTune, finetune
        from bessemer.quantize.algorithms.layerwise import walk_layers

        made, plan = self._make(method)
        graph = made.graph.graph
        if isinstance(steps, FineTune):
            finetune(made, self.model.graph, plan, spread(self.rest, steps.samples), steps)
        elif steps is not None:
            count = CORRECTED if steps.rounding is None or steps.small else max(self.level.samples, ASKED)
            walk_layers(made, self.model.graph, plan, spread(self.rest, count), steps)
        snr = self.judge(made)
        self.trials.append(Trial(method, steps.title if steps is not None else "", snr, len(self.promotion.places)))
        return made, _record(graph, plan, self.how, method, self.seen.samples, snr)

    def _floats(self, model: Model) -> dict[onnx_ir.Node, str]:
        nodes = list(model.graph.graph)
        return {nodes[place]: reason for place, reason in self.promotion.places.items()}

    def _plan(self, model: Model) -> Plan:
        """For the model or a clone of it."""
        return make_plan(model.graph.graph, self.how.scheme, self.how.keep, self._floats(model))

    def _collect(self, plan: Plan) -> Statistics:
        return collect(self.model, plan, self.samples, self.how.activation_clips, recollect=self.how.recollect)

    def _make(self, method: str) -> tuple[Model, Plan]:
        """Ranges by one method, weights rounded to nearest."""
        made = clone(self.model)
        graph = made.graph.graph
        how, floats = replace(self.how, method=method), self._floats(made)
        plan, ranges = settle(graph, self._plan(made), self.seen, how, floats)
        assign(graph, plan, ranges, self.how.weight_clips)
        return made, plan


NEAR = 3.0
"""Range methods that leave the outputs so many dB behind the best one are not refined."""

PROMOTED = 4
"""Samples on which noise sources are compared: many short runs."""

AUTO = ("minmax", "average", "mse", "percentile")
"""Methods that 'auto' tries."""


ASKED = 256
"""Samples for AdaRound at most where the level does not say."""

CORRECTED = 64
"""Samples for bias correction."""


def _record(
    graph: onnx_ir.Graph, plan: Plan, how: Quantize, method: str, samples: int, snr: float
) -> Quantized:
    costly = sorted(plan.floats, key=lambda item: -(node_macs(item.node) or 0))  # what weighs most is read first
    floats = [(layer_of(item.node) or item.node.name or item.node.op_type, item.reason) for item in costly]
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
    stays = {item.node for item in plan.floats}
    macs = {node: node_macs(node) for node in graph}
    if any(count is None for count in macs.values()):
        return None
    total = sum(count or 0 for count in macs.values())
    return sum(macs[node] or 0 for node in stays) / total if total else None
