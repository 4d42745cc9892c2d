"""The tokenizer files."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

from bessemer.wire.errors import WireError

LARGEST = 1 << 24
LONGEST = 1 << 12


class Token(NamedTuple):
    """Bytes and score of one token, in the order of ids."""

    text: bytes
    score: float


def read_tokens(path: Path) -> list[Token]:
    """All tokens, whose number the file does not say. Raises WireError where they do not account for its length; OSError."""
    if path.stat().st_size > LARGEST:
        raise WireError(f"a tokenizer of {path.stat().st_size} bytes")
    data = path.read_bytes()
    if len(data) < 4:
        raise WireError("a llama2.c tokenizer has at least 4 bytes", offset=0)
    longest, found, at = struct.unpack_from("<I", data)[0], list[Token](), 4
    while at < len(data):
        token, at = _token(data, at)
        found.append(token)
    if max((len(token.text) for token in found), default=0) > longest or longest > LONGEST:
        raise WireError(f"tokens longer than {longest} bytes", offset=0)
    return found


def _token(data: bytes, at: int) -> tuple[Token, int]:
    if at + 8 > len(data):
        raise WireError(f"{len(data) - at} bytes where a token begins", offset=at)
    score, size = struct.unpack_from("<fi", data, at)
    if not 0 <= size <= min(LONGEST, len(data) - at - 8):
        raise WireError(f"a token of {size} bytes", offset=at)
    return Token(data[at + 8 : at + 8 + size], score), at + 8 + size
