"""The pickle of a state dict: a program for the stack machine that makes {name: tensor}, each over a storage of its own.

Names that it uses are those that torch.load(weights_only=True) allows. Source: Python's pickletools; torch/_utils.py.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from math import prod

from bessemer.wire.errors import WireError
from bessemer.wire.torchzip.tensors import STORAGES, WIDTHS

TYPED = {dtype: name for name, dtype in reversed(STORAGES.items()) if not name.startswith(("QInt", "QU", "Untyped"))}
"""Type of an element -> torch's typed storage."""
BATCH = 1000
"""Items that one instruction adds to the dict, as Python's pickler has it."""


def pickled(tensors: Sequence[tuple[str, str, tuple[int, ...]]]) -> bytes:
    """The program for tensors (name, numpy's or ml_dtypes' type, shape), whose storages are called 0, 1, 2, ...

    Raises WireError for types that torch does not have.
    """
    parts = [b"\x80\x02}"]
    for start in range(0, len(tensors), BATCH):
        items = [_item(start + place, *tensor) for place, tensor in enumerate(tensors[start : start + BATCH])]
        parts += [b"(", *items, b"u"]
    return b"".join([*parts, b"."])


def _item(key: int, name: str, dtype: str, shape: tuple[int, ...]) -> bytes:
    if dtype not in WIDTHS:
        raise WireError(f"a tensor of the type {dtype}, which torch does not have", where=name)
    typed, count = TYPED.get(dtype), prod(shape)
    kind = _name("torch", f"{typed}Storage") if typed else _name("torch.storage", "UntypedStorage")
    size = count if typed else count * WIDTHS[dtype]
    storage = b"(" + _text("storage") + kind + _text(str(key)) + _text("cpu") + _number(size) + b"tQ"
    view = storage + _number(0) + _numbers(shape) + _numbers(_strides(shape)) + b"\x89" + _hooks()
    if typed:
        return _text(name) + _name("torch._utils", "_rebuild_tensor_v2") + b"(" + view + b"tR"
    return _text(name) + _name("torch._utils", "_rebuild_tensor_v3") + b"(" + view + _name("torch", dtype) + b"tR"


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(prod(max(size, 1) for size in shape[place + 1 :]) for place in range(len(shape)))


def _hooks() -> bytes:
    """An empty OrderedDict: what torch keeps of gradients."""
    return _name("collections", "OrderedDict") + b")R"


def _name(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _text(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def _number(value: int) -> bytes:
    if value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def _numbers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(_number, values)) + b"t"
