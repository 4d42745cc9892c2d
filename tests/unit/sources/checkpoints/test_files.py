"""Files of weights as torch, numpy and PEFT write them, read as lazy tensors: every layout that they may have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bessemer.ir.checkpoint import Checkpoint, Lazy
from bessemer.ir.errors import Declined, UnreadableInput, UsageError
from bessemer.opening import open_checkpoint
from bessemer.sources.base import OpenOptions
from bessemer.weights.views import stored

DRAW = np.random.default_rng(11)


def opened(path: Path, **options: Any) -> Checkpoint:
    return open_checkpoint(path, OpenOptions(**options))


def same(tensor: Lazy, wanted: np.ndarray[Any, Any]) -> None:
    """All of it, and in every cut of rows."""
    assert tensor.shape == wanted.shape and tensor.nbytes == wanted.nbytes
    assert stored(tensor).tobytes() == wanted.tobytes()
    rows = np.ascontiguousarray(wanted).reshape(tensor.rows, -1) if tensor.rows else wanted.reshape(0, 0)
    for start in range(tensor.rows + 1):
        stop = min(start + 2, tensor.rows)
        assert tensor.read(start, stop).tobytes() == rows[start:stop].tobytes()


@pytest.mark.parametrize("zipped", [True, False])
def test_every_view_that_torch_saves(tmp_path: Path, zipped: bool) -> None:
    torch = pytest.importorskip("torch")
    base = torch.arange(120, dtype=torch.float32).reshape(4, 5, 6)
    views = {
        "whole": base, "turned": base.permute(2, 0, 1), "part": base[1:3, 2:, ::2], "last": base[..., -1], "row": base[2, 3],
        "one": base[1, 2, 3], "spread": torch.ones(1, 7).expand(3, 7), "none": torch.zeros(0, 3),
        "flat": base.reshape(-1)[17:29], "half": base[0].half().t(), "brain": base[0].bfloat16(), "truth": base > 50,
        "long": base.long().transpose(0, 1), "odd": torch.tensor(3, dtype=torch.int16),
    }  # fmt: skip
    path = tmp_path / "state.pt"
    torch.save(views, path, _use_new_zipfile_serialization=zipped)
    held = opened(path)
    assert list(held.tensors) == list(views)
    for name, view in views.items():
        tensor = held.tensors[name]
        if name == "brain":
            assert tensor.type == "BF16"
            same(tensor, view.view(torch.int16).numpy().view(stored(tensor).dtype))
        else:
            same(tensor, np.ascontiguousarray(view.numpy()).reshape(tuple(view.shape)))


def test_state_dicts_of_the_other_byte_order(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    values = torch.arange(12, dtype=torch.float32).reshape(3, 4) * 1.1
    path = tmp_path / "big.pt"
    torch.save({"w": values, "t": values.t()}, path)
    import zipfile

    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            if "/data/" in name:
                data = np.frombuffer(data, "<f4").astype(">f4").tobytes()
            archive.writestr(name, b"big" if name.endswith("byteorder") else data)
    held = opened(path)
    same(held.tensors["w"], values.numpy())
    same(held.tensors["t"], np.ascontiguousarray(values.t().numpy()))


def test_deflated_state_dicts(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    values = torch.arange(3000, dtype=torch.float32).reshape(30, 100)
    path = tmp_path / "small.pt"
    torch.save({"w": values}, path)
    import zipfile

    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    same(opened(path).tensors["w"], values.numpy())


def test_the_model_in_a_file_of_training(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    weights, other = torch.randn(2, 3), torch.randn(2, 3)
    path = tmp_path / "last.pt"
    torch.save({"optimizer": {"m": other}, "state_dict": {"w": weights}, "ema_of": {"w": other}, "epoch": 3}, path)
    held = opened(path)
    assert list(held.tensors) == ["w"] and any("'state_dict'; 2 other tensors" in note for note in held.notes)
    same(held.tensors["w"], weights.numpy())
    same(opened(path, signature="ema_of").tensors["w"], other.numpy())
    with pytest.raises(UsageError, match=r"no weights under 'nowhere'.*ema_of, optimizer, state_dict"):
        opened(path, signature="nowhere")


def test_quantized_tensors_are_declined_all_at_once(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    code = torch.quantize_per_tensor(torch.randn(2, 2), 0.1, 0, torch.qint8)
    path = tmp_path / "q.pt"
    torch.save({"a": code, "b": code, "c": torch.ones(1)}, path)
    with pytest.raises(Declined) as refusal:
        opened(path)
    assert [blocker.node for blocker in refusal.value.blockers] == ["a", "b"]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f2", ">f2", "<f8", "<i8", ">i4", "|u1", "|b1", "<u2", "<c8"])
def test_every_array_that_numpy_saves(tmp_path: Path, kind: str, packed: bool) -> None:
    values = (DRAW.normal(size=(4, 5, 6)) * 9).astype(kind)
    arrays = {
        "c": values, "f": np.asfortranarray(values), "flat": values.reshape(-1), "one": values[0, 0, 0], "none": values[:0],
        "cut": values[::2, :, 1:3],
    }  # fmt: skip
    path = tmp_path / "a.npz"
    (np.savez_compressed if packed else np.savez)(path, **arrays)
    held = opened(path)
    assert set(held.tensors) == set(arrays) and held.origin.format == "npz"
    for name, value in arrays.items():
        wanted = np.asarray(value)
        same(held.tensors[name], np.ascontiguousarray(wanted.astype(wanted.dtype.newbyteorder("<"))).reshape(wanted.shape))


def test_settings_beside_a_lone_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", w=np.ones((2, 2), np.float32))
    assert opened(tmp_path / "a.npz").config == {}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "made", "hidden_size": 2}))
    held = opened(tmp_path / "a.npz")
    assert held.config["hidden_size"] == 2 and any("beside it" in note for note in held.notes)


def test_one_part_of_many_is_no_model(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "model-00002-of-00003.safetensors"
    library.save_file({"w": np.ones(2, np.float32)}, path)
    with pytest.raises(UsageError, match="one of 3 parts"):
        opened(path)


def test_the_index_decides_where_a_tensor_is_taken_from(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.numpy")
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    for place, name in enumerate(names):
        library.save_file({"both": np.full(2, place, np.float32), f"own{place}": np.ones(1, np.float32)}, tmp_path / name)
    (tmp_path / "config.json").write_text('{"model_type": "made"}')
    index = {"both": names[1], "own0": names[0], "own1": names[1]}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    held = opened(tmp_path)
    assert set(held.tensors) == set(index)
    same(held.tensors["both"], np.full(2, 1, np.float32))
    index["missing"] = names[0]
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    with pytest.raises(UnreadableInput, match="missing"):
        opened(tmp_path)


def test_an_adapter_of_peft(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.numpy")
    weights = {"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": np.ones((2, 8), np.float32)}
    library.save_file(weights, tmp_path / "adapter_model.safetensors")
    said = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "base_model_name_or_path": "someone/model"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(said))
    for path in (tmp_path, tmp_path / "adapter_model.safetensors"):
        held = opened(path)
        assert held.adapter is not None and dict(held.adapter.config) == said and list(held.tensors) == list(weights)
    (tmp_path / "adapter_model.safetensors").unlink()
    with pytest.raises(UnreadableInput, match="no weights"):
        opened(tmp_path)


def test_programs_hold_no_weights_by_name(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "traced.pt"
    torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)).save(path)
    with pytest.raises(UsageError, match="program"):
        opened(path)


def test_a_directory_with_the_parts_of_one_gguf(tmp_path: Path, real_asset: Any) -> None:
    from bessemer.wire.gguf.reader import read
    from bessemer.wire.gguf.writer import layout

    path = real_asset("llm/stories260K/stories260K-f32.gguf")
    whole, content = read(path), path.read_bytes()
    for place in range(2):
        mine = list(whole.tensors.values())[place::2]
        said = {"split.no": np.uint16(place), "split.count": np.uint16(2), "split.tensors.count": np.int32(47)}
        metadata = {**(whole.metadata if place == 0 else {}), **said}
        kinds = whole.kinds if place == 0 else {}
        header, places, total = layout(metadata, [(i.name, i.shape, i.type.name) for i in mine], kinds=kinds)
        data = bytearray(header + bytes(total - len(header)))
        for info, start in zip(mine, places, strict=True):
            data[start : start + info.nbytes] = content[info.offset : info.offset + info.nbytes]
        (tmp_path / f"m-{place + 1:05}-of-00002.gguf").write_bytes(data)
    held, wanted = opened(tmp_path), opened(path)
    assert held.config == wanted.config and set(held.tensors) == set(wanted.tensors)
    assert held.origin.details["parts"] == ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]
    for name, tensor in wanted.tensors.items():
        same(held.tensors[name], stored(tensor))
    (tmp_path / "other.gguf").write_bytes(content)
    with pytest.raises(UsageError, match="several GGUF models"):
        opened(tmp_path)


def test_a_directory_with_a_gguf_file_alone(tmp_path: Path, real_asset: Any) -> None:
    (tmp_path / "m.gguf").write_bytes(real_asset("llm/stories260K/stories260K-q8_0.gguf").read_bytes())
    held = opened(tmp_path)
    assert held.origin.format == "gguf" and len(held.tensors) == 47 and "m.gguf" in held.notes[0]
