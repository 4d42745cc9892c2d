"""Headers of the arrays in an archive, and where their elements lie."""

from __future__ import annotations

import mmap
import re
from dataclasses import dataclass
from math import prod
from pathlib import Path

from bessemer.wire.errors import WireError
from bessemer.wire.torchzip.archive import Archive

MAGIC = b"\x93NUMPY"
LONGEST = 1 << 16
RANK = 32
HEADER = re.compile(
    r"\{\s*'descr':\s*(?P<descr>'[^']{1,64}'|\[.*\])\s*,\s*'fortran_order':\s*(?P<fortran>True|False)\s*,"
    r"\s*'shape':\s*\((?P<shape>[\d\s,L]*)\)\s*,?\s*\}\s*",
    re.DOTALL,
)
"""As numpy writes it: keys in this order. No expression of Python is evaluated."""
DESCR = re.compile(r"([<>|=])?([a-zA-Z])(\d+)")


@dataclass(frozen=True)
class Array:
    """kind: numpy's letter ('f', 'i', 'u', 'b', 'c'); width: bytes of an element; start: of the elements in the member;
    place: of the first element in the file, None where the member is deflated; crc: of the whole member."""

    name: str
    member: str
    kind: str
    width: int
    big_endian: bool
    fortran: bool
    shape: tuple[int, ...]
    start: int
    place: int | None

    @property
    def nbytes(self) -> int:
        """Of all elements."""
        return prod(self.shape) * self.width


@dataclass(frozen=True)
class Arrays:
    """arrays: by name; archive: which gives members whole, checked and within bounds."""

    arrays: dict[str, Array]
    archive: Archive

    def elements(self, array: Array) -> memoryview:
        """All elements of one, inflated where they are deflated. Raises WireError for damaged ones."""
        return self.archive.bytes(array.member)[array.start : array.start + array.nbytes]


def read(path: Path) -> Arrays:
    """Raises WireError for what is no archive of arrays, and for arrays of Python objects; OSError."""
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            raise WireError("empty file", offset=0)
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    archive = Archive(data)
    names = list(archive.members)
    strange = [name for name in names if not name.endswith(".npy")]
    if strange or not names:
        why = "a zip archive that holds more than arrays" if names else "an empty archive"
        raise WireError(why, where=", ".join(strange[:3]))
    found = [_array(archive, name) for name in names]
    return Arrays({array.name: array for array in found}, archive)


def _array(archive: Archive, name: str) -> Array:
    member = archive.members[name]
    raw = archive.data[member.start : member.start + member.stored]
    content = bytes(raw[:LONGEST]) if member.method == 0 else bytes(archive.beginning(name, LONGEST))
    descr, fortran, shape, start = _header(content, name)
    kind, width, big = _type(descr, name)
    if start + prod(shape) * width != member.size:
        raise WireError(f"{member.size - start} bytes for {prod(shape)} elements of {width}", where=name)
    place = member.start + start if member.method == 0 else None
    return Array(name.removesuffix(".npy"), name, kind, width, big, fortran, shape, start, place)


def _header(content: bytes, name: str) -> tuple[str, bool, tuple[int, ...], int]:
    if content[:6] != MAGIC or len(content) < 12 or content[6] not in (1, 2, 3):
        raise WireError("a member that is no .npy of version 1 to 3", where=name)
    wide = 2 if content[6] == 1 else 4
    start = 8 + wide + int.from_bytes(content[8 : 8 + wide], "little")
    if start > len(content):
        raise WireError(f"a header that ends at byte {start}", where=name)
    found = HEADER.fullmatch(content[8 + wide : start].decode("utf-8", "replace"))
    if found is None:
        raise WireError("a header that is not numpy's", where=name)
    parts = [part.strip().removesuffix("L") for part in found["shape"].split(",") if part.strip()]
    if len(parts) > RANK or not all(part.isdecimal() and len(part) < 20 for part in parts):
        raise WireError("a shape that no array has", where=name)
    return found["descr"].strip("'"), found["fortran"] == "True", tuple(map(int, parts)), start


def _type(descr: str, name: str) -> tuple[str, int, bool]:
    said = DESCR.fullmatch(descr)
    if descr.lstrip("<>|=").startswith("O"):
        raise WireError("an array of Python objects, which are pickled and never unpickled here", where=name)
    if said is None or said[2] not in "fiubc":
        raise WireError(f"an array of the type {descr[:40]}, which is no number", where=name)
    return said[2], int(said[3]), said[1] == ">"
