"""Targets of plain weights beside the libraries that read them: safetensors, torch, numpy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from bessemer.ir.checkpoint import Adapter, Checkpoint
from bessemer.ir.errors import Declined
from bessemer.ir.model import Origin
from bessemer.sources.base import OpenOptions
from bessemer.sources.huggingface.checkpoint import checkpoint as of_directory
from bessemer.targets import TARGETS
from bessemer.weights.views import from_array, stored

DRAW = np.random.default_rng(7)
KEPT = ("float32", "float16", "float64", "int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64", "bool")
BEYOND = ("bfloat16", "float8_e4m3fn", "float8_e5m2")


def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    kind = np.dtype(getattr(ml_dtypes, name, None) or name)
    values = np.asarray(DRAW.normal(size=shape) * 4)
    values = values > 0 if name == "bool" else np.abs(values) if kind.kind == "u" else values
    return np.asarray(values).astype(kind)


def arrays(*names: str) -> dict[str, np.ndarray[Any, Any]]:
    """Every type, with odd sizes, an empty tensor, a number and many rows."""
    held = {f"w.{name}": drawn(name, (5, 7)) for name in names}
    return {**held, "scalar": drawn("float32", ()), "none": drawn("float32", (0, 3)), "long": drawn("float16", (70_001, 33))}


def checkpoint(values: dict[str, np.ndarray[Any, Any]], config: dict[str, Any] | None = None) -> Checkpoint:
    tensors = {name: from_array(name, value) for name, value in values.items()}
    return Checkpoint(tensors, config or {}, None, Origin("torch", Path("made.pt")))


def written(name: str, held: Checkpoint, out: Path, **options: Any) -> Path:
    entry = next(entry for entry in TARGETS if entry.name == name)
    target = entry.load_checkpoint()
    seen: list[int] = []
    prepared = target.prepare(held, target.options(**options))
    artifact = target.write(prepared, out, "made", seen.append)
    assert sum(seen) == prepared.elements == held.parameters
    assert all(file.is_file() for file in artifact.files)
    assert {file for file in artifact.path.rglob("*") if file.is_file()} == set(artifact.files)
    return artifact.path


def same(found: Any, wanted: np.ndarray[Any, Any]) -> None:
    assert found.dtype == wanted.dtype and found.shape == wanted.shape
    assert found.tobytes() == wanted.tobytes()


def test_safetensors_is_the_librarys_own_file(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.numpy")
    values = arrays(*KEPT, "bfloat16")
    path = written("safetensors", checkpoint(values), tmp_path) / "model.safetensors"
    library.save_file(values, tmp_path / "theirs.safetensors", metadata={"format": "pt"})
    assert path.read_bytes() == (tmp_path / "theirs.safetensors").read_bytes()


def test_safetensors_of_small_floats_is_read_by_the_library(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.torch")
    torch = pytest.importorskip("torch")
    values = arrays(*BEYOND)
    found = library.load_file(written("safetensors", checkpoint(values), tmp_path) / "model.safetensors")
    for name, value in values.items():
        assert found[name].dtype == getattr(torch, value.dtype.name)
        assert found[name].flatten().view(torch.uint8).numpy().tobytes() == value.tobytes()


def test_large_models_are_split_with_an_index(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.numpy")
    values = {f"layer.{place}": drawn("float32", (10, 100)) for place in range(7)}
    folder = written("safetensors", checkpoint(values, {"model_type": "made"}), tmp_path, shard=9e-6)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 7 * 4000
    assert sorted(set(index["weight_map"].values())) == [f"model-{place:05}-of-00004.safetensors" for place in range(1, 5)]
    for name, file in index["weight_map"].items():
        same(library.load_file(folder / file)[name], values[name])
    again = of_directory(folder, OpenOptions())
    assert again.config == {"model_type": "made", "torch_dtype": "float32"}
    for name, value in values.items():
        same(stored(again.tensors[name]), value)


@pytest.mark.parametrize("mapped", [False, True])
def test_torch_loads_the_state_dict_without_trust(tmp_path: Path, mapped: bool) -> None:
    torch = pytest.importorskip("torch")
    values = arrays(*KEPT, *BEYOND)
    path = written("pytorch", checkpoint(values), tmp_path) / "pytorch_model.bin"
    found = torch.load(path, weights_only=True, mmap=mapped)
    assert list(found) == list(values)
    for name, value in values.items():
        assert found[name].dtype == getattr(torch, value.dtype.name) and tuple(found[name].shape) == value.shape
        assert found[name].contiguous().flatten().view(torch.uint8).numpy().tobytes() == value.tobytes()


def test_numpy_loads_the_archive(tmp_path: Path) -> None:
    values = arrays(*KEPT, *BEYOND)
    path = written("npz", checkpoint(values), tmp_path) / "model.npz"
    with np.load(path) as found:
        assert sorted(found.files) == sorted(values)
        for name, value in values.items():
            beyond = name.removeprefix("w.") in BEYOND
            same(found[name], value.astype(np.float32) if beyond else value)
            if beyond:
                same(found[name].astype(value.dtype), value)


@pytest.mark.parametrize("target", ["safetensors", "pytorch", "npz"])
def test_what_is_written_is_read_again(tmp_path: Path, target: str) -> None:
    values = arrays(*KEPT)
    folder = written(target, checkpoint(values, {"model_type": "made", "dtype": "float16"}), tmp_path)
    again = of_directory(folder, OpenOptions())
    assert again.config == {"model_type": "made", "dtype": "float16"}
    assert set(again.tensors) == set(values)
    for name, value in values.items():
        same(stored(again.tensors[name]), value)


@pytest.mark.parametrize("target", ["safetensors", "pytorch", "npz"])
def test_the_same_checkpoint_is_the_same_file(tmp_path: Path, target: str) -> None:
    held = checkpoint(arrays("float32", "bfloat16"))
    files = []
    for place in "ab":
        (tmp_path / place).mkdir()
        files.append(written(target, held, tmp_path / place))
    assert [(file.name, file.read_bytes()) for file in sorted(files[0].iterdir())] == [
        (file.name, file.read_bytes()) for file in sorted(files[1].iterdir())
    ]


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_floats_are_rounded_as_numpy_rounds(tmp_path: Path, precision: str) -> None:
    library = pytest.importorskip("safetensors.numpy")
    values = arrays("float32", "float16", "bfloat16", "float64", "int32", "float8_e5m2")
    folder = written("safetensors", checkpoint(values, {"torch_dtype": "float64"}), tmp_path, precision=precision)
    found = library.load_file(folder / "model.safetensors")
    assert json.loads((folder / "config.json").read_text()) == {"torch_dtype": precision}
    kind = np.dtype(getattr(ml_dtypes, precision, None) or precision)
    for name, value in values.items():
        same(found[name], value if name == "w.int32" else value.astype(np.float32).astype(kind))


def test_what_is_kept_is_called_by_most_of_its_weights() -> None:
    norms = {f"norm.{place}": drawn("float32", (8,)) for place in range(5)}
    target = next(entry for entry in TARGETS if entry.name == "pytorch").load_checkpoint()
    prepared = target.prepare(checkpoint({"w": drawn("bfloat16", (20, 30)), **norms}), target.options())
    assert (prepared.precision, prepared.types) == ("bfloat16", {"F32": 5, "BF16": 1})


def test_blocks_are_decoded_and_noted(tmp_path: Path) -> None:
    from bessemer.blocks import encoded
    from bessemer.ir.checkpoint import Lazy

    values = drawn("float32", (6, 64))
    raw = encoded(values, "Q8_0")
    tensor = Lazy("w", (6, 64), "Q8_0", 68, lambda start, stop: raw[start:stop])
    held = Checkpoint({"w": tensor}, {}, None, Origin("gguf", tmp_path))
    target = next(entry for entry in TARGETS if entry.name == "npz").load_checkpoint()
    prepared = target.prepare(held, target.options())
    assert prepared.types == {"F32": 1} and any("1 of Q8_0" in note for note in prepared.notes)
    path = target.write(prepared, tmp_path, "made").files[0]
    blocks = raw.reshape(-1, 34)
    scales = np.ascontiguousarray(blocks[:, :2]).view(np.float16).astype(np.float32)
    meant = blocks[:, 2:].view(np.int8).astype(np.float32) * scales
    with np.load(path) as found:
        same(found["w"], meant.reshape(6, 64))


def test_what_float16_cannot_hold_is_declined(tmp_path: Path) -> None:
    held = checkpoint({"fine": drawn("float32", (2, 2)), "large": np.full((3, 3), 7e4, np.float32)})
    with pytest.raises(Declined, match=r"large.*70000.*bfloat16"):
        written("safetensors", held, tmp_path, precision="float16")


def test_infinities_stay_what_they_are(tmp_path: Path) -> None:
    odd = np.array([[np.inf, -np.inf, np.nan, 1.0]], np.float32)
    path = written("npz", checkpoint({"odd": odd}), tmp_path, precision="float16") / "model.npz"
    with np.load(path) as found:
        np.testing.assert_array_equal(found["odd"], odd.astype(np.float16))


def test_adapters_stay_adapters(tmp_path: Path) -> None:
    held = checkpoint({"base_model.model.q.lora_A.weight": drawn("float32", (2, 8))})
    held.adapter = Adapter({"peft_type": "LORA", "r": 2, "lora_alpha": 4})
    for target, name in {"safetensors": "adapter_model.safetensors", "pytorch": "adapter_model.bin"}.items():
        folder = written(target, held, tmp_path / "" if target == "pytorch" else _made(tmp_path / target))
        assert (folder / name).is_file()
        again = of_directory(folder, OpenOptions())
        assert again.adapter == held.adapter and list(again.tensors) == list(held.tensors)


def _made(path: Path) -> Path:
    path.mkdir()
    return path


def test_nothing_to_write_is_declined() -> None:
    target = next(entry for entry in TARGETS if entry.name == "npz").load_checkpoint()
    with pytest.raises(Declined, match="holds no weights"):
        target.prepare(checkpoint({}), target.options())
