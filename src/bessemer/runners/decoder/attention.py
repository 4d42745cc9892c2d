"""Scaled dot products over heads, a few rows at a time, so that scores stay small beside the activations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bessemer.runners.decoder.functions import softmax
from bessemer.runners.decoder.tables import Floats

Kept = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]
ROWS = 256
"""Queries whose scores are held together."""
UNSEEN = -1e38
"""Score of what is not seen. Added to others it swallows them: a row that sees nothing looks at everything alike, as in
transformers' eager attention. (ONNX Runtime gives such a row zeros where it is told the lowest float32.)
"""


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


def attended(query: Floats, key: Floats, value: Floats, how: Scores, kept: Kept | None = None) -> Floats:
    """query [tokens, heads, columns], key and value [all tokens, kv heads, columns of their own] of one text ->
    [tokens, heads, columns of a value]. A key's head serves heads / kv heads queries that follow one another; keys of
    earlier tokens come first. kept: which keys are no padding; None: all."""
    count, heads, _ = query.shape
    share, before = heads // key.shape[1], len(key) - count
    made = np.empty((count, heads, value.shape[2]), np.float32)
    for head in range(heads):
        keys, values = key[:, head // share].T, value[:, head // share]
        for start in range(0, count, ROWS):
            stop = min(start + ROWS, count)
            seen = before + stop if how.causal and kept is None else len(key)
            places = np.arange(before + start, before + stop)[:, None] - np.arange(seen)
            weights = _weights(query[start:stop, head] @ keys[:, :seen], places, head, how, kept)
            made[start:stop, head] = weights @ values[:seen]
    return made


def _weights(scores: Floats, behind: Places, head: int, how: Scores, kept: Kept | None) -> Floats:
    """Shares of each key, which is `behind` a query so many places."""
    scores *= np.float32(how.scale)
    if how.softcap:
        scores = np.float32(how.softcap) * np.tanh(scores / np.float32(how.softcap))
    if how.slopes is not None:
        scores -= how.slopes[head] * behind.astype(np.float32)
    if how.causal:
        scores[behind < 0] = UNSEEN
    if how.window is not None:
        scores[behind >= how.window] = UNSEEN
        if not how.causal:
            scores[-behind >= how.window] = UNSEEN
    if kept is not None:
        scores[:, ~kept] = UNSEEN
    if how.sinks is None:
        return softmax(scores)
    sink = np.full((len(scores), 1), how.sinks[head], np.float32)
    return softmax(np.concatenate([scores, sink], 1))[:, :-1]
