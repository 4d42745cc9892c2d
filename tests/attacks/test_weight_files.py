"""Hostile GGML, llama2.c, npz and safetensors files, state dicts and directories: refused at once, or read to the end."""

from __future__ import annotations

import io
import json
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bessemer.ir.errors import BessemerError
from bessemer.opening import open_checkpoint
from bessemer.sources.base import OpenOptions

sys.path.insert(0, str(Path(__file__).parent))
from checkpoints import refused, road, survives
from hostile import cuts, flips

Asset = Callable[[str], Path]
HUGE = 0xFFFFFFFF


def sizes(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}I", *numbers)


GGJT = b"tjgg" + sizes(1)
LLAMA = GGJT + sizes(1, 64, 256, 8, 1, 8, 0) + sizes(3) + b"abc" + bytes(4)
GGML: dict[str, tuple[bytes, str]] = {
    "a vocabulary of 2^32 words": (GGJT + sizes(HUGE, 64, 256, 8, 1, 8, 0), "a vocabulary of"),
    "a word of 2^32 bytes": (GGJT + sizes(1, 64, 256, 8, 1, 8, 0) + sizes(HUGE) + bytes(40), "a word of"),
    "a tensor of 2^32 axes": (LLAMA + sizes(HUGE, 4, 0) + bytes(40), "rank"),
    "a name of 2^32 bytes": (LLAMA + sizes(1, HUGE, 0) + bytes(40), "a name of"),
    "a tensor of an unknown type": (LLAMA + sizes(1, 1, 99, 32) + b"w" + bytes(200), "type 99"),
    "a type that came later": (LLAMA + sizes(1, 1, 12, 256) + b"w" + bytes(200), "type 12"),
    "sizes that wrap": (LLAMA + sizes(4, 1, 0, HUGE, HUGE, HUGE, HUGE) + b"w" + bytes(200), "a tensor of"),
    "a tensor that is cut": (LLAMA + sizes(1, 1, 0, 64) + b"w" + bytes(16), "a tensor of 256 bytes"),
    "a row that cuts a block": (LLAMA + sizes(1, 1, 2, 33) + b"w" + bytes(200), "blocks of 32"),
    "a name that is no text": (LLAMA + sizes(1, 2, 0, 1) + b"\xff\xfe" + bytes(40), "no UTF-8"),
    "no Llama": (LLAMA + sizes(1, 1, 0, 1) + b"w" + bytes(-(len(LLAMA) + 17) % 32) + bytes(4), "does not hold a Llama"),
    "GGJT 9": (b"tjgg" + sizes(9) + bytes(40), "version 9"),
    "GGMF 0": (b"fmgg" + sizes(0) + bytes(40), "version 0"),
    "rwkv.cpp's old blocks": (b"fmgg" + sizes(100, 4, 4, 1, 2, 1, 1, 2, 32) + b"w" + bytes(40), "type 2"),
    "whisper.cpp's header": (b"lmgg" + sizes(51865, 1500, 384, 6, 4, 448, 384, 6, 4, 80, 1) + bytes(64), "vocabulary"),
    "a head alone": (b"lmgg", ""),
}  # fmt: skip


@pytest.mark.parametrize("what", GGML)
def test_ggml_files_that_lie(what: str, tmp_path: Path) -> None:
    refused(tmp_path / "hostile.bin", *GGML[what])


def test_a_tensor_twice_in_ggml(tmp_path: Path) -> None:
    body = bytearray(LLAMA)
    for _ in range(2):
        body += sizes(1, 1, 0, 1) + b"w"
        body += bytes(-len(body) % 32) + bytes(4)
    refused(tmp_path / "twice.bin", bytes(body), "stands twice")


