"""What can be compared as a language model: something that turns tokens into logits, or into embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from bessemer.ir.types import Array

Kind = Literal["causal", "encoder", "seq2seq"]
Arithmetic = Literal["F32", "F16", "BF16", "Q8"]
"""What activations are rounded to where they meet weights; F32: not at all. llama.cpp rounds them to the weights' own type,
and to blocks of 8 bits for every quantized one."""
Encode = Callable[[Sequence[str]], list[list[int]]]

Window = Sequence[int]
"""Tokens that are read together."""


@dataclass(frozen=True)
class Words:
    """A tokenizer. encode: texts -> their tokens, nothing around them, special tokens where the text spells them;
    prefix, suffix: what a text is put between where it stands for itself; None where that is not known;
    normalize: a text as this tokenizer's normalizer leaves it, where the artifact's runtime may have no normalizer."""

    encode: Encode
    prefix: tuple[int, ...] | None = None
    suffix: tuple[int, ...] | None = None
    name: str = ""
    normalize: Callable[[str], str] | None = None


class Subject(Protocol):
    """One side of a comparison. context: tokens that it can read at once (0: any number); start: the token that a
    decoder behind an encoder starts with (-1: no such)."""

    @property
    def runtime(self) -> str: ...
    @property
    def kind(self) -> Kind: ...
    @property
    def arithmetic(self) -> Arithmetic: ...
    @property
    def vocabulary(self) -> int: ...
    @property
    def context(self) -> int: ...
    @property
    def start(self) -> int: ...
    @property
    def words(self) -> Words | None: ...

    def answers(self, windows: Sequence[Window]) -> Iterator[Array]:
        """Logits [some rows, vocabulary] of every position of every window, in order. Of a 'seq2seq' model the decoder's
        (`halves`)."""
        ...

    def embeddings(self, window: Window) -> Array:
        """What the last layer gives, [tokens, hidden]."""
        ...

    def close(self) -> None:
        """Let go of what runs it."""
        ...


def halves(window: Window, start: int) -> tuple[list[int], list[int]]:
    """What the encoder and the decoder of a 'seq2seq' model read of a window."""
    middle = len(window) // 2
    return list(window[:middle]), [start, *window[middle:]]


def read(window: Window, kind: Kind, start: int) -> list[int]:
    """The tokens of a window that logits belong to."""
    return halves(window, start)[1] if kind == "seq2seq" else list(window)
