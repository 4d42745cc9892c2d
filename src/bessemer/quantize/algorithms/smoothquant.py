"""SmoothQuant: outliers of activations move into the weights, where a scale per channel can take them.

Xiao et al., "SmoothQuant", arXiv 2211.10438, equation 4: s_j = max|X_j|^a / max|W_j|^(1-a); X diag(s)^-1 folds into
what comes before, diag(s) W into the weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.types import Array
from bessemer.quantize.algorithms.awq import look
from bessemer.quantize.algorithms.channel_scales import Site, fold, input_weights
from bessemer.quantize.observe import Sample

if TYPE_CHECKING:
    from bessemer.ir.model import Model

SMALL = 1e-5
"""Magnitudes below this (relative to the largest) count as this much."""


def smooth(model: Model, found: Sequence[Site], samples: Sequence[Sample], strength: float = 0.5) -> int:
    """Scale every site of `model` in place, its function the same up to float rounding; returns how many."""
    if not found:
        return 0
    seen = look(model, found, samples, rows=1)
    for site in found:
        weights = np.max([np.abs(input_weights(reader)).max(1) for reader in site.readers], 0)
        fold(model.graph.graph, site, factors_of(seen[site.value.name or ""].peak, weights, strength))
    return len(found)


def factors_of(activations: Array, weights: Array, strength: float) -> Array:
    """s_j by equation 4; 1 where the channel or its weights are always zero."""
    alive = (activations > 0) & (weights > 0)
    x = np.maximum(activations, SMALL * activations.max(initial=0))
    w = np.maximum(weights, SMALL * weights.max(initial=0))
    factors = np.ones(activations.size)
    factors[alive] = x[alive] ** strength / w[alive] ** (1 - strength)
    return factors.astype(np.float32)
