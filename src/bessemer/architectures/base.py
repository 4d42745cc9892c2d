"""What a family of architectures is: data from which both directions between Hugging Face and GGUF follow.

A family is one file in `families/` that ends in `FAMILIES = (Family(...), ...)`; nothing else names it. It declares

- which config.json it is for (`model_types`, `classes`) and which GGUF (`architecture`, and `claims` where families share
  one);
- `tensors`, a table of `Pair` (`table.py`): GGUF's name <-> Hugging Face's, templates in which `{i}` counts layers and
  `{e}` (Hugging Face's side alone) parts that are stacked into one, with a transform of `transforms.py`. Several names on a
  side are for transforms that split or join. Rows of the same GGUF name are tried in order; the first one whose tensors are
  there is taken, and the first one is what is written on the way back. So older spellings come last;
- `settings`, a table of `settings.py`'s declarations: config.json <-> metadata keys (those of every family are added);
- `complete`, which spells a config.json in one way (defaults of transformers' class, older names of keys), so that tables,
  transforms and `decoder` see every key; `defaults` go in first. It must not raise;
- `computes`, from the complete config to `ir.decoder.Decoder`, or None for what that cannot say;
- `made`, tensors of GGUF that config.json holds as settings (llama3's frequencies), for which a setting reads them back.

Metadata is `general.architecture` and '{architecture}.*'; all other keys ('general.*', 'tokenizer.*') are the target's and
the tokenizer's. Values are Python's own (int, float, bool, str, lists of one of them).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from bessemer.architectures.settings import EVERYWHERE, LIMIT, Record, Setting, Written, setting
from bessemer.architectures.table import (
    BACK,
    BROKEN,
    MOST,
    Applies,
    Pair,
    Walk,
    always,
    counted,
    expanded,
    named,
)
from bessemer.ir.checkpoint import Checkpoint, Lazy
from bessemer.ir.decoder import Decoder
from bessemer.ir.errors import Blocker, Declined

__all__ = [
    "IGNORED", "MOST", "Applies", "Config", "Family", "Pair", "always", "families", "find", "find_gguf", "stays_f32",
    "tied",
]  # fmt: skip

Config = Mapping[str, Any]
def tied(config: Config) -> tuple[str, ...]:
    """The output matrix of a checkpoint that says that it is the embedding."""
    return ("lm_head.weight",) if config.get("tie_word_embeddings") else ()


IGNORED = (r"\.rotary_emb\.inv_freq$", r"\.masked_bias$", r"\.att(entio)?n\.bias$")
"""Patterns of tensors that old checkpoints hold and that follow from the settings."""


@dataclass(frozen=True)
class Family:
    """See the module's docstring. count: key of the complete config with the number of layers; parts: with the number of
    parts that '{e}' counts; prefixes: of Hugging Face's tensors, which some checkpoints have more or less of: spelling ->
    this table's; endings: likewise of their names' ends; ignored: patterns of Hugging Face's tensors that are no weights;
    dropped: those that a setting makes superfluous (a tied output matrix), by how their names begin; notes: what a user of
    the GGUF should know about this model."""

    name: str
    architecture: str
    model_types: tuple[str, ...]
    classes: tuple[str, ...]
    tensors: tuple[Pair, ...]
    settings: tuple[Setting, ...]
    computes: Callable[[Config], Decoder] | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    complete: Callable[[dict[str, Any]], dict[str, Any]] = lambda config: config
    claims: Callable[[Record], bool] = lambda record: True
    made: Callable[[Config], dict[str, npt.NDArray[np.float32]]] = lambda config: {}
    count: str = "num_hidden_layers"
    parts: str = "num_experts"
    prefixes: Mapping[str, str] = field(default_factory=dict)
    endings: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = IGNORED
    dropped: Callable[[Config], tuple[str, ...]] = tied
    notes: Callable[[Config], tuple[str, ...]] = lambda config: ()

    def completed(self, config: Config) -> dict[str, Any]:
        """A config.json in this family's one spelling, with transformers' defaults. Raises Declined for one that makes no
        sense."""
        merged = {**self.defaults, **config}
        known = {key: value for key, value in merged.items() if value is not None}
        return _tried(f"Architecture '{self.name}'", "config.json", self.complete, known)

    def strangers(self, config: Config) -> tuple[str, ...]:
        """Keys of a config.json that no setting accounts for and that say something."""
        known = {key for held in (*self.settings, *EVERYWHERE) for key in held.keys} | set(self.defaults)
        return tuple(sorted(key for key, value in self.completed(config).items() if value and key not in known))

    def decoder(self, config: Config) -> Decoder | None:
        """What the model computes; None for what `Decoder` cannot say. Raises Declined for settings it does not know."""
        complete, blockers = self.completed(config), list[Blocker]()
        self._metadata(complete, blockers)
        blockers = [blocker for blocker in blockers if blocker.rule != LIMIT]
        blockers += [] if counted(complete, self.count) else [setting(self.count, f"1 to {MOST} layers are wanted")]
        what = f"The decoder of architecture '{self.name}'"
        _decline(blockers, what)
        return None if self.computes is None else _tried(what, "config.json", self.computes, complete)

    def remarks(self, config: Config) -> tuple[str, ...]:
        """What a user of the GGUF should know of this model, settings that are left out included. Raises Declined for a
        config.json that makes no sense."""
        said = _tried(f"Architecture '{self.name}'", "config.json", self.notes, self.completed(config))
        left = ", ".join(name[:80] for name in self.strangers(config))
        return (*said, f"the table of '{self.name}' does not know what config.json says of {left}") if left else said

    def to_gguf(self, checkpoint: Checkpoint) -> tuple[dict[str, Any], dict[str, Lazy]]:
        """Metadata without 'general.*' (but the architecture) and 'tokenizer.*', and tensors by GGUF's names.

        Raises Declined with every setting and every tensor that has no place in GGUF, or that is missing.
        """
        config, blockers = self.completed(checkpoint.config), list[Blocker]()
        metadata = {"general.architecture": self.architecture, **self._metadata(config, blockers)}
        moved = self._moved(checkpoint.tensors, config, "forward", blockers)
        what = f"GGUF's architecture '{self.architecture}'"
        _decline(blockers, what)
        made = _tried(what, "config.json", self.made, config)
        return metadata, {name: _from_array(name, values) for name, values in made.items()} | moved

    def from_gguf(self, metadata: Mapping[str, Any], tensors: Mapping[str, Lazy]) -> tuple[dict[str, Any], dict[str, Lazy]]:
        """config.json and tensors in Hugging Face's form. Raises Declined with all that has no place there, or misses."""
        blockers, what = list[Blocker](), f"transformers' {self.classes[0]}"
        record = Record(metadata, tensors)
        config = self._config(record, blockers)
        _decline(blockers, what)
        complete = self.completed(config)
        made = _tried(what, "metadata", self.made, complete)
        self._compare(record, complete, blockers)
        weights = {name: tensor for name, tensor in tensors.items() if name not in made}
        moved = self._moved(weights, complete, "backward", blockers)
        _decline(blockers, what)
        return config, moved

    def roles(self, checkpoint: Checkpoint) -> dict[str, Lazy]:
        """Tensors by Decoder's roles, values as Hugging Face has them. Raises Declined like `to_gguf`."""
        blockers = list[Blocker]()
        moved = self._moved(checkpoint.tensors, self.completed(checkpoint.config), "role", blockers)
        _decline(blockers, f"The decoder of architecture '{self.name}'")
        return moved

    def from_roles(self, config: Config, roles: Mapping[str, Lazy]) -> dict[str, Lazy]:
        """Hugging Face's tensors from Decoder's roles: the way back of `roles`. Raises Declined like `from_gguf`."""
        blockers = list[Blocker]()
        moved = self._moved(roles, self.completed(config), "unrole", blockers)
        _decline(blockers, f"transformers' {self.classes[0]}")
        return moved

    def _metadata(self, config: Config, blockers: list[Blocker]) -> dict[str, Any]:
        written: dict[str, Any] = {}
        for held in (*self.settings, *EVERYWHERE):
            found = _asked(held, held.write, config, blockers)
            written |= {self._key(key): value for key, value in found.items()}
        return written

    def _key(self, key: str) -> str:
        """In metadata: the architecture's own, but for what the tokenizer's keys say of the model."""
        return key if key.startswith("tokenizer.") else f"{self.architecture}.{key}"

    def _config(self, record: Record, blockers: list[Blocker]) -> dict[str, Any]:
        config: dict[str, Any] = {"architectures": [self.classes[0]], "model_type": self.model_types[0]}
        for held in (*EVERYWHERE, *self.settings):  # a family's own word comes last
            config |= _asked(held, held.read, record, blockers)
        return config

    def _compare(self, record: Record, config: Config, blockers: list[Blocker]) -> None:
        """What the file says beside what its config.json would be written as: nothing that it says may be lost."""
        implied = {"vocab_size": config.get("vocab_size"), "rope.dimension_count": config.get("head_dim")}
        whole = {f"{self.architecture}.{key}": value for key, value in implied.items() if value is not None}
        whole |= self._metadata(config, [])
        loose = {held.gguf for held in self.settings if isinstance(held, Written) and held.loose}
        for name in record.metadata:
            key = name.removeprefix(f"{self.architecture}.")
            if key == name or key in UNUSED or key in loose:
                continue
            value = record.get(key) if name in whole or key in record.asked else None
            if value is None:
                blockers.append(setting(name[:120], "the table has no place for it"))
            elif name in whole and not _alike(value, whole[name]):
                blockers.append(setting(name, f"it is {str(value)[:80]}, config.json would mean {str(whole[name])[:80]}"))

    def rows(self, config: Config) -> Iterator[tuple[Pair, list[str], list[str]]]:
        """Each row of the table for each layer that has it, with the names on both sides (GGUF's, Hugging Face's)."""
        for layer, pair in self._rows(config):
            if pair.when(config, layer):
                gguf = [name.replace("{i}", str(layer)) for name in named(pair.gguf)]
                yield pair, gguf, list(expanded(pair.hf, layer, counted(config, pair.parts or self.parts)))

    def carried(self, checkpoint: Checkpoint) -> dict[str, Lazy]:
        """What of a checkpoint GGUF has places for, in this table's names: what comes back from a file must equal it.
        Raises Declined for a config.json that makes no sense."""
        return _tried(f"Architecture '{self.name}'", "config.json", self._carried, checkpoint)

    def _carried(self, checkpoint: Checkpoint) -> dict[str, Lazy]:
        config = self.completed(checkpoint.config)
        held = self._spelled(checkpoint.tensors, config)
        for pair, gguf, hf in self.rows(config):
            if pair.transform.loses and all(name in held for name in hf):
                there = pair.transform.forward([held[name] for name in hf], gguf, config)
                held |= {tensor.name: tensor for tensor in pair.transform.backward(there, hf, config)}
        return held

    def stored(self, config: Config, tensors: Mapping[str, Lazy]) -> dict[str, str]:
        """Types of a GGUF's tensors by the names of Hugging Face's that they come back as. What a transform has to decode
        (a transposed Q8_0) is floats by then."""
        found = dict[str, str]()
        for _, gguf, hf in self.rows(self.completed(config)):
            if gguf[0] in tensors:
                found |= {name: tensors[gguf[0]].type for name in hf if name not in found}
        return found

    def spelled(self, name: str) -> str:
        """Hugging Face's name of a tensor with this table's prefixes and endings."""
        old = next((old for old in self.prefixes if name.startswith(old)), None)
        name = name if old is None else self.prefixes[old] + name.removeprefix(old)
        end = next((end for end in self.endings if name.endswith(end)), None)
        return name if end is None else name.removesuffix(end) + self.endings[end]

    def _moved(self, have: Mapping[str, Lazy], config: Config, way: str, blockers: list[Blocker]) -> dict[str, Lazy]:
        """Walk the table: each row whose tensors are there gives those of the other side."""
        if way not in BACK:
            have = self._spelled(have, config)
        walk = Walk(dict(have), config, way, blockers)
        try:
            for row in self.rows(config):
                walk.row(*row)
        except BROKEN as error:
            blockers.append(setting("config.json", f"it makes no sense: {error!r}"))
        walk.finish()
        return walk.made

    def _rows(self, config: Config) -> list[tuple[int, Pair]]:
        """Rows of the table, those of a layer together; what belongs to none comes first."""
        rows = [(-1, pair) for pair in self.tensors if "{i}" not in named(pair.gguf)[0]]
        layered = [pair for pair in self.tensors if "{i}" in named(pair.gguf)[0]]
        found = [(layer, pair) for pair in layered for layer in range(counted(config, pair.layers or self.count))]
        return rows + sorted(found, key=lambda row: row[0])

    def _spelled(self, have: Mapping[str, Lazy], config: Config) -> dict[str, Lazy]:
        """Hugging Face's tensors with this table's prefixes, without what is no weight."""
        drop, spelled = self.dropped(config), dict[str, Lazy]()
        for name, tensor in have.items():
            name = self.spelled(name)
            if not name.startswith(drop or ("\n",)) and not any(re.search(pattern, name) for pattern in self.ignored):
                spelled[name] = tensor
        return spelled


