"""Files of tokenizers broken at random: read, or refused in words, within bounds."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from bessemer.ir.errors import Declined, UnreadableInput
from bessemer.tokenization import from_directory, from_gguf, to_gguf, write_files

ODD: tuple[Any, ...] = (None, True, -1, 7, 10**30, 1.5, "", "x", "\ud800", [], [None], {}, {"content": 3}, {"id": "a"})


def broken(value: Any, dice: random.Random) -> Any:
    """The value with one part of it made odd."""
    if isinstance(value, dict) and value and dice.random() < 0.9:
        key = dice.choice(list(value)[:40])
        return {**value, key: broken(value[key], dice)}
    if isinstance(value, list) and value and dice.random() < 0.9:
        at = dice.randrange(min(40, len(value)))
        return [*value[:at], broken(value[at], dice), *value[at + 1 :]]
    return dice.choice(ODD)


def tried(folder: Path, config: dict[str, Any]) -> None:
    try:
        found = from_directory(folder, config)
        if found is not None:
            to_gguf(found)
    except (UnreadableInput, Declined) as error:
        assert str(error)


@pytest.mark.parametrize("kind", ["llama3", "bert", "llama", "t5"])
def test_odd_values_in_json(directories: dict[str, Path], tmp_path: Path, kind: str) -> None:
    folder, dice = tmp_path / "t", random.Random(kind)
    shutil.copytree(directories[kind], folder)
    names = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "config.json"]
    whole: dict[str, Any] = {"added_tokens.json": {"q": 905}}
    whole["special_tokens_map.json"] = {"bos_token": "a", "additional_special_tokens": ["b"]}
    whole["tokenizer_config.json"] = {"added_tokens_decoder": {"1": {"content": "q", "special": True}}, "chat_template": "x"}
    for name in names:
        if (folder / name).is_file():
            whole[name] = json.loads((folder / name).read_text())
    for name, value in whole.items():
        for _ in range(10):
            data = broken(value, dice)
            if name == "config.json":
                tried(folder, data if isinstance(data, dict) else {})
                continue
            (folder / name).write_text(json.dumps(data))
            tried(folder, {"vocab_size": 1400})
        (folder / name).write_text(json.dumps(value))


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_odd_bytes_in_a_piece_file(directories: dict[str, Path], tmp_path: Path, kind: str) -> None:
    name = "spiece.model" if kind == "t5" else "tokenizer.model"
    data, dice = (directories[kind] / name).read_bytes(), random.Random(kind)
    for _ in range(40):
        changed = bytearray(data[: dice.choice([len(data), dice.randrange(len(data))])])
        for _ in range(dice.randint(0, 4)):
            changed[dice.randrange(len(changed))] = dice.randrange(256)
        (tmp_path / name).write_bytes(changed)
        tried(tmp_path, {})


def test_odd_values_in_gguf(directories: dict[str, Path], tmp_path: Path) -> None:
    found = from_directory(directories["llama"], {"vocab_size": 910})
    assert found is not None
    keys = {key: value.tolist() if hasattr(value, "tolist") else value for key, value in to_gguf(found).items()}
    dice = random.Random(1)
    for _ in range(150):
        try:
            changed = dice.choice(list(keys))
            read = from_gguf({**keys, changed: broken(keys[changed], dice)})
            if read is not None:
                write_files(read, tmp_path, {})
        except (UnreadableInput, Declined) as error:
            assert str(error)
