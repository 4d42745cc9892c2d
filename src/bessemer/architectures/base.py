"""What a family of architectures is: data from which both directions between Hugging Face and GGUF follow.

A family is one file in `families/` that ends in `FAMILIES = (Family(...), ...)`; nothing else names it. It declares

- which config.json it is for (`model_types`, `classes`) and which GGUF (`architecture`, and `claims` where families share
  one);
- `tensors`, a table of `Pair`: GGUF's name <-> Hugging Face's, templates in which `{i}` counts layers and `{e}` (Hugging
  Face's side alone) parts that are stacked into one, with a transform of `transforms.py`. Several names on a side are for
  transforms that split or join. Rows of the same GGUF name are tried in order; the first one whose tensors are there is
  taken, and the first one is what is written on the way back. So older spellings come last;
- `settings`, a table of `settings.py`'s declarations: config.json <-> metadata keys (those of every family are added);
- `complete`, which spells a config.json in one way (defaults of transformers' class, older names of keys), so that tables,
  transforms and `decoder` see every key; `defaults` go in first. It must not raise;
- `computes`, from the complete config to `ir.decoder.Decoder`, or None for what that cannot say;
- `made`, tensors of GGUF that config.json holds as settings (llama3's frequencies), for which a setting reads them back.

Metadata is `general.architecture` and '{architecture}.*'; all other keys ('general.*', 'tokenizer.*') are the target's and
the tokenizer's. Values are Python's own (int, float, bool, str, lists of one of them).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from bessemer.architectures.settings import EVERYWHERE, Record, Setting, setting
from bessemer.architectures.transforms import SAME, Transform
from bessemer.ir.checkpoint import Checkpoint, Lazy
from bessemer.ir.decoder import Decoder
from bessemer.ir.errors import Blocker, Declined

Config = Mapping[str, Any]
Applies = Callable[[Config, int], bool]
"""Whether a row of the table is for this layer of this model."""


def always(config: Config, layer: int) -> bool:
    """A tensor of every layer."""
    return True


@dataclass(frozen=True)
class Pair:
    """A row of the table of tensors: names on both sides and what lies between them.

    optional: it may be missing (biases); when: which layers have it; layers: key of the count that `{i}` runs over, and
    parts: of the count that `{e}` runs over, where they are not the family's.
    """

    gguf: str | tuple[str, ...]
    hf: str | tuple[str, ...]
    transform: Transform = SAME
    optional: bool = False
    when: Applies = always
    layers: str = ""
    parts: str = ""


def _tied(config: Config) -> tuple[str, ...]:
    return ("lm_head.weight",) if config.get("tie_word_embeddings") else ()


@dataclass(frozen=True)
class Family:
    """See the module's docstring. count: key of the complete config with the number of layers; parts: with the number of
    parts that '{e}' counts; prefixes: of Hugging Face's tensors, which some checkpoints have more or less of: spelling ->
    this table's; endings: likewise of their names' ends; ignored: patterns of Hugging Face's tensors that are no weights;
    dropped: those that a setting makes superfluous (a tied output matrix); notes: what a user of the GGUF should know about
    this model."""

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
    ignored: tuple[str, ...] = (r"\.rotary_emb\.inv_freq$", r"\.masked_bias$", r"\.att(entio)?n\.bias$")
    dropped: Callable[[Config], tuple[str, ...]] = _tied
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
        config = self._config(Record(metadata, tensors), blockers)
        _decline(blockers, what)
        complete = self.completed(config)
        made = _tried(what, "metadata", self.made, complete)
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

    def rows(self, config: Config) -> Iterator[tuple[Pair, list[str], list[str]]]:
        """Each row of the table for each layer that has it, with the names on both sides (GGUF's, Hugging Face's)."""
        for layer, pair in self._rows(config):
            if pair.when(config, layer):
                gguf = [name.replace("{i}", str(layer)) for name in _tuple(pair.gguf)]
                yield pair, gguf, list(_expanded(pair.hf, layer, _count(config, pair.parts or self.parts)))

    def carried(self, checkpoint: Checkpoint) -> dict[str, Lazy]:
        """What of a checkpoint GGUF has places for, in this table's names: what comes back from a file must equal it."""
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
        if way != "backward":
            have = self._spelled(have, config)
        walk = _Walk(dict(have), config, way, blockers)
        try:
            for row in self.rows(config):
                walk.row(*row)
        except _BROKEN as error:
            blockers.append(setting("config.json", f"it makes no sense: {error!r}"))
        walk.finish()
        return walk.made

    def _rows(self, config: Config) -> list[tuple[int, Pair]]:
        """Rows of the table, those of a layer together; what belongs to none comes first."""
        rows = [(-1, pair) for pair in self.tensors if "{i}" not in _tuple(pair.gguf)[0]]
        layered = [pair for pair in self.tensors if "{i}" in _tuple(pair.gguf)[0]]
        found = [(layer, pair) for pair in layered for layer in range(_count(config, pair.layers or self.count))]
        return rows + sorted(found, key=lambda row: row[0])

    def _spelled(self, have: Mapping[str, Lazy], config: Config) -> dict[str, Lazy]:
        """Hugging Face's tensors with this table's prefixes, without what is no weight."""
        drop, spelled = self.dropped(config), dict[str, Lazy]()
        for name, tensor in have.items():
            name = self.spelled(name)
            if name not in drop and not any(re.search(pattern, name) for pattern in self.ignored):
                spelled[name] = tensor
        return spelled


