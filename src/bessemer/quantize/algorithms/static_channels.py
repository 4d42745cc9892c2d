"""Channels that never vary: the kernel is zeroed, the bias holds the mean.

A channel whose output, before its activation, has a variance of at most 1e-7 over the data (relative to the layer's
liveliest channel where that is below 1) carries no information; its weights only take part in choosing scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.model import Model, layer_of
from bessemer.ir.types import Array
from bessemer.quantize.algorithms.equalization import (
    as_weight,
    is_layer,
    replace_bias,
    replace_constant,
    rows_of,
)
from bessemer.quantize.assign import held
from bessemer.quantize.judge import JUDGED, clone, spread
from bessemer.quantize.moments import Moments, channel_moments
from bessemer.quantize.observe import Sample
from bessemer.runners.graph import GraphRunner

if TYPE_CHECKING:
    import onnx_ir

VARIANCE = 1e-7

DRIFT = 1e-5
"""Largest change of an output on the data, in units of the output's largest magnitude."""


@dataclass
class Zeroed:
    """Channels by layer; `model` is the one that was given where nothing was zeroed."""

    model: Model
    layers: dict[str, int] = field(default_factory=dict)

    @property
    def notes(self) -> list[str]:
        """For the report."""
        if not self.layers:
            return []
        count, most = sum(self.layers.values()), max(self.layers, key=lambda name: self.layers[name])
        where = f"{len(self.layers)} layers (most in '{most}')" if len(self.layers) > 1 else f"'{most}'"
        return [f"{count} channels of {where} never vary: their weights are 0, their biases the mean"]


def zero_static(model: Model, samples: Sequence[Sample]) -> Zeroed:
    """A copy of a float model without the weights of channels that never vary; its outputs stay within DRIFT.

    Where small variances add up to more, only channels that are constant to the last digit are zeroed.
    """
    seen = {node: Moments(0, np.zeros(0), np.zeros(0)) for node in model.graph.graph if is_layer(node)}
    for few in (samples[:2], samples):  # what varies in two samples is not looked at again
        seen = channel_moments(model.graph, list(seen), few) if seen else {}
        seen = {node: found for node, found in seen.items() if _still(node, found, VARIANCE).any()}
    for variance in (VARIANCE, 0.0):
        still = {node: _still(node, found, variance) for node, found in seen.items()}
        still = {node: mask for node, mask in still.items() if mask.any()}
        if not still:
            break
        copy = clone(model)
        twins = dict(zip(model.graph.graph, copy.graph.graph, strict=True))
        for node, mask in still.items():
            _zero(copy.graph.graph, twins[node], mask, seen[node].mean)
        if drift(model, copy, spread(samples, JUDGED)) <= DRIFT:
            return Zeroed(copy, {_name(node): int(mask.sum()) for node, mask in still.items()})
    return Zeroed(model)


def _name(node: onnx_ir.Node) -> str:
    return layer_of(node) or node.name or node.outputs[0].name or ""


def _still(node: onnx_ir.Node, seen: Moments, variance: float) -> Array:
    """Channels that do not vary although they have weights."""
    most = min(1.0, float(seen.variance.max(initial=0)))
    digits = np.square(seen.mean * np.finfo(np.float32).eps)
    weighs = rows_of(node).reshape(seen.mean.size, -1).any(1)
    return np.asarray((seen.variance <= variance * most + digits) & weighs)


def _zero(graph: onnx_ir.Graph, node: onnx_ir.Node, mask: Array, mean: Array) -> None:
    rows = rows_of(node).copy()
    rows[mask] = 0
    bias = held(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else np.zeros(mask.size)
    replace_constant(graph, node, 1, as_weight(node, rows))
    replace_bias(graph, node, np.where(mask, mean, bias))


def drift(model: Model, other: Model, samples: Sequence[Sample]) -> float:
    """Largest difference of any float output, in units of that output's largest magnitude."""
    mine, theirs = GraphRunner(other.graph), GraphRunner(model.graph)
    worst, peak = dict[str, float](), dict[str, float]()
    for sample in samples:
        got = mine.run(sample)
        for name, want in theirs.run(sample).items():
            if want.dtype.kind == "f" and want.size:
                worst[name] = max(worst.get(name, 0.0), float(np.abs(got[name] - want).max()))
                peak[name] = max(peak.get(name, 0.0), float(np.abs(want).max()))
    return max((worst[name] / max(peak[name], 1e-30) for name in worst), default=0.0)
