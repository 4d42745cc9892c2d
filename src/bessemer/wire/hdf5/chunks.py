"""Where the chunks of a dataset stand: the version 1 B-tree and the five indexes of layout version 4."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, product
from typing import NamedTuple

from bessemer.wire.errors import WireError
from bessemer.wire.hdf5.bounds import Bounds, Cursor
from bessemer.wire.hdf5.btree import leaves, records


class Chunk(NamedTuple):
    """First element (per axis), address and bytes in the file; mask: filters that were left out."""

    origin: tuple[int, ...]
    address: int
    size: int
    mask: int


@dataclass(frozen=True)
class Grid:
    """How a dataset of `shape` is cut into chunks of `chunk` elements of `item` bytes each.

    limits: how far it may grow (None: without end): arrays of chunks count up to there.
    """

    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    item: int
    filtered: bool
    limits: tuple[int | None, ...]

    @property
    def size(self) -> int:
        """Bytes of a chunk."""
        return math.prod(self.chunk) * self.item

    @property
    def _ends(self) -> list[int]:
        return [dim if limit is None else limit for dim, limit in zip(self.shape, self.limits, strict=True)]

    def origins(self) -> Iterator[tuple[int, ...]]:
        """First elements of all chunks as arrays count them: an endless axis slowest, of the others the last fastest."""
        axes = sorted(range(len(self.shape)), key=lambda axis: self.limits[axis] is not None)
        back = [axes.index(axis) for axis in range(len(axes))]
        for place in product(*(range(0, self._ends[axis], self.chunk[axis]) for axis in axes)):
            yield tuple(place[at] for at in back)

    @property
    def count(self) -> int:
        """Number of chunks, those it may grow by included."""
        return math.prod(-(-end // step) for end, step in zip(self._ends, self.chunk, strict=True))


Entry = tuple[int | None, int, int]
"""Address, bytes, mask."""


def tree_chunks(file: Bounds, address: int | None, grid: Grid) -> Iterator[Chunk]:
    """Chunks of a version 1 B-tree."""
    rank = len(grid.shape)
    if address is None:
        return
    for key, child in leaves(file, address, 1, 8 + 8 * (rank + 1)):
        size, mask = key.uint(4), key.uint(4)
        origin = tuple(key.uint(8) for _ in range(rank))
        yield Chunk(origin, child, size, mask)


def indexed_chunks(file: Bounds, layout: Cursor, grid: Grid, flags: int) -> Iterator[Chunk]:
    """Chunks of a layout message of version 4, whose cursor stands at the type of the index."""
    kind = layout.uint(1)
    if kind == 1:
        yield from _single(layout, grid, filtered=bool(flags & 2))
        return
    layout.raw({2: 0, 3: 1, 4: 5, 5: 6}.get(kind, 0))
    address = layout.address()
    if address is None:
        return
    if kind == 5:
        yield from _tree(file, address, grid)
        return
    if kind not in (2, 3, 4):
        raise layout.error(f"a chunk index of the unknown kind {kind}")
    _bounded(file, grid, address)
    if kind == 2:
        entries: Iterator[Entry] = ((address + place * grid.size, grid.size, 0) for place in range(grid.count))
    else:
        entries = (_fixed if kind == 3 else _extensible)(file, address, grid)
    for origin, (place, size, mask) in zip(grid.origins(), entries, strict=False):
        if place is not None:
            yield Chunk(origin, place, size, mask)


def _bounded(file: Bounds, grid: Grid, address: int) -> None:
    """An index of all chunks takes a byte of the file for each at least."""
    if grid.count > file.size:
        raise WireError(f"{grid.count} chunks in a file of {file.size} bytes", offset=address, where="chunk index")


def _single(layout: Cursor, grid: Grid, *, filtered: bool) -> Iterator[Chunk]:
    size, mask = (layout.length(), layout.uint(4)) if filtered else (grid.size, 0)
    address = layout.address()
    if address is not None:
        yield Chunk((0,) * len(grid.shape), address, size, mask)


def _tree(file: Bounds, address: int, grid: Grid) -> Iterator[Chunk]:
    rank = len(grid.shape)
    for record in records(file, address, 11 if grid.filtered else 10):
        place = record.required()
        size, mask = grid.size, 0
        if grid.filtered:
            size, mask = record.uint(record.left - 4 - 8 * rank), record.uint(4)
        origin = tuple(record.uint(8) * step for step in grid.chunk)
        yield Chunk(origin, place, size, mask)


def _entry(cursor: Cursor, width: int, grid: Grid) -> Entry:
    """An element of an array: an address, and with filters size and mask."""
    address = cursor.address()
    if not grid.filtered:
        return address, grid.size, 0
    return address, cursor.uint(width - cursor.file.offsets - 4), cursor.uint(4)


def _block(file: Bounds, address: int, signature: bytes) -> Cursor:
    """A cursor behind signature, version, client and the header's address."""
    cursor = file.cursor(address, "chunk index")
    cursor.expect(signature + b"\0")
    cursor.raw(1 + file.offsets)
    return cursor


