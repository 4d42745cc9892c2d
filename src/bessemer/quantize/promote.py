"""Which nodes to leave in float when a model loses too much in integers: the few that cost the outputs most.

Noise sources are values (with all that must share their encoding) and weights. One is found among n by halving, in
log2(n) runs or twice as many. Noise does not simply add up, hence the rest is measured anew after each step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bessemer.ir.encoding import encoding_of, set_encoding, set_weight, weight_of
from bessemer.ir.model import Model
from bessemer.passes.stats import node_macs
from bessemer.quantize.judge import clone
from bessemer.quantize.plan import fused_follower

if TYPE_CHECKING:
    import onnx_ir

    from bessemer.ir.encoding import Encoding, QuantizedWeight
    from bessemer.quantize.plan import Plan

LEAST, AIM = 12.0, 14.0
"""Signal-to-noise ratio of the outputs, in dB, below which nodes are left in float (10 dB is where rows fail), and what
is then aimed at, before biases are corrected."""

MOST = 0.25
"""Share of the multiply-accumulates that may be left in float for it."""

STEPS = 12
"""Sources taken out at most."""

SUDDEN = 3.0
"""Decibels by which one source must lower the outputs to be the culprit."""

GAIN = 2.0
"""Decibels that all of it must bring: else noise is spread too wide for this remedy."""


@dataclass(frozen=True)
class Source:
    """Something that makes noise: encodings of values, or an integer weight; nodes: places in the graph of those that
    must compute in float for it to be gone."""

    name: str
    nodes: frozenset[int]
    encodings: tuple[tuple[str, Encoding], ...] = ()
    weight: tuple[str, QuantizedWeight] | None = None


@dataclass
class Promotion:
    """places: of nodes left in float, with the reason; share: of the multiply-accumulates they hold; gain: in dB."""

    places: dict[int, str] = field(default_factory=dict)
    share: float = 0.0
    gain: float = 0.0


def sources(graph: onnx_ir.Graph, plan: Plan) -> list[Source]:
    """Every noise source of a graph on which `plan` was carried out, in graph order."""
    places = {node: place for place, node in enumerate(graph)}
    found = [_of_values(values, places) for values in (group.values for group in plan.groups)]
    found += [_of_weight(product.weight, product.node, places) for product in plan.products]
    return sorted((item for item in found if item is not None and item.nodes), key=lambda item: min(item.nodes))


def _of_values(values: Sequence[onnx_ir.Value], places: dict[onnx_ir.Node, int]) -> Source | None:
    held = [(value.name or "", encoding) for value in values if (encoding := encoding_of(value)) is not None]
    if not held:
        return None
    around = [node for value in values for node in (value.producer(), *value.consumers()) if node is not None]
    return Source(held[0][0], _places(around, places), tuple(held))


def _of_weight(value: onnx_ir.Value, node: onnx_ir.Node, places: dict[onnx_ir.Node, int]) -> Source | None:
    held = weight_of(value)
    return None if held is None else Source(value.name or "", _places([node], places), weight=(value.name or "", held))


def _places(nodes: Sequence[onnx_ir.Node], places: dict[onnx_ir.Node, int]) -> frozenset[int]:
    """Of nodes, and of those that are one kernel with them: the value between has no encoding."""
    found = set(nodes)
    for node in nodes:
        follower, maker = fused_follower(node), node.inputs[0].producer() if node.inputs and node.inputs[0] else None
        found |= {follower} if follower is not None else set()
        found |= {maker} if maker is not None and fused_follower(maker) is node else set()
    return frozenset(places[node] for node in found if node in places)


def promote(model: Model, made: Model, plan: Plan, judge: Callable[[Model], float]) -> Promotion:
    """Nodes to leave in float so that the outputs reach AIM; empty where a few nodes do not bring that nearer.

    model: the float twin of `made`, node for node; plan: as carried out on `made`.
    """
    nodes = list(made.graph.graph)
    macs = [node_macs(node) or 0 for node in nodes]
    floats = {node for item in plan.floats if (node := item.node) is not None}
    free = {place for place, node in enumerate(nodes) if node in floats}
    left = [item for item in sources(made.graph.graph, plan) if not item.nodes <= free]
    done, before = Promotion(), judge(_with(model, left))
    for _ in range(STEPS):
        if before >= AIM or not left:
            break
        culprit = _culprit(model, left, judge)
        taken = done.places.keys() | culprit.nodes - free
        share = sum(macs[place] for place in taken) / max(sum(macs), 1)
        left = [item for item in left if not item.nodes <= taken | free]
        after = judge(_with(model, left))
        if share > MOST:
            break
        reason = f"in integers '{culprit.name}' is what the outputs suffer from most"
        done.places |= dict.fromkeys(taken - done.places.keys(), reason)
        done.share, before, done.gain = share, after, done.gain + after - before
    return done if done.gain >= GAIN else Promotion()


def _culprit(model: Model, items: list[Source], judge: Callable[[Model], float]) -> Source:
    """The source with which the outputs of the part before it fall below AIM, if they fall far; else the noisiest.

    Sources that do no harm alone may do so together (the squares of both parts of a spectrum, both rounded to zero, in
    front of a logarithm), so one is looked for behind all the others that come before it.
    """
    scores = {0: AIM + SUDDEN, len(items): judge(_with(model, items))}
    fine, broken = 0, len(items)
    while broken - fine > 1:
        middle = (fine + broken) // 2
        scores[middle] = judge(_with(model, items[:middle]))
        fine, broken = (middle, broken) if scores[middle] >= AIM else (fine, middle)
    return items[broken - 1] if scores[fine] - scores[broken] >= SUDDEN else _noisiest(model, items, judge)


def _noisiest(model: Model, items: list[Source], judge: Callable[[Model], float]) -> Source:
    """The source that costs most by itself, as far as halving finds it."""
    while len(items) > 1:
        halves = items[: len(items) // 2], items[len(items) // 2 :]
        items = min(halves, key=lambda half: judge(_with(model, half)))
    return items[0]


def _with(model: Model, items: Sequence[Source]) -> Model:
    """A copy of the float model in which only some sources make noise."""
    copy = clone(model)
    graph = copy.graph.graph
    values = {value.name: value for node in graph for value in node.outputs} | {value.name: value for value in graph.inputs}
    for item in items:
        for name, encoding in item.encodings:
            set_encoding(values[name], encoding)
        if item.weight is not None:
            set_weight(graph.initializers[item.weight[0]], item.weight[1])
    return copy
