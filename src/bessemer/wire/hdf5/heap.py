"""Where variable things stand: local heaps (names), global heaps (texts), fractal heaps (links, attributes)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from bessemer.wire.hdf5.bounds import Bounds, Cursor
from bessemer.wire.hdf5.btree import limit_width, records


def local_heap(file: Bounds, address: int) -> Cursor:
    """A cursor over the data of a local heap."""
    cursor = file.cursor(address, "local heap")
    cursor.expect(b"HEAP\0")
    cursor.raw(3)
    size = cursor.length()
    cursor.length()
    return file.cursor(cursor.required(), "local heap data", size)


def global_heap(file: Bounds, address: int) -> dict[int, Cursor]:
    """The objects of one collection by index."""
    cursor = file.cursor(address, "global heap")
    start = cursor.place
    cursor.expect(b"GCOL\1")
    cursor.raw(3)
    size = cursor.length()
    part = Cursor(file, cursor.place, start + size, "global heap")
    file.take(start, size, "global heap")
    found: dict[int, Cursor] = {}
    while part.left >= 8 + file.lengths:
        index = part.uint(2)
        part.raw(6)
        length = part.length()
        if index == 0:
            break
        file.visit(part.place, "global heap")
        found[index] = part.part(length)
        part.raw(min(-length % 8, part.left))
    return found


@dataclass
class FractalHeap:
    """A heap of blocks that double in size; objects are found by ids of `id_length` bytes."""

    file: Bounds
    address: int

    def __post_init__(self) -> None:
        cursor = self.file.cursor(self.address, "fractal heap")
        start = cursor.place
        cursor.expect(b"FRHP\0")
        self.id_length = cursor.uint(2)
        filters = cursor.uint(2)
        if filters:
            raise cursor.error("a heap of filtered blocks cannot be read here")
        self.checked = bool(cursor.uint(1) & 2)
        largest = cursor.uint(4)
        cursor.length()
        self.huge = cursor.address()
        cursor.length()
        cursor.address()
        cursor.raw(8 * self.file.lengths)
        self.width, self.start = cursor.uint(2), cursor.length()
        self.direct, bits = cursor.length(), cursor.uint(2)
        cursor.uint(2)
        self.root, self.rows = cursor.address(), cursor.uint(2)
        cursor.checksum(start)
        powers = (self.width, self.start, self.direct)
        if any(item <= 0 or item & (item - 1) for item in powers) or not 0 < bits <= 64 or self.direct < self.start:
            raise cursor.error("sizes of a heap's blocks that are no powers of two")
        self.offset_width = (bits + 7) // 8
        self.length_width = min((self.direct.bit_length() + 6) // 8, limit_width(largest))

    def object(self, handle: bytes) -> Cursor:
        """The bytes of the object with this id."""
        kind = handle[0] >> 4 & 3 if handle else 3
        ident = Cursor(Bounds(memoryview(handle)), 1, len(handle), "heap id")
        if kind == 0:
            return self._managed(ident.uint(self.offset_width), ident.uint(self.length_width))
        if kind == 1:
            return self._huge(ident)
        raise ident.error("an object inside its own heap id cannot be read here")

    def _managed(self, offset: int, length: int) -> Cursor:
        for start, size, address in self._blocks:
            if start <= offset and offset + length <= start + size:
                block = self.file.cursor(address, "fractal heap block", size)
                block.raw(offset - start)
                return block.part(length)
        raise self.file.cursor(self.address, "fractal heap").error(f"no block holds the object at {offset}")

    def _huge(self, ident: Cursor) -> Cursor:
        if self.id_length > self.file.offsets + self.file.lengths:
            return self.file.cursor(ident.uint(self.file.offsets), "huge object", ident.uint(self.file.lengths))
        wanted = ident.uint(min(self.id_length - 1, self.file.lengths))
        if self.huge is not None:
            for record in records(self.file, self.huge, 1):
                address, length, key = record.required(), record.length(), record.length()
                if key == wanted:
                    return self.file.cursor(address, "huge object", length)
        raise ident.error("a huge object is missing")

    @cached_property
    def _blocks(self) -> list[tuple[int, int, int]]:
        """(offset in the heap, size, address) of every direct block, each looked at once."""
        found: list[tuple[int, int, int]] = []
        if self.root is None:
            return found
        if self.rows == 0:
            self._direct(0, self.start, self.root, found)
        else:
            self._indirect(0, self.rows, self.root, found, 0)
        return found

    def _row(self, row: int) -> int:
        return self.start << max(row - 1, 0)

    def _direct(self, offset: int, size: int, address: int, found: list[tuple[int, int, int]]) -> None:
        self.file.cursor(address, "fractal heap block", size).expect(b"FHDB\0")
        found.append((offset, size, address))

    def _indirect(self, offset: int, rows: int, address: int, found: list[tuple[int, int, int]], depth: int) -> None:
        cursor = self.file.cursor(address, "fractal heap index")
        start = cursor.place
        cursor.expect(b"FHIB\0")
        if depth > 8 or rows > 64:
            raise cursor.error("a heap that nests too deeply")
        cursor.raw(self.file.offsets + self.offset_width)
        children: list[tuple[int, int, int]] = []
        for row in range(rows):
            for _ in range(self.width):
                child = cursor.address()
                if child is not None:
                    children.append((offset, self._row(row), child))
                offset += self._row(row)
        cursor.checksum(start)
        for place, size, child in children:
            if size <= self.direct:
                self._direct(place, size, child, found)
            else:
                below = (size // (self.start * self.width)).bit_length()
                self._indirect(place, below, child, found, depth + 1)
