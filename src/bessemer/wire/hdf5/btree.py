"""The two kinds of B-trees: version 1 (old groups, chunks) and version 2 (links, attributes, huge objects, chunks)."""

from __future__ import annotations

from collections.abc import Iterator

from bessemer.wire.hdf5.bounds import Bounds, Cursor

MAX_DEPTH = 32


def leaves(file: Bounds, address: int, kind: int, key: int, level: int | None = None) -> Iterator[tuple[Cursor, int]]:
    """(cursor over the key before it, address) of every child on level 0 of a version 1 tree, in order.

    kind: 0 group, 1 chunks. key: bytes of a key. level: what the parent says; a child must be one below it.
    """
    cursor = file.cursor(address, "B-tree")
    cursor.expect(b"TREE")
    found, depth, count = cursor.uint(1), cursor.uint(1), cursor.uint(2)
    if found != kind or depth > MAX_DEPTH or (level is not None and depth != level):
        raise cursor.error(f"a node of kind {found} and level {depth} where another must stand")
    cursor.raw(2 * file.offsets)
    for _ in range(count):
        part = cursor.part(key)
        child = cursor.required()
        if depth:
            yield from leaves(file, child, kind, key, depth - 1)
        else:
            file.visit(child, "B-tree")
            yield part, child


def records(file: Bounds, address: int, kind: int) -> Iterator[Cursor]:
    """A cursor over every record of a version 2 tree, in order."""
    cursor = file.cursor(address, "B-tree 2")
    start = cursor.place
    cursor.expect(b"BTHD\0")
    found, node, size, depth = cursor.uint(1), cursor.uint(4), cursor.uint(2), cursor.uint(2)
    cursor.uint(2)
    root, count = cursor.address(), cursor.uint(2)
    cursor.length()
    cursor.checksum(start)
    if found != kind or not 0 < size <= node - 10 or depth > MAX_DEPTH:
        raise cursor.error(f"a B-tree of kind {found}, with records of {size} bytes in nodes of {node}")
    if root is not None:
        yield from _node(file, root, size, count, depth, _widths(file, node, size, depth))


def _widths(file: Bounds, node: int, size: int, depth: int) -> list[tuple[int, int]]:
    """Per level from the leaves: bytes of a child's number of records, and of the number of all below it."""
    most = (node - 10) // size
    below, single = most, limit_width(most)
    widths = [(single, 0)]
    for _ in range(depth):
        pointer = file.offsets + single + widths[-1][1]
        most = max((node - 10 - pointer) // (size + pointer), 0)
        below = (most + 1) * below + most
        widths.append((single, limit_width(below)))
    return widths


def limit_width(limit: int) -> int:
    """Bytes that a number up to `limit` takes."""
    return max(limit.bit_length() - 1, 0) // 8 + 1


def _node(
    file: Bounds, address: int, size: int, count: int, depth: int, widths: list[tuple[int, int]]
) -> Iterator[Cursor]:
    cursor = file.cursor(address, "B-tree 2 node")
    start = cursor.place
    cursor.expect(b"BTIN\0" if depth else b"BTLF\0")
    cursor.uint(1)
    parts = [cursor.part(size) for _ in range(count)]
    children: list[tuple[int, int]] = []
    for _ in range(count + 1 if depth else 0):
        child, inside = cursor.required(), cursor.uint(widths[depth - 1][0])
        cursor.uint(widths[depth - 1][1])
        children.append((child, inside))
    cursor.checksum(start)
    for place, part in enumerate(parts):
        if depth:
            yield from _node(file, *_child(children[place], size), depth - 1, widths)
        file.visit(address, "B-tree 2 node")
        yield part
    if depth:
        yield from _node(file, *_child(children[-1], size), depth - 1, widths)


def _child(child: tuple[int, int], size: int) -> tuple[int, int, int]:
    return child[0], size, child[1]
