"""An adapter's tensors as pairs by the weight that they change, whichever program spelled them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isfinite, sqrt
from typing import Any

from bessemer.ir.checkpoint import Adapter, Checkpoint, Lazy
from bessemer.ir.errors import Blocker, Declined
from bessemer.weights import views

PREFIX = "base_model.model."
_PEFT = re.compile(
    r"^(?:base_model\.model\.)?(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<part>A|B|magnitude_vector)"
    r"(?:\.default)?(?:\.weight)?$"
)
_MLX = re.compile(r"^(?P<module>.+)\.lora_(?P<part>a|b)$")
_GGUF = re.compile(r"\.weight\.lora_[ab]$")
_INTRICATE = re.compile(r"\)[*+?{]|(?:[*+?{].*){3}|^.{200}")
"""Patterns that could keep a matcher busy for ever."""
_UNMADE = ("lora_bias", "layer_replication", "megatron_config", "corda_config", "qalora_group_size")
"""Settings of PEFT that ask for something else than `W + scale * B A`."""


@dataclass(frozen=True)
class Low:
    """What one weight gets: `scale * b a`. a [rank, inputs], b [outputs, rank]; turned: the weight itself is stored
    [inputs, outputs] (GPT-2's Conv1D, and embeddings, whose 'inputs' are tokens); magnitude: DoRA's [outputs], or None."""

    a: Lazy
    b: Lazy
    scale: float
    turned: bool = False
    embedding: bool = False
    magnitude: Lazy | None = None

    @property
    def rank(self) -> int:
        """Rows of a."""
        return self.a.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """Of the weight as it is stored."""
        outputs, inputs = self.b.shape[0], self.a.shape[1]
        return (inputs, outputs) if self.turned or self.embedding else (outputs, inputs)


@dataclass
class Pairs:
    """low: weight's name in Hugging Face's checkpoint -> its pair; whole: tensors that replace the model's own
    (modules_to_save, trained biases); blockers: what could not be read."""

    low: dict[str, Low] = field(default_factory=dict)
    whole: dict[str, Lazy] = field(default_factory=dict)
    blockers: list[Blocker] = field(default_factory=list)


def recognised(names: Mapping[str, Any]) -> bool:
    """Whether tensors of these names are an adapter rather than a model."""
    return bool(names) and all(_PEFT.match(name) or _MLX.match(name) for name in names)


def pairs(adapter: Checkpoint) -> Pairs:
    """An adapter in PEFT's or MLX's spelling, by weight."""
    config = adapter.adapter.config if adapter.adapter else {}
    found = Pairs()
    found.blockers += [blocker(key, "only plain products of two matrices are known") for key in _UNMADE if config.get(key)]
    patterns = config.get("alpha_pattern")
    intricate = [key for key in patterns if _INTRICATE.search(key)] if isinstance(patterns, Mapping) else []
    found.blockers += [blocker("alpha_pattern", f"'{key[:80]}' is too intricate") for key in intricate]
    parts: dict[str, dict[str, Lazy]] = {}
    for name, tensor in adapter.tensors.items():
        place = _place(name, tensor)
        if place is None:
            found.whole[name.removeprefix(PREFIX).replace(".base_layer.", ".")] = tensor
        else:
            module, part, held = place
            parts.setdefault(module, {})[part] = held
    for module, matrices in parts.items():
        _add(found, module, matrices, config)
    return found


def _place(name: str, tensor: Lazy) -> tuple[str, str, Lazy] | None:
    """(module, part, tensor): part is A, B, embedding_A, embedding_B or magnitude_vector."""
    if (match := _MLX.match(name)) and len(tensor.shape) == 2:  # [inputs, rank] and [rank, outputs]
        return match["module"].removeprefix(PREFIX), match["part"].upper(), views.transposed(tensor)
    match = _PEFT.match(name)
    return (match["module"], (match["embedding"] or "") + match["part"], tensor) if match else None


def _add(found: Pairs, module: str, held: Mapping[str, Lazy], config: Mapping[str, Any]) -> None:
    embedding = "embedding_A" in held or "embedding_B" in held
    a, b = (held.get(f"embedding_{part}" if embedding else part) for part in "AB")
    if a is None or b is None or len(a.shape) != 2 or len(b.shape) != 2 or a.shape[0] != b.shape[1] or not a.shape[0]:
        found.blockers.append(blocker(module, "it has no two matrices [rank, inputs] and [outputs, rank]", "tensor"))
        return
    scale = scale_of(config, module, a.shape[0])
    if scale is None:
        reason = "nothing says how far it is scaled: neither lora_alpha nor MLX's lora_parameters is in adapter_config.json"
        found.blockers.append(blocker(module, reason, "tensor"))
        return
    turned = bool(config.get("fan_in_fan_out")) and not embedding
    found.low[f"{module}.weight"] = Low(a, b, scale, turned, embedding, held.get("magnitude_vector"))


def scale_of(config: Mapping[str, Any], module: str, rank: int) -> float | None:
    """Factor of `b a`: PEFT's lora_alpha / r (or / sqrt(r), Kalajdzievski 2023), MLX's scale; None where neither is said."""
    said = config.get("lora_parameters")
    if isinstance(said, Mapping) and is_number(said.get("scale")):
        alpha = said.get("alpha")
        return float(said["scale"]) * (float(alpha) / rank if alpha is not None and is_number(alpha) else 1.0)
    alpha = _patterned(config.get("alpha_pattern"), module, config.get("lora_alpha"))
    if not is_number(alpha):
        return None
    return float(alpha) / (sqrt(rank) if config.get("use_rslora") else rank)


def is_number(value: Any) -> bool:
    """Whether a setting is a number that one can scale by."""
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _patterned(patterns: Any, module: str, usual: Any) -> Any:
    """PEFT's rule: a pattern says the end of a module's name."""
    for pattern, value in (patterns or {}).items() if isinstance(patterns, Mapping) else ():
        if module == pattern or module.endswith("." + pattern.removeprefix("^")) or _matches(pattern, module):
            return value
    return usual


def _matches(pattern: str, module: str) -> bool:
    try:
        return not _INTRICATE.search(pattern) and re.match(rf"(.*\.)?({pattern})$", module[:1000]) is not None
    except re.error:
        return False


def peft(found: Pairs, base: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Lazy]]:
    """adapter_config.json and tensors as PEFT writes them, one lora_alpha for all; `rank_pattern` where ranks differ."""
    tensors: dict[str, Lazy] = {}
    for name, low in found.low.items():
        module, way = PREFIX + name.removesuffix(".weight"), "embedding_" if low.embedding else ""
        end = "" if low.embedding else ".weight"
        parts = {f"lora_{way}A{end}": low.a, f"lora_{way}B{end}": low.b}
        tensors |= {f"{module}.{part}": views.renamed(tensor, f"{module}.{part}") for part, tensor in parts.items()}
    ranks = {name.removesuffix(".weight"): low.rank for name, low in found.low.items()}
    usual = max(set(ranks.values()), key=list(ranks.values()).count, default=8)
    alphas = {name.removesuffix(".weight"): low.scale * low.rank for name, low in found.low.items()}
    alpha = max(set(alphas.values()), key=list(alphas.values()).count, default=8.0)
    config = {
        "peft_type": "LORA", "r": usual, "lora_alpha": int(alpha) if float(alpha).is_integer() else alpha,
        "target_modules": sorted({module.rpartition(".")[2] for module in ranks}),
        "rank_pattern": {module: rank for module, rank in ranks.items() if rank != usual},
        "alpha_pattern": {module: value for module, value in alphas.items() if value != alpha},
        "fan_in_fan_out": any(low.turned for low in found.low.values()), "bias": "none", "lora_dropout": 0.0,
        "inference_mode": True, "task_type": "CAUSAL_LM", "base_model_name_or_path": base.get("_name_or_path"),
    }  # fmt: skip
    return config, tensors


def for_base(adapter: Checkpoint, config: Mapping[str, Any]) -> Checkpoint:
    """The adapter in PEFT's form, for the model whose config.json this is. Raises Declined for what it cannot say."""
    if any(_GGUF.search(name) for name in adapter.tensors):
        from bessemer.architectures.lora.gguf import from_gguf_adapter

        metadata = adapter.records.metadata if adapter.records is not None else {}
        made = from_gguf_adapter(metadata, adapter.tensors, config)
        records = None if adapter.records is None else replace(adapter.records, refusal=None)
        return replace(made, general=adapter.general, records=records, origin=adapter.origin)
    if not any(_MLX.match(name) for name in adapter.tensors):
        return replace(adapter, config=dict(config))
    found = pairs(adapter)
    decline(found.blockers, "PEFT's form of this adapter")
    said, tensors = peft(found, config)
    return replace(adapter, tensors={**tensors, **found.whole}, config=dict(config), adapter=Adapter(said))


def blocker(node: str, reason: str, op: str = "setting") -> Blocker:
    """A reason against an adapter."""
    return Blocker(node=node, op=op, rule="adapter", reason=reason)


def decline(blockers: list[Blocker], what: str) -> None:
    """Raise Declined with all reasons, where there are any."""
    if blockers:
        raise Declined(what, blockers)
