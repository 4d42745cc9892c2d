"""Scaled dot products over heads, a few rows at a time, so that scores stay small beside the activations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bessemer.runners.decoder.functions import softmax
from bessemer.runners.decoder.tables import Floats

ROWS = 256
"""Queries whose scores are held together."""


@dataclass(frozen=True)
class Scores:
    """scale: factor; softcap: 0 for none; causal; window: latest positions seen, None for all; slopes: ALiBi's, or None;
    sinks: a score for each head that takes its share of the softmax and gives nothing (GPT-OSS), or None."""

    scale: float
    softcap: float
    causal: bool
    window: int | None
    slopes: Floats | None
    sinks: Floats | None = None


def turned(x: Floats, cosines: Floats, sines: Floats, *, interleaved: bool) -> Floats:
    """Rotary positions: x [..., tokens, heads, columns], cosines and sines [..., tokens, pairs]; the first 2 * pairs columns
    of each head turn, as neighbours (interleaved) or i with i + pairs."""
    pairs = cosines.shape[-1]
    cosines, sines, made = cosines[..., None, :], sines[..., None, :], x.copy()
    if interleaved:
        first, second = slice(0, 2 * pairs, 2), slice(1, 2 * pairs, 2)
    else:
        first, second = slice(0, pairs), slice(pairs, 2 * pairs)
    made[..., first] = x[..., first] * cosines - x[..., second] * sines
    made[..., second] = x[..., second] * cosines + x[..., first] * sines
    return made


def attended(query: Floats, key: Floats, value: Floats, how: Scores) -> Floats:
    """query [tokens, heads, columns], key and value [tokens, kv heads, columns of their own] of one text ->
    [tokens, heads, columns of a value]. A key's head serves heads / kv heads queries that follow one another."""
    count, heads, _ = query.shape
    share = heads // key.shape[1]
    made = np.empty((count, heads, value.shape[2]), np.float32)
    for head in range(heads):
        keys, values = key[:, head // share].T, value[:, head // share]
        for start in range(0, count, ROWS):
            stop = min(start + ROWS, count)
            seen = stop if how.causal else count
            weights = _weights(query[start:stop, head] @ keys[:, :seen], start, head, how)
            made[start:stop, head] = weights @ values[:seen]
    return made


def _weights(scores: Floats, start: int, head: int, how: Scores) -> Floats:
    """Shares of each key; rows are the queries from `start` on."""
    scores *= np.float32(how.scale)
    if how.softcap:
        scores = np.float32(how.softcap) * np.tanh(scores / np.float32(how.softcap))
    places = np.arange(scores.shape[1])
    behind = (np.arange(start, start + len(scores))[:, None] - places).astype(np.int64)
    if how.slopes is not None:
        scores -= how.slopes[head] * behind.astype(np.float32)
    if how.causal:
        scores[behind < 0] = -np.inf
    if how.window is not None:
        scores[behind >= how.window] = -np.inf
        if not how.causal:
            scores[-behind >= how.window] = -np.inf
    if how.sinks is None:
        return softmax(scores)
    sink = np.full((len(scores), 1), how.sinks[head], np.float32)
    return softmax(np.concatenate([scores, sink], 1))[:, :-1]
