"""What each layer costs in a quantized model, and what would mend the worst ones.

Noise is measured in the emulation (encodings acting in float arithmetic) as a signal-to-noise ratio
10 log10(E[y^2] / E[(y - y_q)^2]): at the model's outputs with only one layer quantized, at the layer itself with
everything quantized, and again with one thing changed for each remedy that is tried.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.encoding import encoding_of, set_encoding, set_weight, weight_of
from bessemer.ir.model import Model, layer_of
from bessemer.ir.numbers import integer_range
from bessemer.passes.rewrite import constant, make_constant, owner
from bessemer.passes.stats import node_macs
from bessemer.quantize.algorithms.bias_correction import channel_axis
from bessemer.quantize.histogram import Histogram
from bessemer.quantize.judge import Judge, clone, emulated, energy
from bessemer.quantize.levels import Quantize
from bessemer.quantize.observe import Sample, channel_means
from bessemer.quantize.precision import LayerPrecision, parsed
from bessemer.quantize.remedies import mend, try_remedies
from bessemer.quantize.replan import Replan
from bessemer.quantize.scheme import PRODUCTS
from bessemer.quantize.stage import quantize as quantize_model
from bessemer.runners.graph import GraphRunner
from bessemer.verify.evidence import Distribution, LayerNoise, Mend, Remedy

if TYPE_CHECKING:
    import onnx_ir

WORST = 5
"""Layers for which remedies are tried."""


@dataclass
class Analysis:
    """All layers in graph order, the whole model's ratio, and remedies by gain."""

    method: str
    level: int
    samples: int
    snr: float
    layers: list[LayerNoise] = field(default_factory=list)
    remedies: list[Remedy] = field(default_factory=list)
    mend: Mend | None = None
    overrides: tuple[LayerPrecision, ...] = ()
    """Those that the analysed model was quantized with, compression spelled out."""


Watch = Callable[[str], None]


def analyze(model: Model, how: Quantize, samples: Sequence[Sample], watch: Watch | None = None) -> Analysis:
    """Quantize `model` (a canonical float graph) and measure. Raises UsageError as `quantize` does."""
    say = watch or (lambda _stage: None)
    say("quantize")
    made, done = quantize_model(model, how, samples)
    if done.teacher is None:
        raise ValueError("the stage kept no float twin")
    bench = _Twins(done.teacher, made, samples, done.histograms)
    say("layers")
    layers = list(bench.layers())
    say("remedies")
    method = replace(how, method=done.method, layers=parsed(done.layers), compression=0)
    replan = Replan(done.teacher, method, samples, done.histograms)
    order = sorted(range(len(layers)), key=lambda place: layers[place].alone)
    tried = try_remedies(replan, [bench.node(done.teacher, bench.places[place]) for place in order[:WORST]])
    remedies = [item.record for item in tried]
    found = Analysis(done.method, done.level, len(samples), bench.base, layers, remedies, mend(replan, tried))
    found.overrides = method.layers
    return found


