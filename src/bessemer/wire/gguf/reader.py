"""GGUF files, versions 1 to 3, little and big endian, whole or split: everything but the tensors' bytes.

    file    = "GGUF", version (u32), count of tensors, count of entries, entries, tensors, padding, data
    entry   = key (string), type (u32), value
    string  = length, bytes;  array = type (u32), count, elements
    tensor  = name (string), rank (u32), sizes (the innermost first), type (u32), offset in the data (u64)

Counts, lengths and sizes have 8 bytes, 4 in version 1. Padding brings the data to a multiple of `general.alignment`.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

from bessemer.wire.errors import WireError
from bessemer.wire.gguf.cursor import Buffer, Cursor
from bessemer.wire.gguf.types import BY_ID, REMOVED, TensorType
from bessemer.wire.gguf.values import ALIGNMENT, MAX_DIMS, MAX_KEY, Kind, ValueType

MAGIC = b"GGUF"
VERSIONS = (1, 2, 3)
MOST = 1 << 18
"""Tensors, and entries of metadata, of a file."""
LONG_NAME = 1024
"""Bytes of a tensor's name that are read; ggml itself takes fewer (`values.MAX_TENSOR_NAME`)."""


@dataclass(frozen=True)
class Info:
    """Where a tensor lies. shape: numpy's order; offset: absolute, in the file `path`."""

    name: str
    shape: tuple[int, ...]
    type: TensorType
    offset: int
    nbytes: int
    path: Path


@dataclass
class File:
    """kinds: the type of each metadata value, by key, for a writer that keeps them; paths: the file, or all its parts.

    metadata: see `values`. Of a split file it is the first part's, without the `split.` keys.
    """

    version: int
    big_endian: bool
    metadata: dict[str, Any]
    kinds: dict[str, Kind]
    tensors: dict[str, Info]
    alignment: int
    paths: tuple[Path, ...] = field(default=())


def read(path: Path) -> File:
    """The file, joined with its other parts where it is one of several.

    Raises WireError for what breaks the format or leaves the file, and for parts that are missing; OSError.
    """
    from bessemer.wire.gguf.splits import joined, parts

    first = read_one(path)
    others = parts(path, first)
    return first if others == (path,) else joined([first if other == path else read_one(other) for other in others])


def read_one(path: Path) -> File:
    """The one file, whether or not it is a part of several. Raises WireError, OSError."""
    with path.open("rb") as stream:
        size = path.stat().st_size
        if size < 16:
            raise WireError(f"a GGUF file has at least 16 bytes, this one has {size}", offset=0)
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return parsed(data, path)


def parsed(data: Buffer, path: Path) -> File:
    """The file whose bytes these are; `path` is where its tensors say to lie."""
    if data[:4] != MAGIC:
        raise WireError("no GGUF file: it does not begin with 'GGUF'", offset=0)
    order = ">" if data[4:6] == b"\0\0" else "<"
    version = int.from_bytes(data[4:8], "big" if order == ">" else "little")
    if version not in VERSIONS:
        raise WireError(f"GGUF version {version}; versions 1 to 3 are read", offset=4)
    cursor = Cursor(data, 8, order, version > 1)
    width = 8 if version > 1 else 4
    tensors = cursor.count(width + 16, "tensors", MOST)
    metadata, kinds = _entries(cursor, cursor.count(width + 5, "metadata entries", MOST))
    alignment = _alignment(metadata, kinds)
    infos = _tensors(cursor, tensors, version, path)
    start = -(-cursor.at // alignment) * alignment
    placed = {info.name: _placed(info, start, alignment, len(data)) for info in infos}
    _refuse_overlaps(placed)
    return File(version, order == ">", metadata, kinds, placed, alignment, (path,))


def _entries(cursor: Cursor, count: int) -> tuple[dict[str, Any], dict[str, Kind]]:
    metadata: dict[str, Any] = {}
    kinds: dict[str, Kind] = {}
    for _ in range(count):
        place, key = cursor.at, cursor.name(MAX_KEY)
        if key in metadata:
            raise WireError(f"the key '{key[:100]}' stands twice", offset=place)
        try:
            metadata[key], kinds[key] = cursor.value(cursor.kind())
        except WireError as error:
            raise WireError(error.what, offset=error.offset, where=key[:100]) from None
    return metadata, kinds


def _alignment(metadata: dict[str, Any], kinds: dict[str, Kind]) -> int:
    """`general.alignment`. Raises WireError where it is no power of two that a file can mean."""
    said = metadata.get("general.alignment", ALIGNMENT)
    if "general.alignment" in kinds and kinds["general.alignment"] is not ValueType.UINT32:
        raise WireError("an alignment of another type than UINT32", where="general.alignment")
    if not 1 <= said <= 1 << 20 or said & (said - 1):
        raise WireError(f"an alignment of {said}, which is no power of two up to 1048576", where="general.alignment")
    return int(said)


def _tensors(cursor: Cursor, count: int, version: int, path: Path) -> list[Info]:
    """The descriptions in their order; offsets still count from the data's start."""
    found: list[Info] = []
    seen: set[str] = set()
    for _ in range(count):
        place, name = cursor.at, cursor.name(LONG_NAME)
        if name in seen:
            raise WireError(f"the tensor '{name[:100]}' stands twice", offset=place)
        seen.add(name)
        found.append(_described(cursor, name, version, path))
    return found


def _described(cursor: Cursor, name: str, version: int, path: Path) -> Info:
    place, rank = cursor.at, cursor.number("I")
    if rank > MAX_DIMS:
        raise WireError(f"a tensor of rank {rank}; {MAX_DIMS} is the most", offset=place, where=name)
    shape = tuple(cursor.number("Q" if version > 1 else "I") for _ in range(rank))[::-1]
    kind = _type(cursor, name)
    try:
        row = kind.row_bytes(shape[-1] if shape else 1)
    except ValueError as error:
        raise WireError(str(error), offset=place, where=name) from None
    return Info(name, shape, kind, cursor.number("Q"), prod(shape[:-1]) * row, path)


def _type(cursor: Cursor, name: str) -> TensorType:
    place, number = cursor.at, cursor.number("I")
    if number in REMOVED:
        raise WireError(f"a tensor of the type {REMOVED[number]}, which ggml no longer has", offset=place, where=name)
    if number not in BY_ID:
        raise WireError(f"a tensor of the unknown type {number}", offset=place, where=name)
    return BY_ID[number]


def _placed(info: Info, start: int, alignment: int, size: int) -> Info:
    if info.offset % alignment:
        raise WireError(f"a tensor that lies at {info.offset}, no multiple of {alignment}", where=info.name)
    begin = start + info.offset
    if begin + info.nbytes > size and info.nbytes:
        why = f"a tensor of {info.nbytes} bytes leads out of the file of {size} bytes (cut off while it was copied?)"
        raise WireError(why, offset=begin, where=info.name)
    return Info(info.name, info.shape, info.type, begin, info.nbytes, info.path)


def _refuse_overlaps(tensors: dict[str, Info]) -> None:
    ordered = sorted((info for info in tensors.values() if info.nbytes), key=lambda info: info.offset)
    for first, second in pairwise(ordered):
        if first.offset + first.nbytes > second.offset:
            raise WireError(f"a tensor that overlaps '{first.name}'", offset=second.offset, where=second.name)
