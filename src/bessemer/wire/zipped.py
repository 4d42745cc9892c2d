"""Members of a zip archive that may be hostile: looked up by name, sizes checked, nothing written to disk."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import IO

from bessemer.wire.errors import WireError

LOCAL_HEADER = 30
FREE_BYTES, RATIO = 64 << 20, 100
"""Bytes that unpacked members may have: these, and so many per byte of the archive."""
MAX_MEMBERS = 100_000


class Archive:
    """A zip archive. Raises WireError for a broken one; members are unpacked on use, within bounds for all of them."""

    def __init__(self, path: Path) -> None:
        self.path, self.size = path, path.stat().st_size
        self._left = FREE_BYTES + RATIO * self.size
        try:
            with zipfile.ZipFile(path) as archive:
                held = archive.infolist()
        except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OSError) as error:
            raise WireError(f"a broken zip archive ({error})") from None
        if len(held) > MAX_MEMBERS:
            raise WireError(f"{len(held)} members in a zip archive")
        self.members = {item.filename: item for item in held}
        if len(self.members) < len(held):
            raise WireError("two members of a zip archive have one name")

    def __contains__(self, name: str) -> bool:
        return name in self.members

    def read(self, name: str) -> memoryview:
        """A member's bytes: memory-mapped where it is stored, unpacked where it is compressed."""
        item = self.members.get(name)
        if item is None:
            raise WireError(f"the zip archive has no member '{name}'")
        if item.flag_bits & 0x1:
            raise WireError(f"the member '{name}' is encrypted")
        if item.compress_type == zipfile.ZIP_STORED:
            return self._mapped(item)
        if item.compress_type != zipfile.ZIP_DEFLATED:
            raise WireError(f"the member '{name}' is compressed by method {item.compress_type}, which is not read here")
        return self._unpacked(item)

    def _mapped(self, item: zipfile.ZipInfo) -> memoryview:
        import mmap

        with self.path.open("rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        start = self._start(data, item)
        if item.file_size != item.compress_size or start + item.file_size > len(data):
            raise WireError(f"the member '{item.filename}' is longer than the archive", offset=item.header_offset)
        return data[start : start + item.file_size]

    @staticmethod
    def _start(data: memoryview, item: zipfile.ZipInfo) -> int:
        """Where a member's bytes begin: behind its local header, whose name and extra field have their own lengths."""
        head = bytes(data[item.header_offset : item.header_offset + LOCAL_HEADER])
        if len(head) < LOCAL_HEADER or head[:4] != b"PK\x03\x04":
            raise WireError(f"the member '{item.filename}' has no header", offset=item.header_offset)
        lengths = int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
        return item.header_offset + LOCAL_HEADER + lengths

    def _unpacked(self, item: zipfile.ZipInfo) -> memoryview:
        self._left -= item.file_size
        if self._left < 0:
            raise WireError(f"the member '{item.filename}' unpacks to {item.file_size} bytes; the archive has {self.size}")
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(item) as stream:
                return memoryview(self._whole(stream, item))
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OSError) as error:
            raise WireError(f"the member '{item.filename}' cannot be unpacked ({error})") from None

    @staticmethod
    def _whole(stream: IO[bytes], item: zipfile.ZipInfo) -> bytes:
        data = stream.read(item.file_size + 1)
        if len(data) != item.file_size:
            raise WireError(f"the member '{item.filename}' has another size than the archive says")
        return data