class _Twins:
    """A float graph and its quantized twin, node for node."""

    def __init__(
        self, teacher: Model, student: Model, samples: Sequence[Sample], histograms: dict[str, Histogram]
    ) -> None:
        from bessemer.quantize.judge import JUDGED, spread

        self.teacher, self.student, self.histograms = teacher, student, histograms
        self.samples = spread(samples, JUDGED)
        self.judge = Judge(teacher, self.samples)
        self.base = self.judge(student)
        self.means: dict[str, Any] = {}
        self.places = [
            place
            for place, node in enumerate(student.graph.graph)
            if node.op_type in PRODUCTS and weight_of(node.inputs[1]) is not None
        ]

    def layers(self) -> Iterator[LayerNoise]:
        """Every product with an integer weight."""
        noise = self._cumulative()
        for place in self.places:
            node = self.node(self.student, place)
            yield LayerNoise(
                layer=name_of(node),
                op=node.op_type,
                macs=node_macs(node),
                alone=self.judge(self._alone(place)),
                cumulative=noise[node.outputs[0].name or ""],
                weight=self._weight_noise(place),
                saturated=self._saturated(node),
                weights=self._weights(place),
                outputs=_binned(self.histograms.get(_stored(node).name or "")),
            )

    @staticmethod
    def node(model: Model, place: int) -> onnx_ir.Node:
        """The node at a place of the graph."""
        return list(model.graph.graph)[place]

    def _cumulative(self) -> dict[str, float]:
        """Noise at every product's raw output with everything quantized."""
        names = [self.node(self.student, place).outputs[0].name or "" for place in self.places]
        mine = GraphRunner(emulated(self.student.graph), names, optimize=False)
        theirs = GraphRunner(self.teacher.graph, names)
        signal, noise = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
        for sample in self.samples:
            got, want = mine.run(sample), theirs.run(sample)
            for place, name in zip(self.places, names, strict=True):
                axis = channel_axis(self.node(self.student, place))
                mean = channel_means([want[name]], axis) / len(self.samples)
                self.means[name] = self.means.get(name, 0.0) + mean
                signal[name] += energy(want[name])
                noise[name] += energy(got[name] - want[name])
        return {name: _decibels(signal[name], noise[name]) for name in names}

    def _alone(self, place: int) -> Model:
        """The float net with the integers of one layer: its input, weight and output; its own mean shift corrected."""
        model = clone(self.teacher)
        theirs, mine = self.node(self.student, place), self.node(model, place)
        held = weight_of(theirs.inputs[1])
        weight = mine.inputs[1]
        if held is not None and weight is not None:
            set_weight(weight, held)
        made = {value.name: value for node in model.graph.graph for value in node.outputs}
        for source, value in ((theirs.inputs[0], mine.inputs[0]), (_stored(theirs), made[_stored(theirs).name])):
            if value is not None and source is not None:
                set_encoding(value, encoding_of(source))
        self._corrected(model, mine)
        return model

    def _corrected(self, model: Model, node: onnx_ir.Node) -> None:
        """The bias of `node` raised by what its mean lacks: what bias correction gives a layer that stands alone."""
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        real = constant(bias)
        if bias is None or real is None or node.op_type == "MatMul":
            return
        name, axis = node.outputs[0].name or "", channel_axis(node)
        runner = GraphRunner(emulated(model.graph), [name], optimize=False)
        delta = self.means[name] - channel_means((runner.run(sample)[name] for sample in self.samples), axis)
        fixed = make_constant(owner(node), (real + delta).astype(np.float32), f"{name}_bias")
        node.replace_input_with(2, fixed)

    def _weight_noise(self, place: int) -> float:
        held = weight_of(self.node(self.student, place).inputs[1])
        real = constant(self.node(self.teacher, place).inputs[1], limit=1 << 62)
        if held is None or real is None:
            return 140.0
        return _decibels(energy(real), energy(held.encoding.dequantize(held.integers) - real))

    def _weights(self, place: int) -> Distribution | None:
        real = constant(self.node(self.teacher, place).inputs[1], limit=1 << 62)
        if real is None:
            return None
        seen = Histogram()
        seen.add(real)
        return _binned(seen)

    def _saturated(self, node: onnx_ir.Node) -> float:
        value = _stored(node)
        encoding, seen = encoding_of(value), self.histograms.get(value.name or "")
        if encoding is None or seen is None or not seen.total:
            return 0.0
        low, high = encoding.dequantize(np.array(integer_range(encoding.dtype)))
        outside = (seen.centres < low) | (seen.centres > high)
        return float(seen.counts[outside].sum()) / seen.total


def name_of(node: onnx_ir.Node) -> str:
    """What the report calls a layer."""
    return layer_of(node) or node.name or node.outputs[0].name or ""


def _stored(node: onnx_ir.Node) -> onnx_ir.Value:
    """The value that a product writes once a following activation is drawn into it."""
    value = node.outputs[0]
    if encoding_of(value) is None and len(value.uses()) == 1:
        follower = next(iter(value.consumers()))
        if follower.op_type in ("Relu", "Clip", "Add"):
            return follower.outputs[0]
    return value


BARS = 16
"""Bins of a distribution in the report."""


def _binned(seen: Histogram | None) -> Distribution | None:
    """A histogram over what was seen, in BARS equal bins; zeros are in the bin that holds 0."""
    if seen is None or not seen.total or seen.lowest == seen.highest:
        return None
    counts = seen.counts.astype(np.float64)
    counts[-seen.first if 0 <= -seen.first < counts.size else 0] += seen.zeros
    edges = np.linspace(seen.lowest, seen.highest, BARS + 1)
    below = np.interp(edges, seen.edges, np.concatenate([[0.0], np.cumsum(counts)]))
    below[0], below[-1] = 0.0, seen.total
    shares = np.diff(below) / seen.total
    return Distribution(low=seen.lowest, high=seen.highest, shares=[round(float(share), 6) for share in shares])


def _decibels(signal: float, noise: float) -> float:
    return -10 * math.log10(max(noise / max(signal, 1e-30), 1e-14))