@pytest.mark.parametrize("name", ["rwkv_ggmf/tiny-rwkv-4v0-660K-FP16.bin", "ggml_legacy/ggml-vocab-llama_c1a319.bin"])
def test_damaged_ggml_files(name: str, tmp_path: Path, real_asset: Asset) -> None:
    content = real_asset(f"llm/{name}").read_bytes()
    path = tmp_path / "damaged.bin"
    survives(path, [content[: len(content) * part // 16] for part in range(16)])
    survives(path, (damaged + content[3000:] for damaged in flips(content[:3000], 40)))


def test_ggml_sizes_that_cannot_be_meant(tmp_path: Path) -> None:
    """Heads and layers of a whole small file by what they should never be."""
    def body(heads: int, layers: int) -> bytes:
        held = bytearray(GGJT + sizes(0, 64, 256, heads, layers, 8, 0))
        for name in ("layers.0.feed_forward.w1.weight", "layers.0.attention.wk.weight"):
            held += sizes(2, len(name), 0, 64, 64) + name.encode()
            held += bytes(-len(held) % 32) + bytes(64 * 64 * 4)
        return bytes(held)

    cases = [body(heads, layers) for heads in (0, 1, 7, HUGE) for layers in (0, 1, 1 << 16, HUGE)]
    assert survives(tmp_path / "odd.bin", cases) == len(cases)


def llama2c(*numbers: int, room: int = 0) -> bytes:
    return struct.pack("<7i", *numbers) + bytes(room)


@pytest.mark.parametrize("damage", ["cut", "grown", "heads", "layers", "zeros"])
def test_llama2c_files_whose_sizes_do_not_account_for_them(damage: str, tmp_path: Path, real_asset: Asset) -> None:
    content = real_asset("llm/stories260K/stories260K.bin").read_bytes()
    made = {
        "cut": content[:-4], "grown": content + bytes(4), "heads": llama2c(64, 172, 5, 0, 4, 512, 512) + content[28:],
        "layers": llama2c(64, 172, 1 << 30, 8, 4, 512, 512) + content[28:], "zeros": bytes(len(content)),
    }[damage]  # fmt: skip
    path = tmp_path / "model.bin"
    path.write_bytes(made)
    error = road(path)
    assert error is not None and error.exit_code == 5


def test_flipped_llama2c_files(tmp_path: Path, real_asset: Asset) -> None:
    content = real_asset("llm/stories260K/stories260K.bin").read_bytes()
    survives(tmp_path / "model.bin", (head + content[28:] for head in flips(content[:28], 60)))


@pytest.mark.parametrize("number", range(6))
def test_hostile_vocabularies_beside_llama2c(number: int, tmp_path: Path, real_asset: Asset) -> None:
    content = real_asset("llm/stories260K/tok512.bin").read_bytes()
    (tmp_path / "model.bin").write_bytes(real_asset("llm/stories260K/stories260K.bin").read_bytes())
    hostile = [
        content[:-3], content[:4] + struct.pack("<fi", 0.0, 1 << 30) + content[12:], b"", sizes(HUGE) + content[4:],
        content[:4] + struct.pack("<fi", 0.0, -5) + content[12:], sizes(0) + content[4:],
    ][number]  # fmt: skip
    (tmp_path / "tok512.bin").write_bytes(hostile)
    error = road(tmp_path / "model.bin")
    assert error is not None and error.exit_code == 5 and "tok512.bin" in str(error)


def npy(header: str, data: bytes = b"", version: int = 1) -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text + data


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return held.getvalue()


def described(descr: str, shape: str, fortran: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}"


class Bomb:
    """What unpickling would run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("it ran",)


NPZ: dict[str, tuple[bytes, str]] = {
    "Python objects": (zipped({"a.npy": npy(described("'|O'", "(1,)"), pickle.dumps(Bomb()))}), "never unpickled"),
    "an expression in the header": (zipped({"a.npy": npy("__import__('os').system('x')")}), "not numpy's"),
    "a nested header": (zipped({"a.npy": npy("(" * 9000 + ")" * 9000)}), "not numpy's"),
    "a structured type": (zipped({"a.npy": npy(described("[('x', '<f4')]", "(1,)"), bytes(4))}), "no number"),
    "2^60 elements": (zipped({"a.npy": npy(described("'<f4'", f"({1 << 60},)"), bytes(64))}), "elements"),
    "sizes that wrap": (zipped({"a.npy": npy(described("'<f4'", "(4294967296, 4294967296)"), bytes(64))}), "elements"),
    "a shape of a million axes": (zipped({"a.npy": npy(described("'<f4'", "(" + "1, " * 9000 + ")"), bytes(4))}), "shape"),
    "a header of 4 GB": (zipped({"a.npy": b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(100)}), "a header that ends"),
    "no .npy": (zipped({"a.npy": b"hello"}), "no .npy"),
    "numbers of 3 bytes": (zipped({"a.npy": npy(described("'<f3'", "(4,)"), bytes(12))}), "type"),
    "numbers of 10^60 bytes": (zipped({"a.npy": npy(described("'<f" + "9" * 60 + "'", "(0,)"))}), "type"),
    "gigabytes of zeros": (
        zipped({"a.npy": npy(described("'<f4'", "(75000000,)"), bytes(300_000_000))}, zipfile.ZIP_DEFLATED), "claim to be",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", NPZ)
def test_npz_files_that_lie(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(tmp_path / "hostile.npz", *NPZ[what])
    assert "it ran" not in capsys.readouterr().out


def test_damaged_arrays_are_noticed(tmp_path: Path) -> None:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        noise = np.random.default_rng(0).integers(0, 256, 3000, np.uint8).tobytes()
        content = bytearray(zipped({"a.npy": npy(described("'|u1'", "(3000,)"), noise)}, method))
        content[2000] ^= 1
        refused(tmp_path / "damaged.npz", bytes(content))


def test_flipped_npz_files(tmp_path: Path) -> None:
    drawn = np.random.default_rng(1)
    held = io.BytesIO()
    np.savez(held, a=drawn.normal(size=(4, 5)), b=drawn.integers(0, 9, (3, 2)), c=np.asfortranarray(np.ones((2, 3), "f4")))
    path = tmp_path / "flipped.npz"
    survives(path, cuts(held.getvalue()))
    survives(path, flips(held.getvalue(), 300))


def safetensors(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(shape: Any = (2,), span: Any = (0, 8), kind: Any = "F32") -> dict[str, Any]:
    return {"dtype": kind, "shape": shape, "data_offsets": span}


SAFETENSORS: dict[str, bytes] = {
    "a header of 2^60 bytes": struct.pack("<Q", 1 << 60) + b'{"w": 1}',
    "a header longer than the file": struct.pack("<Q", 1000) + b'{"w": {}}',
    "nesting": safetensors(b'{"w":' + b"[" * 50_000 + b"]" * 50_000 + b"}"),
    "a name twice": safetensors(b'{"w":%s,"w":%s}' % ((json.dumps(tensor()).encode(),) * 2), bytes(8)),
    "overlapping": safetensors({"a": tensor(), "b": tensor()}, bytes(8)),
    "a hole": safetensors({"a": tensor(), "b": tensor(span=(12, 20))}, bytes(20)),
    "bytes behind": safetensors({"a": tensor()}, bytes(9)),
    "sizes that wrap": safetensors({"a": tensor((1 << 40, 1 << 40))}, bytes(8)),
    "a negative size": safetensors({"a": tensor((-2,))}, bytes(8)),
    "a size that is true": safetensors({"a": tensor((True, 2))}, bytes(8)),
    "a size of 1.0": safetensors({"a": tensor((2.0,))}, bytes(8)),
    "a type that is a list": safetensors({"a": tensor(kind=["F32"])}, bytes(8)),
    "an unknown type": safetensors({"a": tensor(kind="F128")}, bytes(8)),
    "a span backwards": safetensors({"a": tensor(span=(8, 0))}, bytes(8)),
    "metadata of numbers": safetensors({"__metadata__": {"a": 1}, "a": tensor()}, bytes(8)),
    "a list": safetensors([1, 2]),
}  # fmt: skip


def test_a_header_that_would_be_gigabytes_of_objects(tmp_path: Path) -> None:
    refused(tmp_path / "lists.safetensors", safetensors(b'{"w":[' + b"[]," * 20_000_000 + b"[]]}"), "a header of")


@pytest.mark.parametrize("what", SAFETENSORS)
def test_safetensors_files_that_lie(what: str, tmp_path: Path) -> None:
    refused(tmp_path / "hostile.safetensors", SAFETENSORS[what])


def test_flipped_safetensors_files(tmp_path: Path, real_asset: Asset) -> None:
    content = real_asset("llm/stories260K/hf/model.safetensors").read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    path = tmp_path / "flipped.safetensors"
    assert survives(path, list(cuts(content))[1:]) == 63
    survives(path, (head + content[end:] for head in flips(content[:end], 200)))


def test_flipped_state_dicts(tmp_path: Path, real_asset: Asset) -> None:
    content = real_asset("llm/stories260K/stories260K.pt").read_bytes()
    path = tmp_path / "flipped.pt"
    survives(path, [content[: len(content) * part // 8] for part in range(1, 8)])
    survives(path, flips(content, 60))


def test_a_damaged_storage_is_noticed(tmp_path: Path, real_asset: Asset) -> None:
    content = bytearray(real_asset("llm/stories260K/stories260K.pt").read_bytes())
    content[len(content) // 2] ^= 0x10
    refused(tmp_path / "damaged.pt", bytes(content), "checksum")


CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}


def directory(folder: Path, real_asset: Asset, files: dict[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "model.safetensors").write_bytes(real_asset("llm/stories260K/hf/model.safetensors").read_bytes())
    for name, held in {"config.json": CONFIG, **files}.items():
        (folder / name).write_text(held if isinstance(held, str) else json.dumps(held))


DIRECTORIES: dict[str, dict[str, Any]] = {
    "settings that are no JSON": {"config.json": "{"},
    "settings that nest": {"config.json": '{"a":' * 9000 + "1" + "}" * 9000},
    "classes that are no texts": {"config.json": {**CONFIG, "architectures": [[1]]}},
    "a type that is no text": {"config.json": {**CONFIG, "model_type": 7}},
    "a list of settings": {"config.json": "[]"}, "packed weights": {"config.json": {**CONFIG, "quantization_config": 3}},
    "generation settings that are a list": {"generation_config.json": "[]"},
}  # fmt: skip


@pytest.mark.parametrize("what", DIRECTORIES)
def test_directories_that_lie(what: str, tmp_path: Path, real_asset: Asset) -> None:
    directory(tmp_path / "model", real_asset, DIRECTORIES[what])
    error = road(tmp_path / "model")
    assert error is not None and error.exit_code in (3, 5)


def test_parts_do_not_lead_out_of_a_directory(tmp_path: Path, real_asset: Asset) -> None:
    folder = tmp_path / "model"
    directory(folder, real_asset, {})
    outside = tmp_path / "outside.safetensors"
    (folder / "model.safetensors").rename(outside)
    for name in ("../outside.safetensors", str(outside), "linked.safetensors"):
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": name}}))
        if name.startswith("linked"):
            (folder / name).symlink_to(outside)
        error = road(folder)
        assert error is not None and error.exit_code == 5 and "leads out" in str(error)


def test_an_adapter_of_another_kind_is_declined(tmp_path: Path, real_asset: Asset) -> None:
    weights = real_asset("llm/gguf/discollama_adapters.safetensors").read_bytes()
    (tmp_path / "adapter_model.safetensors").write_bytes(weights)
    for said, code in (({"peft_type": "IA3"}, 3), ({"peft_type": ["LORA"]}, 3), ([], 5)):
        (tmp_path / "adapter_config.json").write_text(json.dumps(said))
        error = road(tmp_path)
        assert error is not None and error.exit_code == code


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path, real_asset: Asset) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(real_asset("llm/stories260K/hf/model.safetensors").read_bytes())
    held = open_checkpoint(path, OpenOptions())
    with path.open("r+b") as file:
        file.truncate(10_000)
    with pytest.raises(BessemerError, match="too early"):
        for item in held.tensors.values():
            item.read(0, item.rows)
