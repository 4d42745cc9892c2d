"""The header of an array."""

from __future__ import annotations


def head(descr: str, shape: tuple[int, ...]) -> bytes:
    """What stands before an array's elements (C order), padded to a multiple of 64 bytes. descr: numpy's, as '<f4'."""
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape!r}, }}".encode()
    wide = len(text) + 64 > 0xFFFF
    before = 12 if wide else 10
    text += b" " * (-(before + len(text) + 1) % 64) + b"\n"
    return b"\x93NUMPY" + (b"\x02\x00" if wide else b"\x01\x00") + len(text).to_bytes(4 if wide else 2, "little") + text
