"""Snappy's raw format, assembled piece by piece as its description says: every kind of piece, at every distance."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bessemer.wire.savedmodel.snappy import uncompressed
from bessemer.wire.savedmodel.table import crc32c, masked


def varint(value: int) -> bytes:
    made = bytearray()
    while value >= 0x80:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*made, value])


def literal(data: bytes) -> bytes:
    count = len(data) - 1
    if count < 60:
        return bytes([count << 2]) + data
    size = (count.bit_length() + 7) // 8
    return bytes([(59 + size) << 2]) + count.to_bytes(size, "little") + data


def copy(back: int, count: int) -> bytes:
    if 4 <= count <= 11 and back < 2048:
        return bytes([1 | (count - 4) << 2 | back >> 8 << 5, back & 0xFF])
    if back < 65536:
        return bytes([2 | (count - 1) << 2]) + back.to_bytes(2, "little")
    return bytes([3 | (count - 1) << 2]) + back.to_bytes(4, "little")


PIECES = st.lists(
    st.one_of(
        st.binary(min_size=1, max_size=300),
        st.integers(70_000, 80_000).map(bytes),
        st.tuples(st.floats(0, 1), st.integers(1, 64)),
    ),
    min_size=1,
    max_size=30,
)


@given(PIECES)
def test_any_sequence_of_pieces(pieces: list[Any]) -> None:
    plain, packed = bytearray(), bytearray()
    for piece in pieces:
        if isinstance(piece, bytes):
            plain += piece
            packed += literal(piece)
        elif plain:
            back = 1 + int(piece[0] * (len(plain) - 1))
            for _ in range(piece[1]):
                plain.append(plain[-back])
            packed += copy(back, piece[1])
    assert uncompressed(varint(len(plain)) + bytes(packed)) == bytes(plain)


def test_checksums_of_the_standard() -> None:
    """RFC 3720, appendix B.4; the mask as LevelDB's own test has it: masking twice differs, and neither is the plain sum."""
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    plain = crc32c(b"foo")
    assert len({plain, masked(plain), masked(masked(plain))}) == 3
