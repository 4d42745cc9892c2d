"""The operations of `wiring` on numpy arrays [texts * tokens, columns], with one weight in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bessemer.ir.decoder import Activation, Decoder, Experts, Rope
from bessemer.ir.errors import UsageError
from bessemer.runners.decoder import functions
from bessemer.runners.decoder.attention import Scores, attended, turned
from bessemer.runners.decoder.border import cache_sizes, key_sizes
from bessemer.runners.decoder.experts import routed
from bessemer.runners.decoder.reading import Weights
from bessemer.runners.decoder.tables import Floats, slopes, turns

Observer = Callable[[str, Floats, "int | None"], None]
"""(role of a matrix, without '.weight'; what it is multiplied with [tokens, columns]; which expert, or None). The array is
the evaluator's own: copy what is to be kept."""


@dataclass
class Feeds:
    """ids [texts, tokens]; positions alike; kept: which of all tokens, earlier ones first, are no padding [texts, all
    tokens], None: all; past: keys and values of earlier tokens, a pair [texts, kv heads, earlier tokens, columns] a layer.

    present: the same of all tokens, once the decoder ran; None where nobody wants them.
    """

    ids: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    kept: npt.NDArray[np.bool_] | None = None
    past: Sequence[tuple[Floats, Floats]] = ()
    present: list[tuple[Floats, Floats]] | None = None


