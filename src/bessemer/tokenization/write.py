"""A tokenizer as the files of a Hugging Face directory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from shutil import copyfile
from typing import Any

from bessemer.ir.errors import Declined
from bessemer.ir.tokenizer import Tokenizer, TokenType
from bessemer.tokenization import library, rwkv
from bessemer.tokenization.piecefile import BPE, UNIGRAM, PieceFile
from bessemer.tokenization.piecefile import write as write_pieces
from bessemer.tokenization.settings import ROLES, STATED_PRE
from bessemer.tokenization.special import roles
from bessemer.tokenization.vocabulary import blocker

_SENTENCEPIECE = ("llama", "t5")
_FLAGS = ("add_bos_token", "add_eos_token")


def write_files(tokenizer: Tokenizer, folder: Path, config: Mapping[str, Any]) -> list[Path]:
    """The files written into `folder` (which is there): copies of the source's own files where the tokenizer has them, else
    tokenizer.json, tokenizer_config.json, special_tokens_map.json and, for SentencePiece's kinds, tokenizer.model.

    config: config.json, for the longest text. Raises Declined where no such file can say what the tokenizer is.
    """
    if tokenizer.files:
        return [_copied(path, folder / name) for name, path in tokenizer.files.items()]
    if tokenizer.kind in ("none", "no_vocab"):
        return []
    if tokenizer.kind == "rwkv":
        return [rwkv.write(tokenizer, folder / "rwkv_vocab_v20230424.txt")]
    tokenizer = _trimmed(tokenizer)
    data = library.document(tokenizer)
    named = _named(tokenizer, data)
    contents = {
        "tokenizer.json": data,
        "tokenizer_config.json": _config(tokenizer, data, named, config),
        "special_tokens_map.json": named,
    }
    texts = {name: _json(value) for name, value in contents.items()}
    written = [folder / name for name in texts]
    for path, text in zip(written, texts.values(), strict=True):
        path.write_bytes(text)
    if tokenizer.kind in _SENTENCEPIECE and tokenizer.scores:
        written.append(folder / ("tokenizer.model" if tokenizer.kind == "llama" else "spiece.model"))
        write_pieces(written[-1], _pieces(tokenizer))
    return written


def _copied(path: Path, to: Path) -> Path:
    to.parent.mkdir(exist_ok=True)
    return Path(copyfile(path, to))


def _trimmed(tokenizer: Tokenizer) -> Tokenizer:
    """Without the unused tokens at its end that stand for rows of the embedding alone: `from_directory` names them anew."""
    count = len(tokenizer.tokens)
    while count and tokenizer.types[count - 1] == TokenType.UNUSED and _stands_for_row(tokenizer, count - 1):
        count -= 1
    tokens, types, scores = tokenizer.tokens[:count], tokenizer.types[:count], tokenizer.scores[:count]
    return replace(tokenizer, tokens=tokens, types=types, scores=scores)


def _stands_for_row(tokenizer: Tokenizer, i: int) -> bool:
    return tokenizer.tokens[i].removeprefix(library.SPACE) == f"[PAD{i}]"


def _json(value: Mapping[str, Any]) -> bytes:
    try:
        return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode("utf-8")
    except UnicodeEncodeError as error:
        reason = f"it holds what is no text, {error.object[max(0, error.start - 20) : error.end]!r} at its end"
        raise Declined("tokenizer.json", [blocker("text", reason)]) from error


def _named(tokenizer: Tokenizer, data: Mapping[str, Any]) -> dict[str, str]:
    """role -> spelling, for the roles that Hugging Face knows."""
    names = {row["id"]: row["content"] for row in data["added_tokens"]}
    special = roles(tokenizer)
    if tokenizer.kind == "bert":
        special = {"cls": special.get("bos", -1), **special}
        special = {role: i for role, i in special.items() if role not in ("bos", "eos")}
    return {f"{role}_token": names.get(i, tokenizer.tokens[i]) for role, i in special.items() if role in ROLES and i >= 0}


def _config(
    tokenizer: Tokenizer, data: Mapping[str, Any], named: Mapping[str, str], config: Mapping[str, Any]
) -> dict[str, Any]:
    out: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", **named}
    if tokenizer.kind not in _SENTENCEPIECE:  # whose model file has the added tokens, scores and all
        rows = ((row["id"], {name: value for name, value in row.items() if name != "id"}) for row in data["added_tokens"])
        out["added_tokens_decoder"] = {str(i): row for i, row in rows}
    stated = tokenizer.kind if tokenizer.kind == "gemma4" else tokenizer.pre
    out |= {STATED_PRE: stated} if stated not in ("", "default") else {}
    out |= {name: tokenizer.flags[name] for name in _FLAGS if name in tokenizer.flags}
    if tokenizer.kind == "llama" and not tokenizer.flags.get("add_space_prefix", True):
        out["add_prefix_space"] = False
    longest = config.get("max_position_embeddings")
    out |= {"clean_up_tokenization_spaces": False} | ({"model_max_length": longest} if isinstance(longest, int) else {})
    return out | _templates(tokenizer.templates)


def _templates(templates: Mapping[str, str]) -> dict[str, Any]:
    if not templates:
        return {}
    if set(templates) == {""}:
        return {"chat_template": templates[""]}
    return {"chat_template": [{"name": name or "default", "template": text} for name, text in templates.items()]}


def _pieces(tokenizer: Tokenizer) -> PieceFile:
    unknown = roles(tokenizer)["unk"]
    types = [TokenType.UNKNOWN if i == unknown else _typed(kind) for i, kind in enumerate(tokenizer.types)]
    unigram = tokenizer.kind == "t5"
    return PieceFile(
        pieces=tuple(zip(tokenizer.tokens, tokenizer.scores, types, strict=True)),
        model=UNIGRAM if unigram else BPE,
        ids={role: roles(tokenizer).get(role, -1) for role in ("bos", "eos", "pad")} | {"unk": unknown},
        charsmap=tokenizer.charsmap,
        add_dummy_prefix=tokenizer.flags.get("add_space_prefix", not unigram),
        remove_extra_whitespaces=tokenizer.flags.get("remove_extra_whitespaces", False),
        byte_fallback=TokenType.BYTE in tokenizer.types,
        normalizer="nmt_nfkc" if tokenizer.charsmap else "identity",
    )


def _typed(kind: int) -> int:
    return TokenType.CONTROL if kind == TokenType.UNKNOWN else kind
