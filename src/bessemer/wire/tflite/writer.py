"""Write a TFLite file front to back: tables first, in memory, then the buffers' bytes, streamed.

Weights are never copied into the flatbuffer in memory: their places are known once the tables are laid out,
so each is written straight from its record. The same records give the same bytes.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from bessemer.wire.errors import WireError
from bessemer.wire.tflite.check import check_indices
from bessemer.wire.tflite.records import Buffer, Metadata, Model, OperatorCode, Options
from bessemer.wire.tflite.schema import TABLES, UNIONS

ALIGNMENT = 64
LIMIT = 2**31 - 1  # bytes; flatbuffer offsets are signed 32-bit in the runtime
MIN_VERSION = "min_runtime_version"
CODES = {
    "bool": "?", "i8": "b", "u8": "B", "i16": "h", "u16": "H", "i32": "i", "u32": "I", "i64": "q", "u64": "Q",
    "f32": "f", "f64": "d",
}  # fmt: skip
Slot = tuple[int, str, str, Any]


def set_min_runtime_version(model: Model, version: str) -> None:
    """Say in the metadata which runtime (as "2.10.0") the model needs; an earlier statement is replaced."""
    text = Buffer(version.encode().ljust(16, b"\0"))
    for metadata in model.metadata:
        if metadata.name == MIN_VERSION:
            model.buffers[metadata.buffer] = text
            return
    model.metadata.append(Metadata(MIN_VERSION, len(model.buffers)))
    model.buffers.append(text)


def write(model: Model, path: str | Path) -> int:
    """Write `model` to `path` and return the file's size in bytes.

    Weights are aligned to 64 bytes. Raises WireError when an index leads nowhere, a number does not fit its
    field, or the file would pass 2 GiB; then nothing is written.
    """
    check_indices(model)
    out = _Tables()
    out.model(model)
    places, size = _places(out, model)
    part = Path(f"{path}.part")
    try:
        with part.open("wb") as file:
            _stream(file, out, places, size)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return size


def _places(out: _Tables, model: Model) -> tuple[list[tuple[int, Buffer]], int]:
    """Where each buffer's bytes start, patched into the tables, and the size of the file."""
    end = len(out.data)
    places: list[tuple[int, Buffer]] = []
    for field, buffer in out.blobs:
        start = _up(end + 4, ALIGNMENT)
        places.append((start, buffer))
        end = start + buffer.nbytes
        if end <= LIMIT:
            struct.pack_into("<I", out.data, field, start - 4 - field)
    size = _up(end, 16)
    if size > LIMIT:
        raise WireError(_too_large(model, size))
    return places, size


def _too_large(model: Model, size: int) -> str:
    names = {t.buffer: t.name for g in model.subgraphs for t in g.tensors}
    ranked = sorted(range(len(model.buffers)), key=lambda i: -model.buffers[i].nbytes)[:5]
    largest = ", ".join(f"{names.get(i, f'buffer {i}')}: {model.buffers[i].nbytes:,} bytes" for i in ranked)
    return f"the file would have {size:,} bytes; TFLite's limit is {LIMIT:,}. Largest tensors: {largest}"


def _stream(file: BinaryIO, out: _Tables, places: list[tuple[int, Buffer]], size: int) -> None:
    file.write(out.data)
    end = len(out.data)
    for start, buffer in places:
        file.write(bytes(start - 4 - end) + struct.pack("<I", buffer.nbytes))
        view = buffer.view()
        if view.nbytes != buffer.nbytes:
            raise WireError(f"{buffer.nbytes} bytes announced, {view.nbytes} given", where="Buffer.data")
        file.write(view)
        end = start + view.nbytes
    file.write(bytes(size - end))


