"""Our HDF5 reader against h5py, over whatever files h5py can be made to write."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bessemer.wire.errors import WireError
from bessemer.wire.hdf5 import Dataset, Group, read
from bessemer.wire.hdf5.lookup3 import lookup3

h5py = pytest.importorskip("h5py")

VERSIONS = ("earliest", "v108", "v110", "latest")
DTYPES = ("<f4", ">f4", "<f2", ">f2", "<f8", "|i1", "|u1", "<i2", ">i4", "<i8", "<u4", ">u8", "|b1")
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
NAMES = TEXT.filter(lambda name: name not in ("", ".") and "/" not in name)


def written(write: Callable[[Any], None], libver: str = "earliest", **options: Any) -> bytes:
    """The bytes of a file that `write` fills."""
    stream = io.BytesIO()
    with h5py.File(stream, "w", libver=libver, **options) as file:
        write(file)
    return stream.getvalue()


def same(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, str | bytes):
        assert ours == (theirs.decode() if isinstance(theirs, bytes) else theirs)
        return
    theirs = np.asarray(theirs)
    if theirs.dtype.kind in "OS":
        flat = [item.decode() if isinstance(item, bytes) else item for item in theirs.reshape(-1)]
        assert list(np.asarray(ours, object).reshape(-1)) == flat
    else:
        assert ours.dtype.newbyteorder("=") == theirs.dtype.newbyteorder("=")  # a scalar comes back native
        np.testing.assert_array_equal(ours, theirs)
    assert np.shape(ours) == theirs.shape


def compare(data: bytes) -> None:
    """Every object, attribute and element as h5py reads it."""
    with h5py.File(io.BytesIO(data), "r") as file:
        compare_group(read(data), file)


def compare_group(ours: Group, theirs: Any) -> None:
    assert sorted(ours) == sorted(theirs)
    assert set(ours.attributes) == set(theirs.attrs)
    for name in theirs.attrs:
        same(ours.attribute(name), theirs.attrs[name])
    for name in theirs:
        member = ours[name]
        if isinstance(theirs[name], h5py.Group):
            assert isinstance(member, Group)
            compare_group(member, theirs[name])
        else:
            assert isinstance(member, Dataset)
            same(member.read(), theirs[name][()])
            for key in theirs[name].attrs:
                same(member.attribute(key), theirs[name].attrs[key])


ARRAYS = st.sampled_from(DTYPES).flatmap(
    lambda code: arrays.arrays(np.dtype(code), arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=7))
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(VERSIONS),
    st.dictionaries(NAMES, ARRAYS, max_size=4),
    st.dictionaries(NAMES, st.one_of(ARRAYS, TEXT, st.lists(TEXT, min_size=1, max_size=4)), max_size=6),
)
def test_groups_attributes_and_contiguous_data(libver: str, held: dict[str, Any], attributes: dict[str, Any]) -> None:
    def write(file: Any) -> None:
        deep = file.create_group("deep/er")
        for name, array in held.items():
            file[name + "!"] = array
            deep[name] = array
        for name, item in attributes.items():
            deep.attrs[name] = item

    compare(written(write, libver))


LIMITS: list[Callable[[int], int | None]] = [lambda dim: dim, lambda dim: None, lambda dim: dim + 5]


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_chunked_data(data: st.DataObject) -> None:
    code = data.draw(st.sampled_from(DTYPES))
    shape = data.draw(arrays.array_shapes(min_dims=1, max_dims=3, max_side=23))
    chunks = tuple(data.draw(st.integers(1, dim)) for dim in shape)
    grow = data.draw(st.lists(st.sampled_from(LIMITS), min_size=len(shape), max_size=len(shape)))
    array = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 100, shape).astype(code)
    options = {
        "compression": data.draw(st.sampled_from([None, "gzip"])),
        "shuffle": data.draw(st.booleans()),
        "fletcher32": data.draw(st.booleans()),
        "fillvalue": data.draw(st.sampled_from([None, 1])),
        "maxshape": tuple(limit(dim) for limit, dim in zip(grow, shape, strict=True)),
    }
    part = tuple(slice(0, data.draw(st.integers(0, dim))) for dim in shape)

    def write(file: Any) -> None:
        made = file.create_dataset("whole", data=array, chunks=chunks, **options)
        del made
        some = file.create_dataset("some", shape=shape, dtype=code, chunks=chunks, **options)
        some[part] = array[part]

    compare(written(write, data.draw(st.sampled_from(VERSIONS))))


@pytest.mark.parametrize("libver", VERSIONS)
def test_many_chunks_in_every_index(libver: str) -> None:
    """Thousands of chunks: trees of several levels, paged arrays, super blocks."""

    def write(file: Any) -> None:
        line = np.arange(9000, dtype=np.int32)
        for name, limit in (("fixed", 9000), ("growing", None)):
            file.create_dataset(name, data=line, chunks=(2,), maxshape=(limit,))
            file.create_dataset(name + "_packed", data=line, chunks=(2,), maxshape=(limit,), compression="gzip")
            sparse = file.create_dataset(name + "_sparse", (9000,), "i4", chunks=(2,), maxshape=(limit,))
            sparse[17:23], sparse[4000:4010], sparse[8990:] = 1, 2, 3
        square = file.create_dataset("square", (90, 70), "f4", chunks=(1, 2), maxshape=(None, None))
        square[...] = np.arange(6300).reshape(90, 70)
        packed = file.create_dataset("packed", (90, 70), "f4", chunks=(1, 2), maxshape=(None, None), shuffle=True)
        packed[...] = np.arange(6300).reshape(90, 70)
        square.resize((60, 81))

    compare(written(write, libver))


@pytest.mark.parametrize("libver", VERSIONS)
@pytest.mark.parametrize("ordered", [False, True])
def test_many_members_and_attributes(libver: str, ordered: bool) -> None:
    """Enough for dense storage in several blocks; attributes too large for a heap's block."""

    def write(file: Any) -> None:
        group = file.create_group("group", track_order=ordered)
        for number in range(600):
            group.create_group(f"a member with quite a long name {number * 7919 % 1000}").attrs["n"] = number
        for number in range(300):
            group.attrs[f"attribute {number}"] = np.full(number % 50, number, np.float32)
        if libver != "earliest":
            group.attrs["large"] = np.arange(30_000)
        group.attrs["text"] = "x" * 200_000
        group["soft"] = h5py.SoftLink("/nowhere")

    data = written(write, libver)
    theirs = h5py.File(io.BytesIO(data), "r")["group"]
    ours = read(data)["group"]
    assert isinstance(ours, Group)
    assert sorted(ours) == sorted(set(theirs) - {"soft"})
    for name in theirs.attrs:
        same(ours.attribute(name), theirs.attrs[name])
    assert all(ours[name].attribute("n") == theirs[name].attrs["n"] for name in ours)


