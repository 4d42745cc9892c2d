"""Which experts a token goes to, and with what weight."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bessemer.ir.decoder import Experts
from bessemer.runners.decoder.functions import sigmoid, softmax
from bessemer.runners.decoder.tables import Floats


def routed(logits: Floats, bias: Floats | None, how: Experts) -> tuple[npt.NDArray[np.int64], Floats]:
    """The experts of each token and their weights, [tokens, used] both, from the router's logits [tokens, count].

    bias: added to the scores for the choice alone (DeepSeek-V3, section 2.1.2).
    """
    scores = _scores(logits, how)
    ranks = scores if bias is None else scores + bias
    if how.groups > 1:
        ranks = _in_best_groups(ranks, how, pairs=bias is not None)
    chosen = np.argsort(-ranks, axis=1, kind="stable")[:, : how.used].astype(np.int64)
    weights: Floats = np.take_along_axis(scores, chosen, 1)
    if how.softmax_after:
        weights = softmax(weights.copy())
    elif how.normalized:
        weights = weights / (weights.sum(1, keepdims=True) + np.float32(1e-20))
    return chosen, weights * np.float32(how.scale)


def _scores(logits: Floats, how: Experts) -> Floats:
    if how.softmax_after:
        return logits
    return sigmoid(logits) if how.sigmoid else softmax(logits.copy())


def _in_best_groups(ranks: Floats, how: Experts, *, pairs: bool) -> Floats:
    """Scores of experts outside the best groups become -inf. A group's score is its largest one (DeepSeek-V2), or the sum
    of the two largest (`pairs`: DeepSeek-V3, whose choice has a bias)."""
    grouped = ranks.reshape(len(ranks), how.groups, -1)
    best = np.sort(grouped, 2)[:, :, -2:].sum(2) if pairs else grouped.max(2)
    kept = np.argsort(-best, axis=1, kind="stable")[:, : how.groups_used]
    mask = np.full(best.shape, -np.inf, np.float32)
    np.put_along_axis(mask, kept, 0, 1)
    made: Floats = (grouped + mask[:, :, None]).reshape(ranks.shape)
    return made
