"""SentencePiece's BPE: characters joined by the scores of what they make; what is no token is spelled in byte tokens.

Algorithm: llama.cpp's `llm_tokenizer_spm_session`, which follows SentencePiece's `bpe_model.cc`.
"""

from __future__ import annotations

from collections.abc import Callable

from bessemer.ir.tokenizer import Tokenizer
from bessemer.tokenization.evaluate.merging import merged
from bessemer.tokenization.special import scores

SPACE = "▁"


def encoder(tokenizer: Tokenizer) -> Callable[[str], list[int]]:
    """text -> ids; a character without token and without byte tokens becomes the unknown token."""
    ids = {token: i for i, token in enumerate(tokenizer.tokens)}
    by_id = scores(tokenizer)
    prefix = " " if tokenizer.flags.get("add_space_prefix", True) else ""
    unknown = tokenizer.special.get("unk", 0)

    def cost(left: str, right: str) -> float | None:
        token = ids.get(left + right)
        return None if token is None else -by_id[token]

    def spelled(symbol: str) -> list[int]:
        if symbol in ids:
            return [ids[symbol]]
        return [ids.get(f"<0x{byte:02X}>", unknown) for byte in symbol.encode("utf-8", "replace")]

    def encode(text: str) -> list[int]:
        symbols = merged(list((prefix + text).replace(" ", SPACE)), cost)
        return [i for symbol in symbols for i in spelled(symbol)]

    return encode
