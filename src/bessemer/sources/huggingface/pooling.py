"""How an embedding model makes one vector of a text's: modules.json and the pooling module of sentence-transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bessemer.architectures.settings import POOLED
from bessemer.sources.huggingface.directory import read_any_json, read_json

MODULES = "modules.json"
FLAGS = {
    "pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean", "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_max_tokens": "max", "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}  # fmt: skip
PLAIN = ("Transformer", "Pooling", "Normalize")
"""Modules that hold no weights of their own, beside the transformer's."""


def pooling_of(directory: Path) -> dict[str, str]:
    """{POOLED: 'mean' | 'cls' | ...}; {} for a directory without modules.json. Raises UnreadableInput for a broken one.

    Several modes, or modules with weights behind the pooling, are named as they are: no target takes them.
    """
    if not (directory / MODULES).is_file():
        return {}
    held = read_any_json(directory, MODULES)
    modules = [item for item in held if isinstance(item, dict)] if isinstance(held, list) else []
    kinds = [str(item.get("type", "")).rpartition(".")[2] for item in modules]
    found = [_mode(directory, item) for item, kind in zip(modules, kinds, strict=True) if kind == "Pooling"]
    found += [f"a module of the kind {kind[:40]}" for kind in kinds if kind not in PLAIN]
    return {POOLED: " and ".join(found)} if found else {}


def _mode(directory: Path, module: dict[str, Any]) -> str:
    name = f"{module.get('path', '1_Pooling')}/config.json"
    said = read_json(directory, name) if (directory / name).is_file() else {}
    if isinstance(said.get("pooling_mode"), str):
        return str(said["pooling_mode"])
    return " and ".join(mode for flag, mode in FLAGS.items() if said.get(flag)) or "mean"
