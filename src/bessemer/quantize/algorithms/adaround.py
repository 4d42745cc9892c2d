"""AdaRound: weights are rounded so that the layer's output, not the weight, is closest.

Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization", arXiv 2004.10568. The paper relaxes the
problem and trains; here it is solved as what it is before the activation function, a quadratic form in the weights of
each output: ||w x - y||^2 = w G w^T - 2 w c + ||y||^2, G = x x^T, c = x y^T, which touches no position any more. Rounding
in sequence spreads each error over the weights to come (Frantar et al., "GPTQ", arXiv 2210.17323; here from the last
input to the first, by the Cholesky factor of G itself); descent then takes one input at a time, for all outputs at
once, until no single integer can be bettered. A clip behind the layer is brought in by majorisation (`Task.aim`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bessemer.ir.types import Array
from bessemer.quantize.algorithms.reconstruct import Task

BLOCK = 64
"""Inputs that are stepped through before the others hear of it, in one matrix product."""

PAIRS = 1 << 20
"""Elements of a table of all pairs of steps up to which `Problem.paired` looks at it."""

WIDE = 256
"""Inputs up to which several orders are tried: beyond, one costs seconds and the others bring next to nothing."""

CHUNK = 4096
"""Positions whose products are summed in single precision; sums of those are in double."""


@dataclass(frozen=True)
class AdaRound:
    """Options. positions: sampled for each layer over all samples; damping: share of the mean input energy with which
    every weight is held to its float value at least; sweeps: at most so many over all inputs; orders: in which
    inputs are rounded in sequence; refits: of the scales, and turns: of the aim behind a clip, each with its descents.
    """

    positions: int = 16384
    damping: float = 0.01
    sweeps: int = 20
    orders: int = 4
    refits: int = 3
    turns: int = 4
    seed: int = 0


@dataclass(frozen=True)
class Rounded:
    """integers: (groups, inputs, outputs); scale: (groups, 1, outputs); bias: (groups, outputs)."""

    integers: Array
    scale: Array
    bias: Array

    def made(self, x: Array) -> Array:
        """The layer's raw result, (groups, outputs, positions)."""
        weight = (self.integers * self.scale).swapaxes(-1, -2).astype(np.float32)
        return np.asarray(weight @ x + self.bias[..., None].astype(np.float32))

    def where(self, mask: Array, other: Rounded) -> Rounded:
        """By output: this where `mask`, (groups, outputs), else the other."""
        wide = mask[:, None]
        return Rounded(
            np.where(wide, self.integers, other.integers),
            np.where(wide, self.scale, other.scale),
            np.where(mask, self.bias, other.bias),
        )