T = TypeVar("T")


def _tried(what: str, where: str, function: Callable[[Any], T], source: Any) -> T:
    try:
        return function(source)
    except BROKEN as error:
        raise Declined(what, [Blocker("", where, "setting", f"its settings make no sense together: {error!r}")]) from None


def _asked(held: Setting, way: Callable[[Any, list[Blocker]], dict[str, Any]], source: Any, blockers: list[Blocker]) -> Any:
    try:
        return way(source, blockers)
    except BROKEN as error:
        blockers.append(setting(", ".join(held.keys), f"it cannot be worked out from the others: {error!r}"))
        return {}


UNUSED = ("rope.scaling.finetuned", "tensor_data_layout")
"""Keys of an architecture that change nothing of what its runtimes compute."""


def _alike(value: Any, other: Any) -> bool:
    """The same, numbers as float32 holds them; a number for all layers is a list of it."""
    if isinstance(value, list) and not isinstance(other, list):
        return all(_alike(item, other) for item in value)
    if isinstance(value, float) and isinstance(other, int | float):
        return math.isclose(value, other, rel_tol=1e-6)
    return bool(value == other)


def _decline(blockers: list[Blocker], what: str) -> None:
    if blockers:
        raise Declined(what, blockers)


def _from_array(name: str, values: npt.NDArray[np.float32]) -> Lazy:
    from bessemer.weights.views import from_array

    return from_array(name, values)


