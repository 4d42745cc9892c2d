"""A GGUF file as it is: metadata with their types, and tensors in its own names and layouts that are read when wanted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bessemer.ir.checkpoint import Lazy
from bessemer.ir.errors import Blocker, Declined, UnreadableInput
from bessemer.sources.gguf.big_endian import known, turned
from bessemer.weights.files import FileBytes, stored_at
from bessemer.wire.errors import WireError
from bessemer.wire.gguf.reader import File, Info, read
from bessemer.wire.gguf.values import Kind


@dataclass(frozen=True)
class Records:
    """metadata: plain values by key; kinds: their types in the file (`wire.gguf.writer.layout` takes them again);
    tensors: by GGUF's names, in the file's order; refusal: why they have no Hugging Face form, None where they have."""

    metadata: Mapping[str, Any]
    kinds: Mapping[str, Kind]
    tensors: Mapping[str, Lazy]
    alignment: int
    version: int
    big_endian: bool
    paths: tuple[Path, ...]
    refusal: Declined | None = None

    @property
    def types(self) -> dict[str, int]:
        """How many tensors each type has, the most frequent first."""
        return dict(Counter(tensor.type for tensor in self.tensors.values()).most_common())

    def refused(self, why: Declined) -> Records:
        """The same without a Hugging Face form."""
        return replace(self, refusal=why)


def records(path: Path) -> Records:
    """Raises UnreadableInput for a broken or hostile file, Declined for blocks of an unusual byte order."""
    try:
        file = read(path)
        handles = {part: FileBytes(part) for part in file.paths}
    except WireError as error:
        raise UnreadableInput(f"{path} is a broken or hostile GGUF file", why=str(error)) from None
    except OSError as error:
        raise UnreadableInput(f"{path} cannot be read", why=str(error)) from None
    if file.big_endian:
        _refuse_unknown(file)
    tensors = {name: _lazy(info, handles[info.path], file.big_endian) for name, info in file.tensors.items()}
    return Records(
        file.metadata, file.kinds, tensors, file.alignment, file.version, file.big_endian, file.paths
    )


def _lazy(info: Info, handle: FileBytes, big_endian: bool) -> Lazy:
    change = turned(info.type.name) if big_endian else None
    return stored_at(handle, info.name, info.shape, info.type.name, info.offset, change)


def _refuse_unknown(file: File) -> None:
    kinds = sorted({info.type.name for info in file.tensors.values() if not known(info.type.name)})
    if kinds:
        reason = "its blocks have no certain byte order in a big-endian file"
        way = "the file in little endian, or of another type"
        raise Declined("Reading this GGUF file", [Blocker("", kind, "byte-order", reason, rewrite=way) for kind in kinds])
