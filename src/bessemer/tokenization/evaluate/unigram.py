"""Unigram: the segmentation whose tokens' log-probabilities sum up highest.

T. Kudo: Subword Regularization (2018). Algorithm: llama.cpp's `llm_tokenizer_ugm_session` after SentencePiece's
`unigram_model.cc`: an unknown character costs the least score less 10, neighbouring unknowns become one.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from bessemer.ir.tokenizer import Tokenizer, TokenType
from bessemer.tokenization.charsmap import Charsmap
from bessemer.tokenization.special import scores as by_id

SPACE = "▁"
UNKNOWN_PENALTY = 10.0
_MATCHED = (TokenType.NORMAL, TokenType.USER_DEFINED, TokenType.UNUSED)


def encoder(tokenizer: Tokenizer) -> Callable[[str], list[int]]:
    """text -> ids."""
    scores = _scores(tokenizer)
    longest = max((len(token) for token in scores), default=1)
    rows = zip(by_id(tokenizer), tokenizer.types, strict=True)
    normal = [score for score, kind in rows if kind == TokenType.NORMAL]
    unknown = (tokenizer.special.get("unk", 2), min(normal, default=0.0) - UNKNOWN_PENALTY)
    normalize = _normalizer(tokenizer)
    return lambda text: _best(normalize(text), scores, longest, unknown)


def _scores(tokenizer: Tokenizer) -> dict[str, tuple[int, float]]:
    rows = zip(tokenizer.tokens, by_id(tokenizer), tokenizer.types, strict=True)
    return {
        token: (i, 0.0 if kind == TokenType.USER_DEFINED else score)
        for i, (token, score, kind) in enumerate(rows)
        if kind in _MATCHED
    }


def _best(text: str, scores: dict[str, tuple[int, float]], longest: int, unknown: tuple[int, float]) -> list[int]:
    totals = [0.0, *[-inf] * len(text)]
    back: list[tuple[int, int]] = [(unknown[0], 0)] * (len(text) + 1)
    for start in range(len(text)):
        single = False
        for end in range(start + 1, min(len(text), start + longest) + 1):
            found = scores.get(text[start:end])
            if found is None:
                continue
            single = single or end == start + 1
            if totals[start] + found[1] > totals[end]:
                totals[end], back[end] = totals[start] + found[1], (found[0], start)
        if not single and totals[start] + unknown[1] > totals[start + 1]:
            totals[start + 1], back[start + 1] = totals[start] + unknown[1], (unknown[0], start)
    return _walked(back, len(text), unknown[0])


def _walked(back: list[tuple[int, int]], end: int, unknown: int) -> list[int]:
    ids: list[int] = []
    before = None
    while end > 0:
        token, end = back[end]
        if not (token == unknown and before == unknown):
            ids.append(token)
        before = token
    return ids[::-1]


def _normalizer(tokenizer: Tokenizer) -> Callable[[str], str]:
    """Charsmap, spaces merged and trimmed, a space ahead, spaces escaped: the text as llama.cpp segments it."""
    charsmap = Charsmap(tokenizer.charsmap)
    merge = tokenizer.flags.get("remove_extra_whitespaces", False)
    prefix = tokenizer.flags.get("add_space_prefix", False)

    def normalize(text: str) -> str:
        out: list[str] = []
        inside, prefixed = False, False
        for character in charsmap(text):
            if character == " ":
                inside = False
                out.extend([] if merge else [SPACE])
                continue
            if not inside and ((prefix and not prefixed) or merge):
                out.append(SPACE)
                prefixed = True
            inside = True
            out.append(character)
        return "".join(out)

    return normalize
