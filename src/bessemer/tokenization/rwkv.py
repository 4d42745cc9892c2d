"""RWKV's world vocabulary: lines of id, a Python literal, its length in bytes (rwkv_vocab_v20230424.txt)."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path

from bessemer.ir.errors import UnreadableInput
from bessemer.ir.tokenizer import Tokenizer, TokenType

MAXIMUM = 1 << 20  # tokens
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
_NAMED = {b"t": b"\t", b"n": b"\n", b"r": b"\r"}


def unescaped(token: str) -> bytes:
    """The bytes of a token as GGUF spells it: 'a\\xff' with Python's escapes."""

    def byte(match: re.Match[bytes]) -> bytes:
        name = match.group(1)
        return bytes([int(name[1:], 16)]) if len(name) == 3 else _NAMED.get(name, name)

    return _ESCAPE.sub(byte, token.encode("utf-8"))


def read(path: Path) -> Tokenizer:
    """Token 0 ends texts, the others by the file. Raises UnreadableInput where a line is not as stated above."""
    tokens = ["<s>"]
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        tokens.append(repr(_literal(path, number, line))[2:-1])
    types = (TokenType.CONTROL, *[TokenType.NORMAL] * (len(tokens) - 1))
    special = {"bos": 0, "eos": 0, **({"eot": 261} if len(tokens) > 261 else {})}
    return Tokenizer("rwkv", "", tuple(tokens), types, special=special, files={path.name: path})


def write(tokenizer: Tokenizer, path: Path) -> Path:
    """The file that `read` reads; token 0 and unused tokens have no line."""
    rows = [(i, unescaped(token)) for i, token in enumerate(tokenizer.tokens) if tokenizer.types[i] == TokenType.NORMAL]
    path.write_text("".join(f"{i} {data!r} {len(data)}\n" for i, data in rows), encoding="utf-8")
    return path


def padded(tokenizer: Tokenizer, rows: int | None) -> Tokenizer:
    """With unused tokens up to the rows of the embedding."""
    missing = range(len(tokenizer.tokens), rows or 0)
    tokens = tokenizer.tokens + tuple(f"[PAD{i}]" for i in missing)
    return replace(tokenizer, tokens=tokens, types=tokenizer.types + (TokenType.UNUSED,) * len(missing))


def _literal(path: Path, number: int, line: str) -> bytes:
    head, _, rest = line.partition(" ")
    literal, _, length = rest.rpartition(" ")
    if number > MAXIMUM or len(line) > 4096 or head != str(number) or not length.isdigit():
        raise _broken(path, number)
    try:
        value = ast.literal_eval(literal)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise _broken(path, number) from error
    data = value.encode("utf-8") if isinstance(value, str) else value
    if not isinstance(data, bytes) or len(data) != int(length):
        raise _broken(path, number)
    return data


def _broken(path: Path, number: int) -> UnreadableInput:
    return UnreadableInput(
        f"{path} is not a vocabulary of RWKV", where=f"line {number}",
        why="each line holds a number that counts up from 1, a Python string or bytes, and its length in bytes",
    )