def _up(value: int, step: int) -> int:
    return -(-value // step) * step


class _Tables:
    """The tables' bytes. A child follows its parent, so its offset is patched in when it is placed."""

    def __init__(self) -> None:
        self.data = bytearray(b"\0\0\0\0TFL3")
        self.vtables: dict[bytes, int] = {}
        self.blobs: list[tuple[int, Buffer]] = []
        self.waiting: deque[tuple[int, str, Any]] = deque()

    def model(self, model: Model) -> None:
        self.waiting.append((0, "Model", model))
        while self.waiting:
            field, kind, value = self.waiting.popleft()
            self.child(field, kind, value)
        self.pad(4)

    def pad(self, step: int, ahead: int = 0) -> None:
        """Zero bytes until `ahead` bytes further on is a multiple of `step`."""
        self.data += bytes(-(len(self.data) + ahead) % step)

    def child(self, field: int, kind: str, value: Any) -> None:
        if isinstance(value, Buffer) and kind == "blob":
            self.blobs.append((field, value))
            return
        if kind == "str":
            start = self.string(value)
        elif kind[0] == "[":
            start = self.vector(kind[1:-1], value)
        else:
            start = self.table(kind, value)
        struct.pack_into("<I", self.data, field, start - field)

    def string(self, text: str) -> int:
        raw = text.encode("utf-8", "backslashreplace")
        self.pad(4)
        start = len(self.data)
        self.data += struct.pack("<I", len(raw)) + raw + b"\0"
        return start

    def vector(self, kind: str, values: Any) -> int:
        code = CODES.get(kind)
        self.pad(max(4, struct.calcsize("<" + code)) if code else 4, 4)
        start = len(self.data)
        self.data += struct.pack("<I", len(values))
        if kind == "u8":
            self.data += bytes(values)
        elif code:
            self.data += self.packed(f"<{len(values)}{code}", tuple(values), kind)
        else:
            self.data += bytes(4 * len(values))
            self.waiting.extend((start + 4 + 4 * i, kind, v) for i, v in enumerate(values))
        return start

    def packed(self, code: str, values: tuple[Any, ...], where: str) -> bytes:
        try:
            return struct.pack(code, *values)
        except (struct.error, OverflowError) as error:
            raise WireError(f"{values[:8]} does not fit: {error}", where=where) from error

    def table(self, name: str, record: Any) -> int:
        slots = list(_slots(name, record))
        layout, size = _layout(slots)
        count = 1 + max((s[0] for s in slots), default=-1)
        vtable = struct.pack(f"<{count + 2}H", 4 + 2 * count, size, *(layout.get(i, 0) for i in range(count)))
        if vtable not in self.vtables:
            self.pad(2)
            self.vtables[vtable] = len(self.data)
            self.data += vtable
        self.pad(8)
        start = len(self.data)
        self.data += struct.pack("<i", start - self.vtables[vtable]) + bytes(size - 4)
        for slot, field, kind, value in slots:
            at = start + layout[slot]
            if kind in CODES:
                raw = self.packed("<" + CODES[kind], (value,), f"{name}.{field}")
                self.data[at : at + len(raw)] = raw
            else:
                self.waiting.append((at, kind, value))
        return start


def _layout(slots: list[Slot]) -> tuple[dict[int, int], int]:
    """Offset of each field in its table (which starts at a multiple of 8), and the table's size."""
    widths = {s[0]: struct.calcsize("<" + CODES.get(s[2], "I")) for s in slots}
    layout, end = {}, 4
    for slot in sorted(widths, key=lambda s: (-widths[s], s)):
        end = _up(end, widths[slot])
        layout[slot] = end
        end += widths[slot]
    return layout, end


def _slots(name: str, record: Any) -> Iterator[Slot]:
    """The fields of `record` that differ from their defaults."""
    values = record.fields if isinstance(record, Options) else vars(record)
    if isinstance(record, Options) and (stray := values.keys() - {row[1] for row in TABLES[name]}):
        raise WireError(f"no such field: {', '.join(sorted(stray))}", where=name)
    for slot, field, kind, default in TABLES[name]:
        value = _stored(record, field, kind, values.get(field, default), values)
        if value is None or (kind in CODES and value == default):
            continue
        if isinstance(value, Options):
            kind = value.table
        elif isinstance(value, Buffer):
            kind = "blob"
        yield slot, field, kind, value


def _stored(record: Any, field: str, kind: str, value: Any, values: dict[str, Any]) -> Any:
    """What the file says for a field: storage is the writer's choice, a union's type its member's."""
    if isinstance(record, Buffer):
        return record if field == "data" and record.data is not None else None
    if isinstance(record, OperatorCode) and field == "deprecated_builtin_code":
        return min(record.builtin_code, 127)
    if field.startswith("large_custom_options"):
        return None
    if field.endswith("_type") and isinstance(member := values.get(field[:-5]), Options):
        for union in UNIONS.values():
            if member.table in union.__members__ and _belongs(field, union.__name__):
                return int(union[member.table])
        raise WireError(f"{member.table} is not a member here", where=field)
    return value


def _belongs(field: str, union: str) -> bool:
    named = {
        "details_type": "QuantizationDetails",
        "builtin_options_type": "BuiltinOptions",
        "builtin_options2_type": "BuiltinOptions2",
    }
    return named.get(field, "SparseIndexVector") == union
