"""How far the integers of a weight reach.

The largest magnitude costs every other weight precision. Modes: `disabled` (all of it), `manual` and `percentile` (the
weights are clipped to a range first; percentages over the whole weight), `mmse` (per scale, the reach with the least
squared error of the weights), `mmse_if4b` (that, where weights have four bits). With few bits the best reach lies well
inside the extremes: Nagel et al., "A White Paper on Neural Network Quantization", arXiv 2106.08295, section 3.1 (MSE).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bessemer.ir.encoding import Encoding
from bessemer.ir.numbers import storage
from bessemer.ir.types import Array
from bessemer.quantize.clipping import UNCLIPPED, Clip, Rule, rule_for
from bessemer.quantize.encodings.base import WHOLE, Grain, Integer

STEPS = np.linspace(0.3, 1.0, 71, dtype=np.float32)
"""Reaches that mmse tries, as shares of the largest magnitude."""

SLAB = 1 << 18
"""Elements whose errors are measured at once: they stay in the processor's cache."""


def clip_for(rules: Sequence[Rule], names: Sequence[str]) -> Clip:
    """What is asked for a layer of these names."""
    rule = rule_for(rules, names)
    return UNCLIPPED if rule is None else rule.clip


def clipped(weight: Array, clip: Clip) -> Array:
    """The weight within the range of a manual or percentile clip; itself in other modes."""
    if clip.mode == "manual":
        return np.clip(weight, np.float32(clip.low), np.float32(clip.high))
    if clip.mode != "percentile" or not weight.size:
        return weight
    low, high = np.percentile(weight, [clip.low, clip.high])
    return np.clip(weight, np.float32(min(low, 0)), np.float32(max(high, 0)))


def fit(weight: Array, form: Integer, grain: Grain, clip: Clip) -> Encoding:
    """Scales for a weight (`clipped` already)."""
    searched = clip.mode == "mmse" or (clip.mode == "mmse_if4b" and storage(form.dtype).bits == 4)
    if not searched or not weight.size:
        return form.fit(weight, grain)
    return least_error(weight, form, grain)


@dataclass(frozen=True)
class Searched(Integer):
    """Integers that reach where the squared error is least, wherever scales are chosen (by GPTQ and AWQ, too)."""

    def fit(self, real: Array, grain: Grain = WHOLE) -> Encoding:
        """See `least_error`."""
        return least_error(real, self, grain)


def least_error(weight: Array, form: Integer, grain: Grain) -> Encoding:
    """argmin over STEPS of |w - decode(encode(w))|^2, for each scale by itself; ties go to the longer reach."""
    return grain.joined([_least_error(weight[cut], form, grain) for cut, _ in grain.slabs(weight.shape, SLAB)])


def _least_error(weight: Array, form: Integer, grain: Grain) -> Encoding:
    low = np.minimum(grain.reduce(weight, np.min), 0)
    high = np.maximum(grain.reduce(weight, np.max), 0)
    best, share = np.full(low.shape, np.inf), np.ones(low.shape, np.float32)
    for step in STEPS[::-1]:
        probe = form.between(low * step, high * step, grain)
        errors = np.square(probe.dequantize(form.encode(weight, probe)) - weight)
        total = grain.reduce(errors, np.sum)
        better = total < best
        best, share = np.where(better, total, best), np.where(better, step, share)
    return form.between(low * share, high * share, grain)
