"""Hostile GGUF files: counts, lengths and places that lie; nesting without end; what other readers hang or crash on."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bessemer.wire.gguf.writer import layout

sys.path.insert(0, str(Path(__file__).parent))
from checkpoints import refused, survives
from hostile import cuts, flips

STORIES = "llm/stories260K/stories260K-f16.gguf"
HUGE = 1 << 60


def text(raw: bytes) -> bytes:
    return struct.pack("<Q", len(raw)) + raw


def file(entries: bytes = b"", tensors: bytes = b"", *, keys: int = 0, count: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, count, keys) + entries + tensors


def entry(key: bytes, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def array(kind: int, count: int, items: bytes = b"") -> bytes:
    return struct.pack("<IQ", kind, count) + items


def tensor(name: bytes = b"w", dims: tuple[int, ...] = (8,), kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


def padded(head: bytes, data: int = 64) -> bytes:
    return head + bytes(-len(head) % 32) + bytes(data)


PAIR = entry(b"k", 4, struct.pack("<I", 1))
HOSTILE: dict[str, tuple[bytes, str]] = {
    "51 bytes that claim 2^60 elements": (file(entry(b"abc", 9, array(0, HUGE)), keys=1), "elements of an array"),
    "an array of 2^60 strings": (file(entry(b"k", 9, array(8, HUGE)), keys=1), "elements of an array"),
    "an array of 2^60 arrays": (file(entry(b"k", 9, array(9, HUGE)), keys=1), "elements of an array"),
    "2^60 bytes of a string": (file(entry(b"k", 8, struct.pack("<Q", HUGE)), keys=1), "a string of"),
    "2^60 keys": (file(PAIR, keys=HUGE), "metadata entries"),
    "2^60 tensors": (file(PAIR, keys=1, count=HUGE), "tensors"),
    "2^63 tensors": (file(PAIR, keys=1, count=1 << 63), "tensors"),
    "arrays in arrays without end": (file(text(b"k") + struct.pack("<I", 9) + array(9, 1) * 5000, keys=1), "deep"),
    "a key of 2^40 bytes": (file(struct.pack("<Q", 1 << 40), keys=1) + bytes(20), "a name of"),
    "a key that is no text": (file(entry(b"\xff\xfe", 4, bytes(4)), keys=1), "no UTF-8"),
    "a key twice": (file(PAIR * 2, keys=2), "stands twice"),
    "an unknown type of value": (file(entry(b"k", 13, bytes(8)), keys=1), "unknown type 13"),
    "an array of an unknown type": (file(entry(b"k", 9, array(77, 1, bytes(8))), keys=1), "unknown type 77"),
    "a truth value of 2": (file(entry(b"k", 7, b"\2"), keys=1), "neither 0 nor 1"),
    "strings that run out": (file(entry(b"k", 9, array(8, 3, text(b"a") * 2 + bytes(7))), keys=1), "bytes are left"),
    "alignment 0": (file(entry(b"general.alignment", 4, bytes(4)), keys=1), "alignment of 0"),
    "alignment 3": (file(entry(b"general.alignment", 4, struct.pack("<I", 3)), keys=1), "alignment of 3"),
    "alignment 2^31": (file(entry(b"general.alignment", 4, struct.pack("<I", 1 << 31)), keys=1), "alignment of"),
    "an alignment that is a text": (file(entry(b"general.alignment", 8, text(b"32")), keys=1), "alignment"),
    "an alignment that is true": (file(entry(b"general.alignment", 7, b"\1"), keys=1), "alignment"),
    "version 0": (file(version=0), "version 0"),
    "version 4": (file(version=4), "version 4"),
    "a version of no byte order": (b"GGUF" + b"\0\0\0\0" + bytes(16), "version 0"),
    "a tensor of 5 axes": (padded(file(b"", tensor(dims=(1, 1, 1, 1, 1)), count=1)), "rank 5"),
    "a tensor of 2^32 axes": (file(b"", text(b"w") + b"\xff\xff\xff\xff" + bytes(40), count=1), "rank"),
    "sizes whose product wraps": (padded(file(b"", tensor(dims=(1 << 32, 1 << 32)), count=1)), "out of the file"),
    "sizes whose product is 0 in 64 bits": (padded(file(b"", tensor(dims=(1 << 33, 1 << 31)), count=1)), "out of the file"),
    "sizes of 2^63": (padded(file(b"", tensor(dims=(1 << 63,)), count=1)), "out of the file"),
    "a tensor behind the end": (padded(file(b"", tensor(offset=4096), count=1)), "out of the file"),
    "a place that wraps": (padded(file(b"", tensor(offset=(1 << 64) - 32), count=1)), "out of the file"),
    "a place that is not aligned": (padded(file(b"", tensor(offset=4), count=1)), "no multiple of 32"),
    "tensors that overlap": (padded(file(b"", tensor() + tensor(b"v"), count=2)), "overlaps"),
    "a tensor twice": (padded(file(b"", tensor() * 2, count=2)), "stands twice"),
    "an unknown type of tensor": (padded(file(b"", tensor(kind=1000), count=1)), "unknown type 1000"),
    "a type that was removed": (padded(file(b"", tensor(dims=(32,), kind=31), count=1)), "Q4_0_4_4"),
    "a row that cuts a block": (padded(file(b"", tensor(dims=(33,), kind=2), count=1)), "no multiple of Q4_0"),
    "a name that is no text": (padded(file(b"", tensor(b"\xc3("), count=1)), "no UTF-8"),
    "a part without a number": (file(entry(b"split.count", 2, struct.pack("<H", 3)), keys=1), "parts"),
    "a head and nothing more": (b"GGUF\x03\0\0\0", ""),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_a_lie_is_refused_at_once(what: str, tmp_path: Path) -> None:
    content, word = HOSTILE[what]
    refused(tmp_path / "hostile.gguf", content, word)


def test_arrays_of_arrays_are_bounded_in_total(tmp_path: Path) -> None:
    """Each of 2^20 arrays is small and honest; together they would be millions of lists."""
    inner = array(0, 0)
    refused(tmp_path / "many.gguf", file(entry(b"k", 9, array(9, 9_000_000, inner * 9_000_000)), keys=1), "elements")


def test_honest_counts_that_no_model_has(tmp_path: Path) -> None:
    """Each entry is there; as objects they would take a hundred times their bytes."""
    keys = b"".join(entry(b"%06x" % place, 0, b"\0") for place in range(300_000))
    refused(tmp_path / "keys.gguf", file(keys, keys=300_000), "more than")
    tensors = b"".join(tensor(b"%06x" % place, (0,)) for place in range(300_000))
    refused(tmp_path / "tensors.gguf", file(b"", tensors, count=300_000), "more than")


def test_a_part_may_not_lead_elsewhere(tmp_path: Path) -> None:
    """The name of a part is made from the file's own, never from what the file says."""
    content = file(entry(b"split.count", 2, struct.pack("<H", 2)) + entry(b"split.no", 2, bytes(2)), keys=2)
    refused(tmp_path / "m-00001-of-00002.gguf", content, "missing m-00002-of-00002.gguf")
    refused(tmp_path / "m-00001-of-00003.gguf", content, "of 2 parts")


