"""Merges out of scores: SentencePiece's BPE in the words of the `tokenizers` library.

Every way to part a token into two tokens is a merge; what gives the better score comes first (as in transformers'
convert_slow_tokenizer.py, which every tokenizer.json of a SentencePiece model came from).
"""

from __future__ import annotations

from bessemer.ir.tokenizer import Tokenizer, TokenType
from bessemer.tokenization.special import scores

_JOINED = (TokenType.NORMAL, TokenType.USER_DEFINED)


def from_scores(tokenizer: Tokenizer) -> list[list[str]]:
    """[left, right] by rank."""
    rows = zip(tokenizer.tokens, tokenizer.types, strict=True)
    ids = {token: i for i, (token, kind) in enumerate(rows) if kind in _JOINED}
    by_id = scores(tokenizer)
    found = []
    for token, i in ids.items():
        for at in range(1, len(token)):
            left, right = ids.get(token[:at]), ids.get(token[at:])
            if left is not None and right is not None:
                found.append((-by_id[i], i, left, right, at))
    found.sort()
    tokens = tokenizer.tokens
    return [[tokens[i][:at], tokens[i][at:]] for _, i, _, _, at in found]
