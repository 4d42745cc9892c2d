"""`--shape` on the command line: `x=1x3x224x224`, ranges `x=1..8x3x224`, names `x=Nx3x224`, scalars `x=`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bessemer.ir.errors import UsageError

Dim = int | str | tuple[int, int]
"""A size, a symbol's name, or an inclusive range of sizes."""

_GRAMMAR = "Write NAME=1x3x224x224; an axis is a size, a range like 1..8, or a name like N"
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_SYMBOL = re.compile(r"[A-Za-z_]\w*")
LARGEST = 2**31 - 1


def parse(texts: Iterable[str]) -> dict[str, tuple[Dim, ...]]:
    """All `--shape` options; raises UsageError naming the one that cannot be read."""
    shapes: dict[str, tuple[Dim, ...]] = {}
    for text in texts:
        name, equals, dims = text.rpartition("=")
        if not equals or not name:
            raise UsageError(f"--shape '{text}' names no input", fix=_GRAMMAR)
        if name in shapes:
            raise UsageError(f"--shape gives '{name}' twice", fix="Give each input once")
        shapes[name] = tuple(_dim(text, part) for part in _split(dims))
    return shapes


def _split(dims: str) -> list[str]:
    """Axes are joined by 'x' or ','; a name may hold an x only where ',' joins (`a=max_len,3`)."""
    if not dims.strip():
        return []
    return [part.strip() for part in (dims.split(",") if "," in dims else re.split(r"[x×]", dims))]


def _dim(text: str, part: str) -> Dim:
    if part.isascii() and part.isdigit():
        return _size(text, part)
    limits = _RANGE.fullmatch(part)
    if limits:
        low, high = (_size(text, group) for group in limits.groups())
        if low > high:
            raise UsageError(f"--shape '{text}': the range {part} is empty", fix=_GRAMMAR)
        return low, high
    if _SYMBOL.fullmatch(part):
        return part
    raise UsageError(f"--shape '{text}': '{part}' is no axis", fix=_GRAMMAR)


def _size(text: str, digits: str) -> int:
    if len(digits) > 10 or not 1 <= int(digits) <= LARGEST:
        raise UsageError(f"--shape '{text}': {digits} is no size of an axis", fix=f"Sizes are 1 to {LARGEST}")
    return int(digits)
