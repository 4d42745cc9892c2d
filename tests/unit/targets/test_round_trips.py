"""Real files of weights into every format and back: what stays full precision stays bit for bit."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bessemer.ir.checkpoint import Checkpoint
from bessemer.opening import open_checkpoint
from bessemer.sources.base import OpenOptions
from bessemer.targets import TARGETS
from bessemer.weights.views import array
from bessemer.wire.gguf.reader import read
from bessemer.wire.gguf.writer import layout

Asset = Callable[[str], Path]
STORIES = "llm/stories260K/"
SOURCES = (
    "stories260K-f32.gguf", "stories260K-f16.gguf", "stories260K.bin", "stories260K.pt", "hf",
)  # fmt: skip
PLAIN = ("safetensors", "pytorch", "npz")


def opened(path: Path) -> Checkpoint:
    return open_checkpoint(path, OpenOptions())


def written(held: Checkpoint, name: str, out: Path, **options: Any) -> Path:
    target = next(entry for entry in TARGETS if entry.name == name).load_checkpoint()
    out.mkdir(parents=True, exist_ok=True)
    return target.write(target.prepare(held, target.options(**options)), out, "made").path


def same(one: Checkpoint, other: Checkpoint) -> None:
    assert set(one.tensors) == set(other.tensors)
    for name, tensor in one.tensors.items():
        assert tensor.shape == other.tensors[name].shape
        assert array(tensor).tobytes() == array(other.tensors[name]).tobytes(), name


@pytest.mark.parametrize("source", SOURCES)
def test_a_llama_through_every_format(source: str, tmp_path: Path, real_asset: Asset) -> None:
    """source -> X -> Y for all formats X and Y: weights, settings and vocabulary of the end are those of the start."""
    start = opened(real_asset(STORIES + source))
    for first in (*PLAIN, "gguf"):
        middle = opened(written(start, first, tmp_path / first))
        for second in (*PLAIN, "gguf"):
            end = opened(written(middle, second, tmp_path / f"{first}-{second}"))
            same(start, end)
            for key in ("model_type", "hidden_size", "num_key_value_heads", "rope_theta", "rms_norm_eps", "vocab_size"):
                assert end.config[key] == start.config[key], key
            assert end.tokenizer is not None and start.tokenizer is not None
            for field in ("kind", "tokens", "types", "scores", "special"):
                assert getattr(end.tokenizer, field) == getattr(start.tokenizer, field), (first, second, field)


@pytest.mark.parametrize("target", PLAIN)
def test_types_are_kept_where_the_format_has_them(target: str, tmp_path: Path, real_asset: Asset) -> None:
    start = opened(real_asset(STORIES + "stories260K-f16.gguf"))
    end = opened(written(start, target, tmp_path))
    assert {name: tensor.type for name, tensor in end.tensors.items()} == {
        name: tensor.type for name, tensor in start.tensors.items()
    }


@pytest.mark.parametrize("name", ["llm/rwkv_ggmf/tiny-rwkv-4v0-660K-FP16.bin", "llm/gguf/discollama_adapters.safetensors"])
def test_weights_that_gguf_cannot_name(name: str, tmp_path: Path, real_asset: Asset) -> None:
    start = opened(real_asset(name))
    for first in PLAIN:
        middle = opened(written(start, first, tmp_path / first))
        for second in PLAIN:
            same(start, opened(written(middle, second, tmp_path / f"{first}-{second}")))


WHOLE = (
    "llm/stories260K/stories260K-f32.gguf", "llm/stories260K/stories260K-f16.gguf", "llm/stories260K/stories260K-q8_0.gguf",
    "llm/stories260K/stories260K-q4_0.gguf", "llm/gguf/llama-2-tiny-random_NOTTRAINED.gguf",
)  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_gguf_to_gguf_is_the_same_file(name: str, tmp_path: Path, real_asset: Asset) -> None:
    path = real_asset(name)
    made = written(opened(path), "gguf", tmp_path)
    assert made.read_bytes() == path.read_bytes()


def changed(path: Path, out: Path, big_endian: bool = False, **metadata: Any) -> Path:
    """A GGUF file with other metadata, or in the other byte order."""
    whole, content = read(path), path.read_bytes()
    described = [(info.name, info.shape, info.type.name) for info in whole.tensors.values()]
    kinds = {key: kind for key, kind in whole.kinds.items() if key not in metadata}
    alignment = int(metadata.get("general.alignment", 32))
    header, places, total = layout(
        {**whole.metadata, **metadata}, described, alignment, kinds=kinds, big_endian=big_endian
    )
    held = bytearray(header + bytes(total - len(header)))
    for info, place in zip(whole.tensors.values(), places, strict=True):
        raw = content[info.offset : info.offset + info.nbytes]
        held[place : place + info.nbytes] = turned(raw, info.type.name) if big_endian else raw
    out.write_bytes(held)
    return out


def turned(raw: bytes, kind: str) -> bytes:
    """As the gguf package's own converter turns a tensor around."""
    if kind in ("F32", "F16"):
        return np.frombuffer(raw, f"<f{4 if kind == 'F32' else 2}").byteswap().tobytes()
    converter = pytest.importorskip("gguf.scripts.gguf_convert_endian")
    from gguf import GGMLQuantizationType

    from bessemer.wire.gguf.types import BY_NAME

    class Held:
        data = np.frombuffer(bytearray(raw), np.uint8)

    for place in range(0, len(raw), BY_NAME[kind].bytes):
        converter.byteswap_tensors[GGMLQuantizationType[kind]](Held, place)
    return Held.data.tobytes()


