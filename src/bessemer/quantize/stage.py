"""The quantize stage on one screen: plan, observe, choose ranges, assign."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.errors import UsageError
from bessemer.ir.model import Model, layer_of
from bessemer.ir.types import Array
from bessemer.quantize.assign import assign
from bessemer.quantize.histogram import Histogram
from bessemer.quantize.observe import Sample, Statistics, observe
from bessemer.quantize.plan import Group, Plan, data_inputs, make_plan
from bessemer.quantize.ranges import METHODS, Range, RangeMethod, choose
from bessemer.quantize.scheme import PRODUCTS, SCHEMES
from bessemer.runners.graph import GraphRunner

if TYPE_CHECKING:
    import onnx_ir

    from bessemer.quantize.algorithms.finetune import FineTune
    from bessemer.quantize.algorithms.layerwise import Layerwise

SIMILAR = 1.5
"""A Concat whose inputs' ranges are within this factor of its own shares one encoding with them: integers move
without being rescaled."""

UNEVEN = 4.0
"""A Concat behind the last product whose inputs' ranges differ by more stays float: one scale for boxes and
probabilities drowns the probabilities."""


@dataclass(frozen=True)
class Quantize:
    """Options of the stage.

    precision: a static scheme ('int8', 'int16x8'); method, percentile: how activation ranges are chosen ('auto' tries
    several and keeps the one whose outputs are nearest to the float model's); level: see LEVELS (None: the highest
    that the data allows); keep: globs of nodes, layers or operators that stay float.
    """

    precision: str = "int8"
    method: str = "auto"
    percentile: float = 99.99
    level: int | None = None
    keep: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if self.precision not in SCHEMES:
            raise UsageError(f"'{self.precision}' is no static scheme", fix=f"Choose one of {', '.join(SCHEMES)}")
        if self.method not in ("auto", *METHODS):
            raise UsageError(
                f"There is no range method '{self.method}'", fix=f"Choose auto or one of {', '.join(METHODS)}"
            )
        if self.level is not None and self.level not in LEVELS:
            raise UsageError(
                f"There is no optimisation level {self.level}", fix=f"Choose one of {', '.join(map(str, LEVELS))}"
            )


@dataclass(frozen=True)
class Level:
    """What an optimisation level does, and how many samples it needs."""

    equalize: bool
    correct: bool
    rounding: bool
    samples: int
    train: bool = False


LEVELS = {
    -100: Level(False, False, False, 1),  # nothing but ranges
    0: Level(True, False, False, 1),  # equalization
    1: Level(True, True, False, 16),  # equalization, bias correction
    2: Level(True, False, False, 1024, train=True),  # equalization, fine-tuning
    3: Level(True, True, True, 256),  # equalization, AdaRound on 256 samples, bias correction
    4: Level(True, True, True, 1024),  # equalization, AdaRound on 1,024 samples, bias correction
}
"""Optimisation levels; 2 trains (extra `train`), takes long, and is only chosen where it is asked for."""

FEW = 16
"""Below so many samples ranges are a guess: said in the report."""

JUDGED = 16
"""Samples, spread over the data, on whose outputs trials are compared."""


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


def choose_level(how: Quantize, samples: int) -> tuple[int, str]:
    """The level and the reason. Raises UsageError for one that asks for more samples than there are."""
    if how.level is None:
        open_to = {number: level for number, level in LEVELS.items() if not level.train}
        best = max(number for number, level in open_to.items() if level.samples <= samples)
        above = [level.samples for number, level in open_to.items() if number > best]
        more = f"; {min(above)} samples would allow more" if above else ""
        return best, f"the highest that {samples} samples allow{more}"
    need = LEVELS[how.level].samples
    if samples < need:
        raise UsageError(
            f"Optimisation level {how.level} needs {need} calibration samples, there are {samples}",
            fix="Give more data, or a lower level",
        )
    return how.level, "asked for"


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
    if len(samples) < FEW:
        record.notes.append(f"{len(samples)} calibration samples are few: ranges may not hold for other data")
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
            raise UsageError("There is nothing to quantize: no convolution or matrix product has a constant weight")
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


def _record(graph: onnx_ir.Graph, plan: Plan, how: Quantize, method: str, samples: int, snr: float) -> Quantized:
    floats = [(layer_of(item.node) or item.node.name or item.node.op_type, item.reason) for item in plan.floats]
    values = sum(len(group.values) for group in plan.groups)
    return Quantized(
        how.precision, method, 0, "", samples, values, len(plan.products), snr, float_share(graph, plan), floats=floats
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


@dataclass(frozen=True)
class Selected(Sequence[Sample]):
    """Some samples of a sequence, read when asked for."""

    source: Sequence[Sample]
    places: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, place):  # type: ignore[no-untyped-def]  # Sequence's overloads say nothing more here
        if isinstance(place, slice):
            return [self.source[at] for at in self.places[place]]
        return self.source[self.places[place]]


def held_out(samples: Sequence[Sample]) -> tuple[list[Sample], Sequence[Sample]]:
    """Samples on which trials are compared, and those that layer-wise steps may learn from.

    They are apart where there are at least four times JUDGED: a step that fits its own data must not be judged on it.
    """
    if len(samples) < 4 * JUDGED:
        return spread(samples, JUDGED), samples
    judged = {place * len(samples) // JUDGED for place in range(JUDGED)}
    rest = tuple(place for place in range(len(samples)) if place not in judged)
    return [samples[place] for place in sorted(judged)], Selected(samples, rest)


def spread(samples: Sequence[Sample], count: int) -> list[Sample]:
    """At most `count` samples, evenly spread."""
    if len(samples) <= count:
        return list(samples)
    return [samples[place * len(samples) // count] for place in range(count)]


def clone(model: Model) -> Model:
    """The graph is cloned, tensors are shared."""
    return Model(model.graph.clone(), model.origin, list(model.notes))


class Judge:
    """Signal-to-noise ratio of a quantized model's outputs against the float model's, emulated on the same samples."""

    def __init__(self, model: Model, samples: Sequence[Sample]) -> None:
        self.samples = samples
        runner = GraphRunner(model.graph)
        self.wanted = [runner.run(sample) for sample in samples]

    def __call__(self, model: Model) -> float:
        """In dB, over all outputs by their relative noise."""
        runner = GraphRunner(emulated(model.graph), optimize=False)
        signal, noise = dict[str, float](), dict[str, float]()
        for sample, want in zip(self.samples, self.wanted, strict=True):
            for (name, right), got in zip(want.items(), runner.run(sample).values(), strict=True):
                if right.dtype.kind != "f":
                    continue
                signal[name] = signal.get(name, 0) + energy(right)
                noise[name] = noise.get(name, 0) + energy(got - right)
        shares = [noise[name] / max(signal[name], 1e-30) for name in signal]
        return -10 * math.log10(max(sum(shares) / len(shares), 1e-14)) if shares else 0.0


def energy(array: Array) -> float:
    """Sum of squares, in double precision."""
    wide: Array = np.asarray(array, np.float64)
    return float(np.vdot(wide, wide))


def emulated(graph: onnx_ir.Model) -> onnx_ir.Model:
    """A copy in which every encoding acts, as Q/DQ pairs in float arithmetic; activations that are quantized while the
    model runs, as ONNX's integer operators."""
    from bessemer.ir.canonical import OPSET
    from bessemer.passes.dynamic import DynamicInt8
    from bessemer.passes.materialize import MaterializeQdq

    copy = graph.clone()
    DynamicInt8().run(copy)
    MaterializeQdq(OPSET).run(copy)
    return copy


