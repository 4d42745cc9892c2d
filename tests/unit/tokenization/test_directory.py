"""Tokenizers read from directories: what is recognised, what is declined, what settings say."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, models, normalizers, processors, trainers
from tokenizers import Tokenizer as Library
from tokenizers import pre_tokenizers as pre

from bessemer.ir.errors import Declined, UnreadableInput
from bessemer.ir.tokenizer import Tokenizer, TokenType
from bessemer.tokenization import (
    corpus,
    differences,
    encoder,
    flat_encoder,
    from_directory,
    proof_texts,
    to_gguf,
    write_files,
)
from bessemer.tokenization.special import endings, guessed

from .conftest import LLAMA3, NAMED, PLAIN, TEXTS, byte_level, pieces, saved, split

TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""As it stands in Mistral Nemo's tokenizer.json."""


def of(folder: Path) -> Tokenizer:
    found = from_directory(folder, json.loads((folder / "config.json").read_text()))
    assert found is not None
    return found


def test_pre_tokenizers_are_found_by_what_they_do(directories: dict[str, Path]) -> None:
    found = {name: of(directories[name]).pre for name in ("llama3", "qwen2", "gpt2", "starcoder")}
    assert found == {"llama3": "llama-bpe", "qwen2": "qwen2", "gpt2": "gpt-2", "starcoder": "starcoder"}


def test_a_source_that_composes_characters_is_noted(directories: dict[str, Path]) -> None:
    found = of(directories["qwen2"])
    assert any("NFC" in note for note in found.notes)
    apart = differences(encoder(found), flat_encoder(found), corpus())
    assert apart and all(ord(max(difference.text)) > 0x300 for difference in apart)


def test_llama_cpps_own_stand_in_is_noted_with_an_example(tmp_path: Path) -> None:
    """Its expressions know no cases of letters beyond ASCII."""
    found = of(saved(tmp_path / "t", byte_level(split(TEKKEN), ignore_merges=True)))
    assert found.pre == "tekken" and found.blockers == ()
    assert any("'tekken' stands for" in note and "token" in note for note in found.notes)


@pytest.mark.parametrize(
    ("steps", "options", "rule"),
    [
        (split(r"\w+|\W+"), {}, "tokenizer.unequal"),
        ([], {"use_regex": True, "prefix": True}, "tokenizer.unequal"),
        (split(LLAMA3), {"normalizer": normalizers.Lowercase()}, "tokenizer.normalizer"),
    ],
)
def test_what_llama_cpp_cannot_do_is_declined_with_examples(
    tmp_path: Path, steps: list[Any], options: dict[str, Any], rule: str
) -> None:
    found = of(saved(tmp_path / "t", byte_level(steps, **options)))
    assert [blocker.rule for blocker in found.blockers] == [rule]
    assert "'" in found.blockers[0].reason
    with pytest.raises(Declined, match=rule):
        to_gguf(found)


def test_a_kind_without_a_word_in_gguf_is_declined(tmp_path: Path) -> None:
    library = Library(models.WordLevel({"a": 0, "b": 1, "[UNK]": 2}, unk_token="[UNK]"))
    found = of(saved(tmp_path / "t", library))
    with pytest.raises(Declined, match="WordLevel"):
        to_gguf(found)
    assert (tmp_path / "out").mkdir() is None
    assert {path.name for path in write_files(found, tmp_path / "out", {})} >= {"tokenizer.json"}


def test_bpe_without_byte_tokens_is_declined(tmp_path: Path) -> None:
    found = of(pieces(tmp_path / "t", "tokenizer.model", model_type="bpe", **PLAIN))
    assert "tokenizer.bytes" in [blocker.rule for blocker in found.blockers]


def test_sentencepiece_that_joins_spaces_is_noted(real_asset: Callable[[str], Path]) -> None:
    folder = real_asset("llm/stories260K/hf")
    found = from_directory(folder, json.loads((folder / "config.json").read_text()))
    assert found is not None and found.blockers == () and (found.kind, found.special["bos"]) == ("llama", 1)
    assert any("rewrites texts" in note for note in found.notes)
    apart = differences(encoder(found), flat_encoder(found), corpus())
    assert 0 < len(apart) < 60


