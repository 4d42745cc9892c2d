"""Adapters as GGUF files, which llama.cpp and Ollama load beside a model: the family's order of rows, applied to B.

Source: llama.cpp's convert_lora_to_gguf.py and src/llama-adapter.cpp: 'general.type' is 'adapter', 'adapter.type' is 'lora',
one 'adapter.lora.alpha' for all pairs, tensors '<weight>.lora_a' [rank, inputs] and '.lora_b' [outputs, rank].
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bessemer.architectures.base import Family, Pair, find
from bessemer.architectures.lora.pairs import Low, Pairs, blocker, decline, is_number, pairs, peft
from bessemer.architectures.transforms import Reordered, RopePermute, Transform, Transposed, Unheard
from bessemer.ir.checkpoint import Adapter, Checkpoint, Lazy
from bessemer.ir.errors import Blocker
from bessemer.ir.model import Origin
from bessemer.weights import views

Config = Mapping[str, Any]
EMBEDDING = "token_embd.weight"
OTHER = "llama.cpp does not load it from an adapter; merge the adapter into the model instead"


def to_gguf_adapter(adapter: Checkpoint, base_config: Config) -> tuple[dict[str, Any], dict[str, Lazy]]:
    """Metadata and tensors of a GGUF adapter for the model of this config.json.

    Raises Declined with every pair and setting that has no place there.
    """
    if not base_config:
        reason = "an adapter's names and rows are those of a model; name it with --base"
        decline([blocker("base model", reason)], "A GGUF adapter")
    family = find(base_config)
    config, found = family.completed(base_config), pairs(adapter)
    blockers = [*found.blockers, *(blocker(name, OTHER, "tensor") for name in found.whole)]
    rows = {hf: (gguf, transform) for gguf, hf, transform in _rows(family, config)}
    unheard = {hf[0] for pair, _, hf in family.rows(config) if isinstance(pair.transform, Unheard)}
    alpha = _alpha(found)
    tensors: dict[str, Lazy] = {}
    for name, low in found.low.items():
        spelled = family.spelled(name)
        if spelled in unheard:
            reason = "llama.cpp's graph multiplies by it without looking at adapters; merge the adapter instead"
            blockers.append(blocker(name, reason, "tensor"))
        elif spelled not in rows:
            blockers.append(blocker(name, f"architecture '{family.name}' has no such matrix of its own in GGUF", "tensor"))
        else:
            tensors |= _forward(*rows[spelled], low, alpha, config, blockers)
    decline(blockers, "GGUF's form of this adapter")
    metadata = {"general.architecture": family.architecture, "general.type": "adapter", "adapter.type": "lora"}
    return {**metadata, "adapter.lora.alpha": float(alpha)}, tensors


def from_gguf_adapter(metadata: Config, tensors: Mapping[str, Lazy], base_config: Config) -> Checkpoint:
    """A GGUF adapter in PEFT's form, for the model of this config.json. Raises Declined with all that does not fit."""
    family = find(base_config)
    config, found = family.completed(base_config), Pairs()
    _check(metadata, family, found.blockers)
    decline(found.blockers, "PEFT's form of this adapter")
    rows = {gguf: (hf, transform) for gguf, hf, transform in _rows(family, config)}
    alpha = float(metadata.get("adapter.lora.alpha", 0.0))
    for name in dict.fromkeys(name.rpartition(".lora_")[0] for name in tensors):
        a, b = tensors.get(f"{name}.lora_a"), tensors.get(f"{name}.lora_b")
        if a is None or b is None or len(a.shape) != 2 or len(b.shape) != 2 or name not in rows:
            found.blockers.append(blocker(name, f"it is no pair of matrices of architecture '{family.name}'", "tensor"))
        else:
            hf, transform = rows[name]
            _backward(found, hf, transform, name, (a, b), alpha, config)
    decline(found.blockers, "PEFT's form of this adapter")
    said, moved = peft(found, base_config)
    return Checkpoint(moved, dict(base_config), None, Origin("gguf", Path()), adapter=Adapter(said))


def _check(metadata: Config, family: Family, blockers: list[Blocker]) -> None:
    kind, architecture = metadata.get("adapter.type", "lora"), metadata.get("general.architecture", family.architecture)
    if not is_number(metadata.get("adapter.lora.alpha", 0.0)):
        blockers.append(blocker("adapter.lora.alpha", "it is no number"))
    if kind != "lora":
        blockers.append(blocker("adapter.type", f"'{kind}' is not known, only 'lora'"))
    if architecture != family.architecture:
        reason = f"the adapter is for '{architecture}', the model given is '{family.architecture}'"
        blockers.append(blocker("general.architecture", reason))
    if metadata.get("adapter.alora.invocation_tokens") is not None:
        blockers.append(blocker("adapter.alora.invocation_tokens", "adapters that begin at a text have no form here"))


def _rows(family: Family, config: Config) -> list[tuple[str, str, Transform]]:
    """(GGUF's name, Hugging Face's, transform) of matrices that stand for themselves."""
    found = [(pair, gguf, hf) for pair, gguf, hf in family.rows(config) if len(gguf) == len(hf) == 1]
    return [(gguf[0], hf[0], pair.transform) for pair, gguf, hf in found if _moves_rows(pair)]


def _moves_rows(pair: Pair) -> bool:
    return type(pair.transform) is Transform or isinstance(pair.transform, RopePermute | Reordered | Transposed)


def _alpha(found: Pairs) -> float:
    """One that says most pairs' scale; the others' B gets what is left."""
    held = Counter(low.scale * low.rank for low in found.low.values() if low.scale)
    return held.most_common(1)[0][0] if held else 1.0  # 0 would mean a scale of 1 to llama.cpp


def _forward(
    gguf: str, transform: Transform, low: Low, alpha: float, config: Config, blockers: list[Blocker]
) -> dict[str, Lazy]:
    if low.magnitude is not None:
        blockers.append(blocker(gguf, "DoRA's magnitudes have no place in GGUF; merge the adapter instead", "tensor"))
        return {}
    if isinstance(transform, Transposed) != low.turned or (gguf == EMBEDDING) != low.embedding:
        blockers.append(blocker(gguf, "fan_in_fan_out or embedding does not fit how the model stores it", "tensor"))
        return {}
    a = views.transposed(low.a) if gguf == EMBEDDING else low.a
    try:
        b = low.b if low.turned else transform.forward([low.b], [gguf], config)[0]
    except ValueError as error:
        blockers.append(blocker(gguf, str(error), "tensor"))
        return {}
    rest = low.scale * low.rank / alpha
    if not math.isclose(rest, 1.0, rel_tol=1e-6):
        b = views.mapped(b, lambda values: values * np.float32(rest))
    return {f"{gguf}.lora_{part}": views.renamed(held, f"{gguf}.lora_{part}") for part, held in (("a", a), ("b", b))}


def _backward(
    found: Pairs, hf: str, transform: Transform, gguf: str, held: tuple[Lazy, Lazy], alpha: float, config: Config
) -> None:
    a, b = held
    turned, embedding = isinstance(transform, Transposed), gguf == EMBEDDING
    if embedding:
        a = views.transposed(a)
    if a.shape[0] != b.shape[1] or not a.shape[0]:
        found.blockers.append(blocker(gguf, "its matrices have different ranks", "tensor"))
        return
    try:
        b = b if turned else transform.backward([b], [hf], config)[0]
    except ValueError as error:
        found.blockers.append(blocker(gguf, str(error), "tensor"))
        return
    found.low[hf] = Low(a, b, alpha / a.shape[0] if alpha else 1.0, turned, embedding)
