"""How far one model's predictions are from another's, reduced as the logits come: the figures that llama.cpp's perplexity
tool gives (`llama-perplexity --kl-divergence`), by their definitions.

KL divergence in nats from the first model's distribution P to the second's Q: sum P (log P - log Q), for each position.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from bessemer.ir.types import Array

Doubles = npt.NDArray[np.float64]
AT_ONCE = 1 << 21
"""Logits that are widened to float64 at once."""


@dataclass
class Tally:
    """Over all positions that were added. next tokens of -1 are unknown: such a position counts but in the perplexities.

    spread: what the text tells the first model, in nats: the mean divergence of its single predictions from their average,
    H(mean P) - mean H(P). Divergences are small or large beside it.
    """

    positions: int = 0
    divergence: float = 0.0
    largest: float = 0.0
    alike: int = 0
    scored: int = 0
    surprise: list[float] = field(default_factory=lambda: [0.0, 0.0])
    entropy: float = 0.0
    mean: Doubles | None = None
    broken: int = 0

    def add(self, first: Array, second: Array, follows: npt.NDArray[np.int64]) -> None:
        """Logits [rows, vocabulary] of both, and each row's next token (-1: unknown)."""
        step = max(1, AT_ONCE // first.shape[1])
        for start in range(0, len(first), step):
            part = slice(start, start + step)
            self._add(first[part], second[part], follows[part])

    def _add(self, first: Array, second: Array, follows: npt.NDArray[np.int64]) -> None:
        with np.errstate(invalid="ignore"):  # what is not finite is counted below
            one, two = _log_softmax(first), _log_softmax(second)
            shares = np.exp(one)
            apart = np.where(shares > 0, shares * (one - two), 0.0).sum(-1)
            entropies = np.where(shares > 0, -shares * one, 0.0).sum(-1)
        self.positions += len(one)
        self.broken += int(np.count_nonzero(~np.isfinite(apart)))
        self.divergence += float(apart.sum())
        self.largest = max(self.largest, float(apart.max(initial=0.0)))
        self.alike += int(np.count_nonzero(first.argmax(-1) == second.argmax(-1)))
        self.entropy += float(entropies.sum())
        self.mean = shares.sum(0) if self.mean is None else self.mean + shares.sum(0)
        rows = np.flatnonzero(follows >= 0)
        self.scored += len(rows)
        for place, logs in enumerate((one, two)):
            self.surprise[place] -= float(logs[rows, follows[rows]].sum())

    @property
    def mean_divergence(self) -> float:
        """In nats; inf where a value of either is not finite."""
        if self.broken or not self.positions:
            return float("inf")
        return max(0.0, self.divergence / self.positions)

    @property
    def largest_divergence(self) -> float:
        """Of one position, in nats."""
        return float("inf") if self.broken else self.largest

    @property
    def same_top(self) -> float:
        """Share of positions where both hold the same token for the likeliest."""
        return self.alike / self.positions if self.positions else 0.0

    @property
    def perplexities(self) -> tuple[float, float] | None:
        """exp of the mean surprise at the token that follows, of both; None where none is known."""
        if not self.scored:
            return None
        first, second = (float(np.exp(min(total / self.scored, 700.0))) for total in self.surprise)
        return first, second

    @property
    def spread(self) -> float:
        """See above; 0 for no positions."""
        if self.mean is None or not self.positions:
            return 0.0
        shares = self.mean / self.positions
        whole = -float(np.sum(shares[shares > 0] * np.log(shares[shares > 0])))
        return max(0.0, whole - self.entropy / self.positions)


def paired(*streams: Iterator[Array]) -> Iterator[tuple[Array, ...]]:
    """Rows of several streams side by side, however each cuts them. Ends with the shortest; empty parts are skipped."""
    held: list[Array | None] = [None] * len(streams)
    while True:
        for place, stream in enumerate(streams):
            while held[place] is None:
                part = next(stream, None)
                if part is None:
                    return
                held[place] = part if len(part) else None
        rows = min(len(part) for part in held if part is not None)
        yield tuple(part[:rows] for part in held if part is not None)
        held = [part[rows:] if part is not None and len(part) > rows else None for part in held]


def _log_softmax(logits: Array) -> Doubles:
    wide = logits.astype(np.float64)
    wide -= wide.max(-1, keepdims=True)
    wide -= np.log(np.exp(wide).sum(-1, keepdims=True))
    return wide
