"""Mixed precision: which layers get 4-bit weights, 8 bits or 16-bit activations, under a budget.

The noise of single sources adds up nearly, because roundings are uncorrelated: of every weight in 4 and in 8 bits, and
of every junction in 8 and in 16. A junction is what must be of one width: a value that a product makes, with everything
that operators without weights make of it. It has 16 bits where its makers and the readers of what the operators make have,
which is what kernels give (`precision.settle_precisions`); other 8-bit readers of a 16-bit value round it for themselves.

Noise is measured at the outputs on 16 samples with nothing else quantized, as a signal-to-noise ratio of at most 140 dB.
Choosing is a knapsack: moves (one layer, or all layers around a junction, to another precision) are taken by the noise
that they remove for their cost, then exchanged while that helps.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from bessemer.ir.encoding import Encoding, encoding_of, set_encoding, set_weight, weight_of
from bessemer.ir.errors import UsageError
from bessemer.ir.model import Model
from bessemer.passes.stats import node_macs
from bessemer.quantize.algorithms.compression import FOUR_BITS, Unit, units
from bessemer.quantize.judge import clone
from bessemer.quantize.levels import Quantize
from bessemer.quantize.observe import Sample
from bessemer.quantize.plan import Plan, data_inputs, fused_follower, why_float
from bessemer.quantize.precision import LayerPrecision, Precision, is_called, precision_of
from bessemer.quantize.replan import Replan
from bessemer.quantize.scheme import INTEGER, PRODUCTS, SCHEMES

if TYPE_CHECKING:
    import onnx_ir

CANDIDATES = ("a8_w4", "a8_w8", "a16_w8")
METRICS = ("bops", "macs", "weights")
OPTIMIZERS = ("linear", "pareto")
MARKERS = tuple(round(0.5 + 0.1 * step, 1) for step in range(8))
"""Budgets of the Pareto table, relative to all layers in int8."""

LEAST = 1e-14
"""Relative noise of 140 dB: below it nothing is told apart."""


@dataclass(frozen=True)
class Asked:
    """A search. metric: what the budget limits, relative to the same model all in int8.

    'bops': multiply-accumulates times bits of activations times bits of weights; 'macs': multiply-accumulates above the
    lowest precision, once for 8-bit weights and once more for 16-bit activations; 'weights': bytes of weights.
    optimizer: 'linear' for the budget alone, 'pareto' for a table of budgets, from which the best within `budget` is
    taken by its measured ratio. Raises UsageError.
    """

    metric: str = "bops"
    budget: float = 1.0
    optimizer: str = "linear"
    candidates: tuple[str, ...] = CANDIDATES

    def __post_init__(self) -> None:
        for what, given, known in (("metric", self.metric, METRICS), ("optimizer", self.optimizer, OPTIMIZERS)):
            if given not in known:
                raise UsageError(f"There is no {what} '{given}'", fix=f"Choose one of {', '.join(known)}")
        unknown = [name for name in self.candidates if name not in CANDIDATES]
        if unknown or not self.candidates:
            raise UsageError(
                f"'{unknown[0] if unknown else ''}' is no candidate precision", fix=f"Choose of {', '.join(CANDIDATES)}"
            )
        if not 0 < self.budget < math.inf:
            raise UsageError(f"A budget of {self.budget} leaves nothing", fix="Give a share of the int8 cost, as 0.8")


@dataclass
class Layer:
    """A product (or several that one name names): what it may be, and the noise of its weight by bits."""

    unit: Unit
    macs: int
    options: tuple[str, ...]
    noise: dict[int, float] = field(default_factory=dict)
    junctions: set[int] = field(default_factory=set)


@dataclass
class Junction:
    """Values of one width, by name. needs: layers that must have 16 bits for it to have them (none: one that reads a
    graph input is enough); reads: layers that read a value for themselves, and that value; wide: whether kernels can.

    noise: by bits; rounded: of one layer's read in 8 bits.
    """

    values: set[str]
    needs: set[int] = field(default_factory=set)
    reads: dict[int, str] = field(default_factory=dict)
    wide: bool = True
    noise: dict[int, float] = field(default_factory=dict)
    rounded: dict[int, float] = field(default_factory=dict)

    @property
    def layers(self) -> set[int]:
        """All at it."""
        return self.needs | set(self.reads)

    def noise_of(self, wide: set[int]) -> float:
        """With these layers in 16 bits."""
        if not wide:
            return self.noise[8]
        enough = self.needs <= wide if self.needs else bool(wide & set(self.reads))
        if not self.wide or not enough:
            return self.noise[8]
        return min(self.noise[8], self.noise[16] + sum(self.rounded[place] for place in set(self.reads) - wide))


Choice = tuple[str, ...]
"""A candidate for each layer."""


def bits(name: str) -> tuple[int, int]:
    """Bits of activations and of weights of a candidate."""
    activations, weights = name.split("_")
    return int(activations[1:]), int(weights[1:])


@dataclass
class Problem:
    """Everything that a choice is judged by; nothing runs any more."""

    layers: list[Layer]
    junctions: list[Junction]
    metric: str

    def cost(self, place: int, name: str) -> float:
        """Of one layer, in the metric's own unit."""
        layer, (activations, weights) = self.layers[place], bits(name)
        if self.metric == "weights":
            return layer.unit.bytes * weights / 8
        if self.metric == "macs":
            return layer.macs * ((weights > 4) + (activations > 8))
        return layer.macs * activations * weights

    def share(self, choice: Choice) -> float:
        """Cost relative to all in int8."""
        return sum(map(operator.getitem, self._shares, choice))

    @cached_property
    def _shares(self) -> list[dict[str, float]]:
        """Of every layer in every precision."""
        whole = max(sum(self.cost(place, "a8_w8") for place in range(len(self.layers))), 1)
        return [{name: self.cost(place, name) / whole for name in CANDIDATES} for place in range(len(self.layers))]

    def noise(self, choice: Choice) -> float:
        """Predicted relative noise of the outputs."""
        weights = sum(map(operator.getitem, self._weights, choice))
        wide = {place for place, name in enumerate(choice) if name == "a16_w8"}
        return weights + sum(item.noise_of(wide) for item in self.junctions)

    @cached_property
    def _weights(self) -> list[dict[str, float]]:
        return [{name: layer.noise[bits(name)[1]] for name in CANDIDATES} for layer in self.layers]

    def moves(self, choice: Choice) -> Iterator[Choice]:
        """Choices one step away."""
        for place, layer in enumerate(self.layers):
            yield from (_changed(choice, {place}, name) for name in layer.options if name != choice[place])
            yield from self._together(choice, set().union(*(self.junctions[at].layers for at in layer.junctions)))
        for item in self.junctions:
            yield from self._together(choice, item.needs)
            yield from self._together(choice, item.layers)

    def _together(self, choice: Choice, places: set[int]) -> Iterator[Choice]:
        """These layers in 16 bits, where all of them can be."""
        if len(places) > 1 and all("a16_w8" in self.layers[place].options for place in places):
            made = _changed(choice, places, "a16_w8")
            if made != choice:
                yield made

    def cheapest(self) -> Choice:
        """The least that the layers allow; of equal ones the least noisy."""
        def order(place: int, name: str) -> tuple[float, float]:
            return self.cost(place, name), self.layers[place].noise[bits(name)[1]]

        return tuple(min(layer.options, key=lambda name: order(place, name)) for place, layer in enumerate(self.layers))

    def solve(self, budget: float) -> Choice:
        """The least predicted noise that was found within `budget`. Raises UsageError where nothing fits."""
        start = self.cheapest()
        if self.share(start) > budget + TOLERANCE:
            raise UsageError(
                f"No mix of precisions costs {budget:.2f} of int8 in {self.metric}",
                why=f"the cheapest that the layers allow costs {self.share(start):.2f}",
                fix="Raise the budget, or free layers that overrides set",
            )
        starts = [start]
        plain = tuple("a8_w8" if "a8_w8" in layer.options else layer.options[0] for layer in self.layers)
        if self.share(plain) <= budget + TOLERANCE:
            starts.append(plain)
        return min((self._exchanged(self._filled(item, budget), budget) for item in starts), key=self.noise)

    def _filled(self, choice: Choice, budget: float) -> Choice:
        """Moves by noise removed for their cost, while they fit."""
        while True:
            noise, share = self.noise(choice), self.share(choice)
            fitting = [made for made in self.moves(choice) if self.share(made) <= budget + TOLERANCE]
            better = [made for made in fitting if self.noise(made) < noise * (1 - GAIN)]
            if not better:
                return choice
            choice = max(better, key=lambda made: (noise - self.noise(made)) / max(self.share(made) - share, 1e-9))

    def _exchanged(self, choice: Choice, budget: float) -> Choice:
        """One layer gives what another move costs, while that helps."""
        for _ in range(ROUNDS):
            found = min(self._exchanges(choice, budget), key=self.noise, default=choice)
            if self.noise(found) >= self.noise(choice) * (1 - GAIN):
                return choice
            choice = self._filled(found, budget)
        return choice

    def _exchanges(self, choice: Choice, budget: float) -> Iterator[Choice]:
        for place, layer in enumerate(self.layers):
            for name in layer.options:
                if self.cost(place, name) < self.cost(place, choice[place]):
                    less = _changed(choice, {place}, name)
                    yield from (made for made in self.moves(less) if self.share(made) <= budget + TOLERANCE)


