"""modules.json of a sentence-transformers directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bessemer.architectures.pooling import MODULES, pooled
from bessemer.sources.huggingface.directory import CONFIG, read_any_json, read_json


def pooling_of(directory: Path) -> dict[str, str]:
    """See `architectures.pooling.pooled`; {} for a directory without the file. Raises UnreadableInput for a broken one."""

    def settings(folder: str) -> dict[str, Any]:
        name = f"{folder}/{CONFIG}"
        return read_json(directory, name) if folder and (directory / name).is_file() else {}

    return pooled(read_any_json(directory, MODULES), settings) if (directory / MODULES).is_file() else {}
