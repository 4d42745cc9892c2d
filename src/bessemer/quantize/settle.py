"""From statistics to a range for each group of values that share an encoding."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bessemer.quantize.levels import Quantize
from bessemer.quantize.observe import Statistics
from bessemer.quantize.plan import Group, Plan, data_inputs, make_plan
from bessemer.quantize.ranges import Range, RangeMethod, choose
from bessemer.quantize.scheme import PRODUCTS

if TYPE_CHECKING:
    import onnx_ir

SIMILAR = 1.5
"""A Concat whose inputs' ranges are within this factor of its own shares one encoding with them: integers move
without being rescaled."""


UNEVEN = 4.0
"""A Concat behind the last product whose inputs' ranges differ by more stays float: one scale for boxes and
probabilities drowns the probabilities."""


def wanted(plan: Plan) -> list[str]:
    """Names of the values whose statistics the plan needs."""
    return [value.name or "" for group in plan.groups for value in group.sources if value in group.values]


def settle(
    graph: onnx_ir.Graph,
    plan: Plan,
    seen: Statistics,
    how: Quantize,
    excepted: Mapping[onnx_ir.Node, str] | None = None,
) -> tuple[Plan, dict[int, Range]]:
    """The plan once ranges are known: uneven Concats at the end stay float, even ones share an encoding.

    excepted: the nodes that `plan` leaves in float, with the reason.
    """
    ranges = group_ranges(plan, seen, how)
    uneven = uneven_concats(graph, plan, ranges)
    if uneven:
        plan = make_plan(graph, plan.scheme, how.keep, {**(excepted or {}), **uneven})
        ranges = group_ranges(plan, seen, how)
    return plan, share_concats(graph, plan, ranges)


def group_ranges(plan: Plan, seen: Statistics, how: Quantize) -> dict[int, Range]:
    """A range for each group, by its place."""
    leading = leads_to_product([value for group in plan.groups for value in group.values])
    ranges = {}
    for place, group in enumerate(plan.groups):
        cut = group.ranges or (how.method if group.bits == 8 else "minmax")
        whole = cut in CUTTING and not group.ranges and not leading.intersection(group.values)
        method = RangeMethod(
            "minmax" if whole else cut,
            how.percentile,
            2**group.bits,
            symmetric=group.symmetric,
            power_of_two=plan.scheme.power_of_two,
        )
        ranges[place] = gated(group, _range(group, seen, method), 2**group.bits)
    return ranges


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


CUTTING = ("average", "entropy", "percentile")
"""Methods that cut by how many elements are large, not by how large they are. Behind the last product the few large
ones are the answer (the winner among logits), so there everything seen is kept."""


def leads_to_product(values: Sequence[onnx_ir.Value]) -> set[onnx_ir.Value]:
    """Those of `values` that a convolution or matrix product reads, directly or through other operators."""
    return {
        value
        for value in values
        if any(user.op_type in PRODUCTS or _feeds_product(user) for user in value.consumers())
    }


def _range(group: Group, seen: Statistics, method: RangeMethod) -> Range:
    from bessemer.quantize.assign import held

    low, high = 0.0, 0.0
    for value in group.sources:
        name = value.name or ""
        if name in seen.histograms and value in group.values:
            span = _within(choose(seen.histograms[name], method), seen.limits.get(name))
        elif value in group.constants:
            real = held(value)
            span = (float(real.min(initial=0)), float(real.max(initial=0)))
        else:
            continue
        low, high = min(low, span[0]), max(high, span[1])
    return low, high


def _within(span: Range, limit: Range | None) -> Range:
    return span if limit is None else (max(span[0], limit[0]), min(span[1], limit[1]))


def _concats(graph: onnx_ir.Graph, plan: Plan) -> list[tuple[onnx_ir.Node, list[int], int]]:
    """Integer Concats with the places of their inputs' groups and of their output's."""
    place = {
        value: index for index, group in enumerate(plan.groups) for value in (*group.values, *group.constants)
    }
    return [
        (node, [place[value] for value in data_inputs(node)], place[node.outputs[0]])
        for node in graph
        if node.op_type == "Concat" and node.outputs[0] in place
    ]


def width(plan: Plan, ranges: dict[int, Range], place: int) -> float:
    """Real width that a group's integers span."""
    fixed = plan.groups[place].fixed
    if fixed is not None:
        return fixed[0] * (1 << plan.groups[place].bits)
    return ranges[place][1] - ranges[place][0]


def uneven_concats(graph: onnx_ir.Graph, plan: Plan, ranges: dict[int, Range]) -> dict[onnx_ir.Node, str]:
    """Concats that no product follows and whose inputs' ranges differ too much, with the reason to keep them float."""
    found: dict[onnx_ir.Node, str] = {}
    for node, inputs, _ in _concats(graph, plan):
        widths = [width(plan, ranges, place) for place in inputs]
        if max(widths) > UNEVEN * max(min(widths), 1e-30) and not _feeds_product(node):
            found[node] = (
                f"its inputs span {min(widths):.3g} to {max(widths):.3g}: one scale would drown the smallest"
            )
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