@pytest.mark.parametrize("name", WHOLE[:4])
def test_big_endian_files_become_little_endian_ones(name: str, tmp_path: Path, real_asset: Asset) -> None:
    path = real_asset(name)
    big = changed(path, tmp_path / "big.gguf", big_endian=True)
    held = opened(big)
    assert held.origin.details["byte order"] == "big endian"
    same(held, opened(path))
    assert written(held, "gguf", tmp_path).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("kind", ["Q4_K", "Q6_K", "MXFP4", "Q8_0", "Q4_0"])
def test_blocks_are_turned_as_the_gguf_package_turns_them(kind: str) -> None:
    from bessemer.sources.gguf import big_endian
    from bessemer.wire.gguf.types import BY_NAME

    rows = np.random.default_rng(0).integers(0, 256, (3, 4 * BY_NAME[kind].bytes), np.uint8)
    found = big_endian.turned(kind)(rows)
    assert found.tobytes() == turned(rows.tobytes(), kind)
    assert big_endian.turned(kind)(found).tobytes() == rows.tobytes()


def test_blocks_of_no_certain_order_are_declined_by_name(tmp_path: Path) -> None:
    from bessemer.ir.errors import Declined

    tensors = [("w", (2, 32), "Q5_0"), ("v", (1, 256), "IQ3_XXS")]
    header, _, total = layout({"general.architecture": "llama"}, tensors, big_endian=True)
    path = tmp_path / "big.gguf"
    path.write_bytes(header + bytes(total - len(header)))
    with pytest.raises(Declined, match=r"(?s)IQ3_XXS.*Q5_0"):
        opened(path)


def test_an_unknown_architecture_is_still_requantized(tmp_path: Path, real_asset: Asset) -> None:
    from bessemer.blocks import encoded
    from bessemer.ir.errors import Declined

    path = real_asset(STORIES + "stories260K-f32.gguf")
    said = {"general.architecture": "martian", "martian.depth": np.uint16(3)}
    held = opened(changed(path, tmp_path / "martian.gguf", **said))
    assert held.config == {} and held.tokenizer is not None and any("martian" in note for note in held.notes)
    with pytest.raises(Declined, match="martian"):
        written(held, "safetensors", tmp_path / "hub")
    made = read(written(held, "gguf", tmp_path, precision="Q8_0"))
    assert made.metadata["general.architecture"] == "martian" and made.metadata["martian.depth"] == 3
    whole = read(path)
    info, before = made.tensors["blk.0.attn_q.weight"], whole.tensors["blk.0.attn_q.weight"]
    assert info.type.name == "Q8_0"
    floats = np.frombuffer(path.read_bytes(), "<f4", 64 * 64, before.offset).reshape(64, 64)
    raw = info.path.read_bytes()[info.offset : info.offset + info.nbytes]
    assert raw == encoded(floats, "Q8_0").tobytes()


def test_another_alignment_is_kept(tmp_path: Path, real_asset: Asset) -> None:
    path = changed(
        real_asset(STORIES + "stories260K-f16.gguf"), tmp_path / "wide.gguf", **{"general.alignment": np.uint32(256)}
    )
    assert written(opened(path), "gguf", tmp_path / "out").read_bytes() == path.read_bytes()


def test_transformers_computes_the_same_from_every_format(tmp_path: Path, real_asset: Asset) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    words = torch.tensor([[1, 403, 407, 261, 378, 10, 55, 200, 3, 5]])

    def logits(folder: Path) -> Any:
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()
        with torch.no_grad():
            return model(words).logits

    wanted = logits(real_asset(STORIES + "hf"))
    pairs = {"stories260K-f32.gguf": "safetensors", "stories260K.bin": "pytorch", "stories260K.pt": "safetensors"}
    for source, target in pairs.items():
        folder = written(opened(real_asset(STORIES + source)), target, tmp_path / f"{source}-{target}")
        assert torch.equal(logits(folder), wanted)


def test_version_and_order_of_what_is_written(tmp_path: Path, real_asset: Asset) -> None:
    made = written(opened(real_asset(STORIES + "hf")), "gguf", tmp_path)
    assert struct.unpack_from("<4sI", made.read_bytes()) == (b"GGUF", 3)
