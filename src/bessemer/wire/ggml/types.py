"""How tensors of a type lay in files of each generation: ggml changed its blocks twice before GGUF.

Generation 1 (GGML, GGMF, GGJT 1) keeps neighbours in the two halves of a byte; from generation 2 (GGJT 2) on a byte holds
elements i and i + 16; generation 3 (GGJT 3) has scales of 16 bits, and is what GGUF holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bessemer.wire.errors import WireError
from bessemer.wire.gguf.types import BY_ID, BY_NAME

Layout = Literal["", "pairs", "halves"]


@dataclass(frozen=True)
class Stored:
    """A type as a file holds it. layout: '' where GGUF holds it alike; else how nibbles of a block follow one another;
    scale: bytes of a block's scale (and of its minimum)."""

    name: str
    elements: int
    bytes: int
    layout: Layout = ""
    scale: int = 2


_FIRST = {
    2: Stored("Q4_0", 32, 20, "pairs", 4), 3: Stored("Q4_1", 32, 24, "pairs", 4), 4: Stored("Q4_2", 16, 10, "pairs"),
    5: Stored("Q4_3", 16, 12, "pairs"), 6: Stored("Q5_0", 32, 22, "pairs"), 7: Stored("Q5_1", 32, 24, "pairs"),
    8: Stored("Q8_0", 32, 36, "halves", 4),
}  # fmt: skip
_SECOND = {
    2: Stored("Q4_0", 32, 20, "halves", 4), 3: Stored("Q4_1", 32, 24, "halves", 4), 6: Stored("Q5_0", 32, 22),
    7: Stored("Q5_1", 32, 24), 8: Stored("Q8_0", 32, 36, "halves", 4),
}  # fmt: skip
_PLAIN = (0, 1)
_THIRD = (2, 3, 6, 7, 8, *range(10, 15))
_RWKV = {0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q5_0", 8: "Q5_1", 9: "Q8_0"}
"""rwkv.cpp counts types in its own way."""


def stored(number: int, generation: int, at: int) -> Stored:
    """The type of llama.cpp's number in a file of this generation. Raises WireError for one that it has not."""
    old = {1: _FIRST, 2: _SECOND}.get(generation, {})
    if number in old:
        return old[number]
    if number in _PLAIN or (generation == 3 and number in _THIRD):
        return _today(BY_ID[number].name)
    raise WireError(f"a tensor of the type {number}, which files of this version do not have", offset=at)


def stored_by_rwkv(number: int, version: int, at: int) -> Stored:
    """The type of rwkv.cpp's number. Raises WireError for blocks of version 100, and unknown types."""
    if number not in _RWKV or (version == 100 and number > 1):
        raise WireError(f"a tensor of rwkv.cpp's type {number} in a file of version {version}", offset=at)
    return _today(_RWKV[number])


def _today(name: str) -> Stored:
    return Stored(name, BY_NAME[name].elements, BY_NAME[name].bytes)
