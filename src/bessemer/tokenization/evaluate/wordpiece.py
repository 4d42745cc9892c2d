"""WordPiece: a word is cut into the longest tokens from the left, or becomes the unknown token.

Algorithm: llama.cpp's `llm_tokenizer_wpm_session`, after BERT's `tokenization.py` (J. Devlin et al., 2018); tokens that
begin a word carry U+2581, the others are bare.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

from bessemer.ir.tokenizer import Tokenizer

SPACE = "▁"
_IDEOGRAPHS = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


def encoder(tokenizer: Tokenizer) -> Callable[[str], list[int]]:
    """text -> ids."""
    ids = {token: i for i, token in enumerate(tokenizer.tokens)}
    longest = max(len(token) for token in ids)
    unknown = tokenizer.special.get("unk", 100)
    lower = tokenizer.flags.get("normalizer.lowercase", True)
    strip = tokenizer.flags.get("normalizer.strip_accents", lower)

    def word_ids(word: str) -> list[int]:
        out: list[int] = []
        start = 0
        while start < len(word):
            ends = range(min(len(word), start + longest), start, -1)
            end = next((end for end in ends if word[start:end] in ids), 0)
            if not end:
                return [unknown]
            out.append(ids[word[start:end]])
            start = end
        return out

    return lambda text: [i for word in words(text, lower, strip) for i in word_ids(SPACE + word)]


def words(text: str, lower: bool, strip: bool) -> list[str]:
    """Words and punctuation marks, cleaned: no control characters, small letters if `lower`; if `strip`, no marks, and of
    what Unicode decomposes the first character alone (BERT strips the marks that take no space, and keeps the rest)."""
    out = [""]
    for whole in text:
        character = unicodedata.normalize("NFD", whole)[0] if strip else whole
        category = unicodedata.category(character)
        if character.isspace() and not "\x1c" <= character <= "\x1f":
            out.append("")
        elif character in "\0�" or category in ("Cc", "Cf", "Cs", "Co") or (strip and category[0] == "M"):
            continue
        elif _stands_alone(character, category):
            out += [character, ""]
        else:
            out[-1] += _small(character) if lower else character
    return [word for word in out if word]


def _stands_alone(character: str, category: str) -> bool:
    code = ord(character)
    return (
        category[0] == "P"
        or (code < 0x7F and category[0] == "S")
        or any(first <= code <= last for first, last in _IDEOGRAPHS)
    )


def _small(character: str) -> str:
    """Code point by code point: what becomes two when made small stays its first."""
    return character.lower()[:1]
