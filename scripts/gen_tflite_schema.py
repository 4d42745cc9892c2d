"""Write src/bessemer/wire/tflite/schema.py from the installed ai_edge_litert schema module."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as generated

SCALARS = {
    "Bool": "bool", "Int8": "i8", "Uint8": "u8", "Int16": "i16", "Uint16": "u16", "Int32": "i32",
    "Uint32": "u32", "Int64": "i64", "Uint64": "u64", "Float32": "f32", "Float64": "f64",
}  # fmt: skip
UNIONS = {
    "details": "QuantizationDetails",
    "arraySegments": "SparseIndexVector",
    "arrayIndices": "SparseIndexVector",
    "builtinOptions": "BuiltinOptions",
    "builtinOptions2": "BuiltinOptions2",
}
MEMBER = {"None": "NONE"}
HEADER = '''"""TFLite schema as data: tables, fields, enumerations. Written by scripts/gen_tflite_schema.py.

A field is (slot, name, kind, default). Kinds: a scalar ("i32"), "str", a table ("Tensor"), a vector of
those ("[i32]"), or a union ("BuiltinOptions?"; its type is the field before it).
"""

# fmt: off
from __future__ import annotations

from enum import IntEnum
'''


def snake(name: str) -> str:
    """camelCase to snake_case, as the schema's own source spells it."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])|(?<=[A-Z])([A-Z])(?=[a-z])", r"_\g<0>", name).lower()


def pieces() -> tuple[list[type[Any]], list[type[Any]]]:
    """The module's enumerations and its tables, in order."""
    own = [c for c in vars(generated).values() if inspect.isclass(c) and c.__module__ == generated.__name__]
    tables = [c for c in own if hasattr(generated, c.__name__ + "T")]
    enums = [c for c in own if c not in tables and not hasattr(c, "InitFromObj")]
    return enums, tables


def reference_kind(table: type[Any], field: str) -> str:
    """The kind of a field stored as an offset, from how the accessor reads it."""
    if field in UNIONS and hasattr(table, field[0].upper() + field[1:] + "Type"):
        return UNIONS[field] + "?"
    accessor = field[0].upper() + field[1:]
    source = inspect.getsource(getattr(table, accessor))
    vector = hasattr(table, accessor + "Length")
    made = re.search(r"(?:obj|x) = (\w+)\(\)", source)
    number = re.search(r"number_types\.(\w+)Flags, a", source)
    kind = made.group(1) if made else SCALARS[number.group(1)] if number else "str"
    return f"[{kind}]" if vector else kind


def fields(table: type[Any]) -> list[tuple[int, str, str, Any]]:
    """One (slot, name, kind, default) per field of `table`."""
    name = table.__name__
    found = []
    for attribute, function in vars(generated).items():
        if not re.fullmatch(name + "Add[A-Z]\\w*", attribute):
            continue
        source = inspect.getsource(function)
        head = re.search(r"builder, (\w+)\)", source)
        body = re.search(r"Prepend(\w+?)Slot\((\d+), .*, ([^,]+)\)\s*$", source)
        assert head and body, source
        field = head.group(1)
        if body.group(1) == "UOffsetTRelative":
            found.append((int(body.group(2)), snake(field), reference_kind(table, field), None))
            continue
        kind = SCALARS[body.group(1)]
        default = getattr(getattr(generated, name + "T")(), field)
        found.append((int(body.group(2)), snake(field), kind, default))
    return sorted(found)


def main() -> None:
    """Write the file."""
    enums, tables = pieces()
    out = [HEADER]
    for enum in enums:
        out.append(f'\n\nclass {enum.__name__}(IntEnum):\n    """Values of `{enum.__name__}`."""\n')
        out += [f"    {MEMBER.get(k, k)} = {v}" for k, v in vars(enum).items() if isinstance(v, int)]
    out.append("\n\nField = tuple[int, str, str, int | float | bool | None]")
    out.append("\nTABLES: dict[str, tuple[Field, ...]] = {")
    for table in tables:
        rows = fields(table)
        out.append(f'    "{table.__name__}": (' + (")," if not rows else ""))
        out += [f'        ({s}, "{n}", "{k}", {d!r}),' for s, n, k, d in rows]
        out += ["    ),"] if rows else []
    out.append("}\n\nUNIONS: dict[str, type[IntEnum]] = {")
    out += [f'    "{u}": {u},' for u in sorted(set(UNIONS.values()))]
    out.append("}\n")
    target = Path(__file__).parents[1] / "src/bessemer/wire/tflite/schema.py"
    target.write_text("\n".join(out).replace("\n\n\n\n", "\n\n\n"))


if __name__ == "__main__":
    main()
