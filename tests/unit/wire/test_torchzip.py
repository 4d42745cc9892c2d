"""Files of weights read without unpickling, against torch.load."""

from __future__ import annotations

import io
import pickle
import tempfile
import warnings
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bessemer.wire.errors import WireError
from bessemer.wire.safetensors import read as read_safetensors
from bessemer.wire.torchzip import ForeignNames, State, Tensor, read

torch = pytest.importorskip("torch")

DTYPES = (
    "float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64",
    "complex128", "float8_e4m3fn", "float8_e5m2", "uint16", "uint32",
)  # fmt: skip


@st.composite
def tensors(draw: st.DrawFn) -> Any:
    """A tensor of any type, often a view: transposed, sliced, expanded, sharing a storage."""
    shape = draw(st.lists(st.integers(0, 5), max_size=4))
    dtype = getattr(torch, draw(st.sampled_from(DTYPES)))
    seed = draw(st.integers(0, 1 << 16))
    made = (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 20).abs().to(dtype)
    view = draw(st.sampled_from(["plain", "transposed", "sliced", "expanded", "narrowed"]))
    if view == "transposed" and made.ndim > 1:
        return made.transpose(0, -1)
    if view == "sliced" and made.ndim and made.shape[0] > 1:
        return made[1::2]
    if view == "expanded" and made.ndim:
        return made[:1].expand(3, *made.shape[1:]) if made.shape[0] else made
    if view == "narrowed" and made.ndim and made.shape[-1] > 1:
        return made.narrow(-1, 1, made.shape[-1] - 1)
    return made


def bits(array: Any) -> bytes:
    return bytes(np.ascontiguousarray(array).tobytes())


def torch_bits(tensor: Any) -> bytes:
    flat = tensor.detach().resolve_conj().resolve_neg().contiguous()
    row = torch.as_strided(flat, (flat.numel(),), (1,))  # one element may have any stride
    return bytes(row.view(torch.uint8).numpy().tobytes()) if flat.numel() else b""


def saved(value: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(value, stream, **options)
    return stream.getvalue()


def assert_same(state: State, wanted: dict[tuple[str, ...], Any]) -> None:
    found = state.tensors()
    assert list(found) == list(wanted)
    for path, tensor in found.items():
        reference = wanted[path]
        assert tensor.shape == tuple(reference.shape)
        assert tensor.dtype == str(reference.dtype).removeprefix("torch.")
        assert bits(tensor.numpy()) == torch_bits(reference)


@settings(max_examples=150)
@given(items=st.lists(tensors(), min_size=1, max_size=5), modern=st.booleans(), protocol=st.integers(2, 5))
def test_tensors_of_every_type_and_view(items: list[Any], modern: bool, protocol: int) -> None:
    value = OrderedDict((f"layer.{place}", item) for place, item in enumerate(items))
    if not modern:  # the legacy form cannot write the younger types
        young = (torch.float8_e4m3fn, torch.float8_e5m2, torch.uint16, torch.uint32)
        value = OrderedDict((key, item) for key, item in value.items() if item.dtype not in young)
    data = saved(value, _use_new_zipfile_serialization=modern, pickle_protocol=protocol)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of the protocols that it did not write
        again = torch.load(io.BytesIO(data), weights_only=False)
    assert_same(read(data), {(key,): item for key, item in again.items()})


def test_views_of_one_storage_are_read_once_and_from_a_file() -> None:
    base = torch.arange(100, dtype=torch.float32)
    value = {"a": base[10:20], "b": base[15:], "c": base.view(10, 10).t()}
    for modern in (True, False):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "shared.pt"
            torch.save(value, path, _use_new_zipfile_serialization=modern)
            state = read(path)
            assert_same(state, {(key,): item for key, item in value.items()})
            assert len({id(tensor.storage) for tensor in state.tensors().values()}) == 1


def test_a_checkpoint_keeps_its_nesting_and_its_plain_values() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(5, 3)).sum().backward()
    optimizer.step()
    value = {
        "epoch": 3, "state_dict": model.state_dict(), "optimizer": optimizer.state_dict(), "best": 0.5, "tags": {"a", "b"},
        "dtype": torch.float16, "size": torch.Size([2, 3]), "device": torch.device("cpu"), "big": 1 << 80,
        "nested": [(1, 2.5), None, True, b"raw", 3 + 4j], "counts": defaultdict(list, {"x": [1]}),
        "numpy": np.arange(6, dtype=np.int16).reshape(2, 3).T, "scalar": np.float64(1.5),
    }  # fmt: skip
    for modern in (True, False):
        state = read(saved(value, _use_new_zipfile_serialization=modern))
        leaves = dict(state.leaves())
        assert leaves[("epoch",)] == 3
        assert leaves[("best",)] == 0.5
        assert leaves[("tags",)] == {"a", "b"}
        assert leaves[("big",)] == 1 << 80
        assert leaves[("size", "1")] == 3
        assert [leaves[("nested", "0", "1")], leaves[("nested", "3")], leaves[("nested", "4")]] == [2.5, b"raw", 3 + 4j]
        assert leaves[("counts", "x", "0")] == 1
        assert leaves[("scalar",)] == 1.5
        array = leaves[("numpy",)]
        assert isinstance(array, Tensor)
        assert np.array_equal(array.numpy(), value["numpy"])
        found = {path[1]: tensor for path, tensor in state.tensors().items() if path[0] == "state_dict"}
        assert list(found) == list(model.state_dict())
        assert all(np.array_equal(found[name].numpy(), item.numpy()) for name, item in model.state_dict().items())


