"""GGUF's `tokenizer.` keys <-> `Tokenizer` (names and types: llama.cpp's gguf-py/gguf/constants.py)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from bessemer.ir.errors import Declined, UnreadableInput
from bessemer.ir.tokenizer import Tokenizer, TokenType

_PREFIX = "tokenizer.ggml."
_IDS = {
    "bos": "bos_token_id", "eos": "eos_token_id", "unk": "unknown_token_id", "sep": "seperator_token_id",
    "pad": "padding_token_id", "mask": "mask_token_id", "eot": "eot_token_id", "eom": "eom_token_id",
    "fim_pre": "fim_pre_token_id", "fim_suf": "fim_suf_token_id", "fim_mid": "fim_mid_token_id",
    "fim_pad": "fim_pad_token_id", "fim_rep": "fim_rep_token_id", "fim_sep": "fim_sep_token_id",
    "prefix": "prefix_token_id", "suffix": "suffix_token_id", "middle": "middle_token_id",
}  # fmt: skip
_ROLES = {key: role for role, key in _IDS.items()}
_FLAGS = (
    "add_bos_token", "add_eos_token", "add_sep_token", "add_space_prefix", "remove_extra_whitespaces", "escape_whitespaces",
    "normalizer.lowercase", "normalizer.strip_accents",
)  # fmt: skip
_TEMPLATE, _TEMPLATES = "tokenizer.chat_template", "tokenizer.chat_templates"
_OWN = frozenset(
    [_PREFIX + key for key in ("model", "pre", "tokens", "token_type", "scores", "merges", "precompiled_charsmap")]
    + [_PREFIX + key for key in (*_IDS.values(), *_FLAGS)]
    + [_TEMPLATE, _TEMPLATES]
)


def to_gguf(tokenizer: Tokenizer) -> dict[str, Any]:
    """The `tokenizer.` keys: str, bool, lists of str, and numpy values (float32 scores, int32 types, uint32 ids, uint8
    charsmap). Raises Declined with the tokenizer's blockers."""
    if tokenizer.blockers:
        raise Declined("llama.cpp's tokenizer", tokenizer.blockers)
    keys: dict[str, Any] = {_PREFIX + "model": tokenizer.kind}
    if tokenizer.pre:
        keys[_PREFIX + "pre"] = tokenizer.pre
    keys |= _lists(tokenizer)
    keys |= {_PREFIX + _IDS[role]: np.uint32(i) for role, i in tokenizer.special.items() if role in _IDS}
    keys |= {_PREFIX + name: value for name, value in tokenizer.flags.items()}
    return keys | _chat(tokenizer.templates) | dict(tokenizer.extra)


def _lists(tokenizer: Tokenizer) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    if tokenizer.tokens:
        keys[_PREFIX + "tokens"] = list(tokenizer.tokens)
    if tokenizer.scores:
        keys[_PREFIX + "scores"] = np.array(tokenizer.scores, np.float32)
    if tokenizer.types:
        keys[_PREFIX + "token_type"] = np.array(tokenizer.types, np.int32)
    if tokenizer.merges:
        keys[_PREFIX + "merges"] = list(tokenizer.merges)
    if tokenizer.charsmap:
        keys[_PREFIX + "precompiled_charsmap"] = np.frombuffer(tokenizer.charsmap, np.uint8)
    return keys


def _chat(templates: Mapping[str, str]) -> dict[str, Any]:
    named = {_safe(name): text for name, text in templates.items() if name}
    keys: dict[str, Any] = {f"{_TEMPLATE}.{name}": text for name, text in named.items()}
    if named:
        keys[_TEMPLATES] = sorted(named)
    if "" in templates:
        keys[_TEMPLATE] = templates[""]
    return keys


def _safe(name: str) -> str:
    return "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in name)


def from_gguf(metadata: Mapping[str, Any]) -> Tokenizer | None:
    """None where the file names no kind of tokenizer. Raises UnreadableInput where lists do not fit each other."""
    kind = metadata.get(_PREFIX + "model")
    if kind is None:
        return None
    tokens = tuple(_text(token) for token in _listed(metadata, "tokens"))
    types = tuple(int(i) for i in _numbers(metadata, "token_type")) or (TokenType.NORMAL,) * len(tokens)
    scores = tuple(_numbers(metadata, "scores"))
    for name, found in (("token_type", types), ("scores", scores)):
        if found and len(found) < len(tokens):
            raise _broken(f"{_PREFIX}{name} holds {len(found)} values for {len(tokens)} tokens")
    return Tokenizer(
        kind=_text(kind),
        pre=_text(metadata.get(_PREFIX + "pre", "")),
        tokens=tokens,
        types=types[: len(tokens)],
        scores=scores[: len(tokens)],
        merges=tuple(_text(merge) for merge in _listed(metadata, "merges")),
        special=_special(metadata, len(tokens)),
        flags={name: bool(metadata[_PREFIX + name]) for name in _FLAGS if _PREFIX + name in metadata},
        charsmap=_bytes(metadata, "precompiled_charsmap"),
        templates=_templates(metadata),
        extra=_extra(metadata),
    )


def _special(metadata: Mapping[str, Any], count: int) -> dict[str, int]:
    """Ids beyond the vocabulary are left out, as llama.cpp does."""
    found = {role: metadata.get(_PREFIX + key) for key, role in _ROLES.items()}
    return {role: int(i) for role, i in found.items() if isinstance(i, int | np.integer) and 0 <= i < count}


def _templates(metadata: Mapping[str, Any]) -> dict[str, str]:
    names = _names(metadata)
    named = {name: _text(metadata[f"{_TEMPLATE}.{name}"]) for name in names if f"{_TEMPLATE}.{name}" in metadata}
    return ({"": _text(metadata[_TEMPLATE])} if _TEMPLATE in metadata else {}) | named


def _names(metadata: Mapping[str, Any]) -> list[str]:
    names = metadata.get(_TEMPLATES, ())
    return [_text(name) for name in names] if isinstance(names, list | tuple) else []


def _extra(metadata: Mapping[str, Any]) -> dict[str, Any]:
    named = {f"{_TEMPLATE}.{name}" for name in _names(metadata)}
    return {
        key: value for key, value in metadata.items() if key.startswith("tokenizer.") and key not in _OWN | named
    }


def _listed(metadata: Mapping[str, Any], name: str) -> Any:
    value = metadata.get(_PREFIX + name, ())
    if (isinstance(value, str | bytes) and name != "precompiled_charsmap") or not isinstance(value, Iterable):
        raise _broken(f"{_PREFIX}{name} is no list")
    return list(value) if isinstance(value, bytes) else value


def _numbers(metadata: Mapping[str, Any], name: str) -> list[float]:
    try:
        return [float(value) for value in _listed(metadata, name)]
    except (TypeError, ValueError, OverflowError) as error:
        raise _broken(f"{_PREFIX}{name} holds what is no number") from error


def _bytes(metadata: Mapping[str, Any], name: str) -> bytes:
    """Signed or not."""
    try:
        return bytes(int(value) & 0xFF for value in _listed(metadata, name))
    except (TypeError, ValueError, OverflowError) as error:
        raise _broken(f"{_PREFIX}{name} holds what is no byte") from error


def _text(value: Any) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def _broken(what: str) -> UnreadableInput:
    return UnreadableInput(f"The tokenizer in this GGUF file is broken: {what}", fix="Fetch or convert the file again")
