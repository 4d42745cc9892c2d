"""A vocabulary while it is read: base tokens, then added ones, then padding up to the rows of the embedding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from bessemer.ir.errors import Blocker
from bessemer.ir.tokenizer import Tokenizer, TokenType
from bessemer.tokenization.settings import Added

ADDED_SCORE, PADDING_SCORE = -1000.0, -10000.0  # llama.cpp's conversion/base.py
_SPECIAL_LOOK = (("<|", "|>"), ("<｜", "｜>"), ("<unused", ">"))
_SPECIAL_NAMES = ("<pad>", "<mask>", "<2mass>", "[@BOS@]")


@dataclass
class Vocabulary:
    """By id; token None where there is no token. scores: None for kinds without."""

    tokens: list[str | None]
    types: list[int]
    scores: list[float] | None = None
    notes: list[str] = field(default_factory=list)

    def add(self, added: Mapping[int, Added]) -> None:
        """Put added tokens in: control tokens where they are special or look so, else defined by the user."""
        for i, token in sorted(added.items()):
            self._reach(i + 1)
            special = token.special or looks_special(token.content)
            self.tokens[i] = token.content if special else token.content.replace("▁", " ")
            self.types[i] = TokenType.CONTROL if special else TokenType.USER_DEFINED
            if self.scores is not None:
                self.scores[i] = ADDED_SCORE

    def fit(self, rows: int | None) -> None:
        """Name missing tokens '[PAD7]', up to the rows of the embedding; leave out added tokens beyond it."""
        if rows is not None and rows < len(self.tokens):
            self._cut(rows)
        self._reach(rows or 0)
        for i, token in enumerate(self.tokens):
            if token is None:
                self.tokens[i], self.types[i] = f"[PAD{i}]", TokenType.UNUSED

    def _cut(self, rows: int) -> None:
        beyond = [token for token in self.tokens[rows:] if token is not None]
        if any(kind not in (TokenType.CONTROL, TokenType.USER_DEFINED) for kind in self.types[rows:]):
            return  # not merely added tokens: `blocked` says so
        self.notes.append(f"{len(beyond)} added tokens have no row in the embedding and are left out, '{beyond[0]}' first")
        del self.tokens[rows:], self.types[rows:]
        if self.scores is not None:
            del self.scores[rows:]

    def _reach(self, count: int) -> None:
        missing = count - len(self.tokens)
        if missing <= 0:
            return
        self.tokens += [None] * missing
        self.types += [TokenType.UNUSED] * missing
        if self.scores is not None:
            self.scores += [PADDING_SCORE] * missing

    def spelled(self) -> tuple[str, ...]:
        """The tokens after `fit`."""
        return tuple(token if token is not None else "" for token in self.tokens)

    def into(self, tokenizer: Tokenizer, rows: int | None) -> Tokenizer:
        """`tokenizer` with these tokens; a blocker where two tokens are spelled the same or there are too many."""
        tokens = self.spelled()
        scores = tuple(self.scores) if self.scores is not None else ()
        blockers = (*tokenizer.blockers, *_blocked(tokens, rows))
        notes = (*tokenizer.notes, *self.notes)
        return replace(
            tokenizer, tokens=tokens, types=tuple(self.types), scores=scores, notes=notes, blockers=blockers
        )


def looks_special(token: str) -> bool:
    """Whether a token is taken for a control token though its file does not call it special."""
    return token in _SPECIAL_NAMES or any(token.startswith(a) and token.endswith(b) for a, b in _SPECIAL_LOOK)


def blocker(rule: str, reason: str) -> Blocker:
    """Why llama.cpp cannot have this tokenizer."""
    return Blocker("", "Tokenizer", f"tokenizer.{rule}", reason)


def _blocked(tokens: tuple[str, ...], rows: int | None) -> list[Blocker]:
    found = []
    if rows is not None and len(tokens) > rows:
        found.append(blocker("vocabulary", f"it has {len(tokens)} tokens, the model's embedding has {rows} rows"))
    if len(set(tokens)) < len(tokens):
        seen: set[str] = set()
        twice = next(token for token in tokens if token in seen or seen.add(token))  # type: ignore[func-returns-value]
        found.append(blocker("vocabulary", f"two tokens are spelled {twice!r}, and llama.cpp finds tokens by spelling"))
    return found
