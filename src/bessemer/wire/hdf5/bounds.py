"""Checked access to the bytes of an HDF5 file, and what reading them may cost altogether.

Offsets may share targets and structures may point back at themselves, so what is visited and what is allocated is
counted for the whole file: a file that asks for more than it could honestly hold is refused.
"""

from __future__ import annotations

from bessemer.wire.errors import WireError

MAX_VISITS = 400_000
"""Structures looked at in one file: headers, tree nodes, heaps."""
FREE_BYTES, RATIO = 64 << 20, 100
"""Bytes that may be made of compressed or repeated ones: these, and so many per byte of the file."""


class Bounds:
    """The file's bytes. offsets, lengths: widths of addresses and sizes in it, as its superblock says."""

    def __init__(self, data: memoryview) -> None:
        self.data, self.size = data, len(data)
        self.base, self.offsets, self.lengths = 0, 8, 8
        self._visits = MAX_VISITS
        self._bytes = FREE_BYTES + RATIO * self.size

    def take(self, start: int, count: int, where: str) -> memoryview:
        """Bytes start .. start+count, counted from the file's first byte."""
        if start < 0 or count < 0 or start + count > self.size:
            raise WireError(f"{count} bytes needed; file has {self.size}", offset=start, where=where)
        return self.data[start : start + count]

    def visit(self, start: int, where: str) -> None:
        """Count one structure."""
        self._visits -= 1
        if self._visits < 0:
            raise WireError("more structures than a file of this size holds", offset=start, where=where)

    def allocate(self, count: int, start: int, where: str) -> None:
        """Count bytes that are about to be made."""
        self._bytes -= count
        if count < 0 or self._bytes < 0:
            raise WireError(f"{count} bytes to make of a file of {self.size}", offset=start, where=where)

    def cursor(self, address: int, where: str, count: int | None = None) -> Cursor:
        """A cursor at an address of the file (which counts from its base), over `count` bytes or all that follow."""
        start = self.base + address
        self.visit(start, where)
        self.take(start, count or 0, where)
        return Cursor(self, start, self.size if count is None else start + count, where)


class Cursor:
    """Reads little-endian fields one after another up to `end`."""

    def __init__(self, file: Bounds, start: int, end: int, where: str) -> None:
        self.file, self.place, self.end, self.where = file, start, end, where

    @property
    def left(self) -> int:
        """Bytes before the end."""
        return self.end - self.place

    def raw(self, count: int) -> memoryview:
        """The next bytes."""
        if count < 0 or count > self.left:
            raise WireError(f"{count} bytes needed; {self.left} left", offset=self.place, where=self.where)
        found = self.file.take(self.place, count, self.where)
        self.place += count
        return found

    def uint(self, width: int) -> int:
        """An unsigned integer of `width` bytes."""
        return int.from_bytes(self.raw(width), "little")

    def length(self) -> int:
        """A size, as wide as the superblock says."""
        return self.uint(self.file.lengths)

    def address(self) -> int | None:
        """An address; None for the undefined one."""
        found = self.uint(self.file.offsets)
        return None if found == (1 << 8 * self.file.offsets) - 1 else found

    def required(self) -> int:
        """An address that must be there."""
        found = self.address()
        if found is None:
            raise self.error("an address is missing")
        return found

    def expect(self, signature: bytes) -> None:
        """The next bytes must be these."""
        found = bytes(self.raw(len(signature)))
        if found != signature:
            raise self.error(f"{found!r} where {signature!r} must stand")

    def part(self, count: int, where: str = "") -> Cursor:
        """A cursor over the next `count` bytes, which are skipped here."""
        start = self.place
        self.raw(count)
        return Cursor(self.file, start, start + count, where or self.where)

    def text(self, count: int) -> str:
        """UTF-8 text of `count` bytes, up to its first zero."""
        return decoded(bytes(self.raw(count)).split(b"\0", 1)[0], self)

    def zero_ended(self) -> str:
        """Text up to a zero byte, which is skipped."""
        held = self.file.take(self.place, min(self.left, 1 << 16), self.where)
        found = bytes(held).find(b"\0")
        if found < 0:
            raise self.error("a name without an end")
        text = self.text(found)
        self.place += 1
        return text

    def checksum(self, start: int) -> None:
        """The next four bytes must be the checksum of all from `start` to here."""
        from bessemer.wire.hdf5.lookup3 import lookup3

        wanted = lookup3(bytes(self.file.take(start, self.place - start, self.where)))
        if self.uint(4) != wanted:
            raise self.error("the checksum does not fit")

    def error(self, what: str) -> WireError:
        """A fault at this place."""
        return WireError(what, offset=self.place, where=self.where)


def decoded(data: bytes, cursor: Cursor) -> str:
    """UTF-8 text; raises WireError for what is none."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise cursor.error("text that is not UTF-8") from None