@pytest.mark.parametrize("libver", VERSIONS)
def test_types(libver: str) -> None:
    import ml_dtypes

    def write(file: Any) -> None:
        file["compact"] = 1.5
        file["fixed"] = np.array([b"ab", b"c"], "S4")
        file["spaced"] = np.array(["ä".encode(), b""], h5py.string_dtype("utf-8", 5))
        file["texts"] = np.array(["one", "", "thrée"], object)
        file["enum"] = np.array([1, 0], h5py.enum_dtype({"A": 0, "B": 1}, "i2"))
        file["named"] = np.dtype("<f4")
        file.create_dataset("committed", data=[1.0, 2.0], dtype=file["named"])
        file.attrs["empty"] = h5py.Empty("f4")
        file.attrs["both"] = [True, False]
        file.attrs["shape"] = (3, 4)
        file.attrs["compound"] = np.zeros(1, [("a", "i4"), ("b", "f4")])
        file["brain"] = np.array([1.5, -2], ml_dtypes.bfloat16).view("V2")

    data = written(write, libver)
    root = read(data)
    theirs = h5py.File(io.BytesIO(data), "r")
    for name in ("compact", "fixed", "spaced", "texts", "enum", "committed"):
        same(root[name].read(), theirs[name][()])  # type: ignore[union-attr]
    brain = root["brain"]
    assert isinstance(brain, Dataset)
    np.testing.assert_array_equal(brain.read().view(ml_dtypes.bfloat16).astype(np.float32), [1.5, -2])
    same(root.attribute("both"), theirs.attrs["both"])
    same(root.attribute("shape"), theirs.attrs["shape"])
    assert root.attribute("empty").shape == (0,)
    with pytest.raises(WireError, match="compound"):
        root.attribute("compound")


def test_user_block_and_mapping(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", userblock_size=1024) as file:
        file["x"] = np.arange(1000, dtype=np.float32)
    held = read(path)["x"]
    assert isinstance(held, Dataset)
    array = held.read()
    np.testing.assert_array_equal(array, np.arange(1000))
    assert not array.flags.owndata and not array.flags.writeable


@pytest.mark.parametrize("compression", ["lzf", "szip"])
def test_filters_that_are_missing_are_named(compression: str) -> None:
    if compression == "szip" and not h5py.h5z.filter_avail(h5py.h5z.FILTER_SZIP):
        pytest.skip("this h5py has no szip")
    data = written(lambda file: file.create_dataset("x", data=np.zeros(100), chunks=(50,), compression=compression))
    held = read(data)["x"]
    assert isinstance(held, Dataset)
    with pytest.raises(WireError, match=compression):
        held.read()


def test_a_checksum_that_does_not_fit_is_told() -> None:
    data = bytearray(written(lambda file: file.create_group("a"), "latest"))
    place = data.index(b"OHDR") + 10
    data[place] ^= 1
    with pytest.raises(WireError, match="checksum"):
        list(read(bytes(data)))


def test_lookup3_as_its_author_states_it() -> None:
    """Self-test values of lookup3.c (driver5)."""
    assert lookup3(b"") == 0xDEADBEEF
    assert lookup3(b"Four score and seven years ago") == 0x17770551
