"""What stands beside a vocabulary: added tokens, named tokens, flags and chat templates.

Read from tokenizer_config.json, special_tokens_map.json, added_tokens.json, chat_template.jinja and config.json as
transformers reads them; the roles that reach GGUF are those of llama.cpp's gguf-py/gguf/vocab.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bessemer.ir.errors import UnreadableInput
from bessemer.tokenization.jsonfiles import MAXIMUM_TOKENS, document, text

STATED_PRE = "tokenizer_ggml_pre"  # key of tokenizer_config.json: the name in the GGUF file that it was made of
ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


@dataclass(frozen=True)
class Added:
    """A token beside the model's own: found in the text as it is spelled. special: it means nothing as plain text."""

    content: str
    special: bool


@dataclass(frozen=True)
class Settings:
    """config: tokenizer_config.json; added: by id; named: role -> spelling; model: config.json."""

    config: Mapping[str, Any]
    added: Mapping[int, Added]
    named: Mapping[str, str]
    templates: Mapping[str, str]
    model: Mapping[str, Any] = field(default_factory=dict)

    def special(self, ids: Mapping[str, int], count: int) -> dict[str, int]:
        """role -> id: by the spelling that the tokenizer's files name, else the number in config.json (the first one of
        several); what lies beyond the vocabulary is left out. ids: spelling -> id; count: tokens."""
        known = {added.content: i for i, added in self.added.items()}
        out = {}
        for role in ROLES:
            spelled = self.named.get(role)
            found = known.get(spelled, ids.get(spelled)) if spelled is not None else None
            found = self._number(role) if found is None else found
            if found is not None and 0 <= found < count:
                out[role] = found
        return out

    def _number(self, role: str) -> int | None:
        key = f"{role}_token_id"
        text_config = self.model.get("text_config")
        value = self.model.get(key)
        value = text_config.get(key) if value is None and isinstance(text_config, Mapping) else value
        value = value[0] if isinstance(value, list) and value else value
        return value if isinstance(value, int) and not isinstance(value, bool) else None


def ends(folder: Path, model: Mapping[str, Any]) -> list[int]:
    """Ids at which generation ends: those of generation_config.json, and of config.json where it lists several."""
    several, own = model.get("eos_token_id"), document(folder / "generation_config.json").get("eos_token_id")
    listed = [*(own if isinstance(own, list) else [own]), *(several if isinstance(several, list) else [])]
    return list(dict.fromkeys(i for i in listed if type(i) is int))


def read(folder: Path, model: Mapping[str, Any], added: Iterable[Any] = ()) -> Settings:
    """Settings of a directory. model: config.json; added: `added_tokens` of tokenizer.json."""
    config = document(folder / "tokenizer_config.json")
    named = _named(document(folder / "special_tokens_map.json")) | _named(config)
    tokens = _added(folder, config, added)
    special = set(named.values()) | _listed(config) | _listed(document(folder / "special_tokens_map.json"))
    marked = {i: Added(token.content, token.special or token.content in special) for i, token in tokens.items()}
    return Settings(config, marked, named, _templates(folder, config), model)


def _named(config: Mapping[str, Any]) -> dict[str, str]:
    found = {role: _content(config.get(f"{role}_token")) for role in ROLES}
    return {role: content for role, content in found.items() if content}


def _listed(config: Mapping[str, Any]) -> set[str]:
    values = config.get("additional_special_tokens")
    return {_content(value) for value in values} - {""} if isinstance(values, list) else set()


def _content(value: Any) -> str:
    value = value.get("content") if isinstance(value, dict) else value
    return value if isinstance(value, str) else ""


def _added(folder: Path, config: Mapping[str, Any], listed: Iterable[Any]) -> dict[int, Added]:
    rows: list[tuple[Any, Any, Any]] = [(name, i, False) for name, i in document(folder / "added_tokens.json").items()]
    rows += [(row.get("content"), row.get("id"), row.get("special")) for row in listed if isinstance(row, dict)]
    decoder = config.get("added_tokens_decoder", {})
    for i, row in decoder.items() if isinstance(decoder, dict) else ():
        if isinstance(row, dict) and i.isdecimal() and len(i) < 10:
            rows.append((row.get("content"), int(i), row.get("special")))
    out = {}
    for name, i, special in rows:
        if not isinstance(name, str) or not isinstance(i, int) or not 0 <= i < MAXIMUM_TOKENS:
            raise UnreadableInput(f"An added token of {folder} is broken: {str(name)[:40]!r} has the id {str(i)[:20]}")
        out[i] = Added(name, bool(special))
    return out


def _templates(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """'' is the default one. A file chat_template.jinja goes before what tokenizer_config.json holds."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        more = sorted((folder / "additional_chat_templates").glob("*.jinja"))
        return {"": text(path)} | {other.stem: text(other) for other in more}
    value = config.get("chat_template", document(folder / "chat_template.json").get("chat_template"))
    if isinstance(value, list):
        rows = [(row.get("name"), row.get("template")) for row in value if isinstance(row, dict)]
        return {"" if n == "default" else n: t for n, t in rows if isinstance(n, str) and isinstance(t, str)}
    return {"": value} if isinstance(value, str) else {}
