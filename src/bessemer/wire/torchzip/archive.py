"""Zip archives whose every byte may be hostile: members are views of the mapped file, or inflated within bounds."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

from bessemer.wire.errors import WireError

MEMBERS = 200_000
LOCAL = 30
"""Bytes of a local header before the name."""
SMALL = 1 << 26
RATIO = 100
"""A deflated member may grow to SMALL bytes, or to RATIO times what is stored: weights hardly deflate at all."""


@dataclass(frozen=True)
class Member:
    """Where one member lies. size: bytes of the content; method: 0 stored, 8 deflated; crc: 0 says that none was made."""

    name: str
    start: int
    stored: int
    size: int
    method: int
    crc: int


class Archive:
    """The members of a zip archive by name. Raises WireError for one that contradicts itself."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.members = {member.name: member for member in _members(data)}

    def bytes(self, name: str, *, checked: bool = True) -> memoryview:
        """The content; raises WireError for a wrong length, and for a wrong checksum if that is asked for."""
        member = self.members[name]
        raw = self.data[member.start : member.start + member.stored]
        content = raw if member.method == 0 else _inflated(raw, member)
        if checked and member.crc and zlib.crc32(content) != member.crc:
            raise WireError("the checksum does not fit the bytes", offset=member.start, where=name)
        return content

    def beginning(self, name: str, size: int) -> memoryview:
        """The first bytes of a deflated member, at most `size`. Raises WireError for one that does not inflate."""
        member = self.members[name]
        try:
            raw = self.data[member.start : member.start + member.stored]
            return memoryview(zlib.decompressobj(-15).decompress(raw, size))
        except zlib.error as error:
            raise WireError(f"a member that does not inflate: {error}", offset=member.start, where=name) from None


def _members(data: memoryview) -> list[Member]:
    try:
        with zipfile.ZipFile(_Window(data)) as archive:
            found, end = archive.infolist(), archive.start_dir
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, UnicodeDecodeError, struct.error) as error:
        raise WireError(f"a broken zip archive: {error}") from None
    if len(found) > MEMBERS:
        raise WireError(f"a zip archive of {len(found)} members")
    members = [_member(data, info, end) for info in found]
    twice = [name for name, count in Counter(member.name for member in members).items() if count > 1]
    if twice:
        raise WireError("two members of one name", where=twice[0])
    ordered = sorted(members, key=lambda member: member.start)
    for first, second in pairwise(ordered):
        if second.start - LOCAL - len(second.name.encode()) < first.start + first.stored:
            raise WireError(f"the member overlaps '{first.name}'", offset=second.start, where=second.name)
    return members


def _member(data: memoryview, info: zipfile.ZipInfo, end: int) -> Member:
    place, name = info.header_offset, info.filename
    if info.flag_bits & 0x41:
        raise WireError("an encrypted member", offset=place, where=name)
    if info.compress_type not in (0, 8):
        raise WireError(f"a member packed by method {info.compress_type}", offset=place, where=name)
    if place < 0 or place + LOCAL > end or bytes(data[place : place + 4]) != b"PK\x03\x04":
        raise WireError("no member lies where the directory says", offset=place, where=name)
    text, extra = struct.unpack_from("<HH", data, place + 26)
    start = place + LOCAL + text + extra
    written = bytes(data[place + LOCAL : place + LOCAL + text])
    if written.decode("utf-8", "replace") != info.orig_filename and written.decode("cp437") != info.orig_filename:
        raise WireError("the member has another name than the directory says", offset=place, where=name)
    if start + info.compress_size > end:
        raise WireError(f"a member of {info.compress_size} bytes leads out of the file", offset=place, where=name)
    if info.compress_type == 0 and info.compress_size != info.file_size:
        raise WireError("a stored member of two sizes", offset=place, where=name)
    if info.compress_type == 8 and info.file_size > max(SMALL, RATIO * info.compress_size):
        raise WireError(f"{info.compress_size} bytes that claim to be {info.file_size}", offset=place, where=name)
    return Member(name, start, info.compress_size, info.file_size, info.compress_type, info.CRC)


def _inflated(raw: memoryview, member: Member) -> memoryview:
    unpacker = zlib.decompressobj(-15)
    try:
        content = unpacker.decompress(raw, member.size + 1)
    except zlib.error as error:
        raise WireError(f"a member that does not inflate: {error}", offset=member.start, where=member.name) from None
    if len(content) != member.size:
        raise WireError(f"a member of another size than its {member.size} bytes", offset=member.start, where=member.name)
    return memoryview(content)


class _Window(io.RawIOBase):
    """A file over bytes in memory that copies what is read alone."""

    def __init__(self, data: memoryview) -> None:
        self._data, self._at = data, 0

    def seekable(self) -> bool:
        """It is."""
        return True

    def readable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        """As files do; ValueError before the start."""
        base = (0, self._at, len(self._data))[whence]
        if base + offset < 0:
            raise ValueError("a place before the start")
        self._at = base + offset
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """At most `size` bytes."""
        end = len(self._data) if size is None or size < 0 else self._at + size
        found = bytes(self._data[self._at : end])
        self._at += len(found)
        return found
