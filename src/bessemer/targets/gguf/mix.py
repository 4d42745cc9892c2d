"""Which type each tensor gets: llama.cpp's choice for every mix, changed by patterns; what cannot be is named at once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from bessemer.ir.checkpoint import Lazy
from bessemer.ir.errors import Blocker, Declined, UsageError
from bessemer.targets.gguf import rules
from bessemer.targets.gguf.rules import Place, chosen
from bessemer.wire.gguf.types import BY_NAME

OUTPUT = r"^output\.weight$"
"""The pattern of the output matrix: where the embedding is the output matrix too, it is meant by this, as in llama.cpp."""

Floats = npt.NDArray[np.float32]
_FLOATING = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "F8_E8M0")
_EMBEDDINGS = ("token_embd.weight", "per_layer_token_embd.weight")


@dataclass(frozen=True)
class Plan:
    """types: of each tensor, in the file's order; file_type: general.file_type, None where the source's own stays or none
    fits; importance: of the tensors that are encoded by it, [columns], or [experts, columns] for stacked experts;
    encodes: it is a mix of blocks, so that the file is to be the one that llama-quantize writes."""

    types: dict[str, str]
    file_type: int | None
    notes: list[str]
    importance: dict[str, Floats] = field(default_factory=dict)
    encodes: bool = False


def plan(
    name: str,
    tensors: Mapping[str, Lazy],
    metadata: Mapping[str, Any],
    overrides: Sequence[tuple[str, str]] = (),
    importance: Mapping[str, Floats] | None = None,
) -> Plan:
    """Types for a mix by llama.cpp's name ('Q4_K_M', 'F16'), or 'keep'.

    tensors, metadata: by GGUF's names; overrides: (regular expression, type), the first that is found in a tensor's name
    counts; importance: tensor -> [columns times experts]. Raises UsageError for a mix, a pattern or a type that is none, and
    for importance of another model; Declined for tensors that cannot have their types.
    """
    if name != "keep" and name not in rules.MIXES:
        raise UsageError(f"There is no encoder for the mix '{name}'", fix=f"keep, {', '.join(rules.MIXES)}")
    chooser = _Chooser(name, tensors, metadata, _patterns(overrides), bool(importance))
    types = chooser.types()
    weighed = _fitted(tensors, types, importance or {})
    notes = [*chooser.notes(), *_requantized(tensors, types), *(_unmeasured(tensors, types, weighed) if importance else ())]
    _check(name, tensors, types, weighed)
    order = types if chooser.encodes else tensors  # a converter keeps its order, llama-quantize has its own
    return Plan({held: types[held] for held in order}, chooser.file_type(types), notes, weighed, chooser.encodes)


def _patterns(overrides: Sequence[tuple[str, str]]) -> list[tuple[re.Pattern[str], str]]:
    for pattern, kind in overrides:
        if kind not in BY_NAME:
            raise UsageError(f"'{kind}' is no type of GGUF", where=f"{pattern}={kind}", fix=f"One of {', '.join(BY_NAME)}")
    return [(re.compile(pattern), kind) for pattern, kind in overrides]


def _dimensions(tensor: Lazy) -> int:
    """As ggml counts: outer sizes of 1 are none."""
    shape = list(tensor.shape)
    while shape and shape[0] == 1:
        shape.pop(0)
    return len(shape)


def _ordered(names: Iterable[str]) -> list[str]:
    """As llama.cpp goes through them: by layer, then by name; its rules count."""

    def key(name: str) -> tuple[int, bytes]:
        layer = re.match(r"blk\.(\d+)\.", name)
        return int(layer[1]) if layer else -1, name.encode("utf-8", "surrogateescape")

    return sorted(names, key=key)


class _Chooser:
    """Goes through the tensors once, in llama.cpp's order, counting as its rules do."""

    def __init__(
        self,
        mix: str,
        tensors: Mapping[str, Lazy],
        metadata: Mapping[str, Any],
        patterns: Sequence[tuple[re.Pattern[str], str]],
        weighed: bool,
    ) -> None:
        self.mix, self.tensors, self.patterns, self.weighed = mix, tensors, patterns, weighed
        self.settled = "general.file_type" in metadata
        self.architecture = str(metadata.get("general.architecture", ""))
        self.base = "" if mix == "keep" else rules.MIXES[mix][1]
        self.encodes = bool(self.base) and not BY_NAME[self.base].plain
        self.layers = self._fact(metadata, "block_count", 0)
        self.experts = self._fact(metadata, "expert_count", 0)
        heads = self._fact(metadata, "attention.head_count", 0)
        grouped = self._fact(metadata, "attention.head_count_kv", heads)
        self.heads = heads // grouped if grouped else 0
        self.large = rules.SEVENTY_BILLION.get(self.architecture) == self.layers
        self.large &= self.architecture != "llama" or heads != grouped
        self.values = sum(_is_value(name) for name in tensors)
        self.tied = "output.weight" not in tensors
        self.seen: Counter[str] = Counter()
        self.fallen: dict[str, tuple[str, str]] = {}
        self.used: set[str] = set()

    def _fact(self, metadata: Mapping[str, Any], key: str, default: int) -> int:
        """A whole number of the architecture; of a list its first."""
        value = metadata.get(f"{self.architecture}.{key}")
        if isinstance(value, (list, tuple, np.ndarray)):
            value = value[0] if len(value) else None
        return int(value) if isinstance(value, (int, np.integer)) else default

    def types(self) -> dict[str, str]:
        """Every tensor's type. Raises UsageError for a pattern that no tensor answers to."""
        found = {name: self._type(name, self.tensors[name]) for name in _ordered(self.tensors)}
        unused = [pattern.pattern for pattern, _ in self.patterns if pattern.pattern not in self.used]
        if unused:
            raise UsageError(
                f"No tensor that may be quantized has a name with {', '.join(unused)} in it",
                fix="Names are GGUF's, as `blk.0.attn_v.weight`",
            )
        return found

    def file_type(self, types: Mapping[str, str]) -> int | None:
        """general.file_type: the mix's; of a kept model that of most matrices, if the source did not say."""
        if self.mix != "keep":
            return rules.MIXES[self.mix][0]
        matrices = Counter(types[name] for name, tensor in self.tensors.items() if _dimensions(tensor) > 1)
        common = next((kind for kind, _ in matrices.most_common(1)), "F32")
        return None if self.settled or common not in rules.MIXES else rules.MIXES[common][0]

    def notes(self) -> list[str]:
        """Tensors whose rows the mix's blocks do not fill."""
        counts = Counter(self.fallen.values())
        return [
            f"{count} tensor{'s' * (count != 1)} as {got}: blocks of {wanted} do not fill the rows"
            for (wanted, got), count in sorted(counts.items())
        ]

    def _type(self, name: str, tensor: Lazy) -> str:
        allowed = self._allowed(name, tensor)
        wanted = self._asked(name) if allowed else None
        if wanted is None and not (allowed and self.base):
            return self._entering(name, tensor)
        if wanted is None and BY_NAME[self.base].plain:
            return self.base
        if wanted is None:
            wanted = self._by_rules(name, tensor)
        return self._filling(name, tensor, wanted)

    def _allowed(self, name: str, tensor: Lazy) -> bool:
        """Whether llama.cpp quantizes it at all."""
        kept = (*rules.KEPT, *rules.KEPT_OF.get(self.architecture, ()))
        return (
            _dimensions(tensor) > 1
            and name.endswith("weight")
            and name not in rules.KEPT_WHOLE
            and not any(part in name for part in kept)
            and (tensor.type in _FLOATING or (tensor.type in BY_NAME and not BY_NAME[tensor.type].plain))
        )

    def _asked(self, name: str) -> str | None:
        """The type that a pattern gives it."""
        names = [name, "output.weight"] if self.tied and name in _EMBEDDINGS else [name]
        for held in names:
            for pattern, kind in self.patterns:
                if pattern.search(held) and (held == name or pattern.pattern == OUTPUT):
                    self.used.add(pattern.pattern)
                    return kind
        return None

    def _entering(self, name: str, tensor: Lazy) -> str:
        """The type of what is not quantized: as a GGUF file has it; else as a converter writes it."""
        if self.settled or tensor.type not in _FLOATING:
            return tensor.type
        single = name in rules.SINGLE_WHOLE or name.endswith(rules.SINGLE) or not name.endswith(rules.MATRIX_ENDINGS)
        if len(tensor.shape) < 2 or single or tensor.type == "F64":
            return "F32"
        if self.base and BY_NAME[self.base].plain:
            return self.base
        return tensor.type if tensor.type in BY_NAME else "BF16"  # which holds all numbers of 8 bits

    def _by_rules(self, name: str, tensor: Lazy) -> str:
        """The type by the mix's rules. Every tensor of a kind is counted once, whatever it gets."""
        if any(part in name for part in rules.AT_LEAST_Q8_0.get(self.architecture, ())):
            return "Q8_0"
        if name == "output.weight" or (self.tied and name in _EMBEDDINGS):
            return self._output(tensor)
        if self.mix == "MXFP4_MOE":
            stacked = len(tensor.shape) > 2 and tensor.shape[-3] > 1
            expert = self.architecture != "bailingmoe3" or any(part in name for part in ("ffn_up", "ffn_gate", "ffn_down"))
            return "MXFP4" if stacked and expert else "Q8_0"
        if name in _EMBEDDINGS:
            return chosen(rules.EMBEDDING, self.mix, self._place(0, 0)) or self.base
        if _is_value(name):
            return self._value()
        if "attn_k.weight" in name:
            return "Q8_0" if self.experts == 8 else self.base
        return self._feeding(name)

    def _output(self, tensor: Lazy) -> str:
        whole = tensor.columns % BY_NAME[self.base].elements == 0
        if self.mix == "MXFP4_MOE" or self.architecture == "falcon" or not whole or self.base == "Q8_0":
            return "Q8_0"
        return "Q6_K"

    def _value(self) -> str:
        place = self._place(self.seen["value"], self.values)
        self.seen["value"] += 1
        kind = chosen(rules.VALUE, self.mix, place) or self.base
        if self.experts == 8:
            return "Q8_0"
        return "Q5_K" if self.large and kind in ("Q3_K", "Q4_K") else kind

    def _feeding(self, name: str) -> str:
        """attn_output and ffn_down; all others have the base type."""
        if "attn_q.weight" in name or ("attn_output.weight" not in name and _part(name) != "ffn_down"):
            return self.base
        if "attn_output.weight" in name:
            return chosen(rules.OUT, self.mix, self._place(0, 0)) or self.base
        layer = self.seen["down"] if self.experts <= 1 else _layer(name)
        self.seen["down"] += 1
        return chosen(rules.DOWN, self.mix, self._place(layer, self.layers)) or self.base

    def _place(self, layer: int, layers: int) -> Place:
        return Place(layer, layers, self.heads, self.experts, self.architecture == "falcon", self.weighed)

    def _filling(self, name: str, tensor: Lazy, wanted: str) -> str:
        """The type, or one whose blocks fill the rows."""
        if tensor.columns % BY_NAME[wanted].elements == 0:
            return wanted
        smaller = rules.SMALLER.get(wanted, wanted)
        if BY_NAME[smaller].elements > 32:
            return wanted  # nothing stands in for it: declined in the end
        got = smaller if tensor.columns % BY_NAME[smaller].elements == 0 else "F16"
        self.fallen[name] = wanted, got
        return got


