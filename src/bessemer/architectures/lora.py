"""LoRA adapters (Hu et al. 2021): merged into a model, or in GGUF's form. `W + scale * up @ down` for each pair they hold.

Names and settings are PEFT's: 'base_model.model.<module>.lora_A.weight' [rank, inputs] and lora_B [outputs, rank], for
embeddings lora_embedding_A [rank, tokens] and _B [hidden, rank]; whole tensors ('modules_to_save') replace the model's.
scale is lora_alpha / rank, or lora_alpha / sqrt(rank) with use_rslora; rank_pattern and alpha_pattern say it by module.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from bessemer.architectures.base import Family, find
from bessemer.ir.checkpoint import Bytes, Checkpoint, Lazy
from bessemer.ir.errors import Blocker, Declined
from bessemer.weights import views

_SIDE = re.compile(r"^(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<side>[AB])(\.default)?(\.weight)?$")
_REFUSED = {
    "use_dora": "DoRA scales whole rows by their length, which is no low-rank change",
    "lora_bias": "biases of the factors have no form but PEFT's",
    "use_qalora": "QALoRA groups the inputs",
    "trainable_token_indices": "single rows that are trained have no form but PEFT's",
    "target_parameters": "changes of bare parameters are not known by their names",
}
HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


@dataclass(frozen=True)
class Change:
    """One matrix's low-rank change. target: the tensor's name; down [rank, inputs], up [outputs, rank]; turned: the matrix
    is stored [inputs, outputs] (embeddings, and GPT-2's Conv1D by `fan_in_fan_out`)."""

    target: str
    down: Lazy
    up: Lazy
    scale: float
    turned: bool
    embedding: bool

    @property
    def rank(self) -> int:
        """Columns of `up`."""
        return self.up.columns

    @cached_property
    def _factors(self) -> tuple[views.Floats, views.Floats]:
        """(left [rows of the stored matrix, rank], right [rank, its columns])."""
        down, up = views.array(self.down), views.array(self.up)
        return (np.ascontiguousarray(down.T), np.ascontiguousarray(up.T)) if self.turned else (up, down)

    def rows(self, start: int, stop: int, factor: float) -> views.Floats:
        """Rows of what is added, float32."""
        left, right = self._factors
        made: views.Floats = left[start:stop] @ right * np.float32(self.scale * factor)
        return made


@dataclass(frozen=True)
class Part:
    """What an adapter holds: changes, and whole tensors, by the names of the tensors they are for."""

    changes: Mapping[str, Change]
    whole: Mapping[str, Lazy]


def part(adapter: Checkpoint) -> Part:
    """An adapter's changes. Raises Declined with every setting and tensor that is no plain LoRA."""
    said = adapter.adapter.config if adapter.adapter is not None else {}
    blockers = [Blocker(key, "adapter", "lora", why) for key, why in _REFUSED.items() if said.get(key)]
    sides: dict[str, dict[str, Lazy]] = {}
    embeddings: set[str] = set()
    whole: dict[str, Lazy] = {}
    for name, tensor in adapter.tensors.items():
        found = _SIDE.match(name)
        if found is not None:
            sides.setdefault(_module(found["module"]), {})[found["side"]] = tensor
            embeddings |= {_module(found["module"])} if found["embedding"] else set()
        elif ".lora_" in name or ".token_adapter." in name:
            blockers.append(Blocker(name, "tensor", "lora", "it is no factor of a plain LoRA"))
        else:
            whole[_module(name.replace(".modules_to_save.default.", ".").replace(".base_layer.", "."))] = tensor
    halves = [_change(module, pair, module in embeddings, said, blockers) for module, pair in sides.items()]
    if blockers:
        raise Declined("LoRA", blockers)
    return Part({change.target: change for change in halves if change is not None}, whole)


def _module(name: str) -> str:
    return name.removeprefix("base_model.model.")


def _change(
    module: str, pair: Mapping[str, Lazy], embedding: bool, said: Mapping[str, Any], blockers: list[Blocker]
) -> Change | None:
    if set(pair) != {"A", "B"}:
        blockers.append(Blocker(module, "tensor", "lora", f"it has lora_{next(iter(pair))} alone"))
        return None
    down, up = pair["A"], pair["B"]
    if len(down.shape) != 2 or len(up.shape) != 2 or down.shape[0] != up.shape[1] or not down.shape[0]:
        reason = f"{list(up.shape)} x {list(down.shape)} are no factors of a matrix"
        blockers.append(Blocker(module, "tensor", "lora", reason))
        return None
    alpha = _pattern(said.get("alpha_pattern"), module, said.get("lora_alpha", 8))
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(alpha):
        blockers.append(Blocker(module, "adapter", "lora", f"lora_alpha is {alpha!r}, a number is wanted"))
        return None
    rank = down.shape[0]
    scale = alpha / (math.sqrt(rank) if said.get("use_rslora") else rank)
    return Change(f"{module}.weight", down, up, scale, embedding or bool(said.get("fan_in_fan_out")), embedding)


def _pattern(patterns: Any, module: str, usual: Any) -> Any:
    """PEFT's rule: the first key that is the module's name or its end, as a regular expression where it is one."""
    for key, value in (patterns or {}).items():
        try:
            if re.match(rf"(.*\.)?({str(key)[:200]})$", module):
                return value
        except re.error:
            continue
    return usual


def merged(model: Checkpoint, adapter: Checkpoint, factor: float = 1.0) -> Checkpoint:
    """The model with the adapter added, `factor` times, read lazily. Quantized matrices that change become F32.

    Embedding and output matrix that are one become two where only one of them changes, as PEFT runs them unmerged.
    Raises Declined for what does not fit the model.
    """
    held, blockers = part(adapter), list[Blocker]()
    tensors, config = dict(model.tensors), dict(model.config)
    touched = held.changes.keys() | held.whole.keys()
    if config.get("tie_word_embeddings") and (HEAD in touched) != (EMBEDDING in touched) and EMBEDDING in tensors:
        tensors[HEAD] = views.renamed(tensors[EMBEDDING], HEAD)
        config["tie_word_embeddings"] = False
    for name, tensor in held.whole.items():
        blockers += [] if name in tensors else [_stranger(name)]
        tensors[name] = views.renamed(tensor, name)
    for name, change in held.changes.items():
        if name not in tensors:
            blockers.append(_stranger(name))
        elif (fitting := _fitting(change, tensors[name].shape)) is None:
            reason = f"it is {list(tensors[name].shape)}, its factors {list(change.up.shape)} x {list(change.down.shape)}"
            blockers.append(Blocker(name, "tensor", "lora", reason))
        else:
            tensors[name] = _sum(tensors[name], fitting, factor)
    if blockers:
        raise Declined("Merging this adapter", blockers)
    notes = [*model.notes, f"{len(held.changes)} low-rank changes of {adapter.origin.path} are merged, {factor:g} times"]
    return replace(model, tensors=tensors, config=config, notes=notes, records=None)


def _stranger(name: str) -> Blocker:
    return Blocker(name, "tensor", "lora", "the model has no tensor of this name")


def _fitting(change: Change, shape: tuple[int, ...]) -> Change | None:
    """The change as this matrix is stored. A square one is as the settings say, any other as its shape says."""
    direct, turned = (change.up.shape[0], change.down.shape[1]), (change.down.shape[1], change.up.shape[0])
    if shape not in (direct, turned):
        return None
    return replace(change, turned=change.turned if direct == turned else shape == turned)


def _sum(tensor: Lazy, change: Change, factor: float) -> Lazy:
    kind = tensor.type if tensor.type in views.FLOATING else "F32"

    def read(start: int, stop: int) -> Bytes:
        from bessemer.blocks import encoded

        made = views.floats(tensor, start, stop) + change.rows(start, stop, factor)
        return made.view(np.uint8) if kind == "F32" else encoded(made, kind)

    return replace(tensor, type=kind, row_bytes=views.row_bytes(kind, tensor.columns), read=read)


def to_gguf_adapter(adapter: Checkpoint, config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Lazy]]:
    """(metadata, tensors) of a GGUF adapter as llama.cpp loads it. config: config.json of the model it is for.

    Raises Declined with all that GGUF's adapters cannot hold: whole tensors, matrices that its table splits in other ways.
    """
    if not config:
        reason = "nothing says which model it is for: name the model with --base"
        raise Declined("GGUF", [Blocker("", "adapter", "lora", reason)])
    family, held = find(config), part(adapter)
    blockers = [Blocker(name, "tensor", "lora", "adapters of GGUF hold no whole tensors; merge it") for name in held.whole]
    changes = {family.spelled(name): change for name, change in held.changes.items()}
    alpha = next((change.scale * change.rank for change in changes.values()), 1.0)
    tensors = _placed(family, family.completed(config), changes, alpha, blockers)
    if blockers:
        raise Declined("GGUF's form of an adapter", blockers)
    kind = {"general.type": "adapter", "general.architecture": family.architecture}
    return {**kind, "adapter.type": "lora", "adapter.lora.alpha": float(alpha)}, tensors


