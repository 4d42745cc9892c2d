"""How an embedding model makes one vector of a text's: what sentence-transformers' modules.json says, and how it is written.

config.json has no key for it; Bessemer adds `settings.POOLED`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bessemer.architectures.settings import POOLED, POOLING

MODULES = "modules.json"
FLAGS = {
    "pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean", "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_max_tokens": "max", "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}  # fmt: skip
"""Flags of the pooling module's config.json -> mode."""
PLAIN = ("Transformer", "Pooling", "Normalize")
"""Modules that hold no weights of their own, beside the transformer's."""


def pooled(modules: Any, settings: Callable[[str], Mapping[str, Any]]) -> dict[str, str]:
    """{POOLED: 'mean' | 'cls' | ...} of a modules.json; {} where it pools nothing. settings: folder -> its config.json.

    Several modes, or modules with weights behind the pooling, are named as they are: no target takes them.
    """
    held = [item for item in modules if isinstance(item, dict)] if isinstance(modules, list) else []
    kinds = [str(item.get("type", "")).rpartition(".")[2] for item in held]
    found = [_mode(settings(str(item.get("path")))) for item, kind in zip(held, kinds, strict=True) if kind == "Pooling"]
    found += [f"a module of the kind {kind[:40]}" for kind in kinds if kind not in PLAIN]
    return {POOLED: " and ".join(found)} if found else {}


def _mode(said: Mapping[str, Any]) -> str:
    if isinstance(said.get("pooling_mode"), str):
        return str(said["pooling_mode"])
    return " and ".join(mode for flag, mode in FLAGS.items() if said.get(flag)) or "mean"


def files(config: Mapping[str, Any]) -> dict[str, Any]:
    """modules.json and the pooling module's settings by their paths; {} for a config that says nothing of pooling."""
    mode = config.get(POOLED)
    if mode not in POOLING:
        return {}
    kinds = ("", "Transformer"), ("1_Pooling", "Pooling")
    modules = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (path, kind) in enumerate(kinds)
    ]
    width = config.get("hidden_size", config.get("dim"))
    flags = {flag: name == mode for flag, name in FLAGS.items()}
    return {MODULES: modules, "1_Pooling/config.json": {"word_embedding_dimension": width, **flags}}