_F32_ROLES = re.compile(
    r"(^|\.)(\w*ffn_gate_inp(_shexp)?|position_embd|token_types|ssm_conv1d|shortconv\.conv|time_mix_(first|w1|w2|decay_w1"
    r"|decay_w2|lerp_fused))\.weight$"
)


def stays_f32(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor (GGUF's name) is F32 in every GGUF file: vectors, norms, routers, what is no '.weight'.

    Source: llama.cpp's convert_hf_to_gguf.py, whose runtime has no other kernels for these.
    """
    return len(shape) <= 1 or name.endswith("_norm.weight") or not name.endswith(".weight") or bool(_F32_ROLES.search(name))


@cache
def families() -> tuple[Family, ...]:
    """All families; importing them imports nothing heavier than numpy."""
    package = "bessemer.architectures.families"
    modules = sorted(found.name for found in iter_modules(import_module(package).__path__))
    return tuple(family for module in modules for family in import_module(f"{package}.{module}").FAMILIES)


def find(config: Config) -> Family:
    """The family of a config.json, by `model_type`, then `architectures`. Raises Declined for one that is not known."""
    kind, said = config.get("model_type"), config.get("architectures")
    classes = [name for name in said if isinstance(name, str)] if isinstance(said, list | tuple) else []
    for family in families():
        if set(family.classes) & set(classes) or (not classes and str(kind) in family.model_types):
            return family
    known = any(str(kind) in family.model_types for family in families())
    raise _unknown("config.json", ", ".join(classes) or str(kind), "class" if known else "architecture")


def find_gguf(metadata: Mapping[str, Any]) -> Family:
    """The family of a GGUF file. Raises Declined for an architecture that is not known."""
    record = Record(metadata)
    for family in families():
        if family.architecture == record.architecture and family.claims(record):
            return family
    raise _unknown("general.architecture", record.architecture, "architecture")


def _unknown(where: str, name: str, what: str) -> Declined:
    have = ", ".join(sorted({family.name for family in families()}))
    reason = f"no table of tensors and settings for this {what}; there are tables for {have}"
    return Declined("Bessemer", [Blocker(node=name[:200], op=where, rule="architecture", reason=reason)])
