"""Safetensors files, bounded: a header of JSON that says where each tensor lies, then their bytes without gaps.

    file   = length of the header (u64, little endian), header, bytes
    header = {name: {"dtype": "F32", "shape": [..], "data_offsets": [start, end]}, "__metadata__": {text: text}}
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from bessemer.wire.errors import WireError
from bessemer.wire.torchzip.tensors import WIDTHS, Storage, Tensor

HEADER = 1 << 24
"""Bytes of a header that are read: 150,000 tensors. The format allows 100 MB, which could become gigabytes of objects."""
TYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U8": "uint8", "U16": "uint16", "U32": "uint32", "U64": "uint64", "BOOL": "bool",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu", "C64": "complex64",
}  # fmt: skip
ORDER = (
    "BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "I16", "U16", "F16", "BF16", "I32", "U32", "F32", "C64", "F64",
    "I64", "U64",
)  # fmt: skip
"""Types as the library sorts them before it writes, the last ones first."""


@dataclass(frozen=True)
class Entry:
    """Where a tensor lies. kind: a key of `TYPES`; offset: absolute, of its first byte."""

    name: str
    kind: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int


@dataclass(frozen=True)
class Header:
    """What a file says of itself. metadata: its own texts by name."""

    entries: dict[str, Entry]
    metadata: dict[str, str]


def header(path: Path) -> Header:
    """The header of a file; no tensor is read. Raises WireError for a header that does not describe the bytes, OSError."""
    with path.open("rb") as file:
        size = path.stat().st_size
        if size < 8:
            raise WireError("a safetensors file has at least 8 bytes", offset=0)
        length = int.from_bytes(file.read(8), "little")
        if length > min(HEADER, size - 8):
            why = f"; more than {HEADER} are not read" if HEADER < length <= size - 8 else ""
            raise WireError(f"a header of {length} bytes in a file of {size}{why}", offset=0)
        held = _object(file.read(length))
    texts = held.pop("__metadata__", None) or {}
    if not isinstance(texts, dict) or any(not isinstance(text, str) for text in texts.values()):
        raise WireError("metadata that are no texts", where="__metadata__")
    entries = {name: _entry(name, said, size - 8 - length) for name, said in held.items()}
    _refuse_gaps(entries, size - 8 - length)
    placed = {name: replace(entry, offset=8 + length + entry.offset) for name, entry in entries.items()}
    return Header(placed, texts)


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, mapped. Raises WireError for a header that does not describe the bytes."""
    found = header(path).entries
    with path.open("rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)).toreadonly()
    return {name: _tensor(entry, data) for name, entry in found.items()}


def layout(tensors: Sequence[tuple[str, str, tuple[int, ...]]], metadata: Mapping[str, str]) -> tuple[bytes, list[int], int]:
    """What a file begins with, each tensor's absolute place, and the file's size.

    tensors: (name, kind, shape). As the format's own library does, the widest elements come first, so that each is aligned
    to its width, and the header ends at a multiple of 8. Raises WireError for a type or name that the format has not.
    """
    if len({name for name, _, _ in tensors}) != len(tensors) or any(name == "__metadata__" for name, _, _ in tensors):
        raise WireError("two tensors of one name, or one of the name __metadata__")
    unknown = sorted({kind for _, kind, _ in tensors} - set(ORDER))
    if unknown:
        raise WireError(f"tensors of the type {', '.join(unknown)}, which safetensors does not have")
    said: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    starts, at = {}, 0
    for name, kind, shape in sorted(tensors, key=lambda item: (-ORDER.index(item[1]), item[0])):
        starts[name], size = at, prod(shape) * WIDTHS[TYPES[kind]]
        said[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(said, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    first = 8 + len(text)
    return len(text).to_bytes(8, "little") + text, [first + starts[name] for name, _, _ in tensors], first + at


def _object(text: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        held = dict(pairs)
        if len(held) != len(pairs):
            raise WireError("a name that stands twice", offset=8, where="header")
        return held

    try:
        held = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        why = error.what if isinstance(error, WireError) else "the header is no JSON"
        raise WireError(why, offset=8, where="header") from None
    if not isinstance(held, dict):
        raise WireError("the header is no JSON object", offset=8, where="header")
    return held


def _entry(name: str, entry: Any, room: int) -> Entry:
    """The tensor; its offset counts from the header's end."""
    said: dict[str, Any] = entry if isinstance(entry, dict) else {}
    shape, kind, span = said.get("shape", ""), said.get("dtype", ""), said.get("data_offsets", "")
    if not _sizes(shape) or not _sizes(span) or len(span) != 2 or span[0] > span[1] or span[1] > room:
        raise WireError("a tensor whose place or shape cannot be", where=name[:200])
    if not isinstance(kind, str) or kind not in TYPES:
        raise WireError(f"a tensor of the type {str(kind)[:20]}", where=name[:200])
    width, count = WIDTHS[TYPES[kind]], prod(shape)
    if count * width != span[1] - span[0]:
        raise WireError(f"{span[1] - span[0]} bytes for {count} elements of {kind}", where=name[:200])
    return Entry(name, kind, tuple(shape), span[0], span[1] - span[0])


def _tensor(entry: Entry, data: memoryview) -> Tensor:
    strides, step = [], 1
    for size in reversed(entry.shape):
        strides.append(step)
        step *= max(size, 1)
    raw, kind = data[entry.offset : entry.offset + entry.nbytes], TYPES[entry.kind]
    storage = Storage(entry.name, kind, prod(entry.shape), lambda: raw)
    return Tensor(kind, entry.shape, tuple(reversed(strides)), 0, storage)


def _sizes(items: Any) -> bool:
    """Whether these are sizes: a list of small non-negative integers."""
    return isinstance(items, list) and len(items) <= 32 and all(type(item) is int and 0 <= item < 1 << 48 for item in items)


def _refuse_gaps(entries: Mapping[str, Entry], size: int) -> None:
    """The format wants every byte to belong to exactly one tensor."""
    at = 0
    for start, length in sorted((entry.offset, entry.nbytes) for entry in entries.values()):
        if start != at:
            raise WireError("tensors overlap, or leave bytes between them", offset=start)
        at = start + length
    if at != size:
        raise WireError(f"{size - at} bytes after the last tensor")
