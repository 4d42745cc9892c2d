"""Ranges of activations that are not what was seen, but what somebody asked for.

Modes: `manual` (the range is cut to LOW..HIGH), `percentile` (to these percentages of what was seen), `disabled`. A rule
names a value, or the layer, node or operator that makes it. With re-collection the model runs over the data a second
time with the clips acting, so that what lies behind them is seen as the integers will see it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.model import Model
from bessemer.quantize.clipping import Clip, Rule, names_of, refuse_idle, rule_for
from bessemer.quantize.histogram import Histogram
from bessemer.quantize.observe import Sample, Statistics, observe
from bessemer.quantize.plan import Group, Plan, fused_follower
from bessemer.quantize.ranges import Range, quantiles
from bessemer.quantize.settle import wanted

if TYPE_CHECKING:
    import onnx_ir

def collect(
    model: Model, plan: Plan, samples: Sequence[Sample], rules: Sequence[Rule] = (), *, recollect: bool = False
) -> Statistics:
    """Statistics of what `plan` quantizes, with the limits that `rules` set; recollect: seen behind these limits.

    Raises UsageError for a rule that names nothing.
    """
    names = wanted(plan)
    seen = observe(model.graph, names, samples)
    seen.limits = limits(plan, seen, rules)
    if recollect and seen.limits:
        again = observe(limited_copy(model, seen.limits).graph, names, samples)
        again.limits = seen.limits
        return again
    return seen


def limits(plan: Plan, seen: Statistics, rules: Sequence[Rule]) -> dict[str, Range]:
    """The range that rules leave to each observed value, by its name. Raises UsageError for a rule that names nothing."""
    free = [group for group in plan.groups if group.fixed is None]
    called = {value: _called(group, value) for group in free for value in group.sources if value in group.values}
    refuse_idle(rules, called.values(), "quantized value or its layer")
    found = {value.name or "": rule_for(rules, names) for value, names in called.items()}
    clips = {name: rule.clip for name, rule in found.items() if rule is not None and rule.clip.mode != "disabled"}
    return {name: _limit(clip, seen.histograms[name]) for name, clip in clips.items()}


def _called(group: Group, source: onnx_ir.Value) -> tuple[str, ...]:
    """Names of a value, of its maker, and of what only moves it: they share one encoding."""
    moved = [value for value in group.values if value not in group.sources]
    return tuple(name for value in (source, *moved) for name in _names(value))


def _names(value: onnx_ir.Value) -> tuple[str, ...]:
    """With the node that an activation is drawn into: the value between is never stored."""
    maker = value.producer()
    if maker is None:
        return (value.name or "",)
    before = [source.producer() for source in maker.inputs if source is not None]
    drawn = [node for node in before if node is not None and fused_follower(node) is maker]
    return (value.name or "", *(name for node in (maker, *drawn) for name in names_of(node)))


def _limit(clip: Clip, seen: Histogram) -> Range:
    if clip.mode == "manual":
        return clip.low, clip.high
    return quantiles(seen, clip.low / 100, clip.high / 100)


def limited_copy(model: Model, limits: Mapping[str, Range]) -> Model:
    """A copy in which a Clip stands behind every limited value."""
    import onnx_ir

    from bessemer.passes.rewrite import make_constant
    from bessemer.quantize.judge import clone

    copy = clone(model)
    graph = copy.graph.graph
    values = [*graph.inputs, *(value for node in graph for value in node.outputs)]
    for value in [value for value in values if value.name in limits]:
        ends = [
            make_constant(graph, np.asarray(end, np.float32), f"{value.name}_{side}")
            for end, side in zip(limits[value.name or ""], ("least", "most"), strict=True)
        ]
        uses, maker = list(value.uses()), value.producer()
        node = onnx_ir.node("Clip", [value, *ends], name=f"{value.name}_limit")
        clipped = node.outputs[0]
        clipped.name, clipped.type, clipped.shape = f"{value.name}_limited", value.type, value.shape
        for use in uses:
            use.node.replace_input_with(use.idx, clipped)
        if maker is None:
            graph.insert_before(next(iter(graph)), [node])
        else:
            graph.insert_after(maker, [node])
    return copy
