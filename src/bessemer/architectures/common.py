"""What decoder families share: rows of the table of tensors, settings, and the description of the plain Llama-like stack."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bessemer.architectures import rope
from bessemer.architectures.base import Applies, Config, Pair, always
from bessemer.architectures.settings import Fixed, Read, Record, Setting, Value, Written, holds, real, setting
from bessemer.architectures.transforms import SAME, RopePermute, Split, Stacked, Transform
from bessemer.ir.decoder import Activation, Decoder, Experts, Layer
from bessemer.ir.errors import Blocker

ACTIVATIONS: Mapping[str, Activation] = {
    "silu": "silu", "swish": "silu", "gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh", "relu": "relu", "relu2": "relu2", "tanh": "tanh", "sigmoid": "sigmoid",
}  # fmt: skip
"""transformers' names of activations -> Decoder's."""

LAYER = "model.layers.{i}."


def heads(config: Config) -> int:
    """Query heads."""
    return int(config["num_attention_heads"])


def kv_heads(config: Config) -> int:
    """Key and value heads."""
    return int(config["num_key_value_heads"])


def head_dim(config: Config) -> int:
    """Elements of a head."""
    return int(config["head_dim"])


def completed(config: dict[str, Any]) -> dict[str, Any]:
    """Rope in one spelling, key heads and the size of a head where config.json leaves them to be worked out."""
    config = rope.unified(config)
    count, hidden = config.get("num_attention_heads"), config.get("hidden_size")
    config.setdefault("num_key_value_heads", count)
    if isinstance(count, int) and isinstance(hidden, int) and count > 0:
        config.setdefault("head_dim", hidden // count)
    return config


def renamed(config: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Other spellings of keys become the table's, where the table's is not there."""
    for other, name in names.items():
        if other in config:
            config.setdefault(name, config[other])
            del config[other]
    return config


# Tensors


def says(key: str) -> Applies:
    """For `Pair.when`: whether the config's flag is set."""
    return lambda config, layer: bool(config.get(key))


def weight(
    gguf: str, hf: str, transform: Transform = SAME, bias: str | bool = False, when: Applies = always
) -> tuple[Pair, ...]:
    """A matrix or a norm, and its bias. bias: whether there is one, or the config's flag that says it."""
    matrix = Pair(f"{gguf}.weight", f"{hf}.weight", transform, when=when)
    if not bias:
        return (matrix,)
    also = says(bias) if isinstance(bias, str) else always
    return matrix, Pair(f"{gguf}.bias", f"{hf}.bias", transform, when=lambda c, i: when(c, i) and also(c, i))


def output(transform: Transform = SAME) -> Pair:
    """The output matrix, missing where it is the embedding."""
    return Pair("output.weight", "lm_head.weight", transform, when=lambda c, i: not c.get("tie_word_embeddings"))


def ends(bias: bool = False, head: Transform = SAME) -> tuple[Pair, ...]:
    """Embedding, last norm, output matrix."""
    return (
        Pair("token_embd.weight", "model.embed_tokens.weight"),
        *weight("output_norm", "model.norm", SAME, bias),
        output(head),
    )


UNTIED = Pair("output.weight", "model.embed_tokens.weight", when=says("tie_word_embeddings"))
"""For architectures whose runtime wants an output matrix of its own: a copy of a tied one."""


def attention(permuted: bool, bias: str | bool = False, output_bias: str | bool | None = None) -> tuple[Pair, ...]:
    """Query, key, value and output projections with biases. permuted: ggml's graph turns neighbours (its 'normal' rope)."""
    query, key = (RopePermute(heads), RopePermute(kv_heads)) if permuted else (SAME, SAME)
    at = LAYER + "self_attn."
    return (
        *weight("blk.{i}.attn_q", at + "q_proj", query, bias),
        *weight("blk.{i}.attn_k", at + "k_proj", key, bias),
        *weight("blk.{i}.attn_v", at + "v_proj", SAME, bias),
        *weight("blk.{i}.attn_output", at + "o_proj", SAME, bias if output_bias is None else output_bias),
    )


def gated(at: str = "mlp", suffix: str = "", bias: str | bool = False, when: Applies = always) -> tuple[Pair, ...]:
    """Gate, up and down with biases. at: the module; suffix: of GGUF's names ('_shexp')."""
    names = ("gate", "up", "down")
    rows = [weight(f"blk.{{i}}.ffn_{name}{suffix}", f"{LAYER}{at}.{name}_proj", SAME, bias, when) for name in names]
    return tuple(pair for row in rows for pair in row)


PROJECTIONS = ("gate_proj", "up_proj", "down_proj")


def experts(at: str = "mlp", names: Sequence[str] = PROJECTIONS, **options: Any) -> tuple[Pair, ...]:
    """Gate, up and down of all experts, one file's tensor each or (transformers 5 in memory) gate and up in one."""
    roles = [f"blk.{{i}}.ffn_{name}_exps.weight" for name in ("gate", "up", "down")]
    stack = f"{LAYER}{at}.experts"
    each = [
        Pair(role, f"{stack}.{{e}}.{name}.weight", Stacked(), **options) for role, name in zip(roles, names, strict=True)
    ]
    both = Pair((roles[0], roles[1]), f"{LAYER}mlp.experts.gate_up_proj", Split(_halves), **options)
    return (*each, both, Pair(roles[2], f"{LAYER}mlp.experts.down_proj", **options))


