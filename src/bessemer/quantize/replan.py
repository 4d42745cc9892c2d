"""One float model quantized again and again with other precisions, from statistics that were gathered once.

What analysis and search stand on: no trial of range methods, no layer-wise steps, so that what differs between two
results is what was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bessemer.ir.errors import UsageError
from bessemer.ir.model import Model
from bessemer.quantize.algorithms.activation_clipping import limits
from bessemer.quantize.assign import assign
from bessemer.quantize.histogram import Histogram
from bessemer.quantize.judge import JUDGED, Judge, clone, spread
from bessemer.quantize.levels import Quantize
from bessemer.quantize.observe import Sample, Statistics, observe
from bessemer.quantize.plan import Plan, data_inputs, make_plan
from bessemer.quantize.precision import LayerPrecision, mark, settle_precisions
from bessemer.quantize.scheme import INTEGER
from bessemer.quantize.settle import settle

if TYPE_CHECKING:
    import onnx_ir


class Replan:
    """Quantized copies of `teacher`, a spelled float graph.

    how: `method` must be a range method; its `layers` come before those that are asked for; seen: histograms that were
    gathered already, by value.
    """

    def __init__(
        self, teacher: Model, how: Quantize, samples: Sequence[Sample], seen: Mapping[str, Histogram] | None = None
    ) -> None:
        if how.method == "auto":
            raise UsageError("A plan that is made again needs a range method", fix="Name one in place of auto")
        self.teacher, self.how, self.scheme = teacher, how, how.scheme
        known = dict(seen or {})
        missing = [name for name in _values(teacher.graph.graph) if name not in known]
        self.seen = observe(teacher.graph, missing, samples) if missing else Statistics(samples=len(samples))
        self.seen.histograms |= known
        self.samples = spread(samples, JUDGED)
        self.judge = Judge(teacher, self.samples)

    def __call__(self, layers: Sequence[LayerPrecision] = ()) -> tuple[Model, Plan]:
        """Quantized with these overrides."""
        made = clone(self.teacher)
        graph = made.graph.graph
        how = replace(self.how, layers=(*self.how.layers, *layers))
        mark(graph, self.scheme, how.layers)
        settle_precisions(graph, self.scheme, how.keep)
        plan, seen = make_plan(graph, self.scheme, how.keep), self._seen(graph)
        seen.limits = limits(plan, seen, how.activation_clips)
        plan, ranges = settle(graph, plan, seen, how)
        assign(graph, plan, ranges, how.weight_clips)
        return made, plan

    def snr(self, layers: Sequence[LayerPrecision] = ()) -> float:
        """Of the outputs with these overrides, in dB."""
        return self.judge(self(layers)[0])

    def _seen(self, graph: onnx_ir.Graph) -> Statistics:
        """A requantized value is the value that it was."""
        known = dict(self.seen.histograms)
        for node in graph:
            source = node.inputs[0] if node.op_type == "Identity" else None
            if source is not None and source.name in known:
                known.setdefault(node.outputs[0].name or "", known[source.name])
        return Statistics(known, self.seen.samples)


def _values(graph: onnx_ir.Graph) -> list[str]:
    """Names of the float data that integer kernels could read or write."""
    import onnx_ir

    found = dict.fromkeys(
        value
        for node in graph
        if node.op_type in INTEGER
        for value in (*data_inputs(node), *node.outputs)
        if value.const_value is None and value.dtype == onnx_ir.DataType.FLOAT
    )
    return [value.name or "" for value in found]
