"""How the settings of a config.json stand in GGUF's metadata, and back: small declarations, each with both ways.

A setting's `write` gives metadata keys without the architecture ('rope.freq_base' for 'llama.rope.freq_base'), its `read`
the keys of config.json. Both add to `blockers` what cannot be carried instead of raising, so that all is told at once.
`keys` are the keys of config.json that the setting accounts for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from bessemer.ir.checkpoint import Lazy
from bessemer.ir.errors import Blocker

Config = Mapping[str, Any]
Kind = Callable[[Any], Any]
LARGEST = (1 << 31) - 1


@dataclass(frozen=True)
class Record:
    """A GGUF file as a setting sees it: metadata of all keys, tensors by GGUF's names. asked: the architecture's own keys
    that some setting looked at."""

    metadata: Mapping[str, Any]
    tensors: Mapping[str, Lazy] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)

    @property
    def architecture(self) -> str:
        """`general.architecture`; '' where it is missing."""
        return str(self.metadata.get("general.architecture", ""))

    def get(self, key: str, default: Any = None) -> Any:
        """A value of the architecture's own keys, as Python's number, text or list."""
        self.asked.add(key)
        value = self.metadata.get(f"{self.architecture}.{key}", default)
        return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


class Setting(Protocol):
    """See the module's docstring."""

    @property
    def keys(self) -> tuple[str, ...]: ...

    def write(self, config: Config, blockers: list[Blocker]) -> dict[str, Any]: ...

    def read(self, record: Record, blockers: list[Blocker]) -> dict[str, Any]: ...


def whole(value: Any) -> int:
    """A count. Raises ValueError for what is none."""
    if isinstance(value, bool) or value != int(value) or not 0 <= value <= LARGEST:
        raise ValueError("a count is wanted")
    return int(value)


def finite(value: Any) -> float:
    """A number as config.json holds it. Raises ValueError for what is none."""
    if isinstance(value, bool) or not abs(value) < 3.4e38:
        raise ValueError("a number of float32 is wanted")
    return float(value)


def real(value: Any) -> float:
    """A number as GGUF holds it (float32), in the shortest decimals that mean it: 1e-05, not 9.999999747378752e-06."""
    return float(str(np.float32(finite(value))))


@dataclass(frozen=True)
class Value:
    """One number, flag or text on both sides.

    gguf: key without the architecture; name: key of config.json; kind: whole, real, bool or str;
    optional: it may be missing (None) on either side, else a missing one is a blocker;
    default: value to read where GGUF lacks the key, or a function of the file that gives it.
    """

    gguf: str
    name: str
    kind: Kind = whole
    optional: bool = False
    default: Any = None

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.name,)

    def write(self, config: Config, blockers: list[Blocker]) -> dict[str, Any]:
        value = config.get(self.name)
        if value is None:
            if not self.optional:
                blockers.append(missing(self.name, "config.json"))
            return {}
        return _kept(self.gguf, value, finite if self.kind is real else self.kind, self.name, blockers)

    def read(self, record: Record, blockers: list[Blocker]) -> dict[str, Any]:
        value = record.get(self.gguf)
        if value is None:
            value = self.default(record) if callable(self.default) else self.default
        if value is None:
            if not self.optional:
                blockers.append(missing(f"{record.architecture}.{self.gguf}", "metadata"))
            return {}
        return _kept(self.name, _one(value), self.kind, self.gguf, blockers)


@dataclass(frozen=True)
class Fixed:
    """A key of config.json that GGUF does not hold because its runtime knows one way only.

    allowed: values that mean that way; the first is written into config.json on the way back (nothing for None);
    computed: the family's description for `Decoder` knows other values as well.
    """

    name: str
    allowed: tuple[Any, ...]
    computed: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.name,)

    def write(self, config: Config, blockers: list[Blocker]) -> dict[str, Any]:
        value = config.get(self.name, self.allowed[0])
        if value not in self.allowed and value is not None:
            wanted = " or ".join(map(repr, self.allowed))
            reason = f"{value!r} has no place in GGUF, whose runtimes know {wanted}"
            blockers.append((limit if self.computed else setting)(self.name, reason))
        return {}

    def read(self, record: Record, blockers: list[Blocker]) -> dict[str, Any]:
        return {} if self.allowed[0] is None else {self.name: self.allowed[0]}


