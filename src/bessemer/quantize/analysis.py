"""What each layer costs in a quantized model, and what would mend the worst ones.

Noise is measured in the emulation (encodings acting in float arithmetic) as a signal-to-noise ratio
10 log10(E[y^2] / E[(y - y_q)^2]): at the model's outputs with only one layer quantized, at the layer itself with
everything quantized, and again with one thing changed for each remedy that is tried.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.encoding import Encoding, encoding_of, set_encoding, set_weight, weight_of
from bessemer.ir.model import Model, layer_of
from bessemer.ir.numbers import integer_range
from bessemer.passes.rewrite import constant, make_constant, owner
from bessemer.passes.stats import node_macs
from bessemer.quantize.algorithms.bias_correction import channel_axis
from bessemer.quantize.assign import activation_encoding
from bessemer.quantize.histogram import Histogram
from bessemer.quantize.judge import Judge, clone, emulated, energy
from bessemer.quantize.levels import Quantize
from bessemer.quantize.observe import Sample, channel_means
from bessemer.quantize.scheme import PRODUCTS
from bessemer.quantize.stage import quantize as quantize_model
from bessemer.runners.graph import GraphRunner
from bessemer.verify.evidence import LayerNoise, Remedy

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
    worst = sorted(layers, key=lambda item: item.alone)[:WORST]
    remedies = [remedy for item in worst for remedy in bench.remedies(item.layer)]
    remedies.sort(key=lambda item: -item.gain)
    return Analysis(done.method, done.level, len(samples), bench.base, layers, remedies)


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
            node = self._node(self.student, place)
            yield LayerNoise(
                layer=name_of(node),
                op=node.op_type,
                macs=node_macs(node),
                alone=self.judge(self._alone(place)),
                cumulative=noise[node.outputs[0].name or ""],
                weight=self._weight_noise(place),
                saturated=self._saturated(node),
            )

    @staticmethod
    def _node(model: Model, place: int) -> onnx_ir.Node:
        return list(model.graph.graph)[place]

    def _cumulative(self) -> dict[str, float]:
        """Noise at every product's raw output with everything quantized."""
        names = [self._node(self.student, place).outputs[0].name or "" for place in self.places]
        mine = GraphRunner(emulated(self.student.graph), names, optimize=False)
        theirs = GraphRunner(self.teacher.graph, names)
        signal, noise = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
        for sample in self.samples:
            got, want = mine.run(sample), theirs.run(sample)
            for place, name in zip(self.places, names, strict=True):
                axis = channel_axis(self._node(self.student, place))
                mean = channel_means([want[name]], axis) / len(self.samples)
                self.means[name] = self.means.get(name, 0.0) + mean
                signal[name] += energy(want[name])
                noise[name] += energy(got[name] - want[name])
        return {name: _decibels(signal[name], noise[name]) for name in names}

    def _alone(self, place: int) -> Model:
        """The float net with the integers of one layer: its input, weight and output; its own mean shift corrected."""
        model = clone(self.teacher)
        theirs, mine = self._node(self.student, place), self._node(model, place)
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
        held = weight_of(self._node(self.student, place).inputs[1])
        real = constant(self._node(self.teacher, place).inputs[1], limit=1 << 62)
        if held is None or real is None:
            return 140.0
        return _decibels(energy(real), energy(held.encoding.dequantize(held.integers) - real))

    def _saturated(self, node: onnx_ir.Node) -> float:
        value = _stored(node)
        encoding, seen = encoding_of(value), self.histograms.get(value.name or "")
        if encoding is None or seen is None or not seen.total:
            return 0.0
        low, high = encoding.dequantize(np.array(integer_range(encoding.dtype)))
        outside = (seen.centres < low) | (seen.centres > high)
        return float(seen.counts[outside].sum()) / seen.total

    def remedies(self, layer: str) -> Iterator[Remedy]:
        """What the outputs gain when one thing is changed at one layer."""
        place = next(p for p in self.places if name_of(self._node(self.student, p)) == layer)
        node_name = layer.split(";")[0]
        for action, change, option in (
            ("keep it float", self._float, f"keep={node_name}"),
            ("16-bit activations around it", self._wide, ""),
            ("float weight, integer activations", self._float_weight, ""),
            ("ranges that clip nothing", self._unclipped, ""),
        ):
            model = clone(self.student)
            if change(model, place):
                gain = self.judge(model) - self.base
                yield Remedy(layer=layer, action=action, gain=gain, option=option)

    def _float(self, model: Model, place: int) -> bool:
        """Both sides of the layer stay as others see them; what it reads and makes is not rounded for it."""
        node, real = self._node(model, place), self._node(self.teacher, place)
        self._float_weight(model, place)
        for value in (node.inputs[0], _stored(node)):
            if value is not None:
                set_encoding(value, None)
        return real is not None

    def _float_weight(self, model: Model, place: int) -> bool:
        node, real = self._node(model, place), self._node(self.teacher, place)
        weight, source = node.inputs[1], real.inputs[1]
        if weight is None or source is None:
            return False
        weight.const_value = source.const_value
        set_encoding(weight, None)
        return True

    def _wide(self, model: Model, place: int) -> bool:
        return self._reranged(model, place, lambda held, span: activation_encoding(span, "INT16", symmetric=False))

    def _unclipped(self, model: Model, place: int) -> bool:
        return self._reranged(model, place, lambda held, span: activation_encoding(span, held.dtype, symmetric=False))

    def _reranged(
        self, model: Model, place: int, make: Callable[[Encoding, tuple[float, float]], Encoding]
    ) -> bool:
        """New encodings over the full range that was seen, for what the layer reads and makes."""
        node, changed = self._node(model, place), False
        for value in (node.inputs[0], _stored(node)):
            held = encoding_of(value)
            seen = self.histograms.get(value.name or "") if value is not None else None
            if value is None or held is None or seen is None:
                continue
            made = make(held, (seen.lowest, seen.highest))
            changed |= made != held
            set_encoding(value, made)
        return changed


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


def _decibels(signal: float, noise: float) -> float:
    return -10 * math.log10(max(noise / max(signal, 1e-30), 1e-14))

