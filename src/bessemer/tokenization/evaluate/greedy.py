"""RWKV's tokenizer: at each byte the longest token that matches.

Algorithm: llama.cpp's `llm_tokenizer_rwkv_session`; tokens are spelled with Python's escapes of bytes.
"""

from __future__ import annotations

from collections.abc import Callable

from bessemer.ir.tokenizer import Tokenizer, TokenType
from bessemer.tokenization.rwkv import unescaped


def encoder(tokenizer: Tokenizer) -> Callable[[str], list[int]]:
    """text -> ids; a byte that begins no token becomes the unknown token (id 0 where none is named)."""
    rows = enumerate(zip(tokenizer.tokens, tokenizer.types, strict=True))
    ids = {unescaped(token): i for i, (token, kind) in rows if kind == TokenType.NORMAL}
    longest = max((len(token) for token in ids), default=1)
    unknown = tokenizer.special.get("unk", 0)

    def encode(text: str) -> list[int]:
        data = text.encode("utf-8", "replace")
        out: list[int] = []
        position = 0
        while position < len(data):
            size = next((n for n in range(longest, 0, -1) if data[position : position + n] in ids), 0)
            out.append(ids[data[position : position + size]] if size else unknown)
            position += size or 1
        return out

    return encode
