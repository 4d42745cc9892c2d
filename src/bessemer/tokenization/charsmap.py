"""SentencePiece's precompiled normalizer: a double array of byte strings and what replaces them.

Layout (sentencepiece/src/normalizer.cc): 4 bytes size of the trie, little endian; the trie in units of 32 bits (Darts-clone:
bit 8 has a leaf, bits 10..30 the offset, bit 9 makes it 256 times as far, bits 0..7 and 31 the label); then the
replacements, each ended by a zero byte.
"""

from __future__ import annotations

import numpy as np

from bessemer.ir.errors import UnreadableInput


class Charsmap:
    """Applies a charsmap; the empty one changes nothing. Raises UnreadableInput where the bytes break the layout."""

    def __init__(self, blob: bytes) -> None:
        size = int.from_bytes(blob[:4], "little")
        if blob and (size % 4 or size == 0 or 4 + size >= len(blob)):
            raise UnreadableInput(f"The precompiled charsmap of {len(blob)} bytes states a trie of {size} bytes")
        self._units: list[int] = np.frombuffer(blob[4 : 4 + size], "<u4").tolist()
        self._replacements = blob[4 + size :]

    def __call__(self, text: str) -> str:
        """The text with the longest known byte strings replaced, from left to right."""
        if not self._units:
            return text
        data = text.encode("utf-8", "replace")
        out: list[bytes] = []
        position = 0
        while position < len(data):
            length, replacement = self._longest(data, position)
            if not length:
                length = _utf8_length(data[position])
                replacement = data[position : position + length]
            out.append(replacement)
            position += length
        return b"".join(out).decode("utf-8", "replace")

    def _longest(self, data: bytes, start: int) -> tuple[int, bytes]:
        units = self._units
        found = (0, b"")
        node = _offset(units[0])
        for position in range(start, len(data)):
            byte = data[position]
            node ^= byte
            if byte == 0 or node >= len(units) or units[node] & 0x800000FF != byte:
                return found
            unit = units[node]
            node ^= _offset(unit)
            if unit >> 8 & 1 and node < len(units):
                found = (position - start + 1, self._replacement(units[node] & 0x7FFFFFFF))
        return found

    def _replacement(self, start: int) -> bytes:
        end = self._replacements.find(b"\0", start)
        if start > len(self._replacements) or end < 0:
            raise UnreadableInput(f"The precompiled charsmap points at byte {start} of its replacements, where none begins")
        return self._replacements[start:end]


def _offset(unit: int) -> int:
    return (unit >> 10) << ((unit & 0x200) >> 6)


def _utf8_length(first: int) -> int:
    return 1 if first < 0xC0 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4
