"""Safetensors files, bounded: a header of JSON that says where each tensor lies, then their bytes without gaps.

    file   = length of the header (u64, little endian), header, bytes
    header = {name: {"dtype": "F32", "shape": [..], "data_offsets": [start, end]}, "__metadata__": {text: text}}
"""

from __future__ import annotations

import json
import mmap
from pathlib import Path
from typing import Any

from bessemer.wire.errors import WireError
from bessemer.wire.torchzip.tensors import WIDTHS, Storage, Tensor

HEADER = 100_000_000
"""Bytes that the format allows a header."""
TYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U8": "uint8", "U16": "uint16", "U32": "uint32", "U64": "uint64", "BOOL": "bool",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu", "C64": "complex64",
}  # fmt: skip


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, mapped. Raises WireError for a header that does not describe the bytes."""
    with path.open("rb") as file:
        size = path.stat().st_size
        if size < 8:
            raise WireError("a safetensors file has at least 8 bytes", offset=0)
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)).toreadonly()
    length = int.from_bytes(data[:8], "little")
    if length > min(HEADER, size - 8):
        raise WireError(f"a header of {length} bytes in a file of {size}", offset=0)
    header = _header(bytes(data[8 : 8 + length]))
    body = data[8 + length :]
    found = {name: _tensor(name, entry, body) for name, entry in header.items() if name != "__metadata__"}
    _refuse_gaps(header, len(body))
    return found


def _header(text: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        held = dict(pairs)
        if len(held) != len(pairs):
            raise WireError("a name that stands twice", offset=8, where="header")
        return held

    try:
        header = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        why = error.what if isinstance(error, WireError) else "the header is no JSON"
        raise WireError(why, offset=8, where="header") from None
    if not isinstance(header, dict):
        raise WireError("the header is no JSON object", offset=8, where="header")
    return header


def _tensor(name: str, entry: Any, body: memoryview) -> Tensor:
    said: dict[str, Any] = entry if isinstance(entry, dict) else {}
    shape, kind, span = said.get("shape", ""), said.get("dtype", ""), said.get("data_offsets", "")
    if not _sizes(shape) or not _sizes(span) or len(span) != 2 or span[0] > span[1] or span[1] > len(body):
        raise WireError("a tensor whose place or shape cannot be", where=name)
    if kind not in TYPES:
        raise WireError(f"a tensor of the type {str(kind)[:20]}", where=name)
    width, count = WIDTHS[TYPES[kind]], 1
    for size in shape:
        count *= size
    if count * width != span[1] - span[0]:
        raise WireError(f"{span[1] - span[0]} bytes for {count} elements of {kind}", where=name)
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    raw = body[span[0] : span[1]]
    return Tensor(TYPES[kind], tuple(shape), tuple(reversed(strides)), 0, Storage(name, TYPES[kind], count, lambda: raw))


def _sizes(items: Any) -> bool:
    """Whether these are sizes: a list of small non-negative integers."""
    return isinstance(items, list) and len(items) <= 32 and all(type(item) is int and 0 <= item < 1 << 48 for item in items)


def _refuse_gaps(header: dict[str, Any], size: int) -> None:
    """The format wants every byte to belong to exactly one tensor."""
    spans = sorted(entry["data_offsets"] for name, entry in header.items() if name != "__metadata__")
    at = 0
    for start, end in spans:
        if start != at:
            raise WireError("tensors overlap, or leave bytes between them", offset=start)
        at = end
    if at != size:
        raise WireError(f"{size - at} bytes after the last tensor")
