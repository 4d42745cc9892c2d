"""Bessemer's own float32 evaluator, as one side of a comparison: of an original whose framework is not there, and of an
artifact's decoded weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bessemer.ir.checkpoint import Lazy
from bessemer.ir.decoder import Decoder
from bessemer.ir.types import Array
from bessemer.verify.language.subjects import Arithmetic, Kind, Window, Words

ROWS_BYTES = 64 << 20
"""Logits that are held at once, where several windows share a reading of the weights."""


class ReferenceSubject:
    """roles: what `Family.roles` gives for a checkpoint. See `Subject`."""

    arithmetic: Arithmetic = "F32"
    start = -1

    def __init__(
        self, decoder: Decoder, roles: Mapping[str, Lazy], words: Words | None = None, what: str = ""
    ) -> None:
        from bessemer.runners.decoder.runner import DecoderRunner

        self._runner: Any = DecoderRunner(decoder, roles)
        self.words = words
        self.vocabulary = decoder.vocabulary
        self.context = decoder.context
        self.kind: Kind = "causal" if decoder.causal else "encoder"
        self.runtime = f"Bessemer's reference evaluator (numpy){what and f', {what}'}"

    def answers(self, windows: Sequence[Window]) -> Iterator[Array]:
        """See `Subject`. Windows of the same length are read together."""
        for group in _groups(windows, 4 * self.vocabulary):
            found = self._runner.logits(group if len(group) > 1 else group[0])
            yield from found if len(group) > 1 else (found,)

    def embeddings(self, window: Window) -> Array:
        """See `Subject`."""
        found: Array = self._runner.hidden(list(window))
        return found

    def close(self) -> None:
        """Nothing runs."""


def _groups(windows: Sequence[Window], row: int) -> Iterator[list[list[int]]]:
    group: list[list[int]] = []
    for window in windows:
        full = group and (len(group[0]) != len(window) or (len(group) + 1) * len(window) * row > ROWS_BYTES)
        if full:
            yield group
            group = []
        group.append(list(window))
    if group:
        yield group
