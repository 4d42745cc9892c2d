"""Everything of such a file but the tensors' bytes, bounded by the file's length."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path

from bessemer.wire.errors import WireError
from bessemer.wire.ggml.types import Stored, stored, stored_by_rwkv
from bessemer.wire.gguf.cursor import Buffer, Cursor

MAGICS = {b"lmgg": "GGML", b"fmgg": "GGMF", b"tjgg": "GGJT"}
"""First four bytes (numbers in little endian) -> name."""
GENERATIONS = {("GGML", 0): 1, ("GGMF", 1): 1, ("GGJT", 1): 1, ("GGJT", 2): 2, ("GGJT", 3): 3}
RWKV = (100, 101)
LONGEST = 4096
"""Bytes of a word or a name."""
ALIGNMENT = 32
MOST = 1 << 18
"""Tensors of a file."""
Kind = Callable[[int, int], Stored]
"""(a type's number, where it stands) -> the type."""


@dataclass(frozen=True)
class Info:
    """Where a tensor lies. shape: numpy's order."""

    name: str
    shape: tuple[int, ...]
    type: Stored
    offset: int
    nbytes: int


@dataclass(frozen=True)
class Llama:
    """Sizes of a Llama. `multiple`: its hidden layers are rounded up to a multiple of it; file_type: of most tensors."""

    vocab: int
    dim: int
    multiple: int
    heads: int
    layers: int
    rotated: int
    file_type: int


@dataclass(frozen=True)
class Rwkv:
    """Sizes of an RWKV."""

    vocab: int
    dim: int
    layers: int
    file_type: int


@dataclass(frozen=True)
class File:
    """tokens: bytes and score of each, () for RWKV."""

    format: str
    version: int
    sizes: Llama | Rwkv
    tokens: tuple[tuple[bytes, float], ...]
    tensors: dict[str, Info]


def read(path: Path) -> File:
    """Raises WireError for what is no such file, or is cut off; OSError."""
    with path.open("rb") as stream:
        if path.stat().st_size < 32:
            raise WireError("a GGML file has at least 32 bytes", offset=0)
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return parsed(data)


def parsed(data: Buffer) -> File:
    """The file whose bytes these are."""
    name = MAGICS.get(data[:4])
    if name is None:
        raise WireError("no GGML, GGMF or GGJT file", offset=0)
    cursor = Cursor(data, 4, "<", wide=False)
    version = 0 if name == "GGML" else cursor.number("I")
    if name == "GGMF" and version in RWKV:
        return _rwkv(cursor, version)
    if (name, version) not in GENERATIONS:
        raise WireError(f"{name} of version {version}; GGMF 1, GGJT 1 to 3 and rwkv.cpp's 100 and 101 are read", offset=4)
    sizes = Llama(*struct.unpack("<7I", cursor.take(28, "sizes")))
    tokens = _tokens(cursor, sizes.vocab, scored=name != "GGML")
    generation = GENERATIONS[name, version]
    tensors = _tensors(cursor, lambda number, at: stored(number, generation, at), aligned=name == "GGJT")
    return File(name, version, sizes, tokens, tensors)


def _rwkv(cursor: Cursor, version: int) -> File:
    sizes = Rwkv(*struct.unpack("<4I", cursor.take(16, "sizes")))
    tensors = _tensors(cursor, lambda number, at: stored_by_rwkv(number, version, at), aligned=False)
    return File("GGMF", version, sizes, (), tensors)


def _tokens(cursor: Cursor, count: int, scored: bool) -> tuple[tuple[bytes, float], ...]:
    if count * (8 if scored else 4) > cursor.left or count > 1 << 20:
        why = f"a vocabulary of {count} where {cursor.left} bytes are left"
        raise WireError(f"{why} (programs other than llama.cpp wrote other sizes behind these first bytes)", offset=8)
    found = []
    for _ in range(count):
        place, length = cursor.at, cursor.length()
        if length > LONGEST:
            raise WireError(f"a word of {length} bytes", offset=place)
        text = cursor.take(length, "a word")
        found.append((text, float(cursor.number("f")) if scored else 0.0))
    return tuple(found)


def _tensors(cursor: Cursor, kind: Kind, aligned: bool) -> dict[str, Info]:
    found: dict[str, Info] = {}
    while cursor.left:
        place = cursor.at
        info = _tensor(cursor, kind, aligned)
        if len(found) >= MOST:
            raise WireError(f"more than {MOST} tensors", offset=place)
        if info.name in found:
            raise WireError(f"the tensor '{info.name[:100]}' stands twice", offset=place)
        found[info.name] = info
    return found


def _tensor(cursor: Cursor, kind: Kind, aligned: bool) -> Info:
    place = cursor.at
    rank, length, number = struct.unpack("<3I", cursor.take(12, "a tensor's head"))
    if rank > 4 or not 0 < length <= LONGEST:
        raise WireError(f"a tensor of rank {rank} with a name of {length} bytes", offset=place)
    shape = struct.unpack(f"<{rank}I", cursor.take(4 * rank, "a tensor's sizes"))[::-1]
    raw, type_ = cursor.take(length, "a tensor's name"), kind(number, place)
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise WireError("a tensor's name that is no UTF-8", offset=place) from None
    if shape and shape[-1] % type_.elements:
        raise WireError(f"a row of {shape[-1]} in blocks of {type_.elements}", offset=place, where=name)
    cursor.at += -cursor.at % ALIGNMENT if aligned else 0
    nbytes = prod(shape) // type_.elements * type_.bytes
    if nbytes > cursor.left:
        raise WireError(f"a tensor of {nbytes} bytes where {max(cursor.left, 0)} are left", offset=cursor.at, where=name)
    info = Info(name, shape, type_, cursor.at, nbytes)
    cursor.at += nbytes
    return info
