"""Vocabularies of SentencePiece as llama2.c and ggml's first files keep them: pieces with spaces, and scores."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bessemer.ir.errors import UnreadableInput
from bessemer.ir.tokenizer import TokenType
from bessemer.wire.errors import WireError
from bessemer.wire.llama2c import read_tokens

if TYPE_CHECKING:
    from bessemer.ir.tokenizer import Tokenizer

SPACE = "\u2581"
FIRST = ("<unk>", "<s>", "</s>")
"""Pieces 0 to 2 of a Llama's vocabulary; llama2.c puts line ends around the last two."""
SPECIAL = {
    "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.unknown_token_id": 0,
    "tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_eos_token": False,
}  # fmt: skip
"""What every Llama's vocabulary begins with."""
BYTE = re.compile(r"<0x[0-9A-F]{2}>")
BYTES = range(3, 259)
"""Ids of single bytes in a Llama's vocabulary: spelled '<0x80>', or as the byte, or as the letter of its number."""


def beside(path: Path, count: int) -> Tokenizer | None:
    """The tokenizer of `count` tokens that lies beside a model: tokenizer.bin or tok{count}.bin, else a SentencePiece model.

    None where there is none. Raises UnreadableInput for a broken one.
    """
    for name in ("tokenizer.bin", f"tok{count}.bin"):
        file = path.with_name(name)
        if file.is_file():
            try:
                tokens = read_tokens(file)
            except WireError as error:
                raise UnreadableInput(f"{file} is a broken or hostile tokenizer of llama2.c", why=str(error)) from None
            if len(tokens) == count:
                return tokenizer((token.text, token.score) for token in tokens)
    return None


def tokenizer(tokens: Iterable[tuple[bytes, float]]) -> Tokenizer | None:
    """A Llama's tokenizer from its pieces. Raises Declined as `tokenization.from_gguf` does."""
    from bessemer.tokenization import from_gguf

    return from_gguf(metadata(tokens))


def metadata(tokens: Iterable[tuple[bytes, float]]) -> dict[str, Any]:
    """The pieces as a GGUF file says them."""
    pieces, scores = [], []
    for place, (raw, score) in enumerate(tokens):
        pieces.append(_piece(place, raw))
        scores.append(score)
    return {
        "tokenizer.ggml.model": "llama", "tokenizer.ggml.pre": "default", "tokenizer.ggml.tokens": pieces,
        "tokenizer.ggml.scores": scores, "tokenizer.ggml.token_type": [int(_type(*item)) for item in enumerate(pieces)],
        **SPECIAL,
    }  # fmt: skip


def _piece(place: int, raw: bytes) -> str:
    if place < len(FIRST):
        return FIRST[place]
    byte = place - BYTES.start
    if place in BYTES and raw in (bytes([byte]), chr(byte).encode()):
        return f"<0x{byte:02X}>"
    return raw.decode("utf-8", "surrogateescape").replace(" ", SPACE)


def _type(place: int, piece: str) -> TokenType:
    if place < len(FIRST):
        return TokenType.CONTROL if place else TokenType.UNKNOWN
    if place in BYTES and BYTE.fullmatch(piece):
        return TokenType.BYTE
    return TokenType.NORMAL if piece else TokenType.CONTROL
