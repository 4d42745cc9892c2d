"""A text parted at its special tokens, as llama.cpp does (`tokenizer_st_partition`): the longest spelling first."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bessemer.ir.tokenizer import Tokenizer, TokenType
from bessemer.tokenization.special import control

Encode = Callable[[str], list[int]]


def parted(tokenizer: Tokenizer, encode: Encode, parse_special: bool) -> Encode:
    """`encode` with added tokens found in the text; control and unknown tokens only with `parse_special`."""
    return around(sought(tokenizer, parse_special), encode)


def sought(tokenizer: Tokenizer, parse_special: bool) -> list[tuple[str, int]]:
    """(spelling, id) of the tokens that part a text, in the order in which they are looked for."""
    known = control(tokenizer)
    rows = enumerate(zip(tokenizer.tokens, tokenizer.types, strict=True))
    special = [(token, i) for i, (token, kind) in rows if token and _found(token in known, kind, parse_special)]
    return sorted(special, key=lambda row: -len(row[0].encode("utf-8", "replace")))


def around(special: list[tuple[str, int]], encode: Encode) -> Encode:
    """`encode` for what lies between the tokens that are looked for."""

    def whole(text: str) -> list[int]:
        parts: Iterable[str | int] = [text] if text else []
        for token, i in special:
            if token in text:
                parts = [piece for part in parts for piece in _split(part, token, i)]
        return [i for part in parts for i in ([part] if isinstance(part, int) else encode(part))]

    return whole


def _found(known: bool, kind: int, parse_special: bool) -> bool:
    if known or kind in (TokenType.CONTROL, TokenType.UNKNOWN):
        return parse_special
    return kind == TokenType.USER_DEFINED


def _split(part: str | int, token: str, i: int) -> list[str | int]:
    if isinstance(part, int) or token not in part:
        return [part]
    out: list[str | int] = []
    for piece in part.split(token):
        out += [piece, i] if piece else [i]
    return out[:-1]
