"""One pickle instruction after the other, bounds checked (the formats are those of CPython's pickletools)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from bessemer.wire.errors import WireError

LINE = 1 << 16
"""Longest line of a text instruction."""
WIDE = 1024
"""Most bytes of one integer."""
LARGE = 4096
"""From this size on bytes stay a view of the file."""

PLAIN = frozenset(b".012(N]})ldtaesuobRQ\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94\x97\x98")
FIXED = {
    "K": "<B", "h": "<B", "q": "<B", "\x80": "<B", "\x82": "<B", "M": "<H", "\x83": "<H", "J": "<i", "j": "<I",
    "r": "<I", "\x84": "<i", "\x95": "<Q", "G": ">d",
}  # fmt: skip
COUNTED = {
    "T": "<i", "U": "<B", "X": "<I", "\x8c": "<B", "\x8d": "<Q", "B": "<I", "C": "<B", "\x8e": "<Q", "\x96": "<Q",
    "\x8a": "<B", "\x8b": "<i",
}  # fmt: skip
LINES = {"I": 1, "L": 1, "F": 1, "S": 1, "V": 1, "g": 1, "p": 1, "P": 1, "c": 2, "i": 2}


def step(data: memoryview, at: int) -> tuple[str, Any, int]:
    """(instruction, its argument, where the next one starts). Raises WireError."""
    if at >= len(data):
        raise WireError("the pickle ends without a STOP", offset=at)
    code = data[at]
    if code in PLAIN:
        return chr(code), None, at + 1
    name = chr(code)
    if name in FIXED:
        return name, *_fixed(data, at + 1, FIXED[name])
    if name in COUNTED:
        count, start = _fixed(data, at + 1, COUNTED[name])
        if count < 0 or count > len(data) - start:
            raise WireError(f"an item of {count} bytes in a file that has {len(data) - start} left", offset=at)
        return name, _item(name, data[start : start + count], at), start + count
    if name in LINES:
        return _lines(name, data, at)
    raise WireError(f"no pickle instruction has the code 0x{code:02x}", offset=at)


def _fixed(data: memoryview, at: int, form: str) -> tuple[Any, int]:
    size = struct.calcsize(form)
    if at + size > len(data):
        raise WireError("the pickle ends inside an instruction", offset=at)
    return struct.unpack_from(form, data, at)[0], at + size


def _item(name: str, raw: memoryview, at: int) -> Any:
    if name in "X\x8c\x8d":
        return _text(raw, at, "surrogatepass")
    if name in "TU":  # Python 2's str: text where it can be
        return bytes(raw).decode("utf-8", "surrogateescape")
    if name in "\x8a\x8b":
        if len(raw) > WIDE:
            raise WireError(f"an integer of {len(raw)} bytes", offset=at)
        return int.from_bytes(raw, "little", signed=True)
    return raw if len(raw) >= LARGE else bytes(raw)


def _text(raw: memoryview, at: int, errors: str) -> str:
    try:
        return bytes(raw).decode("utf-8", errors)
    except UnicodeDecodeError:
        raise WireError("a text that is not UTF-8", offset=at) from None


def _lines(name: str, data: memoryview, at: int) -> tuple[str, Any, int]:
    found: list[bytes] = []
    start = at + 1
    for _ in range(LINES[name]):
        window = bytes(data[start : start + LINE])
        end = window.find(b"\n")
        if end < 0:
            raise WireError("a line without an end", offset=start)
        found.append(window[:end])
        start += end + 1
    try:
        return name, READERS[name](found), start
    except (ValueError, UnicodeDecodeError, OverflowError):
        raise WireError(f"'{name}' with an argument that it cannot have", offset=at) from None


def _number(lines: list[bytes]) -> int | bool:
    """Protocol 0 writes booleans as 00 and 01."""
    if lines[0] in (b"00", b"01"):
        return lines[0] == b"01"
    return int(lines[0])


def _quoted(lines: list[bytes]) -> str:
    """The repr of a Python 2 str."""
    import codecs

    text = lines[0].strip()
    if len(text) < 2 or text[:1] not in (b'"', b"'") or text[:1] != text[-1:]:
        raise ValueError(text)
    return codecs.escape_decode(text[1:-1])[0].decode("utf-8", "surrogateescape")


def _name(lines: list[bytes]) -> tuple[str, str]:
    return lines[0].decode("utf-8", "surrogateescape"), lines[1].decode("utf-8", "surrogateescape")


READERS: dict[str, Callable[[list[bytes]], Any]] = {
    "I": _number,
    "L": lambda lines: int(lines[0].rstrip(b"L")),
    "F": lambda lines: float(lines[0]),
    "S": _quoted,
    "V": lambda lines: lines[0].decode("raw-unicode-escape"),
    "g": lambda lines: int(lines[0]),
    "p": lambda lines: int(lines[0]),
    "P": lambda lines: lines[0].decode("ascii"),
    "c": _name,
    "i": _name,
}
