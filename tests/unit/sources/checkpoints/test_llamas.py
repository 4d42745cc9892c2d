"""One trained Llama in every format that it was published or converted in: the same weights, bit for bit."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bessemer.ir.checkpoint import Checkpoint
from bessemer.ir.errors import Declined, UnreadableInput
from bessemer.opening import open_checkpoint
from bessemer.sources.base import OpenOptions
from bessemer.weights.views import array
from bessemer.wire.torchzip import read as read_torch

Asset = Callable[[str], Path]
STORIES = "llm/stories260K/"
Arrays = dict[str, np.ndarray[Any, Any]]


def opened(path: Path) -> Checkpoint:
    return open_checkpoint(path, OpenOptions())


def reference(real_asset: Asset) -> Arrays:
    """The published conversion to Hugging Face's form, read by its own library."""
    library = pytest.importorskip("safetensors.numpy")
    found: Arrays = library.load_file(real_asset(STORIES + "hf/model.safetensors"))
    return found


def trained(real_asset: Asset) -> Arrays:
    """The weights as they were trained, by Meta's names."""
    held = read_torch(real_asset(STORIES + "stories260K.pt")).values["model"]
    return {name.removeprefix("_orig_mod."): np.asarray(tensor.numpy()) for name, tensor in held.items()}


def equal(held: Checkpoint, wanted: Arrays) -> None:
    assert set(held.tensors) == set(wanted)
    for name, value in wanted.items():
        assert held.tensors[name].shape == value.shape
        assert array(held.tensors[name]).tobytes() == np.asarray(value, np.float32).tobytes(), name


