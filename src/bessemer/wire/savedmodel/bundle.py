"""Tensor bundles: `prefix.index`, a sorted table of entries, and `prefix.data-00000-of-00001`, the tensors' bytes
(tensor_bundle.proto); and checkpoints of the first version, one table that holds the values, too
(saved_tensor_slice.proto)."""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bessemer.wire.errors import WireError
from bessemer.wire.protobuf import Bytes
from bessemer.wire.savedmodel.scalars import HANDLE, dtype_of, last, message, signed, text, unsigned
from bessemer.wire.savedmodel.table import table
from bessemer.wire.savedmodel.tensors import shape, values

MOST_SHARDS = 1 << 17
Extent = tuple[int, int]
"""Start and length along an axis; a length of -1 takes all of it."""


@dataclass(frozen=True)
class Entry:
    """Where a tensor lies. slices: the parts it was saved in, each an entry of its own."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    slices: tuple[tuple[Extent, ...], ...]


class Bundle(Mapping[str, Any]):
    """Tensors by key, mapped from the data files when asked for. Raises WireError, OSError."""

    def __init__(self, prefix: Path) -> None:
        self._prefix = prefix
        self._shards: dict[int, Any] = {}
        self._entries: dict[bytes, Bytes] = {}
        self._count = 1
        whole = mapped(Path(f"{prefix}.index"))
        for key, value in table(whole):
            if key:
                self._entries[key] = value
            else:
                self._count = _header(value)

    def __iter__(self) -> Iterator[str]:
        return (key.decode("utf-8", "surrogateescape") for key in self._entries if not key.startswith(b"\0"))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def entry(self, key: str) -> Entry:
        """Raises KeyError."""
        return _entry(self._entries[key.encode("utf-8", "surrogateescape")], key)

    def __getitem__(self, key: str) -> Any:
        """An array (strings: of bytes objects); what was saved in parts is put together."""
        held = self.entry(key)
        if not held.slices:
            return self._read(held, key)
        made = np.empty(held.shape, held.dtype)
        covered = 0
        for part in held.slices:
            name = _slice_key(key, part)
            if name not in self._entries:
                raise WireError(f"a part of '{key}' is missing", where="BundleEntryProto.slices")
            piece = self._read(_entry(self._entries[name], key), key)
            place = _place(part, held.shape, key)
            if made[place].shape != piece.shape:
                raise WireError(f"a part of '{key}' has another shape than its place", where="BundleEntryProto.slices")
            made[place] = piece
            covered += piece.size
        if covered != made.size:
            raise WireError(f"the parts of '{key}' do not make {list(held.shape)}", where="BundleEntryProto.slices")
        return made

    def _read(self, held: Entry, key: str) -> Any:
        data = self._shard(held.shard)
        if held.offset + held.size > len(data):
            raise WireError(f"'{key}' reaches past the end of its data file: truncated?", offset=held.offset)
        raw = data[held.offset : held.offset + held.size]
        if held.dtype.kind == "O":
            return _strings(raw, held.shape, key)
        if held.dtype == HANDLE:
            raise WireError(f"'{key}' is of a type that has no elements", offset=held.offset)
        if held.size != math.prod(held.shape) * held.dtype.itemsize:
            raise WireError(f"'{key}' has {held.size} bytes for {list(held.shape)} of {held.dtype}", offset=held.offset)
        return np.frombuffer(raw, held.dtype).reshape(held.shape)

    def _shard(self, number: int) -> Any:
        if number >= self._count:
            raise WireError(f"data file {number} of {self._count}", where="BundleEntryProto.shard_id")
        if number not in self._shards:
            self._shards[number] = mapped(Path(f"{self._prefix}.data-{number:05d}-of-{self._count:05d}"))
        return self._shards[number]


class OldCheckpoint(Mapping[str, Any]):
    """A checkpoint of the first version: one file."""

    def __init__(self, path: Path) -> None:
        self._parts: dict[str, list[tuple[tuple[Extent, ...], Bytes]]] = {}
        self._meta: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
        for key, value in table(mapped(path)):
            held = message(value)
            if not key:
                self._read_meta(last(held, 1))
                continue
            saved = message(last(held, 2))
            self._parts.setdefault(text(last(saved, 1)), []).append((_extents(last(saved, 2)), last(saved, 3)))

    def _read_meta(self, data: Bytes) -> None:
        for item in message(data).get(1, []):
            held = message(item)
            self._meta[text(last(held, 1))] = (_bound(last(held, 2)), dtype_of(unsigned(last(held, 3))))

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, key: str) -> Any:
        dims, dtype = self._meta[key]
        parts = self._parts[key]
        made: Any = None
        for part, data in parts:
            place = _place(part, dims, key)
            flat = values(data, dtype)
            wanted = tuple(len(range(*cut.indices(dim))) for cut, dim in zip(place, dims, strict=True))
            if flat.size != math.prod(wanted):
                raise WireError(f"a part of '{key}' has {flat.size} elements for {list(wanted)}")
            if len(parts) == 1 and wanted == dims:
                return flat.reshape(dims)
            if made is None:
                made = np.empty(dims, flat.dtype)
            made[place] = flat.reshape(wanted)
        return made


def mapped(path: Path) -> memoryview:
    """A file's bytes, mapped; empty for an empty one. Raises OSError."""
    with path.open("rb") as stream:
        stream.seek(0, 2)
        if not stream.tell():
            return memoryview(b"")
        return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))