def test_quantized_tensors_keep_their_codes_and_scales() -> None:
    real = torch.randn(4, 3)
    whole = torch.quantize_per_tensor(real, 0.05, 3, torch.quint8)
    scales, zeros = torch.rand(4, dtype=torch.double) + 0.1, torch.zeros(4, dtype=torch.long)
    rows = torch.quantize_per_channel(real, scales, zeros, 0, torch.qint8)
    state = read(saved({"whole": whole, "rows": rows}))
    first, second = state.tensors()[("whole",)], state.tensors()[("rows",)]
    assert first.quantizer is not None
    assert second.quantizer is not None
    assert (first.quantizer.scale, first.quantizer.zero_point, first.dtype) == (0.05, 3, "uint8")
    assert np.array_equal(first.numpy(), whole.int_repr().numpy())
    assert second.quantizer.axis == 0
    assert np.array_equal(second.quantizer.scale.numpy(), rows.q_per_channel_scales().numpy())
    assert np.array_equal(second.numpy(), rows.int_repr().numpy())


def test_lazy_bits_parameters_and_the_other_byte_order() -> None:
    complex_ = torch.randn(3, dtype=torch.complex64)
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.note = "seen"  # type: ignore[attr-defined]
    value = {"conj": complex_.conj(), "neg": complex_.clone().conj().imag, "parameter": parameter}
    state = read(saved(value))
    for key, item in value.items():
        assert np.array_equal(state.tensors()[(key,)].numpy(), item.detach().resolve_conj().resolve_neg().numpy())
    import zipfile

    swapped, source = io.BytesIO(), zipfile.ZipFile(io.BytesIO(saved({"a": torch.tensor([1, 2, 3], dtype=torch.int32)})))
    with zipfile.ZipFile(swapped, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            content = b"big" if name.endswith("byteorder") else content
            content = np.frombuffer(content, "<i4").byteswap().tobytes() if "/data/0" in name else content
            target.writestr(name, content)
    assert read(swapped.getvalue()).tensors()[("a",)].numpy().tolist() == [1, 2, 3]


ATOMS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.lists(inner, max_size=4)
    return lists | st.dictionaries(st.text(max_size=5), inner, max_size=4) | st.tuples(inner, inner)


@given(value=st.recursive(ATOMS, containers, max_leaves=20), protocol=st.integers(0, 5))
def test_plain_pickles_mean_what_pickle_says(value: Any, protocol: int) -> None:
    assert read(pickle.dumps(value, protocol=protocol)).values == value


def test_a_plain_pickle_of_tensors_holds_a_file_per_storage() -> None:
    value = {"weight": torch.arange(6.0).reshape(2, 3).t()}
    found = read(pickle.dumps(value)).tensors()[("weight",)]
    assert np.array_equal(found.numpy(), value["weight"].numpy())


class Net(torch.nn.Module):  # type: ignore[misc, name-defined]
    """Pickled whole below."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)


@pytest.mark.parametrize("modern", [True, False])
def test_a_whole_module_names_all_its_classes(modern: bool) -> None:
    with pytest.raises(ForeignNames) as error:
        read(saved(Net(), _use_new_zipfile_serialization=modern))
    assert error.value.names[0].endswith(".Net")
    assert "torch.nn.modules.linear.Linear" in error.value.names
    assert error.value.top.endswith(".Net")


@settings(max_examples=300)
@given(data=st.data(), modern=st.booleans())
def test_damaged_files_are_refused_or_read_and_nothing_else(data: st.DataObject, modern: bool) -> None:
    """Flipped bytes and cut ends: WireError, or tensors whose bytes can be had; never another exception."""
    whole = bytearray(FILES[modern])
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = whole[: data.draw(st.integers(0, len(whole)))] if data.draw(st.booleans()) else whole
    try:
        for tensor in read(bytes(cut)).tensors().values():
            tensor.numpy()
    except WireError:
        return


FILES = {
    modern: saved(
        {"a": torch.ones(3, 4).t(), "b": [torch.arange(4), {"c": torch.zeros(2, dtype=torch.float16)}], "n": np.ones(3)},
        _use_new_zipfile_serialization=modern,
    )
    for modern in (True, False)
}


def test_safetensors_as_the_package_reads_them(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    held = {"a": torch.randn(2, 3), "b": torch.arange(5), "c": torch.randn(4).to(torch.bfloat16), "e": torch.zeros(0, 2)}
    safetensors.save_file(held, tmp_path / "w.safetensors", metadata={"format": "pt"})
    found = read_safetensors(tmp_path / "w.safetensors")
    assert set(found) == set(held)
    assert all(bits(found[name].numpy()) == torch_bits(item) for name, item in held.items())


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}', "4 bytes for 2 elements"),
        (b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,800]}}', "place or shape"),
        (b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,8]}}', "place or shape"),
        (b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', "between them"),
        (b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', "after the last"),
        (b'{"a":{"dtype":"XX","shape":[2],"data_offsets":[0,8]}}', "the type XX"),
        (b'{"a":1,"a":2}', "twice"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "no JSON object"),
    ],
)
def test_hostile_safetensors(header: bytes, why: str, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(WireError, match=why):
        read_safetensors(path)
    path.write_bytes((1 << 62).to_bytes(8, "little") + header)
    with pytest.raises(WireError, match="a header of"):
        read_safetensors(path)