def test_scores_follow_the_order_of_merges(directories: dict[str, Path], tmp_path: Path) -> None:
    """A Llama whose tokenizer.model is lost: llama.cpp's converter gives all tokens the same score then."""
    for name in ("llama", "gemma"):
        first = of(directories[name])
        bare = Tokenizer(**{**vars(first), "files": {}})
        folder = tmp_path / name
        folder.mkdir()
        write_files(bare, folder, {})
        (folder / "tokenizer.model").unlink()
        second = from_directory(folder, {"vocab_size": 910})
        assert second is not None and second.kind == "llama" and second.blockers == ()
        assert differences(flat_encoder(first), flat_encoder(second), corpus()) == []


def test_a_space_ahead_unless_there_is_one_is_noted(directories: dict[str, Path], tmp_path: Path) -> None:
    """As transformers saves a Llama since its version 5."""
    first = of(directories["llama"])
    write_files(Tokenizer(**{**vars(first), "files": {}}), tmp_path, {})
    data = json.loads((tmp_path / "tokenizer.json").read_text())
    data["normalizer"] = None
    data["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    both = from_directory(tmp_path, {"vocab_size": 910})
    (tmp_path / "tokenizer.model").unlink()
    alone = from_directory(tmp_path, {"vocab_size": 910})
    for found in (both, alone):
        assert found is not None and found.blockers == ()
        assert any("begins with one" in note for note in found.notes)
        plain = {text for text in corpus() if text[:1] not in " ▁" and "<s>" not in text}
        assert plain <= set(proof_texts(found))


def test_a_t5_that_splits_at_every_space_is_noted(directories: dict[str, Path], tmp_path: Path) -> None:
    """As transformers saves a T5."""
    first = of(directories["t5"])
    write_files(Tokenizer(**{**vars(first), "files": {}}), tmp_path, {})
    data = json.loads((tmp_path / "tokenizer.json").read_text())
    data["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, data["pre_tokenizer"]]}
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    (tmp_path / "spiece.model").unlink()
    found = from_directory(tmp_path, {"vocab_size": 910})
    assert found is not None and found.kind == "t5" and found.blockers == ()
    assert any("every kind of space" in note for note in found.notes)


def test_bpe_trained_with_byte_tokens_keeps_its_merges(tmp_path: Path) -> None:
    """Scores cannot say it: two tokens are joined only where a merge says so."""
    library = Library(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    library.normalizer = normalizers.Replace(" ", "▁")
    letters = sorted({letter for text in TEXTS for letter in text if letter.isascii()})
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=names, initial_alphabet=letters, show_progress=False)
    library.train_from_iterator([text for text in TEXTS if text.isascii()], trainer)
    data = json.loads(library.to_str())
    data["added_tokens"] = data["added_tokens"][:3]
    found = of(saved(tmp_path / "t", Library.from_str(json.dumps(data))))
    assert found.blockers == ()
    assert differences(encoder(found), flat_encoder(found), [text for text in corpus() if "<" not in text]) == []


def test_slow_files_say_the_same(directories: dict[str, Path], tmp_path: Path) -> None:
    data = json.loads((directories["gpt2"] / "tokenizer.json").read_text())
    (tmp_path / "vocab.json").write_text(json.dumps(data["model"]["vocab"]))
    lines = [" ".join(pair) for pair in data["model"]["merges"]]
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(lines) + "\n")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**NAMED, "tokenizer_class": "GPT2Tokenizer"}))
    first, second = of(directories["gpt2"]), from_directory(tmp_path, {"vocab_size": 1210})
    assert second is not None and to_gguf(first).keys() == to_gguf(second).keys()
    assert (first.tokens, first.types, first.merges, first.special) == (
        second.tokens, second.types, second.merges, second.special
    )  # fmt: skip


def test_a_list_of_words_is_a_bert(directories: dict[str, Path], tmp_path: Path) -> None:
    first = of(directories["bert"])
    vocabulary = json.loads((directories["bert"] / "tokenizer.json").read_text())["model"]["vocab"]
    (tmp_path / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.get)) + "\n")
    second = from_directory(tmp_path, {"model_type": "bert", "vocab_size": len(first.tokens), "type_vocab_size": 2})
    assert second is not None and second.blockers == ()
    assert (first.tokens, first.special, first.extra) == (second.tokens, second.special, second.extra)