def _is_value(name: str) -> bool:
    return any(part in name for part in ("attn_qkv.weight", "attn_kv_b.weight", "attn_v.weight"))


def _part(name: str) -> str:
    return next((part for part in ("ffn_up", "ffn_gate", "ffn_down") if part in name), "")


def _layer(name: str) -> int:
    found = re.match(r"blk\.(\d+)\.", name)
    if found is None:
        reason = "in a model with experts, the rules go by the number of the layer, which its name lacks"
        raise Declined("GGUF", [Blocker(name, "tensor", "mix", reason)])
    return int(found[1])


def _requantized(tensors: Mapping[str, Lazy], types: Mapping[str, str]) -> list[str]:
    """Tensors that were blocks already, and get other ones: the errors of both add up."""
    moved = Counter(
        (tensor.type, types[name])
        for name, tensor in tensors.items()
        if tensor.type in BY_NAME and not BY_NAME[tensor.type].plain and types[name] != tensor.type
    )
    return [
        f"{count} tensor{'s' * (count != 1)} from {old} to {new}: they carry the error of {old} along"
        for (old, new), count in sorted(moved.items())
        if not BY_NAME[new].plain
    ]


# -- importance


def _fitted(tensors: Mapping[str, Lazy], types: Mapping[str, str], importance: Mapping[str, Floats]) -> dict[str, Floats]:
    """Importance in the shapes of the tensors that are encoded. Raises UsageError for one of other sizes."""
    found = {}
    for name, held in importance.items():
        tensor = tensors.get(name)
        if tensor is None or types[name] == tensor.type or BY_NAME[types[name]].plain:
            continue
        experts = tensor.shape[-3] if len(tensor.shape) > 2 else 1
        if held.size != experts * tensor.columns and name not in _EMBEDDINGS:
            why = f"{held.size} numbers for a tensor of {tensor.columns} columns" + f" and {experts} experts" * (experts > 1)
            raise UsageError("The importance matrix was measured on another model", where=name, why=why)
        if held.size != experts * tensor.columns:
            continue  # an embedding is read by rows: nothing was multiplied with it, whatever stands under its name
        if not np.isfinite(held).all():
            raise UsageError("The importance matrix holds numbers that are infinite or none", where=name)
        shaped = np.ascontiguousarray(held, np.float32)
        found[name] = shaped.reshape(experts, -1) if experts > 1 else shaped.reshape(-1)
    return found


