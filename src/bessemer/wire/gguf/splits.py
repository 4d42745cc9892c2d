"""Files that are parts of one model: name-00001-of-00003.gguf, with the keys split.no, split.count, split.tensors.count."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bessemer.wire.errors import WireError

if TYPE_CHECKING:
    from bessemer.wire.gguf.reader import File

NAME = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf", re.DOTALL)
NUMBER, COUNT, TENSORS = "split.no", "split.count", "split.tensors.count"


def parts(path: Path, file: File) -> tuple[Path, ...]:
    """All parts in their order, this one among them; the file alone where it is whole.

    Raises WireError where the name does not say which part this is, or parts are missing.
    """
    count = file.metadata.get(COUNT, 1)
    if type(count) is not int or count <= 1:
        return (path,)
    named = NAME.fullmatch(path.name)
    if not named or int(named[3]) != count:
        raise WireError(f"one of {count} parts, which is to be named NAME-00001-of-{count:05}.gguf", where=path.name)
    found = tuple(path.with_name(f"{named[1]}-{place:05}-of-{count:05}.gguf") for place in range(1, count + 1))
    missing = [other.name for other in found if not other.is_file()]
    if missing:
        more = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise WireError(f"one of {count} parts; beside it is missing {missing[0]}{more}", where=path.name)
    return found


def joined(files: Sequence[File]) -> File:
    """One file of all parts. Raises WireError where they do not belong together."""
    first = files[0]
    for place, file in enumerate(files):
        name = file.paths[0].name
        if file.metadata.get(NUMBER) != place or file.metadata.get(COUNT) != len(files):
            raise WireError("a part that is another one than its name says", where=name)
        if (file.version, file.big_endian) != (first.version, first.big_endian):
            raise WireError("a part of another version or byte order than the first", where=name)
    tensors = {name: info for file in files for name, info in file.tensors.items()}
    held = sum(len(file.tensors) for file in files)
    if len(tensors) != held:
        raise WireError("a tensor that stands in two parts", where=first.paths[0].name)
    if first.metadata.get(TENSORS, held) != held:
        raise WireError(f"parts with {held} tensors of {first.metadata[TENSORS]}", where=first.paths[0].name)
    metadata = {key: value for key, value in first.metadata.items() if key not in (NUMBER, COUNT, TENSORS)}
    kinds = {key: first.kinds[key] for key in metadata}
    return replace(first, metadata=metadata, kinds=kinds, tensors=tensors, paths=tuple(file.paths[0] for file in files))
