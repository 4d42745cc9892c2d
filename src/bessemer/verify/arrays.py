"""Arrays from files: .npy, .npz, and the idx format of MNIST (http://yann.lecun.com/exdb/mnist, plain or gzipped)."""

from __future__ import annotations

import gzip
import math
import zipfile
import zlib
from pathlib import Path

import numpy as np

from bessemer.ir.errors import UnreadableInput
from bessemer.ir.types import Array

LABEL_NAMES = ("labels", "label", "y", "targets", "y_test", "test_labels")
LARGEST = 1 << 32
"""Bytes that a gzipped file may unpack to."""

_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def archive(path: Path) -> dict[str, Array]:
    """All arrays of an .npz by name."""
    try:
        with np.load(path, allow_pickle=False) as opened:
            return {name: opened[name] for name in opened.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UnreadableInput(f"--data {path} cannot be read as .npz", why=str(error)) from None


def one_array(path: Path) -> Array:
    """The array of an .npy (memory-mapped) or idx file."""
    if is_idx(path):
        return _idx(path)
    try:
        array: Array = np.load(path, allow_pickle=False, mmap_mode="r")
    except (ValueError, OSError, EOFError) as error:
        raise UnreadableInput(f"{path} cannot be read as .npy", why=str(error)) from None
    return array


def is_idx(path: Path) -> bool:
    """Whether the content is idx: two zero bytes, a type, a rank."""
    try:
        head = _open(path, 4)
    except (OSError, EOFError, zlib.error):
        return False
    return len(head) == 4 and head[:2] == b"\0\0" and head[2] in _IDX_TYPES and 1 <= head[3] <= 8


def _open(path: Path, count: int) -> bytes:
    with path.open("rb") as stream:
        zipped = stream.read(2) == b"\x1f\x8b"
    with gzip.open(path, "rb") if zipped else path.open("rb") as opened:
        return opened.read(count)


def _idx(path: Path) -> Array:
    try:
        rank = _open(path, 4)[3]
        head = _open(path, 4 + 4 * rank)
        dims = np.frombuffer(head, ">i4", offset=4)
        dtype = np.dtype(_IDX_TYPES[head[2]])
        size = math.prod(int(dim) for dim in dims) * dtype.itemsize
        if dims.size != rank or (dims < 0).any() or size > LARGEST:
            raise ValueError(f"its dims {dims.tolist()} are out of bounds")
        data = _open(path, len(head) + size + 1)[len(head) :]
        if len(data) != size:
            raise ValueError(f"it holds {len(data)} bytes of values, its dims {dims.tolist()} ask for {size}")
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise UnreadableInput(f"{path} cannot be read as an idx file", why=str(error)) from None
    native = dtype.newbyteorder("=")
    return np.frombuffer(data, dtype).astype(native).reshape(dims.tolist())
