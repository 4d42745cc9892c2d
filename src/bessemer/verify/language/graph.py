"""A graph in its runtime as one side of a comparison: any runner with the border of a language model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from bessemer.ir.errors import UsageError
from bessemer.ir.types import Array
from bessemer.runners.base import Runner
from bessemer.runners.decoder.generation import prompt
from bessemer.verify.language.subjects import Arithmetic, Kind, Window, Words

TYPES = "token_type_ids"
HIDDEN = ("last_hidden_state", "hidden_states", "token_embeddings")


class GraphSubject:
    """A runner that takes input_ids (attention_mask, position_ids, token_type_ids, past_key_values.*) and gives logits or
    the last hidden state. arithmetic: what it computes in. See `Subject`. Raises UsageError for another border."""

    start = -1

    def __init__(
        self, runner: Runner, words: Words | None = None, context: int = 0, arithmetic: Arithmetic = "F32"
    ) -> None:
        self._runner = runner
        self.words, self.context, self.arithmetic = words, context, arithmetic
        names = [spec.name for spec in runner.signature.outputs]
        self._output = next((name for name in ("logits", *HIDDEN) if name in names), "")
        if not self._output:
            raise UsageError("A language model gives 'logits' or 'last_hidden_state'", where=", ".join(names))
        self.kind: Kind = "causal" if self._output == "logits" else "encoder"

    @property
    def runtime(self) -> str:
        """The runner's."""
        return self._runner.runtime

    @property
    def vocabulary(self) -> int:
        """Size of the logits; of an encoder unknown, 0."""
        (width,) = (spec.shape[-1] for spec in self._runner.signature.outputs if spec.name == self._output)
        if self.kind == "encoder":
            return 0
        return width if isinstance(width, int) else int(self._answer((0,)).shape[-1])

    def answers(self, windows: Sequence[Window]) -> Iterator[Array]:
        """See `Subject`."""
        for window in windows:
            yield self._answer(window)

    def embeddings(self, window: Window) -> Array:
        """See `Subject`."""
        return self._answer(window)

    def close(self) -> None:
        """The runner is the caller's."""

    def _answer(self, window: Window) -> Array:
        signature = self._runner.signature
        fed = prompt(signature, window)
        if any(spec.name == TYPES for spec in signature.inputs):
            fed[TYPES] = np.zeros((1, len(window)), np.int64)
        answer = self._runner.run(fed)[self._output]
        found: Array = answer.reshape(-1, answer.shape[-1])
        return found
