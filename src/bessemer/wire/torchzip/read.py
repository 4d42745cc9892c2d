"""A file of weights from its bytes: which of the three forms it has, and what it holds."""

from __future__ import annotations

import mmap
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bessemer.wire.errors import WireError
from bessemer.wire.torchzip.archive import Archive
from bessemer.wire.torchzip.machine import ForeignNames, Known, Machine, Opaque
from bessemer.wire.torchzip.names import NAMES, NumpyArray, Symbol
from bessemer.wire.torchzip.tensors import Storage, Tensor, Unread

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
PICKLE = 1 << 28
"""Most bytes of the pickle in a zip: it holds names and numbers, no weights."""
DEPTH = 64
VALUES = 4_000_000
"""Containers nest so deep, and their items are so many, when they are walked: shared ones count each time."""

Path_ = tuple[str, ...]


@dataclass(frozen=True)
class State:
    """What a file holds. form: 'zip', 'legacy' or 'pickle'; values: plain containers, numbers, texts and tensors.

    script: it is a TorchScript archive, whose data are these; facts: the archive's own records ('version', ...).
    """

    form: str
    values: Any
    script: bool = False
    facts: dict[str, str] = field(default_factory=dict)

    def leaves(self) -> Iterator[tuple[Path_, Any]]:
        """Every value that is no container, with the keys and places that lead to it, in the file's order.

        Raises WireError where containers hold one another without end.
        """
        yield from _walk(self.values)

    def tensors(self) -> dict[Path_, Tensor]:
        """The tensors by the keys that lead to them."""
        return {path: value for path, value in self.leaves() if isinstance(value, Tensor)}


def _walk(values: Any) -> Iterator[tuple[Path_, Any]]:
    pending: list[tuple[Path_, Any]] = [((), values)]
    for _ in range(VALUES):
        if not pending:
            return
        path, value = pending.pop()
        if isinstance(value, NumpyArray):
            value = value.tensor
        items = _items(value)
        if items is None:
            yield path, value
            continue
        if len(path) >= DEPTH:
            raise WireError(f"containers nest deeper than {DEPTH}", where=".".join(path[:4]))
        pending += [((*path, _text(key)), item) for key, item in reversed(items)]
    raise WireError(f"containers with more than {VALUES} values")


def _items(value: Any) -> list[tuple[Any, Any]] | None:
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, (list, tuple)):
        return list(enumerate(value))
    return None


def _text(key: Any) -> str:
    return key if isinstance(key, str) else repr(key)[:80]


def read(source: str | Path | bytes | bytearray | memoryview) -> State:
    """The state in a file, given by path (mapped, not loaded) or as bytes.

    Raises ForeignNames where it asks for code, WireError where it is broken, OSError when the file cannot open.
    """
    if isinstance(source, (str, Path)):
        return _read(_mapped(Path(source)), nested=False)
    return _read(memoryview(source).cast("B").toreadonly(), nested=False)


def _mapped(path: Path) -> memoryview:
    """Read-only here; who writes into a tensor all the same (a module into its buffers) writes into a page of his own."""
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            raise WireError("empty file", offset=0)
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)).toreadonly()


def _read(data: memoryview, nested: bool) -> State:
    if bytes(data[:4]) == b"PK\x03\x04":
        return _zip(data, nested)
    machine = Machine(NAMES)
    try:
        first, after = machine.run(data)
    except WireError:
        first, after = None, 0
    if isinstance(first, int) and first == MAGIC and not machine.foreign:
        return _legacy(data, after, nested)
    value, after = _ran(data, 0, _names(nested), None)
    if after < len(data):
        _ran(data, after, _names(nested), None, "a second pickle")
        raise WireError("more data after the pickle's end", offset=after)
    return State("pickle", value)


def _names(nested: bool) -> dict[str, Any]:
    """In a plain pickle each storage is a whole file of its own, as bytes."""

    def load(content: Any) -> Any:
        if nested or not isinstance(content, (bytes, memoryview)):
            raise WireError("a file inside of a file inside of a file")
        return _read(memoryview(content), nested=True).values

    return {**NAMES, "torch.storage._load_from_bytes": Known("_load_from_bytes", load)}


def _ran(
    data: memoryview, at: int, names: dict[str, Any] | Any, persistent: Callable[[Any], Any] | None, where: str = ""
) -> tuple[Any, int]:
    """One pickle, and where it ends. Raises ForeignNames with all of them, even from one that is broken."""
    machine = Machine(names, persistent)
    value, after, broken = None, at, None
    try:
        value, after = machine.run(data, at)
    except WireError as error:
        broken = error
    if machine.foreign:
        top = value.name if isinstance(value, Opaque) else ""
        raise ForeignNames(tuple(machine.foreign), top=top, broken=str(broken or ""), where=where)
    if broken is not None:
        raise WireError(broken.what, offset=broken.offset, where=where)
    return value, after


