"""Archives that are written out of order, beside Python's zipfile and zlib."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bessemer.wire.errors import WireError
from bessemer.wire.zipstore import Member, headers, joined, layout


@given(st.binary(max_size=300), st.binary(max_size=300), st.binary(max_size=5))
def test_checksums_of_runs_are_joined(first: bytes, second: bytes, third: bytes) -> None:
    both = joined(zlib.crc32(first), zlib.crc32(second), len(second))
    assert both == zlib.crc32(first + second)
    assert joined(both, zlib.crc32(third), len(third)) == zlib.crc32(first + second + third)


def test_long_runs_are_joined() -> None:
    zeros = bytes(70_000_001)
    assert joined(zlib.crc32(b"abc"), zlib.crc32(zeros), len(zeros)) == zlib.crc32(b"abc" + zeros)


def written(path: Path, contents: dict[str, bytes], alignment: int) -> None:
    places = layout([Member(name, len(data)) for name, data in contents.items()], alignment)
    held = bytearray(places.total)
    for (name, data), place in zip(contents.items(), places.contents, strict=True):
        assert place % alignment == 0, name
        held[place : place + len(data)] = data
    for place, data in headers(places, [zlib.crc32(data) for data in contents.values()]):
        held[place : place + len(data)] = data
    path.write_bytes(held)


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)


@given(st.dictionaries(NAMES, st.binary(max_size=200), max_size=6), st.sampled_from([1, 4, 64]))
def test_zipfile_reads_them(tmp_path_factory: pytest.TempPathFactory, contents: dict[str, bytes], size: int) -> None:
    path = tmp_path_factory.mktemp("zip") / "a.zip"
    written(path, contents, size)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert {info.orig_filename: archive.read(info) for info in archive.infolist()} == contents


def test_sizes_and_places_beyond_4_gb(tmp_path: Path) -> None:
    large = (5 << 30) + 3
    places = layout([Member("large", large), Member("behind", 4)])
    path = tmp_path / "large.zip"
    with path.open("wb") as file:  # sparse: a few KB on the disk
        file.truncate(places.total)
        for place, data in headers(places, [0, zlib.crc32(b"tail")]):
            file.seek(place)
            file.write(data)
        file.seek(places.contents[1])
        file.write(b"tail")
    with zipfile.ZipFile(path) as archive:
        assert archive.getinfo("large").file_size == large
        assert archive.read("behind") == b"tail"
        with archive.open("large") as stream:
            assert stream.read(3) == bytes(3)


def test_names_that_no_archive_holds_are_refused() -> None:
    with pytest.raises(WireError, match="two members"):
        layout([Member("a", 1), Member("a", 2)])
    with pytest.raises(WireError, match="bytes"):
        layout([Member("a" * 70_000, 1)])