def _halves(config: Config) -> tuple[int, int]:
    width = int(config.get("moe_intermediate_size") or config["intermediate_size"])
    return width, width


def norms(transform: Transform = SAME, bias: bool = False) -> tuple[Pair, ...]:
    """Norms in front of attention and feed-forward."""
    return (
        *weight("blk.{i}.attn_norm", LAYER + "input_layernorm", transform, bias),
        *weight("blk.{i}.ffn_norm", LAYER + "post_attention_layernorm", transform, bias),
    )


# Settings


def _same_heads(record: Record) -> Any:
    return record.get("attention.head_count")


def _even_heads(record: Record) -> Any:
    width, count = record.get("embedding_length"), record.get("attention.head_count")
    return width // count if isinstance(width, int) and isinstance(count, int) and count > 0 else None


@dataclass(frozen=True)
class HeadDim:
    """`head_dim` <-> 'attention.key_length' and 'value_length'. explicit: config.json says it although it is the width's
    even share, because transformers' class would take another number."""

    explicit: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        return ("head_dim",)

    def write(self, config: Config, blockers: list[Blocker]) -> dict[str, Any]:
        return {"attention.key_length": head_dim(config), "attention.value_length": head_dim(config)}

    def read(self, record: Record, blockers: list[Blocker]) -> dict[str, Any]:
        even = _even_heads(record)
        size = record.get("attention.key_length", even)
        if record.get("attention.value_length", size) != size:
            blockers.append(setting("attention.value_length", "values of another size than keys have no place here"))
        return {"head_dim": int(size)} if size is not None and (self.explicit or size != even) else {}


SIZES: tuple[Setting, ...] = (
    Value("block_count", "num_hidden_layers"),
    Value("context_length", "max_position_embeddings"),
    Value("embedding_length", "hidden_size"),
    Value("feed_forward_length", "intermediate_size"),
    Value("attention.head_count", "num_attention_heads"),
    Value("attention.head_count_kv", "num_key_value_heads", default=_same_heads),
)
RMS = Value("attention.layer_norm_rms_epsilon", "rms_norm_eps", real)
LAYER_NORM = Value("attention.layer_norm_epsilon", "layer_norm_eps", real)
THETA = Value("rope.freq_base", "rope_theta", real, default=10000.0)
WINDOW = Value("attention.sliding_window", "sliding_window", optional=True)
VOCABULARY = Written("vocab_size", lambda config: config.get("vocab_size"), ("vocab_size",))
SILU = Fixed("hidden_act", ("silu", "swish"), computed=True)
WHOLE_ROPE = Fixed("partial_rotary_factor", (None, 1, 1.0))
BIASES: tuple[Setting, ...] = (
    Read("attention_bias", holds("blk.0.attn_q.bias")),
    Read("mlp_bias", holds("blk.0.ffn_gate.bias")),
)


# What they compute


def plain(config: Config, dims: int | None = None) -> dict[str, Any]:
    """Decoder's fields for a Llama-like stack; families change what differs and pass them on. dims: rotated elements."""
    size = head_dim(config)
    turned = rope.rope(config, size if dims is None else dims)
    return {
        "layers": (Layer(rope=turned),) * config["num_hidden_layers"],
        "hidden": config["hidden_size"],
        "heads": heads(config),
        "kv_heads": kv_heads(config),
        "head_dim": size,
        "vocabulary": config["vocab_size"],
        "context": config["max_position_embeddings"],
        "activation": ACTIVATIONS[config.get("hidden_act", "silu")],
        "eps": config.get("rms_norm_eps", config.get("layer_norm_eps")),
        "scale": 1 / math.sqrt(size),
        "tied": bool(config.get("tie_word_embeddings")),
        "notes": _notes(config),
    }


def _notes(config: Config) -> tuple[str, ...]:
    if rope.kind(config) != "longrope":
        return ()
    return (f"rotary factors are those for up to {rope.longrope_context(config)} positions",)


def windowed(config: Config) -> Decoder:
    """A plain stack whose layers see the latest `sliding_window` positions; those that `layer_types` names, else all."""
    fields = plain(config)
    return Decoder(**{**fields, "layers": tuple(in_window(config, at, layer) for at, layer in enumerate(fields["layers"]))})


def in_window(config: Config, at: int, layer: Layer) -> Layer:
    """The layer with the window that the config gives it."""
    kinds = config.get("layer_types")
    full = kinds is not None and kinds[at] == "full_attention"
    return Layer(layer.rope, None if full else config.get("sliding_window"), layer.experts)


def window_note(config: Config) -> tuple[str, ...]:
    """What a user should know where llama.cpp lets an architecture see more than it was trained to see."""
    window, context = config.get("sliding_window"), config.get("max_position_embeddings", 0)
    if not window or window >= context or "sliding_attention" not in config.get("layer_types", ("sliding_attention",)):
        return ()
    seen = f"the model sees the latest {window} positions; llama.cpp lets this architecture see all of them"
    return (f"{seen}, so texts longer than {window} tokens depart from the original",)


def llama_like(config: Config) -> Decoder:
    """A plain Llama-like stack."""
    return Decoder(**plain(config))


def with_experts(fields: dict[str, Any], experts: Experts, dense: frozenset[int] = frozenset()) -> dict[str, Any]:
    """The fields with a mixture in every layer but `dense`."""
    layers = tuple(
        Layer(layer.rope, layer.window, None if at in dense else experts) for at, layer in enumerate(fields["layers"])
    )
    return {**fields, "layers": layers}
