"""Datatype messages: what an element of a dataset or an attribute is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bessemer.wire.errors import WireError

if TYPE_CHECKING:
    import numpy as np

    from bessemer.wire.hdf5.bounds import Cursor

CLASSES = (
    "fixed-point", "floating-point", "time", "string", "bit field", "opaque", "compound", "reference", "enumeration",
    "variable-length", "array", "complex",
)  # fmt: skip
FLOATS = {
    (2, 10, 5): "f2", (4, 23, 8): "f4", (8, 52, 11): "f8", (2, 7, 8): "bfloat16", (1, 3, 4): "float8_e4m3fn",
    (1, 2, 5): "float8_e5m2",
}  # fmt: skip
"""(bytes, mantissa bits, exponent bits) and numpy's or ml_dtypes' name."""
MAX_ELEMENT = 1 << 24


@dataclass(frozen=True)
class Type:
    """An element: `size` bytes in the file.

    kind: a number or an enumeration of such (`code`), opaque bytes, text of fixed size, text in a heap.
    code: numpy's code with its byte order, or an ml_dtypes name. boolean: an enumeration of FALSE and TRUE.
    """

    kind: Literal["number", "opaque", "text", "heap text"]
    size: int
    code: str = ""
    boolean: bool = False

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The numpy type of the bytes in the file."""
        import numpy as np

        if self.kind == "text":
            return np.dtype(f"S{self.size}")
        if self.kind != "number":
            return np.dtype(f"V{self.size}")
        if self.code[0] in "<>|":
            return np.dtype(self.code)
        import ml_dtypes

        found: np.dtype[np.generic] = np.dtype(getattr(ml_dtypes, self.code))
        return found


def read_type(cursor: Cursor, depth: int = 0) -> Type:
    """The type at the cursor. Raises WireError for one that holds no numbers or text."""
    first, bits, size = cursor.uint(1), cursor.uint(3), cursor.uint(4)
    kind, version = first & 15, first >> 4
    if not 0 < size <= MAX_ELEMENT or depth > 4:
        raise cursor.error(f"a datatype of {size} bytes")
    if kind == 0:
        return _integer(cursor, bits, size)
    if kind == 1:
        return _float(cursor, bits, size)
    if kind == 3:
        return Type("text", size)
    if kind == 5:
        cursor.raw(bits & 255)
        return Type("opaque", size)
    if kind == 8:
        return _enumeration(cursor, bits & 0xFFFF, version, depth)
    if kind == 9 and bits & 15 == 1:
        read_type(cursor, depth + 1)
        return Type("heap text", size)
    name = CLASSES[kind] if kind < len(CLASSES) else f"number {kind}"
    raise cursor.error(f"elements of the class '{name}' cannot be read here")


def _integer(cursor: Cursor, bits: int, size: int) -> Type:
    shift, precision = cursor.uint(2), cursor.uint(2)
    if size not in (1, 2, 4, 8) or shift or precision != 8 * size:
        raise cursor.error(f"integers of {precision} bits in {size} bytes cannot be read here")
    order = "|" if size == 1 else ">" if bits & 1 else "<"
    return Type("number", size, f"{order}{'i' if bits & 8 else 'u'}{size}")


def _float(cursor: Cursor, bits: int, size: int) -> Type:
    cursor.raw(4)
    _, exponent, _, mantissa = (cursor.uint(1) for _ in range(4))
    cursor.uint(4)
    code = FLOATS.get((size, mantissa, exponent))
    big = bits & 0x41
    if code is None or big == 0x40:
        raise cursor.error(f"floats of {mantissa} + {exponent} bits in {size} bytes cannot be read here")
    if not code.startswith("f") or code.startswith("float8"):
        if big and size > 1:
            raise WireError(f"{code} in big-endian order cannot be read here", offset=cursor.place)
        return Type("number", size, code)
    return Type("number", size, (">" if big else "<") + code)


def _enumeration(cursor: Cursor, members: int, version: int, depth: int) -> Type:
    base = read_type(cursor, depth + 1)
    if base.kind != "number" or "f" in base.code:
        raise cursor.error("an enumeration of what are no integers")
    names = [_member(cursor, padded=version < 3) for _ in range(members)]
    values = bytes(cursor.raw(members * base.size))
    boolean = base.size == 1 and dict(zip(names, values, strict=True)) == {"FALSE": 0, "TRUE": 1}
    return Type("number", base.size, base.code, boolean)


def _member(cursor: Cursor, *, padded: bool) -> str:
    start = cursor.place
    name = cursor.zero_ended()
    if padded:
        cursor.raw(-(cursor.place - start) % 8)
    return name