def wanted(plan: Plan) -> list[str]:
    """Names of the values whose statistics the plan needs."""
    return [value.name or "" for group in plan.groups for value in group.sources if value in group.values]


def settle(graph: onnx_ir.Graph, plan: Plan, seen: Statistics, how: Quantize) -> tuple[Plan, dict[int, Range]]:
    """The plan once ranges are known: uneven Concats at the end stay float, even ones share an encoding."""
    ranges = group_ranges(plan, seen, how)
    uneven = uneven_concats(graph, plan, ranges)
    if uneven:
        plan = make_plan(graph, plan.scheme, how.keep, uneven)
        ranges = group_ranges(plan, seen, how)
    return plan, share_concats(graph, plan, ranges)


def group_ranges(plan: Plan, seen: Statistics, how: Quantize) -> dict[int, Range]:
    """A range for each group, by its place."""
    bits = 16 if plan.scheme.activations == "INT16" else 8
    method = RangeMethod(
        "minmax" if bits == 16 else how.method, how.percentile, 2**bits, symmetric=plan.scheme.symmetric
    )
    whole = replace(method, method="minmax") if how.method in CUTTING else method
    leading = leads_to_product([value for group in plan.groups for value in group.values])
    ranges = {
        place: _range(group, seen, method if leading.intersection(group.values) else whole)
        for place, group in enumerate(plan.groups)
    }
    return {place: gated(plan.groups[place], span, 2**bits) for place, span in ranges.items()}