TOLERANCE = 1e-9
GAIN = 0.003
"""Share of the noise (0.013 dB) that a move must remove: an exception from int8 costs a requantization."""
ROUNDS = 20
"""Exchanges at most: each looks at layers x moves choices."""


def _changed(choice: Choice, places: set[int], name: str) -> Choice:
    return tuple(name if place in places else held for place, held in enumerate(choice))


@dataclass
class Found:
    """A choice with its cost relative to int8 and ratios of the outputs in dB, predicted and measured by planning it."""

    budget: float
    choice: Choice
    share: float
    predicted: float
    measured: float


@dataclass
class Result:
    """What a search found. table: one line for each budget; best: the one to take."""

    problem: Problem
    table: list[Found]
    best: Found

    def overrides(self) -> tuple[LayerPrecision, ...]:
        """The choice as a recipe states it."""
        return spelled(self.problem, self.best.choice)

    def alone(self, place: int, name: str) -> float:
        """Ratio in dB with only this layer so: its weight, and what it reads and writes."""
        layer, width = self.problem.layers[place], bits(name)[0]
        at = (self.problem.junctions[junction] for junction in layer.junctions)
        noise = layer.noise[bits(name)[1]] + sum(item.noise[width if item.wide else 8] for item in at)
        return -10 * math.log10(max(noise, LEAST))