class Arrays:
    """One call of a decoder on texts of equal length."""

    def __init__(self, decoder: Decoder, weights: Weights, feeds: Feeds, observer: Observer | None) -> None:
        self._decoder, self._weights, self._observer = decoder, weights, observer
        self._feeds = feeds
        self._ids, self._positions = feeds.ids.reshape(-1), feeds.positions.reshape(-1)
        self._texts, self._count = feeds.ids.shape
        self._turns: dict[Rope, tuple[Floats, Floats]] = {}

    def has(self, role: str) -> bool:
        """See `Operations`."""
        held: Any = self._weights
        return role in held if hasattr(held, "__contains__") else held(role) is not None

    def tokens(self, role: str) -> Floats:
        """See `Operations`. Raises UsageError for ids beyond the vocabulary."""
        if self._ids.size and not 0 <= int(self._ids.min()) <= int(self._ids.max()) < self._decoder.vocabulary:
            raise UsageError(f"A token is outside the vocabulary of {self._decoder.vocabulary}")
        return self._rows(f"{role}.weight", self._ids)

    def places(self, role: str, offset: int) -> Floats:
        """See `Operations`. Raises UsageError for a text that is longer than the table."""
        last, learned = int(self._positions.max()), self._decoder.context
        if last >= learned:
            raise UsageError(f"Position {last} is beyond the {learned} that the model learned")
        return self._rows(f"{role}.weight", self._positions + offset)

    def first_row(self, role: str) -> Floats:
        """See `Operations`."""
        return self._rows(f"{role}.weight", np.zeros(1, np.int64))

    def linear(self, x: Floats, role: str) -> Floats:
        """See `Operations`."""
        if self._observer is not None:
            self._observer(role, x, None)
        product = getattr(self._weights, "product", None)
        if product is not None:
            return self._biased(product(f"{role}.weight", x), f"{role}.bias")
        matrix = self._weight(f"{role}.weight")
        return self._biased(x @ matrix.reshape(-1, x.shape[1]).T, f"{role}.bias")

    def normalized(self, x: Floats, role: str, kind: str, heads: int = 1) -> Floats:
        """See `Operations`."""
        held = x.reshape(len(x), heads, -1)
        if kind == "layer":
            held = held - held.mean(-1, keepdims=True)
        variance = np.mean(np.square(held), -1, keepdims=True)
        made: Floats = held / np.sqrt(variance + np.float32(self._decoder.eps))
        scale = self._weights(f"{role}.weight")
        if scale is None and kind == "rms":
            raise KeyError(f"{role}.weight")  # OLMo's layer norms have none, nobody's RMS norms
        if scale is not None:
            made *= _of_heads(scale, heads) + np.float32(self._decoder.norm_offset)
        bias = self._weights(f"{role}.bias")
        if bias is not None:
            made += _of_heads(bias, heads)
        return made.reshape(x.shape)

    def split(self, x: Floats, sizes: Sequence[int], heads: int = 1) -> list[Floats]:
        """See `Operations`."""
        parts = np.split(x.reshape(len(x), heads, -1), np.cumsum(sizes)[:-1], axis=2)
        return [part.reshape(len(x), -1) for part in parts]

    def halves(self, x: Floats) -> tuple[Floats, Floats]:
        """See `Operations`."""
        half = x.shape[1] // 2
        return x[:, :half], x[:, half:]

    def joined(self, parts: Sequence[Floats], heads: int) -> Floats:
        """See `Operations`."""
        count = len(parts[0])
        return np.concatenate([part.reshape(count, heads, -1) for part in parts], 2).reshape(count, -1)

    def spread(self, x: Floats, heads: int) -> Floats:
        """See `Operations`."""
        return np.tile(x, (1, heads))

    def turned(self, x: Floats, rope: Rope, heads: int) -> Floats:
        """See `Operations`."""
        if rope not in self._turns:
            self._turns[rope] = turns(rope, self._positions)
        made = turned(x.reshape(len(x), heads, -1), *self._turns[rope], interleaved=rope.interleaved)
        return made.reshape(x.shape)

    def attended(self, query: Floats, key: Floats, value: Floats, layer: int) -> Floats:
        """See `Operations`."""
        held = self._decoder
        bias = slopes(held.heads, held.alibi_bias) if held.positions == "alibi" else None
        sinks = self._weights(f"blk.{layer}.attn_sinks.weight")
        how = Scores(held.scale, held.softcap, held.causal, held.layers[layer].window, bias, sinks)
        if held.latent is None:
            key, value = self.kept(key, value, layer)
        narrow = key_sizes(held)[0]
        sizes = ((query, held.heads), (key, narrow), (value, narrow))
        queries, keys, values = (x.reshape(self._texts, -1, heads, x.shape[1] // heads) for x, heads in sizes)
        kept = self._feeds.kept
        made = [
            attended(queries[text], keys[text], values[text], how, None if kept is None else kept[text])
            for text in range(self._texts)
        ]
        return np.concatenate(made).reshape(len(query), -1)

    def kept(self, key: Floats, value: Floats, layer: int) -> tuple[Floats, Floats]:
        """See `Operations`."""
        heads = cache_sizes(self._decoder)[0]
        apart = [x.reshape(self._texts, self._count, heads, -1).swapaxes(1, 2) for x in (key, value)]
        if self._feeds.past:
            apart = [np.concatenate(pair, 2) for pair in zip(self._feeds.past[layer], apart, strict=True)]
        if self._feeds.present is not None:
            self._feeds.present.append((apart[0], apart[1]))
        rows = apart[0].shape[0] * apart[0].shape[2]
        whole = [x.swapaxes(1, 2).reshape(rows, -1) for x in apart]
        return whole[0], whole[1]

    def mixed(self, x: Floats, at: str, experts: Experts) -> Floats:
        """See `Operations`."""
        bias = self._weights(f"{at}exp_probs_b.bias")
        chosen, weights = routed(self.linear(x, f"{at}ffn_gate_inp"), bias, experts)
        made = np.zeros_like(x)
        for expert in np.unique(chosen):
            rows, column = np.nonzero(chosen == expert)
            answer = self._expert(x[rows], at, int(expert))
            made[rows] += answer * weights[rows, column][:, None]
        return made

    def activated(self, x: Floats, kind: Activation) -> Floats:
        """See `Operations`."""
        return functions.activated(x, kind)

    def plus(self, a: Floats, b: Floats) -> Floats:
        """See `Operations`."""
        return a + b

    def times(self, a: Floats, b: Floats) -> Floats:
        """See `Operations`."""
        return a * b

    def scaled(self, x: Floats, factor: float) -> Floats:
        """See `Operations`."""
        return x if factor == 1.0 else x * np.float32(factor)

    def capped(self, x: Floats, limit: float) -> Floats:
        """See `Operations`."""
        return np.float32(limit) * np.tanh(x / np.float32(limit)) if limit else x

    def clipped(self, x: Floats, limit: float) -> Floats:
        """See `Operations`."""
        return np.clip(x, np.float32(-limit), np.float32(limit)) if limit else x

    def _expert(self, x: Floats, at: str, expert: int) -> Floats:
        up = self._by_expert(x, f"{at}ffn_up_exps", expert)
        if self._decoder.gated:
            gate = self._by_expert(x, f"{at}ffn_gate_exps", expert)
            up *= functions.activated(gate, self._decoder.activation)
        else:
            up = functions.activated(up, self._decoder.activation)
        return self._by_expert(up, f"{at}ffn_down_exps", expert)

    def _by_expert(self, x: Floats, role: str, expert: int) -> Floats:
        if self._observer is not None:
            self._observer(role, x, expert)
        part = getattr(self._weights, "part", None)
        matrix = part(f"{role}.weight", expert) if part else self._weight(f"{role}.weight")[expert]
        bias = self._weights(f"{role}.bias")
        made: Floats = x @ matrix.T
        return made if bias is None else made + bias[expert]

    def _biased(self, x: Floats, role: str) -> Floats:
        bias = self._weights(role)
        return x if bias is None else x + bias.reshape(-1)

    def _rows(self, role: str, places: npt.NDArray[np.int64]) -> Floats:
        rows = getattr(self._weights, "rows", None)
        made: Floats = rows(role, places) if rows else self._weight(role)[places]
        return made

    def _weight(self, role: str) -> Floats:
        """Raises KeyError for weights that the model should have."""
        held = self._weights(role)
        if held is None:
            raise KeyError(role)
        return held


def _of_heads(vector: Floats, heads: int) -> Floats:
    """[columns] for all heads, or [heads, columns]."""
    return vector.reshape(heads if vector.ndim == 2 else 1, -1)