def _zip(data: memoryview, nested: bool) -> State:
    archive = Archive(data)
    found = [name for name in archive.members if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(found) != 1:
        raise WireError(f"a zip archive with {len(found)} members data.pkl: one is what torch writes")
    lead = found[0].removesuffix("data.pkl")
    if archive.members[found[0]].size > PICKLE:
        raise WireError(f"a pickle of {archive.members[found[0]].size} bytes", where=found[0])
    facts = {name: _fact(archive, lead + name) for name in ("version", "byteorder", ".format_version")}
    facts = {name: text for name, text in facts.items() if text}
    storages = _Records(archive, lead, facts.get("byteorder", "little"), nested)
    program = archive.bytes(found[0], checked=False)  # what it asks for is told even where the file is damaged
    value, _ = _ran(program, 0, NAMES, storages.persistent, found[0])
    archive.bytes(found[0])
    script = f"{lead}constants.pkl" in archive.members
    return State("zip", value, script, facts)


def _fact(archive: Archive, name: str) -> str:
    if name not in archive.members or archive.members[name].size > 64:
        return ""
    return bytes(archive.bytes(name)).decode("ascii", "replace").strip()


def _identity(identity: Any) -> tuple[str, str, int, Any]:
    """(type, key, elements, view) of a persistent id. Raises WireError."""
    if not isinstance(identity, tuple) or len(identity) < 5 or identity[0] != "storage":
        raise WireError("a persistent id that names no storage")
    kind, key, count = identity[1], identity[2], identity[4]
    if not isinstance(kind, Symbol) or kind.kind != "storage":
        raise WireError("a storage of a type that is not known")
    if not isinstance(key, (str, int)) or not isinstance(count, int) or isinstance(count, bool) or not 0 <= count < 1 << 48:
        raise WireError("a storage without a key or a length")
    return kind.name, str(key), count, identity[5] if len(identity) > 5 else None


class _Records:
    """Storages that are members of the archive."""

    def __init__(self, archive: Archive, lead: str, order: str, nested: bool) -> None:
        if order not in ("little", "big"):
            raise WireError(f"the byte order '{order}'", where="byteorder")
        self._archive, self._lead, self._swap, self._nested = archive, lead, order != sys.byteorder, nested
        self._made: dict[tuple[str, str, int], Storage] = {}

    def persistent(self, identity: Any) -> Storage:
        """The storage that a persistent id names; one object for each."""
        kind, key, count, _ = _identity(identity)
        name = f"{self._lead}data/{key}"
        place = (kind, key, count)
        if place not in self._made:
            member = self._archive.members.get(name)
            if member is None:
                raise WireError("a storage that the archive does not hold", where=name)
            made = Storage(key, kind, count, lambda: self._archive.bytes(name), self._swap)
            if made.nbytes > member.size:
                raise WireError(f"a storage of {member.size} bytes that should have {made.nbytes}", where=name)
            if member.method == 0 and not self._nested:
                made.place, made.crc = member.start, member.crc if made.nbytes == member.size else 0
            self._made[place] = made
        return self._made[place]


class _Runs:
    """Storages whose bytes follow the pickles of a legacy file."""

    def __init__(self) -> None:
        self._roots: dict[str, Storage] = {}
        self._views: dict[tuple[str, str, int, int], Storage] = {}

    def persistent(self, identity: Any) -> Any:
        """The storage that a persistent id names, or the class that a container's id names."""
        if isinstance(identity, tuple) and identity[:1] == ("module",) and len(identity) > 1:
            return identity[1]
        kind, key, count, view = _identity(identity)
        root = self._roots.setdefault(key, Storage(key, kind, count, swap=sys.byteorder != "little"))
        if root.dtype != kind or root.count != count:
            raise WireError(f"the storage '{key}' is described in two ways")
        return root if view is None else self._view(root, view)

    def _view(self, root: Storage, view: Any) -> Storage:
        key, offset, count = view
        width = root.nbytes // root.count if root.count else 1
        if not all(isinstance(item, int) and item >= 0 for item in (offset, count)) or offset + count > root.count:
            raise WireError(f"a view that leaves the storage '{root.key}'")
        place = (root.key, str(key), offset, count)
        part = slice(offset * width, (offset + count) * width)
        made = Storage(str(key), root.dtype, count, lambda: root.bytes()[part], root.swap)
        return self._views.setdefault(place, made)

    def place(self, data: memoryview, at: int, keys: Any, nested: bool) -> None:
        """Find the bytes: per key, in order, a count of elements and the elements."""
        if not isinstance(keys, list) or any(not isinstance(key, (str, int)) for key in keys):
            raise WireError("a list of storages that is none", offset=at)
        for key in map(str, keys):
            root = self._roots.get(key)
            if root is None or at + 8 > len(data):
                raise WireError(f"the storage '{key}' is not described, or missing", offset=at)
            (count,) = struct.unpack_from("<q", data, at)
            if count != root.count or at + 8 + root.nbytes > len(data):
                raise WireError(f"the storage '{key}' has not the {root.count} elements that are promised", offset=at)
            root.load, root.place = _slice(data, at + 8, root.nbytes), None if nested else at + 8
            at += 8 + root.nbytes
        missing = [key for key, root in self._roots.items() if root.load is None]
        if missing:
            raise WireError(f"the storage '{missing[0]}' is named, and the file does not hold it")


def _slice(data: memoryview, start: int, size: int) -> Callable[[], memoryview]:
    return lambda: data[start : start + size]


def _legacy(data: memoryview, at: int, nested: bool) -> State:
    runs = _Runs()
    protocol, at = _ran(data, at, NAMES, None, "protocol")
    if protocol != PROTOCOL:
        raise WireError(f"a legacy file of the protocol {str(protocol)[:20]}", offset=at)
    facts, at = _ran(data, at, NAMES, None, "system facts")
    value, at = _ran(data, at, NAMES, runs.persistent, "object")
    keys, at = _ran(data, at, NAMES, None, "storage keys")
    runs.place(data, at, keys, nested)
    known = {str(key): str(item)[:80] for key, item in facts.items()} if isinstance(facts, dict) else {}
    return State("legacy", value, facts=known)


__all__ = ["ForeignNames", "State", "Tensor", "Unread", "read"]