def spelled(problem: Problem, choice: Choice) -> tuple[LayerPrecision, ...]:
    """Overrides for the layers that are not in plain int8."""
    return tuple(
        LayerPrecision.parse(f"{layer.unit.glob}={name}")
        for layer, name in zip(problem.layers, choice, strict=True)
        if name != "a8_w8"
    )


def prepared(model: Model, how: Quantize, samples: Sequence[Sample]) -> Replan:
    """What a search runs on: the float model as the stage quantizes it, equalized where that helps, with the range
    method that it settles on."""
    from bessemer.quantize.stage import quantize

    _refuse(how)
    _, done = quantize(model, replace(how, level=min(0, how.level or 0)), samples)
    if done.teacher is None:
        raise ValueError("the stage kept no float twin")
    return Replan(done.teacher, replace(how, method=done.method), samples, done.histograms)


def _refuse(how: Quantize) -> None:
    scheme = SCHEMES[how.precision]
    if (scheme.activations, scheme.weights) != ("INT8", "INT8") or how.compression:
        raise UsageError(
            "Mixed precision is searched from int8 without a compression level",
            fix="Ask for --precision int8 and leave compression out",
        )


def search(replan: Replan, asked: Asked) -> Result:
    """Profile the layers of an int8 model and choose. Raises UsageError for other schemes, or where nothing fits."""
    _refuse(replan.how)
    problem = make_problem(replan, asked)
    markers = MARKERS if asked.optimizer == "pareto" else [1.0] * (asked.budget > 1)  # plain int8 may be as good
    budgets = sorted({*markers, asked.budget})
    least = problem.share(problem.cheapest())
    table = [
        measured(replan, problem, budget, problem.solve(budget))
        for budget in budgets
        if budget >= least - TOLERANCE or budget == asked.budget
    ]
    affordable = [item for item in table if item.share <= asked.budget + TOLERANCE]
    return Result(problem, table, max(affordable, key=lambda item: (item.measured, -item.share)))