def _unmeasured(tensors: Mapping[str, Lazy], types: Mapping[str, str], importance: Mapping[str, Floats]) -> list[str]:
    """Matrices of layers that are encoded as if all their columns mattered alike, for the matrix does not speak of them."""
    encoded = [name for name in _ordered(tensors) if types[name] != tensors[name].type and types[name] in rules.WEIGHED]
    names = [name for name in encoded if name.startswith("blk.") and name not in importance]
    listed = ", ".join(names[:3]) + ", ..." * (len(names) > 3)
    count = f"{len(names)} tensor{'s' * (len(names) != 1)}"
    return [f"the importance matrix says nothing of {count} of layers ({listed})"] if names else []


# -- checks


def _check(
    mix: str, tensors: Mapping[str, Lazy], types: Mapping[str, str], importance: Mapping[str, Floats]
) -> None:
    reasons = ((name, _reason(mix, name, tensors[name], types[name], importance)) for name in tensors)
    blockers = [Blocker(name, types[name], "type", reason) for name, reason in reasons if reason]
    if blockers:
        raise Declined("GGUF", blockers)


def _reason(mix: str, name: str, tensor: Lazy, kind: str, importance: Mapping[str, Floats]) -> str:
    if kind not in BY_NAME:
        return f"GGUF has no type for {kind}"
    if kind == tensor.type:
        return ""
    if kind in rules.SEARCHED or kind in ("Q8_1", "Q8_K", "I8", "I16", "I32", "I64", "F64"):
        return f"there is no encoder for {kind}; weights of this type can only be kept"
    if tensor.columns % BY_NAME[kind].elements:
        return f"blocks of {kind} have {BY_NAME[kind].elements} weights and do not fill rows of {tensor.columns}"
    needs = mix == "Q2_K_S" and kind == "Q2_K" and name not in (*_EMBEDDINGS, "output.weight") and name not in importance
    return "Q2_K in the mix Q2_K_S needs an importance matrix; take Q2_K, or measure one" if needs else ""
