"""The quantize stage on one screen: plan, observe, choose ranges, assign."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bessemer.ir.errors import UsageError
from bessemer.ir.model import layer_of
from bessemer.quantize.assign import assign
from bessemer.quantize.observe import Sample, Statistics, observe
from bessemer.quantize.plan import Group, Plan, data_inputs, make_plan
from bessemer.quantize.ranges import METHODS, Range, RangeMethod, choose
from bessemer.quantize.scheme import PRODUCTS, SCHEMES

if TYPE_CHECKING:
    import onnx_ir

    from bessemer.ir.model import Model

SIMILAR = 1.5
"""A Concat whose inputs' ranges are within this factor of its own shares one encoding with them: integers move
without being rescaled."""

UNEVEN = 4.0
"""A Concat behind the last product whose inputs' ranges differ by more stays float: one scale for boxes and
probabilities drowns the probabilities."""


@dataclass(frozen=True)
class Quantize:
    """Options of the stage.

    precision: a static scheme ('int8', 'int16x8'); method, percentile: how activation ranges are chosen; keep: globs
    of nodes, layers or operators that stay float.
    """

    precision: str = "int8"
    method: str = "mse"
    percentile: float = 99.99
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.precision not in SCHEMES:
            raise UsageError(f"'{self.precision}' is no static scheme", fix=f"Choose one of {', '.join(SCHEMES)}")
        if self.method not in METHODS:
            raise UsageError(f"There is no range method '{self.method}'", fix=f"Choose one of {', '.join(METHODS)}")


@dataclass
class Quantized:
    """What the stage did, for the report."""

    precision: str
    method: str
    samples: int
    values: int
    weights: int
    floats: list[tuple[str, str]] = field(default_factory=list)


def quantize(model: Model, how: Quantize, samples: Sequence[Sample]) -> Quantized:
    """Choose encodings for a canonical float graph, in place. Raises UsageError for data that cannot serve."""
    graph = model.graph.graph
    plan = make_plan(graph, SCHEMES[how.precision], how.keep)
    if not plan.products:
        raise UsageError("There is nothing to quantize: no convolution or matrix product has a constant weight")
    seen = observe(model.graph, wanted(plan), samples)
    plan, ranges = settle(graph, plan, seen, how)
    assign(graph, plan, ranges)
    return Quantized(
        how.precision,
        how.method,
        seen.samples,
        sum(len(group.values) for group in plan.groups),
        len(plan.products),
        [(layer_of(item.node) or item.node.name or item.node.op_type, item.reason) for item in plan.floats],
    )


def wanted(plan: Plan) -> list[str]:
    """Names of the values whose statistics the plan needs."""
    return [value.name or "" for group in plan.groups for value in group.sources if value in group.values]


def settle(graph: onnx_ir.Graph, plan: Plan, seen: Statistics, how: Quantize) -> tuple[Plan, dict[int, Range]]:
    """The plan once ranges are known: uneven Concats at the end stay float, even ones share an encoding."""
    ranges = group_ranges(plan, seen, how)
    uneven = uneven_concats(graph, plan, ranges)
    if uneven:
        plan = make_plan(graph, plan.scheme, (*how.keep, *uneven))
        ranges = group_ranges(plan, seen, how)
    return plan, share_concats(graph, plan, ranges)


def group_ranges(plan: Plan, seen: Statistics, how: Quantize) -> dict[int, Range]:
    """A range for each group, by its place."""
    bits = 16 if plan.scheme.activations == "INT16" else 8
    method = RangeMethod(
        "minmax" if bits == 16 else how.method, how.percentile, 2**bits, symmetric=plan.scheme.symmetric
    )
    return {place: _range(group, seen, method) for place, group in enumerate(plan.groups)}


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
    found = []
    for node in graph:
        if node.op_type == "Concat" and node.outputs[0] in place:
            found.append((node, [place[value] for value in data_inputs(node)], place[node.outputs[0]]))
    return found


def width(plan: Plan, ranges: dict[int, Range], place: int) -> float:
    """Real width that a group's integers span."""
    fixed = plan.groups[place].fixed
    if fixed is not None:
        return fixed[0] * 256
    return ranges[place][1] - ranges[place][0]


def uneven_concats(graph: onnx_ir.Graph, plan: Plan, ranges: dict[int, Range]) -> list[str]:
    """Names of Concats that no product follows and whose inputs' ranges differ too much."""
    names = []
    for node, inputs, _ in _concats(graph, plan):
        widths = [width(plan, ranges, place) for place in inputs]
        if max(widths) > UNEVEN * max(min(widths), 1e-30) and not _feeds_product(node):
            names.append(node.name or "")
    return [name for name in names if name]


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