def measured(replan: Replan, problem: Problem, budget: float, choice: Choice) -> Found:
    """A choice, planned and run."""
    predicted = -10 * math.log10(max(problem.noise(choice), LEAST))
    return Found(budget, choice, problem.share(choice), predicted, replan.snr(spelled(problem, choice)))


def make_problem(replan: Replan, asked: Asked) -> Problem:
    """Layers and junctions with the noise of each, measured."""
    eight, plan = replan()
    four, _ = replan([LayerPrecision("*", weights="int4")])
    wide, _ = replan([LayerPrecision("*", activations="int16")])
    layers = _layers(replan, plan, asked)
    junctions = _junctions(replan, eight, plan, layers)
    for layer in layers:
        layer.noise = {8: _weight_noise(replan, eight, layer), 4: _weight_noise(replan, four, layer)}
    for item in junctions:
        item.noise = {8: _value_noise(replan, eight, item.values), 16: 1.0}
        if item.wide:
            item.noise[16] = _value_noise(replan, wide, item.values)
            item.rounded = {place: _read_noise(replan, eight, layers[place], item.reads[place]) for place in item.reads}
    return Problem(layers, junctions, asked.metric)


def _layers(replan: Replan, plan: Plan, asked: Asked) -> list[Layer]:
    graph = replan.teacher.graph.graph
    made = []
    for unit in units(graph, plan.products):
        counts = [node_macs(product.node) for product in unit.products]
        if asked.metric != "weights" and None in counts:
            raise UsageError(
                f"The multiply-accumulates of '{unit.glob}' are not known before the model runs",
                fix="Bind the input's shape with --shape, or search by weights",
            )
        nodes = [product.node for product in unit.products]
        options = tuple(name for name in asked.candidates if all(_allowed(replan, node, name) for node in nodes))
        stated = precision_of(unit.products[0].node, replan.scheme)
        fixed = f"a{stated.activations[3:]}_w{stated.weights[3:]}"
        made.append(Layer(unit, sum(count or 0 for count in counts), options or (fixed,)))
    return made


def _allowed(replan: Replan, node: onnx_ir.Node, name: str) -> bool:
    """Whether kernels take a candidate, and the user set nothing else."""
    activations, weights = bits(name)
    wanted = Precision(f"INT{activations}", f"INT{weights}")
    stated = [item for item in replan.how.layers if is_called(node, item.match)]
    set_weights = next((item.weights for item in reversed(stated) if item.weights), f"int{weights}")
    set_activations = next((item.activations for item in reversed(stated) if item.activations), f"int{activations}")
    if (set_weights, set_activations) != (f"int{weights}", f"int{activations}"):
        return False
    if weights == 4 and node.op_type not in FOUR_BITS:
        return False
    return not why_float(node, replan.scheme, replan.how.keep, wanted)