@dataclass(frozen=True)
class Problem:
    """Keep e^T gram e small, e = integers scale - best; gram: (groups, inputs, inputs), best: (groups, inputs, outputs)."""

    gram: Array
    best: Array
    low: float
    high: float

    def loss(self, integers: Array, scale: Array) -> Array:
        """By output: (groups, outputs)."""
        error = integers * scale - self.best
        return np.asarray((error * (self.gram @ error)).sum(1))

    def nearest(self, scale: Array) -> Array:
        """Every weight by itself."""
        return np.asarray(np.clip(np.rint(self.best / scale), self.low, self.high))

    def in_order(self, scale: Array, order: Array) -> Array:
        """Rounded in sequence, the inputs taken in this order from its last."""
        turned = replace(self, gram=self.gram[:, order[:, None], order], best=self.best[:, order])
        integers = np.empty_like(self.best)
        integers[:, order] = turned.in_sequence(scale)
        return integers

    def in_sequence(self, scale: Array) -> Array:
        """From the last input to the first, each makes up for the errors of those behind it."""
        lower = np.linalg.cholesky(self.gram)
        upper = lower.swapaxes(-1, -2) / np.diagonal(lower, axis1=-2, axis2=-1)[..., None]
        integers, error = np.zeros_like(self.best), np.zeros_like(self.best)
        for stop in range(self.best.shape[1], 0, -BLOCK):
            start = max(stop - BLOCK, 0)
            owed = upper[:, start:stop, stop:] @ error[:, stop:]
            for k in range(stop - 1, start - 1, -1):
                inside = (upper[:, None, k, k + 1 : stop] @ error[:, k + 1 : stop])[:, 0]
                wanted = self.best[:, k] + owed[:, k - start] + inside
                integers[:, k] = np.clip(np.rint(wanted / scale[:, 0]), self.low, self.high)
                error[:, k] = self.best[:, k] - integers[:, k] * scale[:, 0]
        return integers

    def descended(self, start: Array, scale: Array, sweeps: int) -> Array:
        """Each input in turn takes the integer that is best while the others stand."""
        integers = start.copy()
        pull = self.gram @ (integers * scale - self.best)
        curve = np.diagonal(self.gram, axis1=-2, axis2=-1)[..., None]
        for _ in range(sweeps):
            before = integers.copy()
            for at in range(0, integers.shape[1], BLOCK):
                self._block(integers, pull, scale, curve, slice(at, at + BLOCK))
            if np.array_equal(before, integers):
                break
        return integers

    def _block(self, integers: Array, pull: Array, scale: Array, curve: Array, part: slice) -> None:
        """Some inputs in turn; the pull on all the others follows at the end."""
        gram, near, mine = self.gram[:, part, part], pull[:, part].copy(), integers[:, part]
        moved, steep = np.zeros_like(near), curve[:, part] * scale
        for k in range(near.shape[1]):
            new = np.clip(np.rint(mine[:, k] - near[:, k] / steep[:, k]), self.low, self.high)
            moved[:, k] = (new - mine[:, k]) * scale[:, 0]
            near += gram[:, :, k, None] * moved[:, None, k]
            mine[:, k] = new
        pull += self.gram[:, :, part] @ moved

    def paired(self, start: Array, scale: Array) -> Array:
        """Steps of two integers at a time, the best pair of every output in turn: small layers only, see PAIRS.

        Moving by d changes the loss by 2 d^T p + d^T G d, p = G e.
        """
        groups, inputs, outputs = start.shape
        if 4 * outputs * groups * inputs**2 > PAIRS:
            return start
        integers, step = start.copy(), scale.swapaxes(-1, -2)
        pull = (self.gram @ (integers * scale - self.best)).swapaxes(-1, -2)
        signs = np.repeat([1.0, -1.0], inputs)
        table = np.tile(self.gram, (2, 2))[:, None] * signs[:, None] * signs
        rows, columns = np.indices((groups, outputs))
        for _ in range(4 * inputs):
            here = np.tile(integers.swapaxes(-1, -2), 2) + signs
            alone = 2 * step * signs * np.tile(pull, 2) + step**2 * np.einsum("guii->gui", table)
            alone[(here > self.high) | (here < self.low)] = np.inf
            both = alone[..., :, None] + alone[..., None, :] + 2 * step[..., None] ** 2 * table
            both = np.where(np.eye(2 * inputs, dtype=bool), alone[..., None], both).reshape(groups, outputs, -1)
            least = both.argmin(-1)
            worth = both[rows, columns, least] < -1e-9 * np.abs(self.gram).max() * step[..., 0] ** 2
            if not worth.any():
                break
            first, second = np.divmod(least, 2 * inputs)
            for place in (first, np.where(second == first, -1, second)):
                taken = signs[place] * worth * (place >= 0)
                integers[rows, place % inputs, columns] += taken
                pull += (taken[..., None] * step) * self.gram[rows, place % inputs]
        return integers

    def refitted(self, integers: Array, scale: Array) -> Array:
        """The scale that is best for these integers; as it was where they say nothing."""
        reach = self.gram @ integers
        energy, fitted = (integers * reach).sum(1, keepdims=True), (self.best * reach).sum(1, keepdims=True)
        fitted = fitted / np.where(energy > 0, energy, 1)
        return np.asarray(np.where((energy > 0) & (fitted > 0), fitted, scale))

    def better(self, one: tuple[Array, Array], other: tuple[Array, Array]) -> tuple[Array, Array]:
        """Integers and scale, output by output."""
        gains = (self.loss(*other) < self.loss(*one))[:, None]
        return np.where(gains, other[0], one[0]), np.where(gains, other[1], one[1])