def test_added_and_padding_tokens_have_their_types(directories: dict[str, Path]) -> None:
    found = of(directories["llama3"])
    types = dict(zip(found.tokens, found.types, strict=True))
    assert types["<|eot_id|>"] == types["<|begin|>"] == TokenType.CONTROL
    assert types["<tool>"] == TokenType.USER_DEFINED and types["[PAD1205]"] == TokenType.UNUSED
    assert len(found.tokens) == 1210 and found.templates == {"": "{{ messages }}"}
    assert guessed(found) == {"eot": found.tokens.index("<|eot_id|>")}
    assert endings(found) == (1, found.tokens.index("<|eot_id|>"))


def test_added_tokens_beyond_the_embedding_are_left_out(directories: dict[str, Path]) -> None:
    data = json.loads((directories["llama3"] / "config.json").read_text())
    found = from_directory(directories["llama3"], {**data, "vocab_size": 1201})
    assert found is not None and len(found.tokens) == 1201 and found.blockers == ()
    assert any("'<tool>' first" in note for note in found.notes)
    found = from_directory(directories["llama3"], {**data, "vocab_size": 1100})
    assert found is not None and "1100 rows" in found.blockers[0].reason


def test_what_stands_around_a_text_is_found_by_trying(tmp_path: Path) -> None:
    """A closing token that is not the end that the settings name: llama.cpp appends 'eos', so it takes that name."""
    library = byte_level(split(LLAMA3), special=("<|begin|>", "<|end|>", "<|close|>"))
    library.post_processor = processors.TemplateProcessing(
        single="$A <|close|>", pair="$A <|close|> $B:1 <|close|>:1", special_tokens=[("<|close|>", 2)]
    )
    found = of(saved(tmp_path / "t", library))
    assert (found.special["eos"], found.special["eot"]) == (2, 1)
    assert (found.flags["add_bos_token"], found.flags["add_eos_token"]) == (False, True)


def test_templates_by_name_and_from_their_own_file(directories: dict[str, Path], tmp_path: Path) -> None:
    library = Library.from_file(str(directories["gpt2"] / "tokenizer.json"))
    named = [{"name": "default", "template": "D"}, {"name": "tool use", "template": "T"}]
    folder = saved(tmp_path / "t", library, {**NAMED, "chat_template": named})
    keys = to_gguf(of(folder))
    assert keys["tokenizer.chat_template"] == "D" and keys["tokenizer.chat_template.tool_use"] == "T"
    assert keys["tokenizer.chat_templates"] == ["tool_use"]
    (folder / "chat_template.jinja").write_text("J")
    assert of(folder).templates == {"": "J"}


def test_an_end_that_is_a_list_is_its_first(directories: dict[str, Path], tmp_path: Path) -> None:
    library = Library.from_file(str(directories["gpt2"] / "tokenizer.json"))
    folder = saved(tmp_path / "t", library, {"tokenizer_class": "PreTrainedTokenizerFast"}, eos_token_id=[1, 0])
    assert of(folder).special["eos"] == 1


def test_further_ends_of_generation_have_roles(directories: dict[str, Path], tmp_path: Path) -> None:
    """llama.cpp knows '<|eot_id|>' by its spelling and no other."""
    folder = saved(tmp_path / "t", Library.from_file(str(directories["llama3"] / "tokenizer.json")))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [1200, 1201, 7, 8, 1]}))
    found = of(folder)
    assert found.tokens[1200] == "<|eot_id|>" and found.special == {"bos": 0, "eos": 1, "eot": 1201, "eom": 7}
    assert endings(found) == (1, 7, 1200, 1201)
    assert any(repr(found.tokens[8]) in note for note in found.notes)


def test_roberta_has_separators(tmp_path: Path) -> None:
    names = ("<s>", "</s>", "<unk>", "<pad>", "<mask>")
    library = byte_level([], names, use_regex=True)
    library.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    roles = dict(zip(("cls", "sep", "unk", "pad", "mask"), names, strict=True))
    config = {f"{role}_token": name for role, name in roles.items()}
    found = of(saved(tmp_path / "t", library, config, model_type="roberta"))
    assert found.pre == "roberta-bpe" and found.flags["add_sep_token"] and found.special["bos"] == 0
    assert to_gguf(found)["tokenizer.ggml.token_type_count"] == 1


def test_no_files_are_no_tokenizer(tmp_path: Path) -> None:
    assert from_directory(tmp_path, {}) is None