_BROKEN = (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError, OverflowError, IndexError)
"""What arithmetic on settings of a wrong kind raises."""


T = TypeVar("T")


def _tried(what: str, where: str, function: Callable[[Any], T], source: Any) -> T:
    try:
        return function(source)
    except _BROKEN as error:
        raise Declined(what, [Blocker("", where, "setting", f"its settings make no sense together: {error!r}")]) from None


def _asked(held: Setting, way: Callable[[Any, list[Blocker]], dict[str, Any]], source: Any, blockers: list[Blocker]) -> Any:
    try:
        return way(source, blockers)
    except _BROKEN as error:
        blockers.append(setting(", ".join(held.keys), f"it cannot be worked out from the others: {error!r}"))
        return {}


MOST = 1024
"""Layers, and experts of a layer, that any model has; llama.cpp reads no more than half."""


class _Walk:
    """One pass over a table of tensors."""

    def __init__(self, have: dict[str, Lazy], config: Config, way: str, blockers: list[Blocker]) -> None:
        self.have, self.config, self.way, self.blockers = have, config, way, blockers
        self.made: dict[str, Lazy] = {}
        self._used: set[str] = set()
        self._wanted: dict[str, tuple[str, ...]] = {}

    def row(self, pair: Pair, gguf: list[str], hf: list[str]) -> None:
        """One row for one layer."""
        sources, results = (gguf, hf) if self.way == "backward" else (hf, gguf)
        if all(name in self._wanted and not self._wanted[name] for name in gguf):
            return  # an earlier spelling was there
        absent = [name for name in sources if name not in self.have] if sources and results else gguf
        if not absent:
            self._wanted.update(dict.fromkeys(gguf, ()))
            self._apply(pair.transform, sources, results)
        elif not (pair.optional and len(absent) == len(sources)):
            self._wanted = dict.fromkeys(gguf, tuple(absent)) | self._wanted

    def finish(self) -> None:
        """Tell what is missing and what is left over."""
        missing = list(dict.fromkeys(name for names in self._wanted.values() for name in names))
        left = [name for name in self.have if name not in self._used]
        self.blockers += [_tensor(name, "it is missing") for name in _few(missing)]
        self.blockers += [_tensor(name, "the table has no place for it") for name in _few(left)]

    def _apply(self, transform: Transform, sources: list[str], results: list[str]) -> None:
        self._used.update(sources)
        try:
            made = getattr(transform, self.way)([self.have[name] for name in sources], results, self.config)
        except _BROKEN as error:
            self.blockers.append(_tensor(sources[0], f"it does not fit the settings: {error}"))
            return
        self.made |= {tensor.name: tensor for tensor in made}


def _decline(blockers: list[Blocker], what: str) -> None:
    if blockers:
        raise Declined(what, blockers)


def _tuple(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names


def _expanded(names: str | tuple[str, ...], layer: int, parts: int) -> Iterator[str]:
    for name in _tuple(names):
        name = name.replace("{i}", str(layer))
        yield from (name.replace("{e}", str(part)) for part in range(parts)) if "{e}" in name else (name,)


def _count(config: Config, key: str) -> int:
    count = config.get(key)
    return count if isinstance(count, int) and 0 <= count <= MOST else 0


def _few(names: list[str]) -> list[str]:
    """Names for a message: the first twenty, and how many more."""
    return names if len(names) <= 20 else [*names[:20], f"... and {len(names) - 20} more"]


def _tensor(name: str, reason: str) -> Blocker:
    return Blocker(node=name, op="tensor", rule="tensors", reason=reason)


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
    kind, classes = config.get("model_type"), config.get("architectures") or ()
    text = config.get("text_config")
    for family in families():
        if set(family.classes) & set(classes) or (not classes and kind in family.model_types):
            return family
    if isinstance(text, Mapping) and not set(classes):
        return find(text)
    known = any(kind in family.model_types for family in families())
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
    return Declined("Bessemer", [Blocker(node=name, op=where, rule="architecture", reason=reason)])