@dataclass(frozen=True)
class Only:
    """A key of GGUF that config.json has no word for: a file without it, or with one of these values, means the same."""

    gguf: str
    allowed: tuple[Any, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        return ()

    def write(self, config: Config, blockers: list[Blocker]) -> dict[str, Any]:
        return {}

    def read(self, record: Record, blockers: list[Blocker]) -> dict[str, Any]:
        value = record.get(self.gguf)
        if value is not None and value not in self.allowed:
            wanted = " or ".join(map(repr, self.allowed))
            blockers.append(setting(self.gguf, f"{str(value)[:80]} has no place in config.json, which means {wanted}"))
        return {}


@dataclass(frozen=True)
class Written:
    """A key of GGUF that follows from config.json; nothing is read back (but a file that says otherwise is declined).
    function: None for a file without the key. accounts: keys of config.json that go into it. loose: runtimes do not read
    it, and files are known that say otherwise."""

    gguf: str
    function: Callable[[Config], Any]
    accounts: tuple[str, ...] = ()
    loose: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        return self.accounts

    def write(self, config: Config, blockers: list[Blocker]) -> dict[str, Any]:
        value = self.function(config)
        return {} if value is None else {self.gguf: value}

    def read(self, record: Record, blockers: list[Blocker]) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class Read:
    """A key of config.json that follows from a GGUF file (metadata or tensors); nothing is written.
    function: None for a config without the key."""

    name: str
    function: Callable[[Record], Any]

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.name,)

    def write(self, config: Config, blockers: list[Blocker]) -> dict[str, Any]:
        return {}

    def read(self, record: Record, blockers: list[Blocker]) -> dict[str, Any]:
        value = self.function(record)
        return {} if value is None else {self.name: value}


def holds(tensor: str) -> Callable[[Record], bool]:
    """For `Read`: whether the file holds a tensor (`Read("attention_bias", holds("blk.0.attn_q.bias"))`)."""
    return lambda record: tensor in record.tensors


def lacks(tensor: str) -> Callable[[Record], bool]:
    """For `Read`: whether the file holds no such tensor (`Read("tie_word_embeddings", lacks("output.weight"))`)."""
    return lambda record: tensor not in record.tensors


