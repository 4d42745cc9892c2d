"""A file's objects: groups that name others, datasets, and attributes of both."""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bessemer.wire.errors import WireError
from bessemer.wire.hdf5 import header as messages
from bessemer.wire.hdf5.bounds import Bounds, Cursor, decoded
from bessemer.wire.hdf5.btree import leaves, records
from bessemer.wire.hdf5.chunks import Chunk, Grid, indexed_chunks, tree_chunks
from bessemer.wire.hdf5.datatype import Type, read_type
from bessemer.wire.hdf5.filters import read_filters, undo
from bessemer.wire.hdf5.header import Header, read_header, shared
from bessemer.wire.hdf5.heap import FractalHeap, global_heap, local_heap

Array = npt.NDArray[Any]
SIGNATURE = b"\x89HDF\r\n\x1a\n"
MAX_RANK = 32


def read(source: str | Path | bytes | memoryview) -> Group:
    """The root group of a file, given by path (mapped, not loaded) or as bytes.

    Raises WireError when the bytes are no HDF5 file, OSError when the file cannot open.
    """
    return _root(Bounds(mapped(Path(source)) if isinstance(source, str | Path) else memoryview(source).cast("B")))


def mapped(path: Path) -> memoryview:
    """The file's bytes, mapped. Raises WireError for an empty one."""
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            raise WireError("empty file", offset=0)
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _root(file: Bounds) -> Group:
    start = _signature(file)
    cursor = Cursor(file, start + 8, file.size, "superblock")
    version = cursor.uint(1)
    if version > 3:
        raise cursor.error(f"superblock version {version} is unknown")
    if version < 2:
        cursor.raw(4)
    file.offsets, file.lengths = cursor.uint(1), cursor.uint(1)
    if not {file.offsets, file.lengths} <= {2, 4, 8}:
        raise cursor.error(f"addresses of {file.offsets} and sizes of {file.lengths} bytes")
    cursor.raw((9, 13, 1, 1)[version])
    file.base = cursor.required()
    if version >= 2:
        cursor.raw(2 * file.offsets)
        root = cursor.required()
        cursor.checksum(start)
        return Group(file, root)
    cursor.raw(4 * file.offsets)  # free space, end of file, driver block; the root's name, which it has not
    return Group(file, cursor.required())


def _signature(file: Bounds) -> int:
    start = 0
    while start + 8 <= file.size:
        if bytes(file.data[start : start + 8]) == SIGNATURE:
            return start
        start = 512 if start == 0 else 2 * start
    raise WireError("not an HDF5 file: no signature", offset=0)


class Node:
    """A group or a dataset; its header is read on first use."""

    def __init__(self, file: Bounds, address: int, path: str = "/") -> None:
        self.file, self.address, self.path = file, address, path

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"

    @cached_property
    def header(self) -> Header:
        """Its messages."""
        return read_header(self.file, self.address)

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """By name: a str, or an array of numbers or (as objects) of str. What cannot be read is a WireError there."""
        found: dict[str, Any] = {}
        for cursor in self._attribute_messages():
            name, held = _attribute(cursor, self.path)
            found[name] = held
        return found

    def attribute(self, name: str) -> Any:
        """One attribute or None; raises WireError where it cannot be read."""
        found = self.attributes.get(name)
        if isinstance(found, WireError):
            raise found
        return found

    def _attribute_messages(self) -> Iterator[Cursor]:
        yield from self.header.all(messages.ATTRIBUTE)
        info = self.header.first(messages.ATTRIBUTE_INFO)
        if info is None:
            return
        info.uint(1)
        info.raw(2 * (info.uint(1) & 1))
        heap, names = info.address(), info.address()
        if heap is None or names is None:
            return
        objects = FractalHeap(self.file, heap)
        for record in records(self.file, names, 8):
            handle, flags = bytes(record.raw(objects.id_length)), record.uint(1)
            body = objects.object(handle)
            yield shared(self.file, body, messages.ATTRIBUTE) if flags & 2 else body


