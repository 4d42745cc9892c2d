"""Byte-level BPE: words by the pre-tokenizer, spelled in letters for bytes, joined by the ranks of the merges.

Algorithm: llama.cpp's `llm_tokenizer_bpe_session`; the same as `tokenizers.models.BPE` where `ignore_merges` agrees.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from bessemer.ir.errors import Blocker, Declined
from bessemer.ir.tokenizer import Tokenizer
from bessemer.tokenization.evaluate.merging import Cost, merged
from bessemer.tokenization.letters import spelled
from bessemer.tokenization.pretokenizers import BY_NAME, Expressions, Pre, splitter

Encode = Callable[[str], list[int]]


@dataclass
class Tables:
    """What does not depend on the pre-tokenizer. ids: by spelling; cost: rank of a merge; words: those met so far."""

    ids: dict[str, int]
    cost: Cost
    words: dict[str, list[str]] = field(default_factory=dict)

    def merged(self, word: str) -> list[str]:
        """The word's tokens; short words are kept for the next time."""
        found = self.words.get(word)
        if found is None:
            found = merged(list(word), self.cost)
            if len(word) < 32 and len(self.words) < 1 << 16:
                self.words[word] = found
        return found


def tables(tokenizer: Tokenizer) -> Tables:
    """The first space after the first character parts a merge, so that a token may begin with a space."""
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(tokenizer.merges):
        ranks.setdefault(merge, rank)
    ids = {token: i for i, token in enumerate(tokenizer.tokens)}
    return Tables(ids, lambda left, right: ranks.get(f"{left} {right}"))


def encoder(tokenizer: Tokenizer, known: Tables | None = None, expressions: Expressions = ()) -> Encode:
    """text -> ids; expressions: others than those of the named pre-tokenizer. Raises Declined where that is not known."""
    pre = BY_NAME.get("gemma4" if tokenizer.kind == "gemma4" else tokenizer.pre or "default")
    if pre is None:
        reason = f"the pre-tokenizer '{tokenizer.pre}' is not known"
        raise Declined("tokenizer", [Blocker("", "Tokenizer", "tokenizer.pre", reason)])
    words, word_ids = splitter(expressions or pre.expressions), _words(known or tables(tokenizer), pre)
    prepare = spelled if pre.byte_level else str

    def encode(text: str) -> list[int]:
        pieces = words(text if pre.byte_level else text.replace(" ", "▁"))
        return [i for piece in pieces for i in word_ids(prepare(piece))]

    return encode


def _words(known: Tables, pre: Pre) -> Encode:
    ids = known.ids
    fallback: Encode = (lambda text: _letters(text, ids)) if pre.byte_level else (lambda text: _hexadecimal(text, ids))
    whole = "gemma4" in pre.names

    def encode(word: str) -> list[int]:
        if word in ids and (pre.ignore_merges or (whole and not word.strip("\n"))):
            return [ids[word]]
        return [i for token in known.merged(word) for i in ([ids[token]] if token in ids else fallback(token))]

    return encode


def _letters(text: str, ids: dict[str, int]) -> list[int]:
    """A letter beyond ASCII takes two bytes, and llama.cpp looks for each of them alone."""
    return [ids[letter] for letter in text if letter in ids]


def _hexadecimal(text: str, ids: dict[str, int]) -> list[int]:
    names = (f"<0x{byte:02X}>" for byte in text.encode("utf-8", "replace"))
    return [ids[name] for name in names if name in ids]
