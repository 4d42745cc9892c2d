"""numpy's .npz as checkpoints: names as they are, settings and tokenizer of a config.json beside the file."""

from __future__ import annotations

from functools import partial
from math import prod
from pathlib import Path

import numpy as np

from bessemer.ir.checkpoint import Bytes, Checkpoint, Lazy
from bessemer.ir.errors import UnreadableInput
from bessemer.sources.base import OpenOptions
from bessemer.sources.weight_files import WeightFiles
from bessemer.weights.files import Checksum, FileBytes, stored_at
from bessemer.weights.views import Held, renamed, row_bytes, transposed
from bessemer.wire.errors import WireError
from bessemer.wire.npz import Array, Arrays, read

KINDS = {
    "f2": "F16", "f4": "F32", "f8": "F64", "i1": "I8", "i2": "I16", "i4": "I32", "i8": "I64", "u1": "U8", "u2": "U16",
    "u4": "U32", "u8": "U64", "b1": "BOOL", "c8": "C64",
}  # fmt: skip
"""numpy's letter and width -> type."""


def checkpoint(path: Path, options: OpenOptions) -> Checkpoint:
    """The file's arrays. Raises UnreadableInput for what is broken, hostile or holds Python objects."""
    from bessemer.sources.torch.checkpoint import beside

    return beside("npz", path, arrays(path), {}, [])


def arrays(path: Path) -> dict[str, Lazy]:
    """Lazy tensors by name. Raises UnreadableInput."""
    try:
        held = read(path)
        file = FileBytes(path)
    except WireError as error:
        raise UnreadableInput(f"{path} is a broken or hostile .npz file", why=str(error)) from None
    except OSError as error:
        raise UnreadableInput(f"{path} cannot be read", why=str(error)) from None
    strange = [array.name for array in held.arrays.values() if f"{array.kind}{array.width}" not in KINDS]
    if strange:
        raise UnreadableInput(f"{path} holds numbers of a type that is not read here", where=", ".join(strange[:3]))
    return {name: _ordered(file, held, array) for name, array in held.arrays.items()}


def _ordered(file: FileBytes, held: Arrays, array: Array) -> Lazy:
    """With the last axis side by side, whichever order the file has."""
    if not array.fortran or len(array.shape) < 2:
        return _lazy(file, held, array, array.shape)
    return renamed(transposed(_lazy(file, held, array, array.shape[::-1])), array.name)


def _lazy(file: FileBytes, held: Arrays, array: Array, shape: tuple[int, ...]) -> Lazy:
    kind = KINDS[f"{array.kind}{array.width}"]
    change = partial(_turned, array.width) if array.big_endian and array.width > 1 else None
    if array.place is None:
        rows = prod(shape[:-1])
        whole = Held(lambda: _inflated(file.path, held, array, rows), rows)
        read_rows = whole.read if change is None else lambda start, stop: change(whole.read(start, stop))
        return Lazy(array.name, shape, kind, row_bytes(kind, shape[-1] if shape else 1), read_rows)
    lazy = stored_at(file, array.name, shape, kind, array.place, change)
    member = held.archive.members[array.member]
    return Checksum(file, member.start, member.size, member.crc, member.name).guarding(lazy)


def _turned(width: int, rows: Bytes) -> Bytes:
    return np.ascontiguousarray(rows.reshape(-1, width)[:, ::-1]).reshape(rows.shape)


def _inflated(path: Path, held: Arrays, array: Array, rows: int) -> Bytes:
    """All rows of a deflated array. Raises UnreadableInput for a damaged one."""
    try:
        data = held.elements(array)
    except WireError as error:
        raise UnreadableInput(f"{path} is damaged", why=str(error)) from None
    return np.frombuffer(data, np.uint8).reshape(rows, -1 if rows else 0)


SOURCE = WeightFiles("npz", checkpoint)
