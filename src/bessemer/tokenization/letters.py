"""GPT-2's spelling of bytes as letters: printable Latin-1 stands for itself, the other 68 bytes follow from U+0100 on."""

from __future__ import annotations

_PRINTED = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = [byte for byte in range(256) if byte not in set(_PRINTED)]
OF_BYTE = {**{byte: chr(byte) for byte in _PRINTED}, **{byte: chr(256 + i) for i, byte in enumerate(_OTHERS)}}
BYTE_OF = {letter: byte for byte, letter in OF_BYTE.items()}
_TABLE = str.maketrans({chr(byte): letter for byte, letter in OF_BYTE.items()})


def spelled(text: str) -> str:
    """The text's UTF-8 bytes as letters; a lone surrogate becomes U+FFFD first, as no UTF-8 holds it."""
    return text.encode("utf-8", "replace").decode("latin-1").translate(_TABLE)


def unspelled(token: str) -> bytes:
    """The bytes of a token; a character that is no letter of the alphabet (in added tokens) stands for its own UTF-8."""
    return b"".join(
        bytes([BYTE_OF[character]]) if character in BYTE_OF else character.encode("utf-8") for character in token
    )