def gated(group: Group, span: Range, levels: int) -> Range:
    """The range of a value that only a SiLU reads, x sigmoid(x), without the part that the gate closes.

    Far below zero the product is nothing: where |x| sigmoid(x) stays under a quarter of a step of the product, whose
    range is about the positive side, every x may be read as the least one kept.
    """
    if not all(map(feeds_silu, group.values)) or group.constants or span[1] <= 0:
        return span
    quarter = span[1] / (levels - 1) / 4
    depth = next((d for d in np.arange(2.0, 20.0, 0.25) if d / (1 + math.exp(d)) < quarter), math.inf)
    return max(span[0], -float(depth)), span[1]


def feeds_silu(value: onnx_ir.Value) -> bool:
    """Whether the readers of a value are a Sigmoid and the Mul of both."""
    readers = list(value.consumers())
    gates = [node for node in readers if node.op_type == "Sigmoid"]
    if len(readers) != 2 or len(gates) != 1 or value.is_graph_output():
        return False
    product = next(node for node in readers if node is not gates[0])
    return product.op_type == "Mul" and set(product.inputs) == {value, gates[0].outputs[0]}


CUTTING = ("entropy", "percentile")
"""Methods that cut by how many elements are large, not by how large they are. Behind the last product the few large
ones are the answer (the winner among logits), so there everything seen is kept."""


def leads_to_product(values: Sequence[onnx_ir.Value]) -> set[onnx_ir.Value]:
    """Those of `values` that a convolution or matrix product reads, directly or through other operators."""
    return {value for value in values if any(user.op_type in PRODUCTS or _feeds_product(user) for user in value.consumers())}


def _range(group: Group, seen: Statistics, method: RangeMethod) -> Range:
    from bessemer.quantize.assign import held

    low, high = 0.0, 0.0
    for value in group.sources:
        name = value.name or ""
        if name in seen.histograms and value in group.values:
            span = choose(seen.histograms[name], method)
        elif value in group.constants:
            real = held(value)
            span = (float(real.min(initial=0)), float(real.max(initial=0)))
        else:
            continue
        low, high = min(low, span[0]), max(high, span[1])
    return low, high


def _concats(graph: onnx_ir.Graph, plan: Plan) -> list[tuple[onnx_ir.Node, list[int], int]]:
    """Integer Concats with the places of their inputs' groups and of their output's."""
    place = {value: index for index, group in enumerate(plan.groups) for value in (*group.values, *group.constants)}
    return [
        (node, [place[value] for value in data_inputs(node)], place[node.outputs[0]])
        for node in graph
        if node.op_type == "Concat" and node.outputs[0] in place
    ]


def width(plan: Plan, ranges: dict[int, Range], place: int) -> float:
    """Real width that a group's integers span."""
    fixed = plan.groups[place].fixed
    if fixed is not None:
        return fixed[0] * 256
    return ranges[place][1] - ranges[place][0]


def uneven_concats(graph: onnx_ir.Graph, plan: Plan, ranges: dict[int, Range]) -> dict[onnx_ir.Node, str]:
    """Concats that no product follows and whose inputs' ranges differ too much, with the reason to keep them float."""
    found: dict[onnx_ir.Node, str] = {}
    for node, inputs, _ in _concats(graph, plan):
        widths = [width(plan, ranges, place) for place in inputs]
        if max(widths) > UNEVEN * max(min(widths), 1e-30) and not _feeds_product(node):
            found[node] = f"its inputs span {min(widths):.3g} to {max(widths):.3g}: one scale would drown the smallest"
    return found


def _feeds_product(node: onnx_ir.Node) -> bool:
    """Whether a convolution or matrix product lies downstream."""
    seen, front = {node}, [node]
    while front:
        for value in front.pop().outputs:
            for user in value.consumers():
                if user.op_type in PRODUCTS:
                    return True
                if user not in seen:
                    seen.add(user)
                    front.append(user)
    return False


def share_concats(graph: onnx_ir.Graph, plan: Plan, ranges: dict[int, Range]) -> dict[int, Range]:
    """One range for a Concat and its inputs where theirs are like its own."""
    shared = dict(ranges)
    for _ in range(len(plan.groups)):
        before = dict(shared)
        for _node, inputs, output in _concats(graph, plan):
            places = [*inputs, output]
            if any(plan.groups[place].fixed is not None for place in places):
                continue
            if min(width(plan, ranges, place) for place in places) * SIMILAR < width(plan, ranges, output):
                continue
            span = (min(shared[place][0] for place in places), max(shared[place][1] for place in places))
            shared.update(dict.fromkeys(places, span))
        if shared == before:
            break
    return shared
