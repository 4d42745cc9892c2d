"""Object headers: the messages that describe a group or a dataset, through all their continuations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from bessemer.wire.errors import WireError
from bessemer.wire.hdf5.bounds import Bounds, Cursor

DATASPACE, LINK_INFO, DATATYPE, FILL_OLD, FILL, LINK, EXTERNAL, LAYOUT = 1, 2, 3, 4, 5, 6, 7, 8
FILTERS, ATTRIBUTE, CONTINUATION, SYMBOL_TABLE, ATTRIBUTE_INFO = 11, 12, 16, 17, 21
MAX_PARTS = 10_000


class Message(NamedTuple):
    """Its type, flags and bytes."""

    kind: int
    flags: int
    body: Cursor


@dataclass(frozen=True)
class Header:
    """The messages of one object."""

    file: Bounds
    address: int
    messages: tuple[Message, ...]

    def all(self, kind: int) -> list[Cursor]:
        """Bodies of the messages of one type; shared ones are followed to where they stand."""
        return [_body(self.file, message) for message in self.messages if message.kind == kind]

    def first(self, kind: int) -> Cursor | None:
        """The first such message."""
        return next(iter(self.all(kind)), None)

    def has(self, kind: int) -> bool:
        """Whether there is one."""
        return any(message.kind == kind for message in self.messages)


def _body(file: Bounds, message: Message) -> Cursor:
    start = Cursor(file, message.body.place, message.body.end, message.body.where)
    return shared(file, start, message.kind) if message.flags & 2 else start


def shared(file: Bounds, cursor: Cursor, kind: int) -> Cursor:
    """A message that stands in another object's header (a committed datatype)."""
    version, how = cursor.uint(1), cursor.uint(1)
    if version == 1:
        cursor.raw(6)
    if version == 3 and how != 2:
        raise cursor.error("shared messages in a heap of the file cannot be read here")
    found = next((item for item in read_header(file, cursor.required()).messages if item.kind == kind), None)
    if found is None or found.flags & 2:
        raise cursor.error("a shared message is not where it should be")
    return Cursor(file, found.body.place, found.body.end, found.body.where)


def read_header(file: Bounds, address: int) -> Header:
    """The object header at an address. Raises WireError."""
    cursor = file.cursor(address, "object header")
    second = bytes(file.take(cursor.place, 4, cursor.where)) == b"OHDR"
    return Header(file, address, tuple((_second if second else _first)(file, cursor)))


def _first(file: Bounds, cursor: Cursor) -> list[Message]:
    if cursor.uint(1) != 1:
        raise cursor.error("no object header")
    cursor.raw(1)
    count = cursor.uint(2)
    cursor.uint(4)
    size = cursor.uint(4)
    cursor.raw(4)
    parts, found, seen = [cursor.part(size)], list[Message](), set[int]()
    while parts and len(found) < count:
        part = parts.pop(0)
        while part.left >= 8 and len(found) < count:
            kind, length, flags = part.uint(2), part.uint(2), part.uint(1)
            part.raw(3)
            message = Message(kind, flags, part.part(length))
            file.visit(part.place, "object header")
            found.append(message)
            if kind == CONTINUATION:
                parts.append(_continued(file, message.body, seen))
    return found


def _continued(file: Bounds, body: Cursor, seen: set[int]) -> Cursor:
    address, length = body.required(), body.length()
    if address in seen or len(seen) > MAX_PARTS:
        raise WireError("a header continues in itself", offset=address, where="object header")
    seen.add(address)
    return file.cursor(address, "object header continuation", length)


def _second(file: Bounds, cursor: Cursor) -> list[Message]:
    start = cursor.place
    cursor.expect(b"OHDR")
    if cursor.uint(1) != 2:
        raise cursor.error("an object header of a version that is not 2")
    flags = cursor.uint(1)
    cursor.raw((16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0))
    size = cursor.uint(1 << (flags & 3))
    parts, seen = [cursor.part(size)], set[int]()
    cursor.checksum(start)
    found: list[Message] = []
    while parts:
        for message in _messages(file, parts.pop(0), ordered=bool(flags & 4)):
            found.append(message)
            if message.kind == CONTINUATION:
                parts.append(_chunk(file, message.body, seen))
    return found


def _chunk(file: Bounds, body: Cursor, seen: set[int]) -> Cursor:
    part = _continued(file, body, seen)
    start = part.place
    part.expect(b"OCHK")
    inner = part.part(part.left - 4)
    part.checksum(start)
    return inner


def _messages(file: Bounds, part: Cursor, *, ordered: bool) -> list[Message]:
    found = []
    while part.left >= 4 + 2 * ordered:
        kind, length, flags = part.uint(1), part.uint(2), part.uint(1)
        part.raw(2 * ordered)
        found.append(Message(kind, flags, part.part(length)))
        file.visit(part.place, "object header")
    return found
