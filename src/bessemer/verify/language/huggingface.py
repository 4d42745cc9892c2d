"""A Hugging Face directory in transformers, as one side of a comparison: in a child process, in float32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from bessemer.ir.types import Array
from bessemer.runners.isolated import IsolatedRunner
from bessemer.verify.language.subjects import Arithmetic, Kind, Window, Words, halves

LIMIT = 1800.0
"""Seconds that one request may take."""
ROWS_BYTES = 32 << 20


class HuggingFaceSubject:
    """words: the directory's own tokenizer; threads 0: torch's own choice. See `Subject`."""

    def __init__(self, directory: Path, words: Words | None = None, threads: int = 0) -> None:
        self.words = words
        self._child = IsolatedRunner(
            "bessemer.sources.huggingface.language:LanguageModel", str(directory), threads, limit=LIMIT
        )

    @property
    def runtime(self) -> str:
        """'transformers 5.23.0 (torch 2.13.0)'."""
        return self._child.runtime

    @cached_property
    def _facts(self) -> dict[str, Any]:
        found: dict[str, Any] = self._child.ask("facts")
        return found

    @property
    def kind(self) -> Kind:
        """By its settings."""
        found: Kind = self._facts["kind"]
        return found

    @property
    def arithmetic(self) -> Arithmetic:
        """F32, but for models that memory cannot hold in it."""
        found: Arithmetic = self._facts["arithmetic"]
        return found

    @property
    def vocabulary(self) -> int:
        """Size of the logits."""
        return int(self._facts["vocabulary"])

    @property
    def context(self) -> int:
        """What its settings name."""
        return int(self._facts["context"])

    @property
    def start(self) -> int:
        """Of a decoder behind an encoder."""
        return int(self._facts["start"])

    def answers(self, windows: Sequence[Window]) -> Iterator[Array]:
        """See `Subject`."""
        step = max(1, ROWS_BYTES // (4 * max(self.vocabulary, 1)))
        for window in windows:
            source, tokens = halves(window, self.start) if self.kind == "seq2seq" else ([], list(window))
            rows = self._child.ask("read", tokens=tokens, source=source)
            for first in range(0, rows, step):
                yield self._child.ask("rows", first=first, last=first + step)

    def embeddings(self, window: Window) -> Array:
        """See `Subject`."""
        found: Array = self._child.ask("embeddings", tokens=list(window))
        return found

    def close(self) -> None:
        """End the child process."""
        self._child.close()