@dataclass(frozen=True)
class Refused:
    """A key of config.json that may only be missing, None, False, 0 or empty. why: what it would ask for."""

    name: str
    why: str

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.name,)

    def write(self, config: Config, blockers: list[Blocker]) -> dict[str, Any]:
        if config.get(self.name):
            blockers.append(setting(self.name, self.why))
        return {}

    def read(self, record: Record, blockers: list[Blocker]) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class NoRuntime:
    """An architecture that nothing runs from GGUF: its table reads other files, and is never written as GGUF."""

    why: str
    keys: tuple[str, ...] = ("model_type",)

    def write(self, config: Config, blockers: list[Blocker]) -> dict[str, Any]:
        blockers.append(setting("model_type", self.why))
        return {}

    def read(self, record: Record, blockers: list[Blocker]) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class Harmless:
    """Keys of config.json that change nothing about what a trained model computes."""

    names: tuple[str, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        return self.names

    def write(self, config: Config, blockers: list[Blocker]) -> dict[str, Any]:
        return {}

    def read(self, record: Record, blockers: list[Blocker]) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class _Tokens:
    """Ids of special tokens, which a config.json repeats from the tokenizer. Missing ones are said to be none, because
    transformers' classes have ids of their own models in mind."""

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(f"{kind}_token_id" for kind in _GGUF_TOKENS)

    def write(self, config: Config, blockers: list[Blocker]) -> dict[str, Any]:
        return {}

    def read(self, record: Record, blockers: list[Blocker]) -> dict[str, Any]:
        found = {kind: record.metadata.get(f"tokenizer.ggml.{name}_token_id") for kind, name in _GGUF_TOKENS.items()}
        said = {kind: value for kind, value in found.items() if value is not None or kind in ("bos", "eos", "pad")}
        return {f"{kind}_token_id": None if value is None else int(value) for kind, value in said.items()}


_GGUF_TOKENS = {"bos": "bos", "eos": "eos", "pad": "padding", "sep": "seperator", "cls": "cls", "mask": "mask"}
"""Special tokens whose ids a config.json repeats -> GGUF's word (its own spelling)."""

POOLED = "sentence_pooling"
"""Key that Bessemer adds to the config.json of an embedding model: what sentence-transformers' modules.json says."""
POOLING = {"mean": 1, "cls": 2, "lasttoken": 3}
"""How a text's vector comes from its tokens': sentence-transformers' word -> llama.cpp's number."""
_POOLING_NAMES = {number: name for name, number in POOLING.items()}

EVERYWHERE: tuple[Setting, ...] = (
    Harmless((
        "_name_or_path", "architectures", "model_type", "transformers_version", "torch_dtype", "dtype", "use_cache",
        "initializer_range", "pretraining_tp", "auto_map", "task_specific_params", "attention_dropout", "hidden_dropout",
        "attn_pdrop", "embd_pdrop", "resid_pdrop", "residual_dropout", "embedding_dropout", "output_router_logits",
        "router_aux_loss_coef", "router_jitter_noise", "decoder_start_token_id", "forced_bos_token_id",
        "forced_eos_token_id", "is_encoder_decoder", "chunk_size_feed_forward", "output_hidden_states",
        "output_attentions", "return_dict", "id2label", "label2id", "problem_type", "max_length", "unsloth_version",
        "unsloth_fixed", "_attn_implementation", "_attn_implementation_autoset", "attn_implementation",
        "cache_implementation", "gradient_checkpointing", "prefix", "finetuning_task", "tokenizer_class", "num_labels",
        "add_cross_attention",
    )),
    Refused("quantization_config", "the weights are packed by a quantization library; load and save them unquantized first"),
    Refused("pruned_heads", "heads that are cut out of some layers have no place in GGUF"),
    _Tokens(),
    Read("vocab_size", lambda record: _rows(record, "token_embd.weight")),
    Read("tie_word_embeddings", lacks("output.weight")),
    Fixed(POOLED, (None, *POOLING)),
    Written("pooling_type", lambda config: POOLING.get(str(config.get(POOLED)))),
    Read(POOLED, lambda record: _POOLING_NAMES.get(record.get("pooling_type"))),
)  # fmt: skip
"""Settings of every family."""


def _rows(record: Record, name: str) -> int | None:
    return record.tensors[name].shape[0] if name in record.tensors else None


def _one(value: Any) -> Any:
    """An array by layer that says the same for each is that one value."""
    return value[0] if isinstance(value, list) and value and all(item == value[0] for item in value) else value


def _kept(key: str, value: Any, kind: Kind, source: str, blockers: list[Blocker]) -> dict[str, Any]:
    try:
        return {key: kind(value)}
    except (TypeError, ValueError, OverflowError):
        blockers.append(setting(source, f"{str(value)[:80]} is no {_WORDS.get(kind, 'value')} for all layers"))
        return {}


_WORDS: dict[Kind, str] = {whole: "count", real: "number", finite: "number", bool: "flag", str: "text"}


def missing(name: str, where: str) -> Blocker:
    """A setting that must be there."""
    return Blocker(node=name, op=where, rule="setting", reason="it is missing")


def setting(name: str, reason: str) -> Blocker:
    """A setting that cannot be carried."""
    return Blocker(node=name, op="setting", rule="setting", reason=reason)


LIMIT = "gguf"


def limit(name: str, reason: str) -> Blocker:
    """A setting that GGUF's runtimes cannot carry, and that `Decoder` can say."""
    return Blocker(node=name, op="setting", rule=LIMIT, reason=reason)


def first(config: Config, names: Sequence[str]) -> Any:
    """The first of several spellings of a key that is there and not None."""
    return next((config[name] for name in names if config.get(name) is not None), None)
