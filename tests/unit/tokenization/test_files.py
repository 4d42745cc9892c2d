"""Tokenizers written as files, read by the libraries that own the formats."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer as Library

from bessemer.ir.errors import Declined, UnreadableInput
from bessemer.ir.tokenizer import Tokenizer, TokenType
from bessemer.tokenization import (
    corpus,
    differences,
    flat_encoder,
    from_directory,
    from_gguf,
    to_gguf,
    write_files,
)
from bessemer.tokenization.charsmap import Charsmap
from bessemer.tokenization.encoder import library_encoder, sentencepiece, sentencepiece_encoder
from bessemer.tokenization.piecefile import read as read_pieces
from bessemer.tokenization.piecefile import write as write_pieces

from .conftest import KINDS

MODEL_TYPES = {"gpt2": "gpt2", "starcoder": "gpt_bigcode", "bert": "bert", "t5": "t5", "gemma": "gemma"}
# not "qwen2": transformers has a class for it that adds its own special tokens where the vocabulary lacks them


def of(folder: Path) -> Tokenizer:
    found = from_directory(folder, json.loads((folder / "config.json").read_text()))
    assert found is not None
    return found


@pytest.fixture(scope="module")
def written(directories: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """name -> directory written from the flat data alone, as it comes out of GGUF."""
    root = tmp_path_factory.mktemp("written")
    for name in KINDS:
        tokenizer = from_gguf(to_gguf(of(directories[name])))
        assert tokenizer is not None and not tokenizer.files
        (root / name).mkdir()
        write_files(tokenizer, root / name, {"max_position_embeddings": 64})
        (root / name / "config.json").write_text(json.dumps({"model_type": MODEL_TYPES.get(name, "llama")}))
    return {name: root / name for name in KINDS}


KNOWN_APART = {"bert": 12, "t5": 3}  # marks and long words; graphemes: what the notes of these kinds say


@pytest.mark.parametrize("kind", KINDS)
def test_the_tokenizers_library_gives_the_ids_of_llama_cpp(
    directories: dict[str, Path], written: dict[str, Path], kind: str
) -> None:
    library = Library.from_file(str(written[kind] / "tokenizer.json"))
    flat = flat_encoder(of(directories[kind]))
    apart = differences(library_encoder(library), flat, corpus())
    assert len(apart) <= KNOWN_APART.get(kind, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_gguf_keys_survive_hugging_face(directories: dict[str, Path], written: dict[str, Path], kind: str) -> None:
    first = to_gguf(of(directories[kind]))
    second = from_directory(written[kind], {"vocab_size": len(first["tokenizer.ggml.tokens"])})
    assert second is not None and second.blockers == ()
    again = to_gguf(second)
    lost = [key for key, value in first.items() if not np.array_equal(value, again.get(key))]
    assert [key for key in lost if "token_type_count" not in key] == []  # a fact of config.json


@pytest.mark.parametrize("kind", ["llama", "gemma", "t5"])
def test_sentencepiece_reads_what_is_written(directories: dict[str, Path], written: dict[str, Path], kind: str) -> None:
    name = "spiece.model" if kind == "t5" else "tokenizer.model"
    first = sentencepiece_encoder(directories[kind] / name)
    second = sentencepiece_encoder(written[kind] / name)
    texts = [text for text in corpus() if "\0" not in text]
    assert differences(first, second, texts) == []


def test_a_piece_file_is_read_as_sentencepiece_reads_it(directories: dict[str, Path], tmp_path: Path) -> None:
    for kind in ("llama", "gemma", "t5"):
        path = directories[kind] / ("spiece.model" if kind == "t5" else "tokenizer.model")
        model, processor = read_pieces(path), sentencepiece(path)
        assert len(model.pieces) == processor.vocab_size()
        rows = [(processor.id_to_piece(i), processor.get_score(i)) for i in range(len(model.pieces))]
        assert [(text, np.float32(score)) for text, score, _ in model.pieces] == rows
        ids = [processor.unk_id(), processor.bos_id(), processor.eos_id(), processor.pad_id()]
        assert list(model.ids.values()) == ids
        write_pieces(tmp_path / kind, model)
        assert read_pieces(tmp_path / kind) == replace(model, normalizer=model.normalizer)


def test_the_charsmap_is_sentencepieces_own(directories: dict[str, Path]) -> None:
    path = directories["t5"] / "spiece.model"
    processor, charsmap = sentencepiece(path), Charsmap(read_pieces(path).charsmap)
    for text in corpus():
        expected = processor.normalize(text).replace("▁", " ").strip(" ")
        assert " ".join(part for part in charsmap(text).replace("▁", " ").split(" ") if part) == expected, text


@pytest.mark.parametrize("blob", [b"\0", b"\x08\0\0\0abcd", b"\x04\0\0\0abcd\0"[:8], b"\xff" * 16])
def test_a_broken_charsmap_is_no_index_error(blob: bytes) -> None:
    with pytest.raises(UnreadableInput, match="charsmap"):
        Charsmap(blob)


@pytest.mark.skipif(not find_spec("transformers"), reason="transformers is not installed")
def test_transformers_gives_the_ids_of_the_library(written: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
    from transformers import AutoTokenizer

    for kind, folder in written.items():
        theirs, library = AutoTokenizer.from_pretrained(folder), Library.from_file(str(folder / "tokenizer.json"))
        for text in corpus():
            assert theirs.encode(text, add_special_tokens=False) == library.encode(text, add_special_tokens=False).ids, kind
            assert theirs.encode(text) == library.encode(text).ids, kind
        assert (theirs.sep_token if kind == "bert" else theirs.eos_token) in ("<|end|>", "</s>", "[SEP]")


def test_what_stands_around_a_text_is_written(written: dict[str, Path]) -> None:
    ends = {kind: Library.from_file(str(folder / "tokenizer.json")).encode("a").ids for kind, folder in written.items()}
    assert (ends["llama3"][0], ends["bert"][0], ends["bert"][-1], ends["llama"][0], ends["t5"][-1]) == (0, 2, 3, 1, 1)
    library = Library.from_file(str(written["gpt2"] / "tokenizer.json"))
    assert ends["gpt2"] == library.encode("a", add_special_tokens=False).ids


def test_files_of_the_source_are_copied(directories: dict[str, Path], tmp_path: Path) -> None:
    paths = write_files(of(directories["llama3"]), tmp_path, {})
    assert sorted(path.name for path in paths) == ["tokenizer.json", "tokenizer_config.json"]
    for path in paths:
        assert path.read_bytes() == (directories["llama3"] / path.name).read_bytes()


def test_rwkv_there_and_back(tmp_path: Path) -> None:
    words = [bytes([i]) for i in range(256)] + [b"th", b"the", b" the", "字".encode(), b"'\\\"", b"\n\n", b"\xe5\xad"]
    lines = []
    for i, word in enumerate(words, 1):
        try:
            literal = repr(word.decode())
        except UnicodeDecodeError:
            literal = repr(word)
        lines.append(f"{i} {literal} {len(word)}\n")
    (tmp_path / "rwkv_vocab_v20230424.txt").write_text("".join(lines), encoding="utf-8")
    first = from_directory(tmp_path, {"vocab_size": 270})
    assert first is not None and first.kind == "rwkv" and len(first.tokens) == 270
    assert flat_encoder(first)("the 字\n\n") == [258, 33, 260, 262]
    (tmp_path / "out").mkdir()
    write_files(replace(first, files={}), tmp_path / "out", {})
    second = from_directory(tmp_path / "out", {"vocab_size": 270})
    assert second is not None and (second.tokens, second.types) == (first.tokens, first.types)


def test_tokens_spelled_the_same_cannot_be_written(tmp_path: Path) -> None:
    twins = Tokenizer("llama", "default", ("<unk>", "a", "a"), (2, 1, 1), (0.0, 0.0, 0.0))
    with pytest.raises(Declined, match="spelled the same"):
        write_files(twins, tmp_path, {})
    assert list(tmp_path.iterdir()) == []


def test_tokens_that_are_no_text_cannot_be_written(tmp_path: Path) -> None:
    """A GGUF file may hold any bytes; they come as lone surrogates."""
    odd = Tokenizer("llama", "default", ("<unk>", "a\udcff"), (2, 1), (0.0, 0.0))
    with pytest.raises(Declined, match="no text"):
        write_files(odd, tmp_path, {})
    assert list(tmp_path.iterdir()) == []


def test_a_kind_that_no_library_knows_is_declined(tmp_path: Path) -> None:
    with pytest.raises(Declined, match="plamo2"):
        write_files(Tokenizer("plamo2", "", ("a",), (1,)), tmp_path, {})
    assert write_files(Tokenizer("none", "", (), ()), tmp_path, {}) == []


@pytest.mark.parametrize(
    "keys", [{"tokens": "abc"}, {"tokens": ["a", "b"], "token_type": [1]}, {"tokens": ["a"], "scores": []}, {"tokens": 3}]
)
def test_keys_that_do_not_fit_are_refused(keys: dict[str, object]) -> None:
    metadata = {"tokenizer.ggml.model": "llama", **{f"tokenizer.ggml.{name}": value for name, value in keys.items()}}
    if keys.get("scores") == []:
        assert from_gguf(metadata) == Tokenizer("llama", "", ("a",), (TokenType.NORMAL,))
        return
    with pytest.raises(UnreadableInput):
        from_gguf(metadata)


def test_ids_beyond_the_vocabulary_and_odd_keys() -> None:
    metadata = {
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.tokens": ["a", "b"], "tokenizer.ggml.merges": ["a b"],
        "tokenizer.ggml.bos_token_id": 7, "tokenizer.ggml.eos_token_id": 1, "tokenizer.ggml.suppress_tokens": [1],
        "tokenizer.chat_template": "x", "tokenizer.chat_templates": ["t"], "tokenizer.chat_template.t": "y", "other": 1,
    }  # fmt: skip
    found = from_gguf(metadata)
    assert found is not None and found.special == {"eos": 1} and found.templates == {"": "x", "t": "y"}
    assert found.extra == {"tokenizer.ggml.suppress_tokens": [1]}
    assert from_gguf({"general.architecture": "llama"}) is None


def test_a_vocabulary_of_128_thousand_tokens_takes_seconds_at_most(
    real_asset: Callable[[str], Path], tmp_path: Path
) -> None:
    """Of gpt-2's real vocabulary, grown by tokens made of two: read, recognised, proven and made GGUF's keys."""
    from time import process_time

    from bessemer.wire.gguf.reader import read

    first = from_gguf(read(real_asset("llm/gguf_vocab/ggml-vocab-gpt-2.gguf")).metadata)
    assert first is not None
    plain = [token for token, kind in zip(first.tokens, first.types, strict=True) if kind == TokenType.NORMAL]
    known, pairs = set(first.tokens), []
    for i, left in enumerate(plain):
        right = plain[(i * 7919 + 13) % len(plain)].lstrip("Ġ")
        if right in known and left + right not in known and len(known) < 128_000:
            known.add(left + right)
            pairs.append((left, right))
    more = tuple(left + right for left, right in pairs)
    merges = first.merges + tuple(f"{left} {right}" for left, right in pairs)
    tokens, types = first.tokens + more, first.types + (1,) * len(more)
    write_files(replace(first, tokens=tokens, types=types, merges=merges), tmp_path, {})
    start = process_time()
    found = from_directory(tmp_path, {"vocab_size": len(tokens)})
    assert found is not None and to_gguf(found)["tokenizer.ggml.pre"] == "gpt-2"
    assert process_time() - start < 8
