"""vocab.json with merges.txt, and vocab.txt, as the tokenizer.json that transformers would make of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bessemer.ir.errors import UnreadableInput
from bessemer.tokenization.jsonfiles import MAXIMUM_TOKENS, document, text
from bessemer.tokenization.pretokenizers import BY_NAME
from bessemer.tokenization.settings import Settings

_BERT = {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"}
_LIKE_GPT2 = ("", "GPT2Tokenizer", "RobertaTokenizer", "BartTokenizer", "CodeGenTokenizer", "LongformerTokenizer")


def converted(files: Mapping[str, Path], settings: Settings) -> tuple[dict[str, Any], str]:
    """(the object, its text); ({}, '') where neither is there. Raises UnreadableInput for a class of tokenizer whose way
    to split words these files do not tell."""
    if "vocab.json" in files and "merges.txt" in files:
        data = _byte_level(files, settings)
    elif "vocab.txt" in files:
        data = _wordpiece(files["vocab.txt"], settings)
    else:
        return {}, ""
    return data, json.dumps(data)


def names(data: Mapping[str, Any], settings: Settings) -> dict[str, str]:
    """Spellings of the roles, BERT's own where nobody names them."""
    known = _BERT if data.get("model", {}).get("type") == "WordPiece" else {}
    return {**known, **settings.named}


def _byte_level(files: Mapping[str, Path], settings: Settings) -> dict[str, Any]:
    name = _class(settings)
    level = {"type": "ByteLevel", "add_prefix_space": bool(settings.config.get("add_prefix_space")), "trim_offsets": True}
    data: dict[str, Any] = {
        "version": "1.0",
        "added_tokens": _added(settings, vocabulary := document(files["vocab.json"])),
        "normalizer": None,
        "pre_tokenizer": level | {"use_regex": True},
        "post_processor": level | {"use_regex": True},
        "decoder": level | {"use_regex": True},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": _merges(files["merges.txt"])},
    }
    if name == "Qwen2Tokenizer":
        pattern = {"Regex": BY_NAME["qwen2"].expressions[0]}
        split = {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
        steps = [split, level | {"add_prefix_space": False, "use_regex": False}]
        data |= {"normalizer": {"type": "NFC"}, "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}}
    elif name not in _LIKE_GPT2:
        raise UnreadableInput(
            f"{files['vocab.json']} and merges.txt do not tell how a {name} splits words",
            fix="Open the tokenizer with transformers and save it: tokenizer.json tells",
        )
    if name in ("RobertaTokenizer", "BartTokenizer", "LongformerTokenizer"):
        data["post_processor"] = _roberta(data, settings)
    return data


def _roberta(data: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    ids = data["model"]["vocab"] | {row["content"]: row["id"] for row in data["added_tokens"]}
    cls, sep = settings.named.get("cls", "<s>"), settings.named.get("sep", "</s>")
    ends = {"sep": [sep, ids.get(sep, 2)], "cls": [cls, ids.get(cls, 0)]}
    prefix = bool(settings.config.get("add_prefix_space"))
    return {"type": "RobertaProcessing", "trim_offsets": True, "add_prefix_space": prefix, **ends}


def _class(settings: Settings) -> str:
    return str(settings.config.get("tokenizer_class") or "").removesuffix("Fast")


def _added(settings: Settings, vocabulary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Added tokens, and those of the vocabulary that have a role."""
    named = {vocabulary[name]: True for name in settings.named.values() if isinstance(vocabulary.get(name), int)}
    names = {i: name for name, i in vocabulary.items() if i in named} if named else {}
    rows = {i: (name, True) for i, name in names.items()} | {i: (t.content, t.special) for i, t in settings.added.items()}
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return [{"id": i, "content": content, "special": special} | plain for i, (content, special) in sorted(rows.items())]


def _merges(path: Path) -> list[str]:
    lines = text(path).split("\n")
    merges = [line for line in lines[1 if lines[0].startswith("#version") else 0 :] if line.strip()]
    if len(merges) > MAXIMUM_TOKENS or any(line.count(" ") != 1 for line in merges):
        raise UnreadableInput(f"{path} is no list of merges", why="each line holds two tokens with a space between")
    return merges


def _wordpiece(path: Path, settings: Settings) -> dict[str, Any]:
    tokens = text(path).splitlines() if "\n" in text(path) else []
    vocabulary = {token: i for i, token in enumerate(tokens)}
    config, spelled = settings.config, {**_BERT, **settings.named}
    if not tokens or len(tokens) > MAXIMUM_TOKENS or spelled["unk"] not in vocabulary:
        why = f"the unknown token {spelled['unk']} is not in it"
        raise UnreadableInput(f"{path} is no vocabulary of WordPiece", why=why)
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    special = [{"id": vocabulary[name], "content": name} | plain for name in spelled.values() if name in vocabulary]
    normalizer = {
        "type": "BertNormalizer",
        "clean_text": True,
        "lowercase": bool(config.get("do_lower_case", True)),
        "handle_chinese_chars": bool(config.get("tokenize_chinese_chars", True)),
        "strip_accents": config.get("strip_accents"),
    }
    return {
        "version": "1.0",
        "added_tokens": sorted({row["id"]: row for row in special}.values(), key=lambda row: row["id"]),
        "normalizer": normalizer,
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": _template(spelled, vocabulary),
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece", "unk_token": spelled["unk"], "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary,
        },
    }  # fmt: skip


def _template(names: Mapping[str, str], vocabulary: Mapping[str, int]) -> dict[str, Any] | None:
    cls, sep = names["cls"], names["sep"]
    if cls not in vocabulary or sep not in vocabulary:
        return None

    def special(name: str, kind: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": name, "type_id": kind}}

    first, second = ({"Sequence": {"id": name, "type_id": kind}} for kind, name in enumerate("AB"))
    return {
        "type": "TemplateProcessing",
        "single": [special(cls, 0), first, special(sep, 0)],
        "pair": [special(cls, 0), first, special(sep, 0), second, special(sep, 1)],
        "special_tokens": {n: {"id": n, "ids": [vocabulary[n]], "tokens": [n]} for n in (cls, sep)},
    }
