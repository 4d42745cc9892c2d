"""Tensors of old block layouts: decoded to float32, or put into today's order where nothing is lost by it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from bessemer.ir.checkpoint import Bytes, Lazy
from bessemer.weights.files import FileBytes, stored_at
from bessemer.wire.ggml import Info, Stored

Floats = npt.NDArray[np.float32]
REORDERED = ("Q5_0", "Q5_1")
"""Blocks of the first generation that differ from today's in the order of nibbles alone."""


def lazy(file: FileBytes, info: Info) -> Lazy:
    """The tensor, of a type that GGUF has too: today's where it is stored alike, else float32."""
    kind = info.type
    if not kind.layout:
        return stored_at(file, info.name, info.shape, kind.name, info.offset)
    if kind.name in REORDERED:
        return stored_at(file, info.name, info.shape, kind.name, info.offset, partial(_reordered, kind))
    columns = info.shape[-1] if info.shape else 1
    width, decode = columns // kind.elements * kind.bytes, _DECODERS[kind.name]

    def read(start: int, stop: int) -> Bytes:
        data = file.read(info.offset + start * width, (stop - start) * width)
        values = decode(kind, data.reshape(-1, kind.bytes))
        return np.ascontiguousarray(values).reshape(stop - start, columns).view(np.uint8)

    return Lazy(info.name, info.shape, "F32", 4 * columns, read)


def _nibbles(kind: Stored, data: Bytes) -> Bytes:
    """Bytes [blocks, n] as nibbles [blocks, 2 n] in the order of elements."""
    low, high = data & 15, data >> 4
    if kind.layout == "pairs":
        return np.stack([low, high], axis=2).reshape(len(data), -1)
    return np.concatenate([low, high], axis=1)


def _scale(kind: Stored, blocks: Bytes, place: int) -> Floats:
    """The scale or the minimum at `place` [blocks, 1]."""
    raw = np.ascontiguousarray(blocks[:, place : place + kind.scale])
    return raw.view(np.float32 if kind.scale == 4 else np.float16).astype(np.float32)


def _four(kind: Stored, blocks: Bytes) -> Floats:
    """Q4_0, Q4_2: (nibble - 8) * scale."""
    codes = _nibbles(kind, blocks[:, kind.scale :]).astype(np.int8) - np.int8(8)
    return codes.astype(np.float32) * _scale(kind, blocks, 0)


def _four_and_minimum(kind: Stored, blocks: Bytes) -> Floats:
    """Q4_1, Q4_3: nibble * scale + minimum."""
    codes = _nibbles(kind, blocks[:, 2 * kind.scale :]).astype(np.float32)
    return codes * _scale(kind, blocks, 0) + _scale(kind, blocks, kind.scale)


def _eight(kind: Stored, blocks: Bytes) -> Floats:
    return blocks[:, kind.scale :].view(np.int8).astype(np.float32) * _scale(kind, blocks, 0)


_DECODERS: dict[str, Callable[[Stored, Bytes], Floats]] = {
    "Q4_0": _four, "Q4_2": _four, "Q4_1": _four_and_minimum, "Q4_3": _four_and_minimum, "Q8_0": _eight,
}  # fmt: skip


def _reordered(kind: Stored, rows: Bytes) -> Bytes:
    """Scale, minimum and fifth bits stay; elements 2i, 2i + 1 of a byte become i, i + 16."""
    blocks = rows.reshape(-1, kind.bytes).copy()
    codes = _nibbles(kind, blocks[:, -16:])
    blocks[:, -16:] = codes[:, :16] | codes[:, 16:] << 4
    return blocks.reshape(rows.shape)