def _placed(
    family: Family, config: Mapping[str, Any], changes: Mapping[str, Change], alpha: float, blockers: list[Blocker]
) -> dict[str, Lazy]:
    """Tensors by GGUF's names; what no row of the table takes is a blocker."""
    made, left = dict[str, Lazy](), dict(changes)
    for pair, gguf, hf in family.places(config):
        taken = [left.pop(name) for name in hf if name in left]
        if not taken:
            continue
        try:
            if len(taken) != len(hf):
                raise ValueError(f"GGUF holds {len(hf)} matrices in one, and {len(taken)} of them change")
            found = pair.transform.adapted([_scaled(change, alpha) for change in taken], gguf, config)
        except ValueError as error:
            blockers.append(Blocker(taken[0].target, "tensor", "lora", str(error)))
            continue
        for name, (down, up) in zip(gguf, found, strict=True):
            sides = {".lora_a": views.transposed(down) if taken[0].embedding else down, ".lora_b": up}
            made |= {name + side: views.renamed(tensor, name + side) for side, tensor in sides.items()}
    blockers += [Blocker(name, "tensor", "lora", "the table of this architecture has no place for it") for name in left]
    return made


def _scaled(change: Change, alpha: float) -> tuple[Lazy, Lazy]:
    """The factors, so that alpha / rank scales them: `up` takes what differs."""
    more = change.scale * change.rank / alpha if alpha else 0.0
    if math.isclose(more, 1.0, rel_tol=1e-12):
        return change.down, change.up
    return change.down, views.mapped(change.up, lambda values: values * np.float32(more))
