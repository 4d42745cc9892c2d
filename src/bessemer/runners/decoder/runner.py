"""A decoder without its framework: float32 in numpy, weights read one at a time and dropped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from bessemer.ir.checkpoint import Lazy
from bessemer.ir.decoder import Decoder
from bessemer.ir.errors import UsageError
from bessemer.runners.decoder.arrays import Arrays, Feeds, Observer
from bessemer.runners.decoder.reading import Reading, Weights
from bessemer.runners.decoder.tables import Floats
from bessemer.runners.decoder.wiring import Wiring

Tokens = Sequence[int] | Sequence[Sequence[int]] | npt.NDArray[np.int64]
"""One text, or several of equal length: they share each reading of the weights."""


class DecoderRunner:
    """What a decoder answers for tokens at positions 0, 1, 2, ...

    weights: role -> float32 in Hugging Face's layout or None; or `Family.roles(checkpoint)`, whose tables are then read by
    rows and whose experts one by one: memory is the activations and the largest weight. observer: see `arrays.Observer`;
    it is told of every product with weights (what importance matrices are made from).
    """

    def __init__(
        self,
        decoder: Decoder,
        weights: Mapping[str, Lazy] | Callable[[str], Floats | None],
        observer: Observer | None = None,
    ) -> None:
        self.decoder = decoder
        self._weights: Weights = Reading(weights) if isinstance(weights, Mapping) else weights
        self._observer = observer

    def logits(self, tokens: Tokens) -> Floats:
        """[tokens, vocabulary], or [texts, tokens, vocabulary] for several texts. Raises UsageError for tokens that do not
        fit, KeyError for a role whose weights are missing."""
        wiring, shape = self._wired(tokens)
        return wiring.logits(wiring.hidden()).reshape(*shape, -1)

    def hidden(self, tokens: Tokens) -> Floats:
        """The last states, normalized: [tokens, hidden], or [texts, tokens, hidden]. Raises as `logits`."""
        wiring, shape = self._wired(tokens)
        return wiring.hidden().reshape(*shape, -1)

    def answer(self, feeds: Feeds) -> Floats:
        """Logits [texts, tokens, vocabulary] for tokens that go on after others. Raises as `logits`."""
        wiring = Wiring(self.decoder, Arrays(self.decoder, self._weights, feeds, self._observer))
        return wiring.logits(wiring.hidden()).reshape(*feeds.ids.shape, -1)

    def _wired(self, tokens: Tokens) -> tuple[Wiring[Floats], tuple[int, ...]]:
        try:
            ids = np.asarray(tokens, np.int64)
        except ValueError:
            raise UsageError("Texts of one call have as many tokens each", fix="Call once for each length") from None
        if ids.ndim not in (1, 2) or not ids.size:
            raise UsageError(f"Tokens of the shape {list(ids.shape)} are no text, nor several")
        every = ids if ids.ndim == 2 else ids[None]
        feeds = Feeds(every, np.broadcast_to(np.arange(every.shape[1]), every.shape))
        return Wiring(self.decoder, Arrays(self.decoder, self._weights, feeds, self._observer)), ids.shape