def _header(data: Bytes) -> int:
    held = message(data)
    if unsigned(last(held, 2)):
        raise WireError("the tensors are written in big-endian order", where="BundleHeaderProto.endianness")
    count = unsigned(last(held, 1))
    if not 0 < count <= MOST_SHARDS:
        raise WireError(f"{count} data files", where="BundleHeaderProto.num_shards")
    return count


def _bound(data: Bytes) -> tuple[int, ...]:
    dims = shape(data)
    bound = tuple(dim for dim in dims or () if dim is not None)
    if dims is None or len(bound) != len(dims):
        raise WireError("a saved tensor of unknown shape", where="BundleEntryProto.shape")
    return bound


def _entry(data: Bytes, key: str) -> Entry:
    held = message(data)
    return Entry(
        dtype_of(unsigned(last(held, 1))), _bound(last(held, 2)), unsigned(last(held, 3)), unsigned(last(held, 4)),
        unsigned(last(held, 5)), tuple(_extents(item) for item in held.get(7, [])),
    )  # fmt: skip


def _extents(data: Bytes) -> tuple[Extent, ...]:
    found = []
    for item in message(data).get(1, []):
        held = message(item)
        found.append((signed(last(held, 1)), signed(held[2][-1]) if 2 in held else -1))
    return tuple(found)


def _place(part: tuple[Extent, ...], dims: tuple[int, ...], key: str) -> tuple[slice, ...]:
    if len(part) != len(dims):
        raise WireError(f"a part of '{key}' has {len(part)} axes, the tensor {len(dims)}", where="TensorSliceProto")
    found = []
    for (start, length), dim in zip(part, dims, strict=True):
        end = dim if length < 0 else start + length
        if not 0 <= start <= end <= dim:
            raise WireError(f"a part of '{key}' lies outside of it", where="TensorSliceProto")
        found.append(slice(start, end))
    return tuple(found)


def _strings(raw: Bytes, dims: tuple[int, ...], key: str) -> Any:
    """Lengths as varints, four bytes of checksum over them, then the bytes of every string."""
    count, place = math.prod(dims), 0
    if count > len(raw):
        raise WireError(f"'{key}' has {len(raw)} bytes for {count} strings")
    lengths = []
    for _ in range(count):
        value = shift = 0
        while True:
            if place >= len(raw) or shift > 63:
                raise WireError(f"the lengths of the strings of '{key}' have no end")
            byte = raw[place]
            value |= (byte & 0x7F) << shift
            place, shift = place + 1, shift + 7
            if byte < 0x80:
                break
        lengths.append(value)
    place += 4
    if place + sum(lengths) != len(raw):
        raise WireError(f"the strings of '{key}' take other than {len(raw)} bytes")
    found = np.empty(count, object)
    for number, length in enumerate(lengths):
        found[number] = bytes(raw[place : place + length])
        place += length
    return found.reshape(dims)


def _slice_key(name: str, part: tuple[Extent, ...]) -> bytes:
    """The key of a part: zero, the name, the rank, then start and length of each axis, in order-keeping codes."""
    held = name.encode("utf-8", "surrogateescape")
    plain = b"".join({0: b"\x00\xff", 255: b"\xff\x00"}.get(byte, bytes([byte])) for byte in held)
    numbers = b"".join(_ordered(number) for pair in part for number in pair)
    return b"\x00" + plain + b"\x00\x01" + _increasing(len(part)) + numbers


def _increasing(number: int) -> bytes:
    """OrderedCode's unsigned numbers: how many bytes, then those."""
    held = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return bytes([len(held)]) + held


def _ordered(number: int) -> bytes:
    """OrderedCode's signed numbers: the length in leading bits, 64 values in one byte, seven more bits in each further."""
    size = 1 + (number if number >= 0 else ~number).bit_length() // 7
    if size == 1:
        return bytes([(0x80 ^ number) & 0xFF])
    made = bytearray((number & (2**80 - 1)).to_bytes(10, "big")[10 - size :])
    header = ((1 << size) - 1) << (16 - size)
    made[0] ^= header >> 8
    made[1] ^= header & 0xFF
    return bytes(made)