def _fixed(file: Bounds, address: int, grid: Grid) -> Iterator[Entry]:
    cursor = file.cursor(address, "fixed array")
    start = cursor.place
    cursor.expect(b"FAHD\0")
    cursor.uint(1)
    width, page_bits, count = cursor.uint(1), cursor.uint(1), cursor.length()
    block = cursor.address()
    cursor.checksum(start)
    if block is None:
        return
    if page_bits > 32 or width * count > file.size:
        raise cursor.error(f"a fixed array of {count} elements")
    data = _block(file, block, b"FADB")
    page = 1 << page_bits
    if count <= page:
        yield from (_entry(data, width, grid) for _ in range(count))
        return
    pages = -(-count // page)
    made = bytes(data.raw(-(-pages // 8)))
    data.uint(4)
    for number in range(pages):
        inside = min(page, count - number * page)
        yield from _page(data, made, number, inside, width, grid)


def _page(data: Cursor, made: bytes, number: int, inside: int, width: int, grid: Grid) -> Iterator[Entry]:
    part = data.part(inside * width)
    data.uint(4)
    if made[number // 8] >> (7 - number % 8) & 1:
        yield from (_entry(part, width, grid) for _ in range(inside))
    else:
        yield from ((None, 0, 0) for _ in range(inside))


@dataclass(frozen=True)
class _Array:
    """Header of an extensible array."""

    file: Bounds
    grid: Grid
    width: int
    bits: int
    first: int
    smallest: int
    pointers: int
    page: int

    @property
    def offset_width(self) -> int:
        """Bytes of a block's offset."""
        return (self.bits + 7) // 8

    @property
    def supers(self) -> int:
        """Number of super blocks there may be."""
        return 1 + self.bits - (self.smallest.bit_length() - 1)

    def blocks(self, number: int) -> tuple[int, int]:
        """Data blocks of a super block, and elements in each."""
        return 1 << number // 2, self.smallest << (number + 1) // 2


def _extensible(file: Bounds, address: int, grid: Grid) -> Iterator[Entry]:
    cursor = file.cursor(address, "extensible array")
    start = cursor.place
    cursor.expect(b"EAHD\0")
    cursor.uint(1)
    width, bits, first, smallest, pointers, page = (cursor.uint(1) for _ in range(6))
    cursor.raw(6 * file.lengths)
    index = cursor.address()
    cursor.checksum(start)
    if index is None:
        return
    if bits > 64 or page > 32 or any(item == 0 or item & (item - 1) for item in (smallest, pointers)):
        raise cursor.error("an extensible array of absurd sizes")
    array = _Array(file, grid, width, bits, first, smallest, pointers, 1 << page)
    yield from islice(_elements(array, index), grid.count)


def _elements(array: _Array, index: int) -> Iterator[Entry]:
    """All elements in order; the caller stops when it has enough."""
    block = _block(array.file, index, b"EAIB")
    yield from (_entry(block, array.width, array.grid) for _ in range(array.first))
    inner = 2 * (array.pointers.bit_length() - 1)
    direct = [block.address() for _ in range(2 * (array.pointers - 1))]
    for number in range(inner):
        count, inside = array.blocks(number)
        for _ in range(count):
            if direct:
                yield from _data(array, direct.pop(0), inside, None)
    for number in range(inner, array.supers):
        yield from _super(array, block.address(), number)


def _super(array: _Array, address: int | None, number: int) -> Iterator[Entry]:
    count, inside = array.blocks(number)
    if address is None:
        yield from ((None, 0, 0) for _ in range(count * inside))
        return
    block = _block(array.file, address, b"EASB")
    block.raw(array.offset_width)
    pages = inside // array.page if inside > array.page else 0
    width = -(-pages // 8)
    made = [bytes(block.raw(width)) for _ in range(count)]
    for place in range(count):
        yield from _data(array, block.address(), inside, made[place] if pages else None)


def _data(array: _Array, address: int | None, inside: int, made: bytes | None) -> Iterator[Entry]:
    """A data block's elements. made: which of its pages are there."""
    if address is None:
        yield from ((None, 0, 0) for _ in range(inside))
        return
    data = _block(array.file, address, b"EADB")
    data.raw(array.offset_width)
    if made is None:
        yield from (_entry(data, array.width, array.grid) for _ in range(inside))
        return
    data.uint(4)
    for number in range(inside // array.page):
        yield from _page(data, made, number, array.page, array.width, array.grid)
