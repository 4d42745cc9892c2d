"""AdaRound: every weight is rounded up or down so that the layer's output, not the weight, is closest.

Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization", arXiv 2004.10568: the objective is
equation 25 (the layer's input from the quantized net, its target from the float net, the activation function
included), the relaxation equations 22 to 24, zeta = 1.1, gamma = -0.1. Adam as in Kingma and Ba, arXiv 1412.6980.

The layer is one matrix product over sampled positions (`patches`), so no training framework is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.numbers import integer_range
from bessemer.ir.types import Array
from bessemer.quantize import patches
from bessemer.quantize.plan import fused_follower

if TYPE_CHECKING:
    import onnx_ir

ZETA, GAMMA = 1.1, -0.1


@dataclass(frozen=True)
class AdaRound:
    """Options: iterations of Adam with rate `rate` on `batch` positions; the regulariser of weight `weight` joins after
    `warmup` of them, its exponent falling from 20 to 2. positions: sampled for each layer over all samples.
    """

    iterations: int = 1000
    rate: float = 1e-2
    batch: int = 512
    positions: int = 16384
    weight: float = 1e-2
    warmup: float = 0.2
    high: float = 20.0
    low: float = 2.0
    seed: int = 0


@dataclass(frozen=True)
class Layer:
    """One product over sampled positions, by groups.

    x: (groups, inputs, positions), quantized; y: (groups, outputs, positions), the float net's raw output;
    weight, scale: (groups, outputs, inputs) and what broadcasts to it; bias: (groups, outputs, 1).
    """

    x: Array
    y: Array
    weight: Array
    scale: Array
    bias: Array
    bounds: tuple[float, float]
    """What the activation that follows clips to."""


def activation_bounds(node: onnx_ir.Node) -> tuple[float, float]:
    """The clip that follows a product and is drawn into it; infinite where there is none."""
    from bessemer.passes.rewrite import constant

    follower = fused_follower(node)
    if follower is None or follower.op_type == "Add":
        return -np.inf, np.inf
    if follower.op_type == "Relu":
        return 0.0, np.inf
    ends = [constant(follower.inputs[at]) if at < len(follower.inputs) else None for at in (1, 2)]
    low, high = (None if end is None else float(end.reshape(-1)[0]) for end in ends)
    return -np.inf if low is None else low, np.inf if high is None else high


def adaround(layer: Layer, dtype: str, how: AdaRound) -> Array:
    """Integers of the weight, (groups, outputs, inputs). Never worse on the sampled positions than nearest rounding.

    What the relaxation ends with is a start for `descend`, which it leaves little to do.
    """
    first, last = integer_range(dtype)
    first = -last if first < 0 else first
    steps = layer.weight / layer.scale
    floor = np.floor(steps)
    nearest = np.clip(np.rint(steps), first, last)
    starts = [nearest]
    if how.iterations:
        soft = _optimized(layer, floor, steps - floor, (first, last), how)
        starts.append(np.clip(floor + (soft >= 0.5), first, last))
    low, high = np.maximum(floor, first), np.minimum(floor + 1, last)
    found = [*starts, *(descend(layer, start, low, high) for start in starts)]
    losses = np.stack([_loss(layer, integers) for integers in found])
    chosen = losses.argmin(0)
    return np.asarray(np.take_along_axis(np.stack(found), chosen[None, ..., None], 0)[0])


PAIRS = 1 << 25
"""Elements of a table of all pairs of weights up to which `descend` flips pairs as well."""


def descend(layer: Layer, start: Array, low: Array, high: Array) -> Array:
    """Flip roundings as long as the squared error before the activation falls: the best one of every output, else pairs.

    With G = x x^T and p = (w x - y) x^T, moving weight k by d changes the error by 2 d p_k + d^2 G_kk, and p by d G_k.
    """
    x, scale = layer.x.astype(np.float64), np.asarray(layer.scale, np.float64)
    gram = x @ x.swapaxes(-1, -2)
    integers = start.astype(np.float64)
    pull = ((integers * scale) @ x + layer.bias - layer.y) @ x.swapaxes(-1, -2)
    groups, outputs, inputs = integers.shape
    table = groups * outputs * inputs * inputs <= PAIRS
    rows = np.arange(groups)[:, None], np.arange(outputs)[None, :]
    for _ in range(4 * inputs):
        move = np.where(integers > low, -scale, scale) * (high > low)
        gain = 2 * move * pull + move**2 * np.diagonal(gram, axis1=-2, axis2=-1)[:, None, :]
        least = -1e-9 * gain.max((-1), initial=0)
        first, second = gain.argmin(-1), None
        worth = gain[(*rows, first)] < least
        if not worth.any() and table:
            both = gain[..., :, None] + gain[..., None, :] + 2 * move[..., :, None] * move[..., None, :] * gram[:, None]
            both[..., np.arange(inputs), np.arange(inputs)] = np.inf
            flat = both.reshape(groups, outputs, -1)
            best = flat.argmin(-1)
            worth = flat[(*rows, best)] < least
            first, second = np.divmod(best, inputs)
        if not worth.any():
            break
        for chosen in (first, second) if second is not None else (first,):
            taken = move[(*rows, chosen)] * worth
            integers[(*rows, chosen)] += np.sign(taken)
            pull += taken[..., None] * gram[rows[0], chosen]
    return integers


def _loss(layer: Layer, integers: Array) -> Array:
    """Squared error over all positions, by output channel: channels do not touch one another."""
    made = (integers * layer.scale).astype(np.float32) @ layer.x + layer.bias
    gap = np.clip(made, *layer.bounds) - np.clip(layer.y, *layer.bounds)
    return np.asarray(np.square(gap, out=gap).sum(-1, dtype=np.float64))


def _optimized(layer: Layer, floor: Array, share: Array, limits: tuple[float, float], how: AdaRound) -> Array:
    """h(V) after the last iteration."""
    share = np.clip(share, 1e-4, 1 - 1e-4).astype(np.float32)
    v = (-np.log((ZETA - GAMMA) / (share - GAMMA) - 1)).astype(np.float32)
    step, random = _adam(v, how.rate), np.random.default_rng(how.seed)
    scale, floor = layer.scale.astype(np.float32), floor.astype(np.float32)
    target = np.clip(layer.y, *layer.bounds).astype(np.float32)
    inside = (floor >= limits[0]) & (floor < limits[1])
    count = layer.x.shape[-1]
    for turn in range(how.iterations):
        chosen = random.integers(0, count, min(how.batch, count))
        x, y = layer.x[..., chosen], target[..., chosen]
        sigmoid = 1 / (1 + np.exp(-v))
        h = np.clip(sigmoid * (ZETA - GAMMA) + GAMMA, 0, 1)
        raw = (np.clip(floor + h, *limits) * scale) @ x + layer.bias
        gap = np.clip(raw, *layer.bounds) - y
        gap *= (raw > layer.bounds[0]) & (raw < layer.bounds[1])
        slope = (gap @ x.swapaxes(-1, -2)) * (2 / chosen.size) * scale * inside
        slope += _pull(h, turn, how)
        v = step(slope * sigmoid * (1 - sigmoid) * (ZETA - GAMMA) * ((h > 0) & (h < 1)))
    return np.asarray(np.clip((ZETA - GAMMA) / (1 + np.exp(-v)) + GAMMA, 0, 1))


def _pull(h: Array, turn: int, how: AdaRound) -> Array:
    """Gradient of the regulariser weight x sum(1 - |2h - 1|^beta) with respect to h."""
    start = how.warmup * how.iterations
    if turn < start:
        return np.zeros((), np.float32)
    done = (turn - start) / (how.iterations - start)
    beta = how.low + (how.high - how.low) * (1 - done)
    centred = 2 * h - 1
    return np.asarray(-how.weight * 2 * beta * np.sign(centred) * np.abs(centred) ** (beta - 1), np.float32)


def _adam(start: Array, rate: float) -> Callable[[Array], Array]:
    """One parameter array under Adam: call with its gradient, get its new value."""
    value, mean, square, turn = start.copy(), np.zeros_like(start), np.zeros_like(start), 0

    def step(slope: Array) -> Array:
        nonlocal turn
        turn += 1
        mean[...] += 0.1 * (slope - mean)
        square[...] += 0.001 * (slope * slope - square)
        value[...] -= rate * (mean / (1 - 0.9**turn)) / (np.sqrt(square / (1 - 0.999**turn)) + 1e-8)
        return value

    return step


def sampled(
    node: onnx_ir.Node, quantized: list[Array], target: list[Array], groups: int, how: AdaRound
) -> tuple[Array, Array]:
    """x and y of a layer at random positions, equally many from every sample."""
    random = np.random.default_rng(how.seed)
    share = max(1, how.positions // len(target))
    xs, ys = [], []
    for x, y in zip(quantized, target, strict=True):
        total = patches.positions(node, y.shape)
        places = np.sort(random.permutation(total)[:share])
        xs.append(patches.columns(node, x, y.shape, places))
        ys.append(patches.rows(node, y, groups, places))
    return np.concatenate(xs, -1), np.concatenate(ys, -1)
