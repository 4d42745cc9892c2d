"""Flat maps of numbers in FlexBuffers, as custom operators store their options."""

from __future__ import annotations

import struct

INT, UINT, FLOAT, INDIRECT_INT, INDIRECT_UINT, INDIRECT_FLOAT, MAP, BOOL = 1, 2, 3, 6, 7, 8, 9, 26
CODES = {
    INT: {1: "b", 2: "h", 4: "i", 8: "q"}, UINT: {1: "B", 2: "H", 4: "I", 8: "Q"}, FLOAT: {4: "f", 8: "d"},
}  # fmt: skip
INLINE = {INT: INT, UINT: UINT, FLOAT: FLOAT, BOOL: UINT}
INDIRECT = {INDIRECT_INT: INT, INDIRECT_UINT: UINT, INDIRECT_FLOAT: FLOAT}


def numbers(data: bytes) -> dict[str, float]:
    """Numeric entries of the map at the root of `data`; other entries are left out.

    Raises ValueError when the bytes are no such map or an offset leads outside.
    """
    if len(data) < 3 or data[-2] >> 2 != MAP:
        raise ValueError("the options are no FlexBuffers map")
    width, child = data[-1], 1 << (data[-2] & 3)
    start = _follow(data, len(data) - 2 - width, width)
    count = int(_number(data, start - child, child, UINT))
    keys_at, keys_width = start - 3 * child, int(_number(data, start - 2 * child, child, UINT))
    keys = _follow(data, keys_at, child)
    if count > len(data):
        raise ValueError(f"{count} entries in {len(data)} bytes")
    found: dict[str, float] = {}
    for i in range(count):
        packed = int(_number(data, start + count * child + i, 1, UINT))
        value = _value(data, start + i * child, child, packed)
        if value is not None:
            found[_key(data, _follow(data, keys + i * keys_width, keys_width))] = value
    return found


def _value(data: bytes, at: int, width: int, packed: int) -> float | None:
    kind = packed >> 2
    if kind in INLINE:
        return _number(data, at, width, INLINE[kind])
    if kind in INDIRECT:
        return _number(data, _follow(data, at, width), 1 << (packed & 3), INDIRECT[kind])
    return None


def _number(data: bytes, at: int, width: int, kind: int) -> float:
    code = CODES[kind].get(width)
    if code is None or at < 0 or at + width > len(data):
        raise ValueError(f"a number of {width} bytes at {at} of {len(data)}")
    value: float = struct.unpack_from("<" + code, data, at)[0]
    return value


def _follow(data: bytes, at: int, width: int) -> int:
    """Offsets lead backwards."""
    target = at - int(_number(data, at, width, UINT))
    if target < 0:
        raise ValueError(f"the offset at {at} leads outside")
    return target


def _key(data: bytes, at: int) -> str:
    end = data.find(b"\0", at)
    if end < 0:
        raise ValueError("a key without an end")
    return data[at:end].decode("utf-8", "backslashreplace")
