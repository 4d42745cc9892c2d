"""Read a TFLite file whose every byte may be hostile.

Each offset, table, vector and string is checked against the file before use. Work is bounded apart from the
file's own claims: offsets may share targets, so tables visited and elements copied are counted, and a file
that asks for more than it could honestly hold is refused. Tables nest at most as deep as the schema does.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Any

from bessemer.wire.errors import WireError
from bessemer.wire.tflite.check import check_indices
from bessemer.wire.tflite.records import RECORDS, Buffer, Model, Operator, OperatorCode, Options
from bessemer.wire.tflite.schema import TABLES, UNIONS

IDENTIFIER = b"TFL3"
MAX_TABLES = 150_000
MAX_ELEMENTS = 16_000_000
FORMATS = {
    "bool": "?", "i8": "b", "u8": "B", "i16": "h", "u16": "H", "i32": "i", "u32": "I", "i64": "q", "u64": "Q",
    "f32": "f", "f64": "d",
}  # fmt: skip
WIDTHS = {kind: struct.calcsize("<" + code) for kind, code in FORMATS.items()}
# Slots looked at beyond those known, to report fields of a newer schema.
KNOWN = {name: {row[0] for row in rows} for name, rows in TABLES.items()}
SLOTS_READ = 40
DEFAULTS = {name: {row[1]: row[3] for row in rows} for name, rows in TABLES.items()}


def read(source: str | Path | bytes | bytearray | memoryview) -> Model:
    """The records of a TFLite file, given by path (mapped, not loaded) or as bytes.

    Raises WireError when the bytes are not a well-formed TFLite model, OSError when the file cannot open.
    """
    if isinstance(source, str | Path):
        return _Reader(_mapped(Path(source))).model()
    return _Reader(memoryview(source).cast("B").toreadonly()).model()


def _mapped(path: Path) -> memoryview:
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            raise WireError("empty file", offset=0)
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


class _Reader:
    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.size = len(data)
        self.tables_left = min(MAX_TABLES, self.size // 4)
        self.elements_left = min(MAX_ELEMENTS, 4 * self.size)
        self.unknown: dict[str, None] = {}

    def model(self) -> Model:
        if self.size < 8 or bytes(self.data[4:8]) != IDENTIFIER:
            raise WireError(f"not a TFLite file: no {IDENTIFIER.decode()} identifier", offset=4)
        model = self.table(self.reference(0, "Model"), "Model")
        assert isinstance(model, Model)
        for i, code in enumerate(model.operator_codes):
            self.resolve_code(code, i)
        model.unknown = tuple(self.unknown)
        check_indices(model)
        return model

    def resolve_code(self, code: OperatorCode, index: int) -> None:
        """The larger of the two codes holds, as in the runtime (the deprecated one stops at 127)."""
        code.builtin_code = max(code.builtin_code, code.deprecated_builtin_code)
        if code.builtin_code < 0:
            raise WireError(f"operator code {index} is negative", where="OperatorCode.builtin_code")

    def need(self, offset: int, count: int, where: str) -> None:
        """Raise unless bytes offset .. offset+count lie in the file."""
        if offset < 0 or offset + count > self.size:
            raise WireError(f"{count} bytes needed; file has {self.size}", offset=offset, where=where)

    def u32(self, offset: int, where: str) -> int:
        self.need(offset, 4, where)
        return int.from_bytes(self.data[offset : offset + 4], "little")

    def reference(self, offset: int, where: str) -> int:
        """Where the offset stored at `offset` points; it must lead forward."""
        step = self.u32(offset, where)
        if step < 4 or offset + step > self.size - 4:
            raise WireError(f"offset {step} leads out of the file", offset=offset, where=where)
        return offset + step

    def spend(self, elements: int, offset: int, where: str) -> None:
        self.elements_left -= elements
        if self.elements_left < 0:
            raise WireError("more data than so small a file can hold", offset=offset, where=where)

    def slots(self, position: int, name: str) -> tuple[tuple[int, ...], int]:
        """Field offsets of the table at `position` and the table's size in bytes."""
        self.need(position, 4, name)
        (back,) = struct.unpack_from("<i", self.data, position)
        vtable = position - back
        self.need(vtable, 4, f"{name} vtable")
        vtable_size, table_size = struct.unpack_from("<HH", self.data, vtable)
        if vtable_size < 4 or vtable_size % 2 or table_size < 4:
            raise WireError(f"vtable of {vtable_size} bytes, table {table_size}", offset=vtable, where=name)
        self.need(vtable, vtable_size, f"{name} vtable")
        self.need(position, table_size, name)
        count = min((vtable_size - 4) // 2, SLOTS_READ)
        return struct.unpack_from(f"<{count}H", self.data, vtable + 4), table_size

    def present(self, position: int, name: str) -> dict[str, Any]:
        """The fields written in the table at `position`, by name."""
        self.tables_left -= 1
        if self.tables_left < 0:
            raise WireError("more tables than so small a file can hold", offset=position, where=name)
        slots, table_size = self.slots(position, name)
        count = len(slots)
        found: dict[str, Any] = {}
        for slot, field, kind, _ in TABLES[name]:
            if slot >= count or not slots[slot]:
                continue
            at = slots[slot]
            if at < 4 or at + WIDTHS.get(kind, 4) > table_size:
                raise WireError("field outside its table", offset=position + at, where=f"{name}.{field}")
            found[field] = self.value(position + at, kind, name, field, found)
        if count > len(TABLES[name]):
            self.note_unknown(slots, name)
        return found

    def note_unknown(self, slots: tuple[int, ...], name: str) -> None:
        for slot, at in enumerate(slots):
            if at and slot not in KNOWN[name]:
                self.unknown[f"{name}[{slot}]"] = None

    def table(self, position: int, name: str) -> Any:
        """The record of the table at `position`."""
        found = self.present(position, name)
        if name == "Model":
            found.setdefault("version", 0)
        record = RECORDS[name]
        made = record(**found)
        if record is Buffer:
            self.follow_buffer(made, position)
        elif record is Operator:
            self.follow_options(made, position)
        return made

    def outside(self, offset: int, size: int, position: int, where: str) -> memoryview:
        """`size` bytes at absolute `offset`, as models above 2 GiB store them."""
        if offset + size > self.size:
            what = f"{size} bytes at {offset} lie past the end ({self.size})"
            raise WireError(what, offset=position, where=where)
        return self.data[offset : offset + size]

    def follow_buffer(self, buffer: Buffer, position: int) -> None:
        # Offsets 0 and 1 are the converter's marks for "none" and "not placed yet".
        if buffer.offset > 1 and buffer.size:
            buffer.data = self.outside(buffer.offset, buffer.size, position, "Buffer.offset")

    def follow_options(self, operator: Operator, position: int) -> None:
        offset, size = operator.large_custom_options_offset, operator.large_custom_options_size
        if offset > 1 and size:
            self.spend(size // 4, position, "Operator.large_custom_options_size")
            operator.custom_options = bytes(
                self.outside(offset, size, position, "Operator.large_custom_options_offset")
            )

    def value(self, at: int, kind: str, table: str, field: str, found: dict[str, Any]) -> Any:
        """The value of one field whose bytes (or offset) stand at `at`."""
        code = FORMATS.get(kind)
        if code:
            return struct.unpack_from("<" + code, self.data, at)[0]
        where = f"{table}.{field}"
        target = self.reference(at, where)
        if kind == "str":
            return self.string(target, where)
        if kind[0] == "[":
            return self.vector(target, kind[1:-1], where)
        if kind[-1] == "?":
            return self.union(target, kind[:-1], found.get(field + "_type", 0), where)
        return self.table(target, kind)

    def union(self, target: int, name: str, member: int, where: str) -> Options | None:
        if member == 0:
            return None
        kinds = UNIONS[name]
        if member not in kinds._value2member_map_:
            raise WireError(f"{name} type {member} is not in the schema", offset=target, where=where)
        table = kinds(member).name
        return Options(table, {**DEFAULTS[table], **self.present(target, table)})

    def string(self, target: int, where: str) -> str:
        length = self.u32(target, where)
        self.need(target + 4, length, where)
        self.spend(length // 4, target, where)
        # A name is no reason to refuse a model the runtime runs: bad UTF-8 is shown escaped.
        return str(self.data[target + 4 : target + 4 + length], "utf-8", "backslashreplace")

    def vector(self, target: int, kind: str, where: str) -> Any:
        length = self.u32(target, where)
        start = target + 4
        width = WIDTHS.get(kind, 4)
        self.need(start, length * width, where)
        if kind == "u8":
            return self.blob(start, length, where)
        self.spend(length, target, where)
        if kind in FORMATS:
            return struct.unpack_from(f"<{length}{FORMATS[kind]}", self.data, start)
        places = range(start, start + 4 * length, 4)
        if kind == "str":
            return [self.string(self.reference(p, where), where) for p in places]
        return [self.table(self.reference(p, where), kind) for p in places]

    def blob(self, start: int, length: int, where: str) -> bytes | memoryview:
        """A view for weights, a copy for the rest (small, and wanted as bytes)."""
        view = self.data[start : start + length]
        if where == "Buffer.data":
            return view
        self.spend(length // 4, start, where)
        return bytes(view)
