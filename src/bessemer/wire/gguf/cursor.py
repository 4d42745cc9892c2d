"""A place in a file that moves on as values are read: every length is checked against the bytes that are left."""

from __future__ import annotations

import struct
from typing import Any, Protocol

from bessemer.wire.errors import WireError
from bessemer.wire.gguf.values import LETTERS, TEXT_ERRORS, WIDTHS, ArrayOf, Kind, ValueType

ELEMENTS = 1 << 23
"""Elements of all arrays of a file: a vocabulary has some 300,000, and Python takes up to 100 bytes for each."""
DEPTH = 8
"""How deep arrays may lie in arrays."""


class Buffer(Protocol):
    """Bytes that are copied where they are sliced: `mmap` or `bytes`."""

    def __len__(self) -> int: ...
    def __getitem__(self, key: slice, /) -> bytes: ...


class Cursor:
    """order: '<' or '>'; wide: whether lengths and counts have 8 bytes (4 in version 1)."""

    def __init__(self, data: Buffer, at: int, order: str, wide: bool) -> None:
        self.data, self.at, self.order = data, at, order
        self._room = ELEMENTS
        self._length = struct.Struct(order + ("Q" if wide else "I"))

    @property
    def left(self) -> int:
        """Bytes behind this place."""
        return len(self.data) - self.at

    def take(self, size: int, what: str) -> bytes:
        """The next bytes. Raises WireError where the file ends before them."""
        if size > self.left:
            raise WireError(f"{what} of {size} bytes where {self.left} are left", offset=self.at)
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, letter: str) -> Any:
        """One number of `struct`'s letter."""
        return struct.unpack(self.order + letter, self.take(struct.calcsize(self.order + letter), "a number"))[0]

    def length(self) -> int:
        """A length or a count."""
        value: int = self._length.unpack(self.take(self._length.size, "a length"))[0]
        return value

    def count(self, least: int, what: str, most: int = ELEMENTS) -> int:
        """A count of things that take `least` bytes each, or more. Raises WireError where they cannot be there, or are more
        than any model has."""
        place, count = self.at, self.length()
        if count * least > self.left:
            raise WireError(f"{count} {what} where {self.left} bytes are left", offset=place)
        if count > most:
            raise WireError(f"{count} {what}; more than {most} are not read", offset=place)
        return count

    def text(self) -> str:
        """A string; see `TEXT_ERRORS`."""
        return self.take(self.length(), "a string").decode("utf-8", TEXT_ERRORS)

    def name(self, longest: int) -> str:
        """A key or a tensor's name: UTF-8, no longer than `longest` bytes."""
        place, size = self.at, self.length()
        if size > longest:
            raise WireError(f"a name of {size} bytes; {longest} are the most", offset=place)
        try:
            return self.take(size, "a name").decode("utf-8")
        except UnicodeDecodeError:
            raise WireError("a name that is no UTF-8", offset=place) from None

    def kind(self) -> ValueType:
        """The type of what follows. Raises WireError for one that the format does not have."""
        place, number = self.at, self.number("I")
        try:
            return ValueType(number)
        except ValueError:
            raise WireError(f"a value of the unknown type {number}", offset=place) from None

    def value(self, kind: ValueType) -> tuple[Any, Kind]:
        """A value and its whole kind."""
        if kind is ValueType.ARRAY:
            return self._array(1)
        if kind is ValueType.STRING:
            return self.text(), kind
        if kind is ValueType.BOOL:
            return self._bools(1)[0], kind
        return self.number(LETTERS[kind]), kind

    def _array(self, depth: int) -> tuple[Any, ArrayOf]:
        place, item = self.at, self.kind()
        least = self._length.size + (4 if item is ValueType.ARRAY else 0)
        count = self.count(WIDTHS.get(item, least), "elements of an array")
        self._room -= count
        if self._room < 0 or depth > DEPTH:
            why = f"arrays {depth} deep" if depth > DEPTH else f"more than {ELEMENTS} elements in arrays"
            raise WireError(f"{why}, which no model needs", offset=place)
        if item is ValueType.ARRAY:
            pairs = [self._array(depth + 1) for _ in range(count)]
            return [value for value, _ in pairs], ArrayOf(item, tuple(kind for _, kind in pairs))
        return self._elements(item, count), ArrayOf(item)

    def _elements(self, item: ValueType, count: int) -> Any:
        if item is ValueType.STRING:
            return self._texts(count)
        if item is ValueType.BOOL:
            return self._bools(count)
        raw = self.take(count * WIDTHS[item], "an array")
        return raw if item is ValueType.UINT8 else list(struct.unpack(f"{self.order}{count}{LETTERS[item]}", raw))

    def _bools(self, count: int) -> list[bool]:
        place, raw = self.at, self.take(count, "truth values")
        if raw.translate(None, b"\0\1"):
            raise WireError("a truth value that is neither 0 nor 1", offset=place)
        return [byte == 1 for byte in raw]

    def _texts(self, count: int) -> list[str]:
        """Strings, in one loop without calls of ours: vocabularies are long."""
        data, at, end = self.data, self.at, len(self.data)
        width, unpack = self._length.size, self._length.unpack
        found: list[str] = []
        for _ in range(count):
            if at + width > end:
                raise WireError(f"a string where {end - at} bytes are left", offset=at)
            start = at + width
            stop = start + unpack(data[at:start])[0]
            if stop > end:
                raise WireError(f"a string of {stop - start} bytes where {end - start} are left", offset=at)
            found.append(data[start:stop].decode("utf-8", TEXT_ERRORS))
            at = stop
        self.at = at
        return found
