"""No bytes make the HDF5 reader raise anything but WireError, hang, or grow."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bessemer.wire.errors import WireError
from bessemer.wire.hdf5 import Dataset, Group, read

h5py = pytest.importorskip("h5py")
OLD, NEW = "earliest", "latest"


def written(write: Callable[[Any], None], libver: str) -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w", libver=libver) as file:
        write(file)
    return stream.getvalue()


def everything(file: Any) -> None:
    """One of each structure."""
    group = file.create_group("group")
    for number in range(20):
        group.create_group(f"member {number}").attrs["text"] = ["some", "texts"]
    for number in range(12):
        group.attrs[f"attribute {number}"] = np.arange(number)
    line = np.arange(300, dtype=np.float32)
    file["contiguous"] = line
    file["texts"] = np.array(["one", "two"], object)
    for name, options in {
        "packed": {"compression": "gzip", "shuffle": True, "fletcher32": True}, "growing": {"maxshape": (None,)},
        "both": {"maxshape": (None,), "compression": "gzip"}, "plain": {},
    }.items():  # fmt: skip
        file.create_dataset(name, data=line, chunks=(7,), **options)
    file.create_dataset("square", data=line.reshape(30, 10), chunks=(4, 3), maxshape=(None, None))


@pytest.fixture(scope="module", params=[OLD, NEW])
def seed_file(request: pytest.FixtureRequest) -> bytes:
    return written(everything, request.param)


def visit(node: Group | Dataset, left: list[int]) -> None:
    """All that can be reached, within reason: a file may legally hold itself."""
    left[0] -= 1
    if left[0] < 0:
        return
    _ = node.attributes
    if isinstance(node, Dataset):
        node.read()
        return
    for name in node:
        visit(node[name], left)


def survives(data: bytes) -> WireError | None:
    started = time.process_time()
    error = None
    try:
        visit(read(data), [300])
    except WireError as caught:
        error = caught
        assert str(error)
    assert time.process_time() - started < 5
    return error


def test_the_seed_is_sound(seed_file: bytes) -> None:
    assert survives(seed_file) is None


def test_truncations(seed_file: bytes) -> None:
    for length in range(0, len(seed_file), 61):
        survives(seed_file[:length])
    assert survives(seed_file[: len(seed_file) // 2]) is not None


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_flips(seed_file: bytes, data: st.DataObject) -> None:
    changed = bytearray(seed_file)
    for _ in range(data.draw(st.integers(1, 6))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    survives(bytes(changed))


SIGNATURES = (b"TREE", b"SNOD", b"HEAP", b"GCOL", b"FRHP", b"FHDB", b"BTHD", b"BTLF", b"OHDR", b"EAHD", b"EAIB", b"FAHD")


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_flips_in_structures(seed_file: bytes, data: st.DataObject) -> None:
    """Numbers just behind a structure's signature: sizes, counts, addresses."""
    places = [seed_file.find(name) for name in SIGNATURES if name in seed_file]
    changed = bytearray(seed_file)
    at = data.draw(st.sampled_from(places)) + data.draw(st.integers(4, 60))
    width = data.draw(st.sampled_from([1, 2, 4, 8]))
    value = data.draw(st.sampled_from([0, 1, 2**15, 2**31, 2**63, 2**64 - 1])) % 2 ** (8 * width)
    changed[at : at + width] = value.to_bytes(width, "little")
    survives(bytes(changed))


def test_a_group_that_holds_itself() -> None:
    def write(file: Any) -> None:
        file.create_group("a")["b"] = file["/"]

    root = read(written(write, OLD))
    assert "a" in root["a/b/a/b"]  # type: ignore[operator]


def test_a_tree_that_is_its_own_child() -> None:
    data = bytearray(written(lambda file: [file.create_group(f"g{n}") for n in range(3)], OLD))
    place = data.index(b"TREE")
    data[place + 5] = 1  # its level: it has nodes below it
    struct.pack_into("<Q", data, place + 8 + 16 + 8, place)
    assert survives(bytes(data)) is not None


def test_a_header_that_continues_in_itself() -> None:
    def write(file: Any) -> None:
        group = file.create_group("a")
        for number in range(40):
            group.attrs[f"n{number}"] = number

    data = bytearray(written(write, OLD))
    blocks = [at for at in range(0, len(data) - 24, 8) if data[at : at + 4] == b"\x10\x00\x10\x00"]
    assert blocks
    for at in blocks:
        address, length = struct.unpack_from("<QQ", data, at + 8)
        inner = data.find(b"\x10\x00\x10\x00", address, address + length)
        if inner >= 0:
            struct.pack_into("<QQ", data, inner + 8, address, length)
    survives(bytes(data))


@pytest.mark.parametrize("libver", [OLD, NEW])
@pytest.mark.parametrize("dims", [(2**40,), (2**31, 2**31), (2**24, 16)])
def test_absurd_dims(libver: str, dims: tuple[int, ...]) -> None:
    def write(file: Any) -> None:
        file.create_dataset("x", dims, "f4", chunks=tuple(min(dim, 16) for dim in dims))

    tracemalloc.start()
    error = survives(written(write, libver))
    assert tracemalloc.get_traced_memory()[1] < 200e6
    tracemalloc.stop()
    assert error is not None


@pytest.mark.parametrize("libver", [OLD, NEW])
def test_a_bomb_of_zeros(libver: str) -> None:
    """A gigabyte in a file of about one megabyte."""
    data = written(
        lambda file: file.create_dataset("x", data=np.zeros(2**28, np.uint8), chunks=(2**24,), compression="gzip"), libver
    )
    assert len(data) < 2e6
    tracemalloc.start()
    error = survives(data)
    assert tracemalloc.get_traced_memory()[1] < 300e6
    tracemalloc.stop()
    assert error is not None and "bytes to make" in str(error)


def test_a_chunk_that_unpacks_to_more_than_a_chunk() -> None:
    import zlib

    data = bytearray(
        written(lambda file: file.create_dataset("x", data=np.zeros(4096), chunks=(4096,), compression="gzip"), OLD)
    )
    packed = zlib.compress(np.zeros(4096).tobytes(), 4)
    place = data.index(packed)
    bomb = zlib.compress(bytes(2**20), 9)
    data[place : place + len(packed)] = bomb[: len(packed)]
    assert survives(bytes(data)) is not None


def test_many_names_for_one_large_text() -> None:
    """Four thousand texts that all stand in the same place of a heap: 800 MB from 300 kB."""
    texts = np.array(["x" * 200_000, *["y"] * 4000], object)
    data = bytearray(written(lambda file: file.create_dataset("texts", data=texts), OLD))
    first = struct.pack("<I", 200_000)
    start = next(at for at in range(len(data) - 16) if data[at : at + 4] == first and data[at + 16 : at + 20] == b"\1\0\0\0")
    for number in range(1, 4001):
        data[start + 16 * number : start + 16 * number + 16] = data[start : start + 16]
    error = survives(bytes(data))
    assert error is not None and "bytes to make" in str(error)


def test_elements_of_other_classes_and_data_elsewhere(tmp_path: Any) -> None:
    def write(file: Any) -> None:
        file["compound"] = np.zeros(2, [("a", "i4"), ("b", "f8")])
        file.create_dataset("outside", (100,), "f4", external=[("/etc/passwd", 0, 400)])
        file["elsewhere"] = h5py.ExternalLink("/etc/passwd", "/")

    root = read(written(write, OLD))
    assert "elsewhere" not in root
    for name, words in {"compound": "compound", "outside": "never opened"}.items():
        with pytest.raises(WireError, match=words):
            root[name].read()  # type: ignore[union-attr]