class Group(Node):
    """Names other objects."""

    @cached_property
    def links(self) -> dict[str, int]:
        """Addresses of its members, sorted by name; links to other names or files are left out."""
        found = dict(self._symbols())
        found.update(self._links())
        return dict(sorted(found.items()))

    def __iter__(self) -> Iterator[str]:
        return iter(self.links)

    def __contains__(self, path: str) -> bool:
        return self.get(path) is not None

    def get(self, path: str) -> Group | Dataset | None:
        """What a name, or names joined by '/', stands for."""
        found: Group | Dataset = self
        for name in (part for part in path.split("/") if part):
            if not isinstance(found, Group) or name not in found.links:
                return None
            found = found._member(name)
        return found

    def __getitem__(self, path: str) -> Group | Dataset:
        found = self.get(path)
        if found is None:
            raise WireError(f"there is no '{path}'", where=self.path)
        return found

    def _member(self, name: str) -> Group | Dataset:
        address, path = self.links[name], f"{self.path.rstrip('/')}/{name}"
        held = self._members.get(name)
        if held is None:
            found = Node(self.file, address, path).header
            kind = Dataset if found.has(messages.LAYOUT) else Group
            held = self._members[name] = kind(self.file, address, path)
            held.header = found
        return held

    @cached_property
    def _members(self) -> dict[str, Group | Dataset]:
        return {}

    def _symbols(self) -> Iterator[tuple[str, int]]:
        table = self.header.first(messages.SYMBOL_TABLE)
        if table is None:
            return
        tree, heap = table.required(), table.required()
        names = local_heap(self.file, heap)
        for _, child in leaves(self.file, tree, 0, self.file.lengths):
            cursor = self.file.cursor(child, "symbol table node")
            cursor.expect(b"SNOD\1")
            cursor.raw(1)
            for _ in range(cursor.uint(2)):
                self.file.visit(cursor.place, "symbol table node")
                offset, address, kind = cursor.uint(self.file.offsets), cursor.address(), cursor.uint(4)
                cursor.raw(20)
                if kind != 2 and address is not None:
                    yield _name_at(names, offset), address

    def _links(self) -> Iterator[tuple[str, int]]:
        for message in self.header.all(messages.LINK):
            yield from _link(message)
        info = self.header.first(messages.LINK_INFO)
        if info is None:
            return
        info.uint(1)
        info.raw(8 * (info.uint(1) & 1))
        heap, names = info.address(), info.address()
        if heap is None or names is None:
            return
        objects = FractalHeap(self.file, heap)
        for record in records(self.file, names, 5):
            record.uint(4)
            yield from _link(objects.object(bytes(record.raw(objects.id_length))))


def _name_at(names: Cursor, offset: int) -> str:
    cursor = Cursor(names.file, names.place, names.end, names.where)
    cursor.raw(offset)
    return cursor.zero_ended()


def _link(cursor: Cursor) -> Iterator[tuple[str, int]]:
    if cursor.uint(1) != 1:
        raise cursor.error("a link of an unknown version")
    flags = cursor.uint(1)
    kind = cursor.uint(1) if flags & 8 else 0
    cursor.raw((8 if flags & 4 else 0) + (1 if flags & 16 else 0))
    name = cursor.text(cursor.uint(1 << (flags & 3)))
    if kind == 0:
        yield name, cursor.required()