@pytest.mark.parametrize("name", ["stories260K-f32.gguf", "stories260K.bin", "stories260K.pt", "hf", "hf/model.safetensors"])
def test_every_form_holds_the_same_weights(name: str, real_asset: Asset) -> None:
    held = opened(real_asset(STORIES + name))
    equal(held, reference(real_asset))
    wanted = {
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 172, "num_hidden_layers": 5, "num_attention_heads": 8,
        "num_key_value_heads": 4, "vocab_size": 512, "max_position_embeddings": 512, "rms_norm_eps": 1e-05,
        "rope_theta": 10000.0, "tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    assert {key: held.config.get(key) for key in wanted} == wanted


@pytest.mark.parametrize("name", ["stories260K.bin", "stories260K.pt"])
def test_llama2cs_vocabulary_is_the_one_in_gguf(name: str, real_asset: Asset) -> None:
    found, wanted = (opened(real_asset(STORIES + file)).tokenizer for file in (name, "stories260K-f32.gguf"))
    assert found is not None and wanted is not None
    for field in ("kind", "tokens", "scores", "types", "special"):
        assert getattr(found, field) == getattr(wanted, field), field


def test_ggjts_vocabulary_is_the_one_in_gguf(real_asset: Asset) -> None:
    found = opened(real_asset("llm/ggml_legacy/ggml-vocab-llama_c1a319.bin"))
    wanted = opened(real_asset("llm/gguf_vocab/ggml-vocab-llama-spm.gguf"))
    assert found.tokenizer is not None and wanted.tokenizer is not None and not found.tensors
    for field in ("kind", "tokens", "scores", "types", "special"):
        assert getattr(found.tokenizer, field) == getattr(wanted.tokenizer, field), field


SIZES = (64, 172, 5, 8, 4, 512, 512)
LAYER = (*(f"attention.w{role}" for role in "qkvo"), *(f"feed_forward.w{number}" for number in "123"))


def ordered(weights: Arrays, shared: bool) -> tuple[list[np.ndarray[Any, Any]], list[np.ndarray[Any, Any]]]:
    """Norms and matrices in the order of llama2.c's versions 1 and 2."""
    norms = [weights[f"layers.{i}.{role}.weight"] for role in ("attention_norm", "ffn_norm") for i in range(5)]
    matrices = [weights["tok_embeddings.weight"]]
    matrices += [weights[f"layers.{i}.{role}.weight"] for role in LAYER for i in range(5)]
    return [*norms, weights["norm.weight"]], matrices if shared else [*matrices, weights["output.weight"]]


def header(version: int, shared: bool, group: int = 0) -> bytes:
    head = struct.pack("<Ii7iB", 0x616B3432, version, *SIZES, shared) + (struct.pack("<i", group) if group else b"")
    return head + bytes(256 - len(head))


@pytest.mark.parametrize("shared", [True, False])
def test_version_1_of_llama2c(tmp_path: Path, real_asset: Asset, shared: bool) -> None:
    weights = trained(real_asset)
    weights["output.weight"] = weights["output.weight"] * (1 if shared else 2)
    norms, matrices = ordered(weights, shared)
    path = tmp_path / "model.bin"
    path.write_bytes(header(1, shared) + b"".join(item.astype("<f4").tobytes() for item in (*norms, *matrices)))
    held, wanted = opened(path), reference(real_asset)
    if not shared:
        wanted["lm_head.weight"] = weights["output.weight"]
    equal(held, wanted)
    assert held.tokenizer is None and any("no tokenizer" in note for note in held.notes)


def quantized(weights: np.ndarray[Any, Any], group: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """As llama2.c's export.py has it: symmetric, 127 steps to the largest value of a group."""
    rows = weights.reshape(-1, group).astype(np.float32)
    scales = (np.abs(rows).max(axis=1) / np.float32(127)).astype(np.float32)
    return np.round(rows / scales[:, None]).astype(np.int8), scales


@pytest.mark.parametrize("group", [64, 32])
def test_version_2_of_llama2c(tmp_path: Path, real_asset: Asset, group: int) -> None:
    weights = trained(real_asset)
    norms, matrices = ordered(weights, shared=True)
    body, meant = b"".join(item.astype("<f4").tobytes() for item in norms), {}
    for matrix in matrices:
        codes, scales = quantized(matrix, group)
        body += codes.tobytes() + scales.tobytes()
        meant[id(matrix)] = (codes.astype(np.float32) * scales[:, None]).reshape(matrix.shape)
    path = tmp_path / "model.bin"
    path.write_bytes(header(2, shared=True, group=group) + body)
    held = opened(path)
    assert {tensor.type for tensor in held.tensors.values()} == {"F32"}
    found = held.tensors["model.layers.3.mlp.down_proj.weight"]
    wanted = meant[id(weights["layers.3.feed_forward.w2.weight"])]
    assert wanted.shape[1] % group, "groups run on from row to row"
    assert array(found).tobytes() == wanted.tobytes()
    for start, stop in ((0, 1), (1, 2), (5, 17), (60, 64), (3, 3)):
        part = found.read(start, stop).view(np.float32)
        np.testing.assert_array_equal(part, wanted[start:stop])
    np.testing.assert_array_equal(
        array(held.tensors["model.embed_tokens.weight"]), meant[id(weights["tok_embeddings.weight"])]
    )


Make = Callable[[np.ndarray[Any, Any]], bytes]


Words = Iterable[tuple[bytes, float]]


def ggml(weights: Arrays, magic: bytes, version: int, number: int, made: Make, words: Words) -> bytes:
    """A file of llama.cpp before GGUF. number, made: type and bytes of the matrices."""
    scored = magic != b"lmgg"
    body = magic + (struct.pack("<I", version) if scored else b"") + struct.pack("<7I", 512, 64, 4, 8, 5, 8, 0)
    for word, score in words:
        body += struct.pack("<I", len(word)) + word + (struct.pack("<f", score) if scored else b"")
    for name, value in weights.items():
        kind, data = (number, made(value)) if value.ndim == 2 else (0, value.astype("<f4").tobytes())
        sizes = struct.pack(f"<{value.ndim}I", *reversed(value.shape))
        body += struct.pack("<3I", value.ndim, len(name), kind) + sizes + name.encode()
        body += bytes(-len(body) % 32) if magic == b"tjgg" else b""
        body += data
    return body


WORDS = [(b"<unk>", 0.0), (b" <s> ", 0.0), (b" </s> ", 0.0), *((bytes([byte]), 0.0) for byte in range(256))]
WORDS += [(f" word{place}".encode(), -float(place)) for place in range(512 - len(WORDS))]


def plain(kind: str) -> Callable[[np.ndarray[Any, Any]], bytes]:
    return lambda value: value.astype(kind).tobytes()


@pytest.mark.parametrize(("magic", "version"), [(b"lmgg", 0), (b"fmgg", 1), (b"tjgg", 1), (b"tjgg", 2), (b"tjgg", 3)])
@pytest.mark.parametrize(("number", "kind"), [(0, "<f4"), (1, "<f2")])
def test_floats_of_every_file_before_gguf(
    tmp_path: Path, real_asset: Asset, magic: bytes, version: int, number: int, kind: str
) -> None:
    weights = trained(real_asset)
    path = tmp_path / "model.bin"
    path.write_bytes(ggml(weights, magic, version, number, plain(kind), WORDS))
    held, wanted = opened(path), reference(real_asset)
    wanted["lm_head.weight"] = wanted["model.embed_tokens.weight"]
    equal(held, {name: value.astype(kind) if value.ndim == 2 else value for name, value in wanted.items()})
    assert held.config["num_key_value_heads"] == 4 and held.config["max_position_embeddings"] == 4096
    assert any("does not say" in note for note in held.notes)
    assert held.tokenizer is not None
    assert held.tokenizer.tokens[:5] == ("<unk>", "<s>", "</s>", "<0x00>", "<0x01>")
    assert held.tokenizer.tokens[259:261] == ("\u2581word0", "\u2581word1")
    assert held.tokenizer.types[:4] == (2, 3, 3, 6)


def blocks(codes: np.ndarray[Any, Any], bias: int, mins: bool, scale: str, order: str, drawn: np.random.Generator) -> Any:
    """Blocks of old nibbles [blocks, 32] (as ggml's scalar loops of the time read them), and what they mean."""
    size = codes.shape[1]
    d = drawn.normal(size=len(codes)).astype(scale)
    m = drawn.normal(size=len(codes)).astype(scale)
    raw = b""
    for row, one, low in zip(codes, d, m, strict=True):
        raw += one.tobytes() + (low.tobytes() if mins else b"")
        for place in range(size // 2):
            first, second = (2 * place, 2 * place + 1) if order == "pairs" else (place, place + size // 2)
            raw += bytes([int(row[first]) | int(row[second]) << 4])
    values = (codes.astype(np.float32) - bias) * d.astype(np.float32)[:, None]
    return raw, values + m.astype(np.float32)[:, None] if mins else values


OLD = [
    (1, 2, 32, 8, False, "<f4", "pairs"), (1, 3, 32, 0, True, "<f4", "pairs"), (1, 4, 16, 8, False, "<f2", "pairs"),
    (1, 5, 16, 0, True, "<f2", "pairs"), (2, 2, 32, 8, False, "<f4", "halves"), (2, 3, 32, 0, True, "<f4", "halves"),
]  # fmt: skip


@pytest.mark.parametrize(("version", "number", "size", "bias", "mins", "scale", "order"), OLD)
def test_old_nibbles_mean_what_they_meant(
    tmp_path: Path, real_asset: Asset, version: int, number: int, size: int, bias: int, mins: bool, scale: str, order: str
) -> None:
    drawn, meant = np.random.default_rng(number), {}
    weights = {name: value for name, value in trained(real_asset).items() if "w2" not in name}  # 172 fills no blocks
    weights |= {f"layers.{i}.feed_forward.w2.weight": np.zeros((64, 192), np.float32) for i in range(5)}
    weights |= {f"layers.{i}.feed_forward.w{n}.weight": np.zeros((192, 64), np.float32) for i in range(5) for n in (1, 3)}

    def made(value: np.ndarray[Any, Any]) -> bytes:
        raw, values = blocks(drawn.integers(0, 16, (value.size // size, size)), bias, mins, scale, order, drawn)
        meant[len(meant)] = values.reshape(value.shape).astype(np.float32)
        return raw  # type: ignore[no-any-return]

    path = tmp_path / "model.bin"
    path.write_bytes(ggml(weights, b"tjgg", version, number, made, WORDS))
    held = opened(path)
    names = [name for name, value in weights.items() if value.ndim == 2]
    hubs = {"feed_forward.w1": "mlp.gate_proj", "attention.wo": "self_attn.o_proj", "feed_forward.w2": "mlp.down_proj"}
    for role, hub in hubs.items():
        wanted = meant[names.index(f"layers.2.{role}.weight")]
        assert array(held.tensors[f"model.layers.2.{hub}.weight"]).tobytes() == wanted.tobytes()


@pytest.mark.parametrize("version", [1, 2])
def test_old_eights_have_wide_scales(tmp_path: Path, real_asset: Asset, version: int) -> None:
    drawn = np.random.default_rng(3)
    weights = {name: value for name, value in trained(real_asset).items() if value.shape != (64, 172)}
    weights |= {f"layers.{i}.feed_forward.w2.weight": np.zeros((64, 192), np.float32) for i in range(5)}
    weights |= {f"layers.{i}.feed_forward.w{n}.weight": np.zeros((192, 64), np.float32) for i in range(5) for n in (1, 3)}
    held = {}

    def made(value: np.ndarray[Any, Any]) -> bytes:
        codes = drawn.integers(-127, 128, (value.size // 32, 32), np.int8)
        d = drawn.normal(size=value.size // 32).astype("<f4")
        held[len(held)] = (codes.astype(np.float32) * d[:, None]).reshape(value.shape)
        return b"".join(one.tobytes() + row.tobytes() for one, row in zip(d, codes, strict=True))

    path = tmp_path / "model.bin"
    path.write_bytes(ggml(weights, b"tjgg", version, 8, made, WORDS))
    names = [name for name, value in weights.items() if value.ndim == 2]
    found = opened(path).tensors["model.layers.0.self_attn.o_proj.weight"]
    assert array(found).tobytes() == held[names.index("layers.0.attention.wo.weight")].tobytes()


@pytest.mark.parametrize(("number", "name", "width"), [(6, "Q5_0", 22), (7, "Q5_1", 24)])
def test_old_fives_become_todays(tmp_path: Path, number: int, name: str, width: int) -> None:
    """Neighbours in a byte, the fifth bit of element i at place i: decoded by ggml's scalar loop, and as today's block."""
    from bessemer.blocks import decoded
    from bessemer.sources.ggml.blocks import lazy
    from bessemer.weights.files import FileBytes
    from bessemer.wire.ggml import Info
    from bessemer.wire.ggml.types import stored

    drawn = np.random.default_rng(number)
    raw = drawn.integers(0, 256, (12, width), np.uint8)
    raw[:, : width - 20] = drawn.normal(size=(12, (width - 20) // 2)).astype("<f2").view(np.uint8).reshape(12, -1)
    path = tmp_path / "blocks"
    path.write_bytes(raw.tobytes())
    found = lazy(FileBytes(path), Info("w", (4, 96), stored(number, 1, 0), 0, raw.size))
    assert found.type == name
    wanted = np.zeros((12, 32), np.float32)
    for place, block in enumerate(raw):
        scales = block[: width - 20].view(np.float16).astype(np.float32)
        high, low = int.from_bytes(block[width - 20 : width - 16].tobytes(), "little"), block[-16:]
        for i in range(32):
            code = (int(low[i // 2]) >> 4 * (i % 2) & 15) | (high >> i & 1) << 4
            wanted[place, i] = code * scales[0] + scales[1] if number == 7 else (code - 16) * scales[0]
    np.testing.assert_allclose(decoded(found.read(0, 4), name).reshape(12, 32), wanted, rtol=1e-6)
    np.testing.assert_array_equal(found.read(1, 3), found.read(0, 4)[1:3])


HUB = {
    "emb.": "rwkv.embeddings.", "ln_out.": "rwkv.ln_out.", ".ln0.": ".pre_ln.", ".att.": ".attention.",
    "blocks.": "rwkv.blocks.", ".ffn.": ".feed_forward.", "mix_k": "mix_key", "mix_v": "mix_value",
    "mix_r": "mix_receptance",
}  # fmt: skip


def test_rwkv_4_in_hugging_faces_form(real_asset: Asset) -> None:
    path = real_asset("llm/rwkv_ggmf/tiny-rwkv-4v0-660K-FP16.bin")
    held = opened(path)
    assert held.origin.details["layers"] == held.config["num_hidden_layers"] == 4
    raw, at, seen = path.read_bytes(), 24, 0
    while at < len(raw):  # the format again, in a few lines
        rank, length, kind = struct.unpack_from("<3I", raw, at)
        shape = struct.unpack_from(f"<{rank}I", raw, at + 12)[::-1]
        name = raw[at + 12 + 4 * rank :][:length].decode()
        start = at + 12 + 4 * rank + length
        value = np.frombuffer(raw, ("<f4", "<f2")[kind], int(np.prod(shape)), start).astype(np.float32)
        at, seen = start + value.size * (4, 2)[kind], seen + 1
        for old, new in HUB.items():
            name = name.replace(old, new)
        found = array(held.tensors[name]).reshape(-1)
        if name.endswith("time_decay"):  # rwkv.cpp stores -exp(decay)
            np.testing.assert_allclose(-np.exp(found), value, rtol=1e-6)
        else:
            assert found.tobytes() == value.tobytes()
    assert seen == len(held.tensors) == 78


@pytest.mark.parametrize("head", [8, 4])
def test_mistrals_consolidated_file(head: int, tmp_path: Path, real_asset: Asset) -> None:
    """One file by Meta's names, with heads that need not share the width."""
    library = pytest.importorskip("safetensors.numpy")
    weights = trained(real_asset)
    weights["output.weight"] = weights["output.weight"] * 2
    for layer in range(5):
        for role in "qkv":
            name = f"layers.{layer}.attention.w{role}.weight"
            weights[name] = np.ascontiguousarray(weights[name][: len(weights[name]) * head // 8])
        name = f"layers.{layer}.attention.wo.weight"
        weights[name] = np.ascontiguousarray(weights[name][:, : 64 * head // 8])
    library.save_file(weights, tmp_path / "consolidated.safetensors")
    said = {"dim": 64, "n_layers": 5, "head_dim": head, "hidden_dim": 172, "n_heads": 8, "n_kv_heads": 4, "rope_theta": 1e6}
    (tmp_path / "params.json").write_text(json.dumps({**said, "norm_eps": 1e-05, "vocab_size": 512}))
    held = opened(tmp_path)
    assert held.config["rope_theta"] == 1e6 and held.config.get("head_dim", 8) == head
    for layer in range(5):
        value = weights[f"layers.{layer}.attention.wq.weight"].reshape(8, head // 2, 2, 64)
        halves = value.transpose(0, 2, 1, 3).reshape(8 * head, 64)  # neighbours that turn together become i, i + size / 2
        np.testing.assert_array_equal(array(held.tensors[f"model.layers.{layer}.self_attn.q_proj.weight"]), halves)


def test_meta_parts_are_put_together(tmp_path: Path, real_asset: Asset) -> None:
    """Cut as fairscale cuts: queries, keys, values, gate, up and output along outputs, the others along inputs."""
    torch = pytest.importorskip("torch")
    weights = trained(real_asset)
    weights["output.weight"] = weights["output.weight"] * 2
    cut_rows = ("wq", "wk", "wv", "w1", "w3", "output")
    for part in range(2):
        held = {"rope.freqs": torch.zeros(4)}
        for name, value in weights.items():
            axis = 0 if name.split(".")[-2] in cut_rows else 1
            piece = np.split(value, 2, axis)[part] if value.ndim == 2 else value
            held[name] = torch.from_numpy(piece.copy())
        torch.save(held, tmp_path / f"consolidated.{part:02}.pth")
    said = {"dim": 64, "n_layers": 5, "n_heads": 8, "n_kv_heads": 4, "norm_eps": 1e-05, "vocab_size": -1}
    (tmp_path / "params.json").write_text(json.dumps(said))
    held_model = opened(tmp_path)
    wanted = reference(real_asset)
    wanted["lm_head.weight"] = weights["output.weight"]
    equal(held_model, wanted)
    assert held_model.config["intermediate_size"] == 172 and held_model.config["max_position_embeddings"] == 4096
    (tmp_path / "params.json").write_text(json.dumps({**said, "use_scaled_rope": True, "moe": {"num_experts": 8}}))
    with pytest.raises(Declined, match=r"(?s)use_scaled_rope.*moe"):
        opened(tmp_path)
    (tmp_path / "params.json").write_text(json.dumps({**said, "use_scaled_rope": False}))
    (tmp_path / "consolidated.01.pth").rename(tmp_path / "consolidated.02.pth")
    with pytest.raises(UnreadableInput, match="lacks some"):
        opened(tmp_path)
