"""AWQ: input channels that matter are scaled up before rounding, and down in front of it.

Lin et al., "AWQ", arXiv 2306.00978, section 3.2: s = s_X^a with s_X the mean magnitude of each channel's activations,
a searched on a grid over [0, 1] for the smallest || Q(W diag(s)) diag(s)^-1 X - W X || (equations 4 and 5). Only where
diag(s)^-1 folds into what comes before: elsewhere a layer is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.types import Array
from bessemer.quantize.algorithms.channel_scales import Site, fold, input_weights
from bessemer.quantize.observe import Sample
from bessemer.runners.graph import GraphRunner

if TYPE_CHECKING:
    import onnx_ir

    from bessemer.ir.model import Model


@dataclass(frozen=True)
class Awq:
    """points: how many exponents are tried over [0, 1]; rows: positions on which the error is measured; gain: by how much
    the error must fall, as a share, for a layer to be touched (less is chance).
    """

    points: int = 11
    rows: int = 1024
    gain: float = 0.02
    seed: int = 0


Rounding = Callable[["onnx_ir.Node", Array], Array]
"""A product and its matrix (inputs, outputs) -> that matrix as its codes will stand for it."""


@dataclass
class Seen:
    """Mean and largest magnitude of each channel of a site's input, and some of its rows."""

    total: Array
    peak: Array
    count: int
    rows: list[Array]


def look(model: Model, found: Sequence[Site], samples: Sequence[Sample], rows: int, seed: int = 0) -> dict[str, Seen]:
    """Channel statistics of every site; memory: one sample's activations, and `rows` rows of each site."""
    names = [site.value.name or "" for site in found]
    runner = GraphRunner(model.graph, names)
    draw = np.random.default_rng(seed)
    each = max(1, -(-rows // len(samples)))
    seen: dict[str, Seen] = {}
    for sample in samples:
        for name, array in runner.run(sample).items():
            flat = array.reshape(-1, array.shape[-1])
            size = np.abs(flat)
            item = seen.setdefault(name, Seen(np.zeros(flat.shape[1]), np.zeros(flat.shape[1]), 0, []))
            item.total += size.sum(0, dtype=np.float64)
            item.peak = np.maximum(item.peak, size.max(0))
            item.count += flat.shape[0]
            item.rows.append(flat[np.sort(draw.permutation(flat.shape[0])[:each])])
    return seen


def awq(model: Model, found: Sequence[Site], samples: Sequence[Sample], rounded: Rounding, how: Awq) -> dict[str, float]:
    """Scale every site in place; returns the exponent chosen for each, by the name of its value."""
    if not found:
        return {}
    seen, chosen = look(model, found, samples, how.rows, how.seed), dict[str, float]()
    for site in found:
        name = site.value.name or ""
        exponent, factors = _best(site, seen[name], rounded, how)
        chosen[name] = exponent
        if exponent:
            fold(model.graph.graph, site, factors)
    return chosen


def _best(site: Site, seen: Seen, rounded: Rounding, how: Awq) -> tuple[float, Array]:
    x = np.concatenate(seen.rows)[: how.rows]
    weights = [(reader, input_weights(reader)) for reader in site.readers]
    wanted = [x @ matrix for _, matrix in weights]
    trials = []
    for exponent in np.linspace(0, 1, how.points):
        factors = factors_of(seen.total / max(seen.count, 1), float(exponent))
        error = 0.0
        for (reader, matrix), want in zip(weights, wanted, strict=True):
            near = rounded(reader, matrix * factors[:, None]) / factors[:, None]
            error += float(np.sum(np.square(x @ near - want), dtype=np.float64))
        trials.append((error, float(exponent), factors))
    best = min(trials, key=lambda trial: trial[:2])
    return best[1:] if best[0] < (1 - how.gain) * trials[0][0] else trials[0][1:]


def factors_of(mean: Array, exponent: float) -> Array:
    """s = mean^a, its geometric middle at 1; 1 for channels that are always zero."""
    alive = mean > 0
    if not alive.any():
        return np.ones(mean.size, np.float32)
    factors = np.ones(mean.size)
    factors[alive] = np.maximum(mean[alive], 1e-4 * mean.max()) ** exponent
    factors[alive] /= np.sqrt(factors[alive].max() * factors[alive].min())
    return factors.astype(np.float32)