def _junctions(replan: Replan, model: Model, plan: Plan, layers: Sequence[Layer]) -> list[Junction]:
    """Encoded values joined by the operators without weights between them."""
    parent: dict[str, str] = {}

    def find(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    owner = {id(product.node): place for place, layer in enumerate(layers) for product in layer.unit.products}
    floats = {item.node for item in plan.floats}
    makes, readers = dict[str, int](), dict[str, set[int]]()
    narrow, moved = list[str](), set[str]()
    followers = {follower for node in model.graph.graph if (follower := fused_follower(node)) is not None}
    for node in model.graph.graph:
        if node in followers:
            continue  # what it is drawn into speaks for it
        read, made = (_encoded(values) for values in _ends(node))
        for name in (*read, *made):
            find(name)
        if id(node) in owner:
            makes.update(dict.fromkeys(made, owner[id(node)]))
            for name in read:
                readers.setdefault(name, set()).add(owner[id(node)])
        elif node not in floats and node.op_type in INTEGER and node.op_type not in PRODUCTS:
            names = [*read, *made]
            moved.update(made)
            for name in names[1:]:
                parent[find(name)] = find(names[0])
            if names and why_float(node, replan.scheme, replan.how.keep, Precision("INT16", "INT8")):
                narrow.append(names[0])
    found: dict[str, Junction] = {}
    for name in list(parent):
        item = found.setdefault(find(name), Junction(set()))
        item.values.add(name)
        item.needs |= {makes[name]} if name in makes else set()
        if name in moved:
            item.needs |= readers.get(name, set())
        else:
            item.reads.update(dict.fromkeys(readers.get(name, ()), name))
    for name in narrow:
        found[find(name)].wide = False
    for place, item in enumerate(found.values()):
        for layer in item.layers:
            layers[layer].junctions.add(place)
    return list(found.values())


def _ends(node: onnx_ir.Node) -> tuple[list[onnx_ir.Value], list[onnx_ir.Value]]:
    """What an operator reads, and what it writes once what follows is drawn into it."""
    last = node
    while (follower := fused_follower(last)) is not None:
        last = follower
    return [value for value in data_inputs(node) if value.const_value is None], list(last.outputs)


def _encoded(values: Sequence[onnx_ir.Value]) -> list[str]:
    return [value.name or "" for value in values if encoding_of(value) is not None]


def _weight_noise(replan: Replan, source: Model, layer: Layer) -> float:
    """Relative noise of the outputs with only these weights as they are in `source`."""
    names = {product.node.outputs[0].name for product in layer.unit.products}
    held = {
        node.outputs[0].name: weight_of(node.inputs[1]) for node in source.graph.graph if node.outputs[0].name in names
    }
    copy = clone(replan.teacher)
    for node in copy.graph.graph:
        made = held.get(node.outputs[0].name)
        if made is not None and node.inputs[1] is not None:
            set_weight(node.inputs[1], made)
    return noise_of(replan, copy)


def _read_noise(replan: Replan, source: Model, layer: Layer, name: str) -> float:
    """Relative noise with only this layer reading a value as it is in `source`."""
    import onnx_ir

    copy = clone(replan.teacher)
    names = {product.node.outputs[0].name for product in layer.unit.products}
    for node in list(copy.graph.graph):
        value = node.inputs[0] if node.outputs[0].name in names else None
        if value is None or value.name != name:
            continue
        rounding = onnx_ir.node("Identity", [value])
        made = rounding.outputs[0]
        made.name, made.type, made.shape = f"{name}/{node.outputs[0].name}", value.type, value.shape
        set_encoding(made, _encodings(source).get(name))
        copy.graph.graph.insert_before(node, rounding)
        node.replace_input_with(0, made)
    return noise_of(replan, copy)


def _value_noise(replan: Replan, source: Model, names: set[str]) -> float:
    """Relative noise with only these values as they are in `source`."""
    held = _encodings(source)
    copy = clone(replan.teacher)
    graph = copy.graph.graph
    for value in (*graph.inputs, *(value for node in graph for value in node.outputs)):
        if value.name in names:
            set_encoding(value, held.get(value.name or ""))
    return noise_of(replan, copy)


def _encodings(model: Model) -> Mapping[str, Encoding]:
    graph = model.graph.graph
    values = (*graph.inputs, *(value for node in graph for value in node.outputs))
    return {value.name or "": held for value in values if (held := encoding_of(value)) is not None}


def noise_of(replan: Replan, model: Model) -> float:
    """Relative noise of the outputs, at least that of 140 dB."""
    return float(max(10 ** (-replan.judge(model) / 10), LEAST))