class Quadratic:
    """The quadratic forms of a task: G once, what they pull to for each aim.

    weight: (groups, outputs, inputs), float; bias: (groups, outputs), or None where it is free and makes up for any mean.
    """

    def __init__(self, task: Task, weight: Array, bias: Array | None, limits: tuple[float, float], damping: float) -> None:
        self.x, self.bias, self.limits, self.count = task.x, bias, limits, task.x.shape[-1]
        self.mean = task.x.mean(-1, dtype=np.float64)
        self.gram = _products(task.x, task.x)
        if bias is None:
            self.gram -= self.count * self.mean[:, :, None] * self.mean[:, None]
        diagonal = np.einsum("gkk->gk", self.gram)
        rate = shrinkage(task, self.gram, self.mean if bias is None else np.zeros_like(self.mean))
        held = np.maximum(damping, rate / (1 - rate)) * diagonal.mean(-1) + 1e-9
        diagonal += held[:, None]
        self.held = held[:, None, None] * weight.swapaxes(-1, -2)

    def problem(self, aim: Array) -> Problem:
        """For a raw result (groups, outputs, positions)."""
        cross = _products(self.x, aim)
        shift = aim.mean(-1, dtype=np.float64) if self.bias is None else self.bias
        cross -= self.count * self.mean[:, :, None] * shift[:, None]
        return Problem(self.gram, np.linalg.solve(self.gram, cross + self.held), *self.limits)

    def rounded(self, integers: Array, scale: Array, aim: Array) -> Rounded:
        """With the bias that suits."""
        if self.bias is not None:
            return Rounded(integers, scale, self.bias)
        made = (self.mean[:, None] @ (integers * scale))[:, 0]
        return Rounded(integers, scale, aim.mean(-1, dtype=np.float64) - made)


MOST = 0.99
"""Shrinkage at most."""


def shrinkage(task: Task, gram: Array, mean: Array) -> Array:
    """How far G is to be drawn to a multiple of one, (groups,): the estimate of Ledoit and Wolf ("A well-conditioned
    estimator for large-dimensional covariance matrices", 2004, the optimum (1 - rho) S + rho mu I), samples being what
    is independent, not their positions. gram: about `mean`, (groups, inputs); 0 where there is one sample only.
    """
    samples, inputs = len(task.counts), gram.shape[-1]
    if samples < 2:
        return np.zeros(gram.shape[0])
    squares, at = np.zeros(gram.shape[0]), 0
    for count in task.counts:
        part = task.x[..., at : at + count] - mean[..., None].astype(np.float32)
        own = part @ part.swapaxes(-1, -2) if count > inputs else part.swapaxes(-1, -2) @ part
        squares += np.square(own).sum((-1, -2), dtype=np.float64)
        at += count
    whole = np.square(gram).sum((-1, -2))
    level = np.einsum("gkk->g", gram) / inputs
    spread = whole - inputs * level**2
    noise = squares - whole / samples
    return np.asarray(np.clip(noise / np.maximum(spread, 1e-30), 0, MOST))


def _products(x: Array, y: Array) -> Array:
    """x y^T over positions: (groups, rows of x, rows of y)."""
    total = np.zeros((x.shape[0], x.shape[1], y.shape[1]))
    for at in range(0, x.shape[-1], CHUNK):
        total += x[..., at : at + CHUNK] @ y[..., at : at + CHUNK].swapaxes(-1, -2)
    return total


def adaround(
    task: Task, weight: Array, bias: Array | None, scale: Array, limits: tuple[float, float], how: AdaRound
) -> Rounded:
    """Integers, scales (changed only with `how.refits`) and bias; by output no worse than nearest rounding.

    weight: (groups, outputs, inputs); bias: (groups, outputs), None where it may be chosen; scale: (groups, 1, outputs).
    """
    form = Quadratic(task, weight, bias, limits, how.damping)
    aim = task.aim()
    problem = form.problem(aim)
    nearest = np.clip(np.rint(weight.swapaxes(-1, -2) / scale), *limits)
    found = form.rounded(*_solved(problem, (nearest, scale), how), aim)
    if not task.clips:
        return found
    best = found.where(np.isfinite(found.bias), found)
    made = found.made(task.x)
    least = task.loss(made)
    again = replace(how, refits=min(how.refits, 1), orders=1)
    for _ in range(how.turns):
        aim = task.aim(made)
        problem = form.problem(aim)
        found = form.rounded(*_solved(problem, (found.integers, found.scale), again), aim)
        made = found.made(task.x)
        loss = task.loss(made)
        best, least = found.where(loss < least, best), np.minimum(loss, least)
    return best


def _solved(problem: Problem, start: tuple[Array, Array], how: AdaRound) -> tuple[Array, Array]:
    """The best of several descents: from the start, and from roundings in sequence, in several orders of the inputs."""
    random, inputs = np.random.default_rng(how.seed), problem.gram.shape[-1]
    found = start
    for turn in range(1 + how.refits):
        scale = found[1] if not turn else problem.refitted(*found)
        orders = [random.permutation(inputs) for _ in range(how.orders if inputs <= WIDE else 1)]
        for begin in (found[0], *(problem.in_order(scale, order) for order in orders)):
            ended = problem.paired(problem.descended(begin, scale, how.sweeps), scale)
            found = problem.better(found, (ended, scale))
    return found
