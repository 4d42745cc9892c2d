"""The tokenizer of a directory, whichever files it comes in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bessemer.ir.errors import UnreadableInput
from bessemer.ir.tokenizer import Tokenizer
from bessemer.tokenization import jsonmodel, pieces, rwkv, settings, slow
from bessemer.tokenization.encoder import loaded
from bessemer.tokenization.jsonfiles import MAXIMUM_TOKENS, parsed, text
from bessemer.tokenization.special import ended
from bessemer.tokenization.vocabulary import blocker

FILES = (
    "tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "merges.txt", "vocab.txt", "added_tokens.json",
    "special_tokens_map.json", "tokenizer_config.json", "chat_template.jinja", "chat_template.json",
    "rwkv_vocab_v20230424.txt",
)  # fmt: skip
_FOREIGN = ("sentencepiece.bpe.model", "tekken.json", "tiktoken.model", "qwen.tiktoken")
_PIECES = ("tokenizer.model", "spiece.model")


def from_directory(folder: Path, config: Mapping[str, Any]) -> Tokenizer | None:
    """The tokenizer, proven against its own library; None where no file holds a vocabulary. config: config.json.

    SentencePiece's own file goes first, as it holds the scores; then tokenizer.json, then what older tokenizers are saved
    as (vocab.json with merges.txt, vocab.txt). Raises UnreadableInput for broken files, MissingExtra.
    """
    files = _files(folder)
    rows = _rows(config)
    if "rwkv_vocab_v20230424.txt" in files and "tokenizer.json" not in files:
        return rwkv.padded(rwkv.read(files["rwkv_vocab_v20230424.txt"]), rows)
    data, content = _json(files)
    beside = settings.read(folder, config, _listed(data))
    model = next((files[name] for name in _PIECES if name in files), None)
    if model is not None and not (data and _is_text(model)):
        return ended(pieces.read(model, beside, rows, files), settings.ends(folder, config))
    if not data:
        data, content = slow.converted(files, beside)
        named = slow.names(data, beside)
        beside = replace(settings.read(folder, config, _listed(data)), named=named)
    if not data:
        return _foreign(files)
    return ended(_from_json(files, data, content, beside, rows), settings.ends(folder, config))


def _files(folder: Path) -> dict[str, Path]:
    found = {name: folder / name for name in (*FILES, *_FOREIGN) if (folder / name).is_file()}
    templates = sorted((folder / "additional_chat_templates").glob("*.jinja")) if found else []
    return found | {f"{path.parent.name}/{path.name}": path for path in templates}


def _foreign(files: Mapping[str, Path]) -> Tokenizer | None:
    """A vocabulary that is there, and is not read: other targets get its files."""
    name = next((name for name in _FOREIGN if name in files), None)
    if name is None:
        return None
    reason = f"it comes as {name} alone, which is not read here; transformers saves it as tokenizer.json"
    return Tokenizer("none", "", (), (), files=files, blockers=(blocker("file", reason),))


def _rows(config: Mapping[str, Any]) -> int | None:
    inner = config.get("text_config")
    value = config.get("vocab_size", inner.get("vocab_size") if isinstance(inner, Mapping) else None)
    if value is None or (type(value) is int and 0 < value <= MAXIMUM_TOKENS):
        return value
    raise UnreadableInput(f"config.json gives the vocabulary {str(value)[:40]} tokens")


def _json(files: Mapping[str, Path]) -> tuple[Mapping[str, Any], str]:
    if "tokenizer.json" not in files:
        return {}, ""
    path = files["tokenizer.json"]
    content = text(path)
    data = parsed(path, content)
    if not isinstance(data.get("model"), dict):
        raise UnreadableInput(f"{path} is no tokenizer of the tokenizers library", why="it has no object 'model'")
    return data, content


def _listed(data: Mapping[str, Any]) -> list[Any]:
    rows = data.get("added_tokens")
    return rows if isinstance(rows, list) else []


def _is_text(path: Path) -> bool:
    """Llama 3 came with a tokenizer.model that is a list of tokens in base64; its tokenizer.json says the same."""
    with path.open("rb") as file:
        return re.match(rb"[A-Za-z0-9+/=]+ [0-9]+\r?\n", file.read(256)) is not None


def _from_json(
    files: Mapping[str, Path], data: Mapping[str, Any], content: str, beside: settings.Settings, rows: int | None
) -> Tokenizer:
    path = files.get("tokenizer.json") or next(iter(files.values()))
    source = jsonmodel.Source(path, data, loaded(path, content), beside, rows)
    return jsonmodel.read(source, files)