def test_a_vocabulary_in_a_foreign_file_is_declined_and_copied(tmp_path: Path) -> None:
    (tmp_path / "tekken.json").write_text("{}")
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "tools.jinja").write_text("T")
    found = from_directory(tmp_path, {"vocab_size": 7})
    assert found is not None
    with pytest.raises(Declined, match="tekken"):
        to_gguf(found)
    (tmp_path / "out").mkdir()
    names = {path.relative_to(tmp_path / "out").as_posix() for path in write_files(found, tmp_path / "out", {})}
    assert names == {"tekken.json", "additional_chat_templates/tools.jinja"}


def test_llama_3s_list_of_tokens_is_passed_over(directories: dict[str, Path], tmp_path: Path) -> None:
    folder = saved(tmp_path / "t", Library.from_file(str(directories["llama3"] / "tokenizer.json")))
    rows = (f"{base64.b64encode(bytes([byte])).decode()} {byte}\n" for byte in range(256))
    (folder / "tokenizer.model").write_text("".join(rows))
    assert of(folder).pre == "llama-bpe"


_HOSTILE: dict[str, dict[str, bytes]] = {
    "no json": {"tokenizer.json": b"{"},
    "nested too deep": {"tokenizer.json": b"[" * 200_000},
    "a list": {"tokenizer.json": b"[]"},
    "no model": {"tokenizer.json": b"{}"},
    "no text": {"tokenizer.json": b"\xff\xfe{}"},
    "not a tokenizer": {"tokenizer.json": b'{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["x", "y"]]}}'},
    "an id too large": {
        "tokenizer.json": b'{"version":"1.0","added_tokens":[],"normalizer":null,"pre_tokenizer":{"type":"ByteLevel",'
        b'"add_prefix_space":false,"trim_offsets":true,"use_regex":true},"post_processor":null,"decoder":null,'
        b'"model":{"type":"BPE","vocab":{"a":0,"b":4294967295},"merges":[]}}'
    },
    "no protobuf": {"tokenizer.model": b"\x0a\xff\xff\xff\xff\x0fxx"},
    "no pieces": {"tokenizer.model": b""},
    "a piece that is no text": {"tokenizer.model": b"\x0a\x03\x0a\x01\xff"},
    "a score too short": {"tokenizer.model": b"\x0a\x07\x0a\x01a\x12\x02ab"},
    "an added token of no number": {"tokenizer.model": b"\x0a\x03\x0a\x01a", "added_tokens.json": b'{"x": 1e99}'},
    "an added token far away": {"tokenizer.model": b"\x0a\x03\x0a\x01a", "added_tokens.json": b'{"x": 4000000000}'},
    "merges that are none": {"vocab.json": b'{"a": 0}', "merges.txt": b"a b c\n"},
    "a class that files do not tell": {
        "vocab.json": b'{"a": 0}', "merges.txt": b"", "tokenizer_config.json": b'{"tokenizer_class": "Odd"}',
    },
    "no word for the unknown": {"vocab.txt": b"a\nb\n"},
    "no rwkv": {"rwkv_vocab_v20230424.txt": b"1 __import__('os') 3\n"},
}  # fmt: skip


@pytest.mark.parametrize("name", _HOSTILE)
def test_broken_files_are_refused_in_words(tmp_path: Path, name: str) -> None:
    for file, data in _HOSTILE[name].items():
        (tmp_path / file).write_bytes(data)
    with pytest.raises(UnreadableInput):
        from_directory(tmp_path, {})


@pytest.mark.parametrize("rows", [-1, 0, 1 << 40, "many", True])
def test_a_vocabulary_of_no_size_is_refused(directories: dict[str, Path], rows: object) -> None:
    with pytest.raises(UnreadableInput):
        from_directory(directories["gpt2"], {"vocab_size": rows})


def test_a_vocabulary_with_twins_is_declined(directories: dict[str, Path], tmp_path: Path) -> None:
    """llama.cpp asserts that no two tokens are spelled the same."""
    library = Library.from_file(str(directories["llama3"] / "tokenizer.json"))
    library.add_tokens([AddedToken("[PAD1204]", special=False)])
    found = of(saved(tmp_path / "t", library))
    assert [blocker.rule for blocker in found.blockers] == ["tokenizer.vocabulary"]


def test_digits_alone_are_the_same_everywhere() -> None:
    assert pre.Digits(individual_digits=True).pre_tokenize_str("a12") == [("a", (0, 1)), ("1", (1, 2)), ("2", (2, 3))]
