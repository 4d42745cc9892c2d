"""JSON files of a tokenizer, read within bounds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bessemer.ir.errors import UnreadableInput

MAXIMUM_BYTES = 1 << 28
MAXIMUM_TOKENS = 1 << 24


def text(path: Path) -> str:
    """The file as UTF-8. Raises UnreadableInput where it is larger than 256 MiB or no UTF-8."""
    size = path.stat().st_size
    if size > MAXIMUM_BYTES:
        raise UnreadableInput(f"{path} holds {size} bytes, more than the {MAXIMUM_BYTES} that are read")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableInput(f"{path} is not UTF-8", where=f"byte {error.start}") from error


def document(path: Path) -> dict[str, Any]:
    """The object in the file; {} where there is no file. Raises UnreadableInput for anything but an object."""
    return parsed(path, text(path)) if path.is_file() else {}


def parsed(path: Path, content: str) -> dict[str, Any]:
    """The object in a text that came from `path`."""
    try:
        value = json.loads(content)
    except (json.JSONDecodeError, RecursionError) as error:
        raise UnreadableInput(f"{path} is not JSON", why=str(error) or "it is nested too deep") from error
    if not isinstance(value, dict):
        raise UnreadableInput(f"{path} holds a {type(value).__name__} where a JSON object is expected")
    return value


def by_id(path: Path, vocabulary: Any) -> list[str | None]:
    """{token: id} as a list by id, None where no token has the id. Raises UnreadableInput for ids that cannot be."""
    if not isinstance(vocabulary, dict) or not all(isinstance(i, int) for i in vocabulary.values()):
        raise UnreadableInput(f"{path} holds no vocabulary", why="a mapping of tokens to numbers is expected")
    last = max(vocabulary.values(), default=-1)
    if min(vocabulary.values(), default=0) < 0 or last >= MAXIMUM_TOKENS:
        raise UnreadableInput(f"{path} gives a token the id {last}", why=f"ids from 0 to {MAXIMUM_TOKENS - 1} are read")
    tokens: list[str | None] = [None] * (last + 1)
    for token, i in vocabulary.items():
        tokens[i] = token
    return tokens
