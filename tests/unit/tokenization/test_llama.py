"""What is written to GGUF, tokenized by llama.cpp itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bessemer.ir.tokenizer import Tokenizer, TokenType
from bessemer.tokenization import (
    corpus,
    encoder,
    flat_encoder,
    from_directory,
    from_gguf,
    proof_texts,
    to_gguf,
    write_files,
)
from bessemer.tokenization.pretokenizers import KNOWN
from bessemer.wire.gguf.reader import read

from .conftest import KINDS, LLAMA3, byte_level, split, vocabulary_file

Tokenize = Callable[..., list[list[int]]]


def of(folder: Path) -> Tokenizer:
    found = from_directory(folder, json.loads((folder / "config.json").read_text()))
    assert found is not None
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_llama_cpp_gives_the_ids_of_the_source(
    directories: dict[str, Path], kind: str, tmp_path: Path, libllama: Tokenize
) -> None:
    tokenizer = of(directories[kind])
    assert tokenizer.blockers == ()
    path = vocabulary_file(tmp_path / "x.gguf", to_gguf(tokenizer))
    texts = proof_texts(tokenizer)
    assert len(texts) > 180
    own = encoder(tokenizer)
    assert libllama(path, texts) == [own(text) for text in texts]
    for parse in (True, False):  # and llama.cpp does what `flat_encoder` says, on all of them
        flat = flat_encoder(tokenizer, parse_special=parse)
        assert libllama(path, corpus(), parse) == [flat(text) for text in corpus()]


@pytest.fixture(scope="module")
def trained() -> Tokenizer:
    """A byte-level vocabulary, the pre-tokenizer to be named."""
    data = json.loads(byte_level(split("\n")).to_str())["model"]
    tokens = tuple(sorted(data["vocab"], key=data["vocab"].get))
    types = (TokenType.CONTROL,) * 2 + (TokenType.NORMAL,) * (len(tokens) - 2)
    return Tokenizer("gpt2", "", tokens, types, merges=tuple(" ".join(pair) for pair in data["merges"]))


@pytest.mark.parametrize("name", [pre.names[0] for pre in KNOWN if pre.byte_level])
def test_a_pre_tokenizer_is_what_llama_cpp_calls_so(
    trained: Tokenizer, name: str, tmp_path: Path, libllama: Tokenize
) -> None:
    tokenizer = replace(trained, pre=name)
    flat = flat_encoder(tokenizer)
    path = vocabulary_file(tmp_path / "x.gguf", to_gguf(tokenizer))
    assert libllama(path, corpus()) == [flat(text) for text in corpus()]


def test_vocabularies_of_real_models(
    real_asset: Callable[[str], Path], tmp_path: Path, libllama: Tokenize
) -> None:
    """GGUF -> Hugging Face's files -> GGUF: the same keys, and the same ids in llama.cpp and in the tokenizers library."""
    names = (
        "gguf_vocab/ggml-vocab-gpt-2.gguf", "gguf_vocab/ggml-vocab-llama-spm.gguf", "gguf_vocab/ggml-vocab-bert-bge.gguf",
        "stories260K/stories260K-f32.gguf", "gguf/llama-2-tiny-random_NOTTRAINED.gguf",
    )  # fmt: skip
    for name in names:
        path = real_asset(f"llm/{name}")
        first = from_gguf(read(path).metadata)
        assert first is not None
        folder = tmp_path / path.stem
        folder.mkdir()
        write_files(first, folder, {})
        second = from_directory(folder, {"vocab_size": len(first.tokens)})
        assert second is not None and second.blockers == ()
        _same_keys(to_gguf(first), to_gguf(second))
        flat = flat_encoder(first)
        ids = libllama(path, corpus())
        assert ids == [flat(text) for text in corpus()]
        again = libllama(vocabulary_file(tmp_path / "again.gguf", to_gguf(second)), corpus())
        assert again == ids
        own, texts = encoder(second), proof_texts(second)
        assert len(texts) > 180
        assert [own(text) for text in texts] == [flat(text) for text in texts]


_MORE = ("add_bos_token", "add_eos_token", "add_sep_token", "normalizer.lowercase", "bos_token_id", "eos_token_id", "pre")
_OLD_BERT = ("tokens", "cls_token_id", "token_type_count")  # that file is older than how its converter spells tokens


def _same_keys(first: dict[str, Any], second: dict[str, Any]) -> None:
    """All keys of the first as they were; beyond them only what llama.cpp does anyway, said aloud."""
    old = _OLD_BERT if first["tokenizer.ggml.model"] == "bert" else ()
    for key in first:
        if key.rpartition("ggml.")[2] not in old:
            assert np.array_equal(first[key], second[key]), key
    assert {key.partition("ggml.")[2] for key in set(second) - set(first)} <= set(_MORE)


def test_the_expression_of_llama_3_is_recognised_where_its_converter_gives_up(directories: dict[str, Path]) -> None:
    """A vocabulary that nobody has seen: llama.cpp's converter knows tokenizers by hashes of their ids."""
    assert "{1,3}" in LLAMA3
    found = of(directories["llama3"])
    assert (found.kind, found.pre, found.flags["add_bos_token"]) == ("gpt2", "llama-bpe", True)