class Dataset(Node):
    """An array in the file."""

    @cached_property
    def type(self) -> Type:
        """Of an element. Raises WireError for one that cannot be read."""
        return read_type(self._needed(messages.DATATYPE, "datatype"))

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Elements per axis."""
        return _dims(self._needed(messages.DATASPACE, "dataspace"))[0]

    def _needed(self, kind: int, name: str) -> Cursor:
        found = self.header.first(kind)
        if found is None:
            raise WireError(f"a dataset without {name}", where=self.path)
        found.where = self.path
        return found

    def read(self) -> Array:
        """All elements: memory-mapped where they stand together, an array of str objects for text.

        Raises WireError.
        """
        held = self._contents()
        return _texts(held.reshape(-1), self.type, self.file, self.path).reshape(self.shape)

    def _contents(self) -> Array:
        if self.header.has(messages.EXTERNAL):
            raise WireError("data in other files is never opened", where=self.path)
        cursor = self._needed(messages.LAYOUT, "layout")
        version = cursor.uint(1)
        if version in (1, 2):
            return self._old_layout(cursor)
        if version not in (3, 4, 5):
            raise cursor.error(f"data layout version {version} is unknown")
        kind = cursor.uint(1)
        if kind == 0:
            return self._plain(cursor.raw(cursor.uint(2)), cursor.place)
        if kind == 1:
            address, size = cursor.address(), cursor.length()
            return self._contiguous(address, size)
        if kind != 2:
            raise cursor.error("data that stands in other datasets (virtual) cannot be read here")
        if version == 3:
            rank, address = cursor.uint(1), cursor.address()
            grid = self._grid([cursor.uint(4) for _ in range(rank)])
            return self._gathered(grid, tree_chunks(self.file, address, grid))
        flags, rank, width = cursor.uint(1), cursor.uint(1), cursor.uint(1)
        grid = self._grid([cursor.uint(width) for _ in range(rank)])
        if flags & 1 and grid.filtered:
            raise cursor.error("chunks at the border that went through no filter cannot be read here")
        return self._gathered(grid, indexed_chunks(self.file, cursor, grid, flags))

    def _old_layout(self, cursor: Cursor) -> Array:
        rank, kind = cursor.uint(1), cursor.uint(1)
        cursor.raw(5)
        address = cursor.address() if kind else None
        dims = [cursor.uint(4) for _ in range(rank)]
        if kind == 2:
            grid = self._grid(dims)
            return self._gathered(grid, tree_chunks(self.file, address, grid))
        if kind == 1:
            return self._contiguous(address, self._size)
        return self._plain(cursor.raw(cursor.uint(4)), cursor.place)

    @property
    def _size(self) -> int:
        return math.prod(self.shape) * self.type.size

    def _plain(self, data: memoryview, offset: int) -> Array:
        if len(data) < self._size:
            raise WireError(f"{len(data)} bytes for {list(self.shape)}", offset=offset, where=self.path)
        return np.frombuffer(data[: self._size], self.type.dtype).reshape(self.shape)

    def _contiguous(self, address: int | None, size: int) -> Array:
        if address is None:
            return self._filled(self.shape)
        if size < self._size:
            raise WireError(f"{size} bytes for {list(self.shape)}", offset=address, where=self.path)
        return self._plain(self.file.take(self.file.base + address, self._size, self.path), address)

    def _filled(self, shape: tuple[int, ...]) -> Array:
        """An array of the fill value."""
        count = math.prod(shape)
        self.file.allocate(count * self.type.size, 0, self.path)
        found = np.zeros(count, self.type.dtype)
        fill = _fill(self.header)
        if fill is not None and len(fill) == self.type.size:
            found[:] = np.frombuffer(fill, self.type.dtype)
        return found.reshape(shape)

    def _grid(self, dims: list[int]) -> Grid:
        item = self.type.size
        if len(dims) != len(self.shape) + 1 or dims[-1] != item or not all(dims):
            raise WireError(f"chunks of {dims} for {list(self.shape)}", where=self.path)
        limits = _dims(self._needed(messages.DATASPACE, "dataspace"))[1]
        return Grid(self.shape, tuple(dims[:-1]), item, self.header.has(messages.FILTERS), limits)

    def _gathered(self, grid: Grid, chunks: Iterator[Chunk]) -> Array:
        found = self._filled(grid.shape)
        step = self.header.first(messages.FILTERS)
        filters = read_filters(step) if step is not None else ()
        for chunk in chunks:
            outside = any(o >= dim or o % s for o, dim, s in zip(chunk.origin, grid.shape, grid.chunk, strict=True))
            if outside:
                if any(o % s for o, s in zip(chunk.origin, grid.chunk, strict=True)):
                    raise WireError(f"a chunk at {list(chunk.origin)}", offset=chunk.address, where=self.path)
                continue  # the dataset was made smaller
            start = self.file.base + chunk.address
            self.file.allocate(grid.size if filters else 0, start, self.path)
            stored = self.file.take(start, chunk.size, self.path)
            data = undo(stored, filters, chunk.mask, grid.size, start)
            block = np.frombuffer(data, self.type.dtype).reshape(grid.chunk)
            _place(found, block, chunk.origin)
        return found


def _place(whole: Array, block: Array, origin: tuple[int, ...]) -> None:
    inside = tuple(slice(o, o + dim) for o, dim in zip(origin, block.shape, strict=True))
    target = whole[inside]
    target[...] = block[tuple(slice(0, dim) for dim in target.shape)]


def _dims(cursor: Cursor) -> tuple[tuple[int, ...], tuple[int | None, ...]]:
    """Of a dataspace message: dims and how far they may grow (None: without end). Without elements: (0,)."""
    version, rank, flags = cursor.uint(1), cursor.uint(1), cursor.uint(1)
    if version not in (1, 2) or rank > MAX_RANK:
        raise cursor.error(f"a dataspace of version {version} and rank {rank}")
    kind = cursor.uint(1)
    if version == 1:
        cursor.raw(4)
    elif kind == 2:
        return (0,), (0,)
    dims = tuple(cursor.length() for _ in range(rank))
    if math.prod(max(dim, 1) for dim in dims) >= 1 << 48:
        raise cursor.error(f"absurd dims {list(dims)}")
    if not flags & 1:
        return dims, dims
    endless = (1 << 8 * cursor.file.lengths) - 1
    limits = tuple(cursor.length() for _ in range(rank))
    return dims, tuple(None if limit == endless else limit for limit in limits)


def _fill(header: Header) -> bytes | None:
    cursor = header.first(messages.FILL)
    if cursor is None:
        old = header.first(messages.FILL_OLD)
        return None if old is None else bytes(old.raw(old.uint(4)))
    version = cursor.uint(1)
    if version == 3:
        defined = bool(cursor.uint(1) & 0x20)
    else:
        cursor.raw(2)
        defined = bool(cursor.uint(1))
    return bytes(cursor.raw(cursor.uint(4))) if defined else None


def _attribute(cursor: Cursor, path: str) -> tuple[str, Any]:
    """Name and value; for one that holds neither numbers nor text, the reason."""
    version, flags = cursor.uint(1), cursor.uint(1)
    if version not in (1, 2, 3):
        raise cursor.error(f"an attribute of version {version}")
    sizes = [cursor.uint(2) for _ in range(3)]
    cursor.raw(version == 3)
    padded = [size + (-size % 8 if version == 1 else 0) for size in sizes]
    name = cursor.part(padded[0]).text(sizes[0])
    kind, space = cursor.part(padded[1], f"{path}@{name}"), cursor.part(padded[2])
    try:
        if flags & 1 and version > 1:
            kind = shared(cursor.file, kind, messages.DATATYPE)
        if flags & 2 and version > 1:
            space = shared(cursor.file, space, messages.DATASPACE)
        return name, _value(cursor, read_type(kind), _dims(space)[0], f"{path}@{name}")
    except WireError as problem:
        return name, problem


def _value(cursor: Cursor, kind: Type, shape: tuple[int, ...], where: str) -> Any:
    data = cursor.raw(math.prod(shape) * kind.size)
    held = _texts(np.frombuffer(data, kind.dtype), kind, cursor.file, where).reshape(shape)
    return held.item() if held.dtype == object and not shape else held


def _texts(held: Array, kind: Type, file: Bounds, where: str) -> Array:
    """Texts as str objects, booleans as such; all else as it is."""
    if kind.boolean:
        return held.astype(bool)
    if kind.kind == "heap text":
        return _from_heap(held, file, where)
    if kind.kind != "text":
        return held
    file.allocate(64 * held.size + held.nbytes, 0, where)
    found = np.empty(held.size, object)
    place = Cursor(file, 0, 0, where)
    for index, item in enumerate(held):
        found[index] = decoded(bytes(item), place)
    return found


def _from_heap(held: Array, file: Bounds, where: str) -> Array:
    """Texts of variable length: (bytes, address of the collection, index in it) each."""
    heaps: dict[int, dict[int, Cursor]] = {}
    found = np.empty(held.size, object)
    for index, item in enumerate(held):
        ident = Cursor(Bounds(memoryview(item.tobytes())), 0, held.dtype.itemsize, where)
        ident.file.offsets = file.offsets
        size, address, number = ident.uint(4), ident.address(), ident.uint(4)
        file.allocate(64 + size, 0, where)
        if not size or not address:
            found[index] = ""
            continue
        if address not in heaps:
            heaps[address] = global_heap(file, address)
        if number not in heaps[address]:
            raise WireError(f"a text that is not in its heap ({number})", offset=address, where=where)
        held_at = heaps[address][number]
        found[index] = Cursor(file, held_at.place, held_at.end, where).text(size)
    return found