ODD_VALUES: dict[str, Any] = {
    "tokenizer.ggml.tokens": 7, "tokenizer.ggml.token_type": ["a"], "tokenizer.ggml.scores": [1.0],
    "tokenizer.ggml.merges": [1, 2], "tokenizer.ggml.bos_token_id": "x", "tokenizer.ggml.model": ["llama"],
    "tokenizer.ggml.pre": 4, "tokenizer.chat_template": 1.5, "llama.block_count": 4_000_000_000,
    "llama.block_count ": 60_000,
    "llama.attention.head_count": 0, "llama.attention.head_count_kv": ["1", "a"], "llama.embedding_length": "wide",
    "llama.rope.freq_base": False, "llama.rope.dimension_count": -3, "general.architecture": 12,
    "llama.attention.layer_norm_rms_epsilon": [], "llama.vocab_size": 0, "llama.context_length": b"\0\1",
    "llama.expert_count": 1 << 31, "llama.rope.scaling.type": 3, "general.type": ["adapter"], "llama.feed_forward_length": 0,
}  # fmt: skip


@pytest.mark.parametrize("key", ODD_VALUES)
def test_settings_that_cannot_be_meant(key: str, tmp_path: Path, real_asset: Callable[[str], Path]) -> None:
    """Each setting of a real file by something that it should never be: refused, declined, or kept for GGUF alone."""
    from bessemer.wire.gguf.reader import read
    from bessemer.wire.gguf.values import ArrayOf, ValueType

    whole = read(real_asset(STORIES))
    value, key = ODD_VALUES[key], key.strip()
    metadata = {**whole.metadata, key: value}
    kinds = {name: kind for name, kind in whole.kinds.items() if name != key}
    if value == []:
        kinds[key] = ArrayOf(ValueType.INT8)
    described = [(info.name, info.shape, info.type.name) for info in whole.tensors.values()]
    header, _, total = layout(metadata, described, kinds=kinds)
    survives(tmp_path / "odd.gguf", [header + bytes(total - len(header))])


def test_cut_files_are_refused(tmp_path: Path, real_asset: Callable[[str], Path]) -> None:
    content = real_asset(STORIES).read_bytes()
    assert survives(tmp_path / "cut.gguf", cuts(content)) == 64


def test_an_adapter_without_a_scale(tmp_path: Path) -> None:
    entries = entry(b"general.type", 8, text(b"adapter")) + entry(b"adapter.lora.alpha", 8, text(b"x"))
    refused(tmp_path / "adapter.gguf", file(entries, keys=2), "no number")


@pytest.mark.parametrize("big", [False, True])
def test_flipped_bytes(big: bool, tmp_path: Path, real_asset: Callable[[str], Path]) -> None:
    """In the metadata and descriptions alone: weights may be any numbers."""
    content = real_asset(STORIES).read_bytes()
    if big:
        content = content[:4] + content[4:8][::-1] + content[8:]
    head, data = content[:24_000], content[24_000:]
    survives(tmp_path / "flipped.gguf", (damaged + data for damaged in flips(head, 400, seed=big)))
