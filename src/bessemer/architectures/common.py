"""What decoder families share: rows of the table of tensors, settings, and the description of the plain Llama-like stack."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bessemer.architectures import rope
from bessemer.architectures.base import Config, Pair
from bessemer.architectures.settings import Fixed, Read, Record, Setting, Value, Written, holds, real
from bessemer.architectures.transforms import SAME, RopePermute, Transform
from bessemer.ir.decoder import Activation, Decoder, Experts, Layer

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


# Tensors


def weight(gguf: str, hf: str, transform: Transform = SAME, **options: Any) -> tuple[Pair, Pair]:
    """A matrix and its optional bias, both through the transform."""
    return (
        Pair(f"{gguf}.weight", f"{hf}.weight", transform, **options),
        Pair(f"{gguf}.bias", f"{hf}.bias", transform, **{**options, "optional": True}),
    )


def ends(norm: str = "model.norm") -> tuple[Pair, ...]:
    """Embedding, last norm, output matrix (missing where it is the embedding)."""
    return (
        Pair("token_embd.weight", "model.embed_tokens.weight"),
        *weight("output_norm", norm),
        Pair("output.weight", "lm_head.weight", optional=True),
    )


UNTIED = Pair("output.weight", "model.embed_tokens.weight")
"""For architectures whose runtime wants an output matrix of its own: after `ends`, a copy of a tied one."""


def attention(permuted: bool, layer: str = LAYER) -> tuple[Pair, ...]:
    """Query, key, value and output projections with biases. permuted: ggml turns neighbours (arch's 'norm' rope)."""
    query, key = (RopePermute(heads), RopePermute(kv_heads)) if permuted else (SAME, SAME)
    return (
        *weight("blk.{i}.attn_q", layer + "self_attn.q_proj", query),
        *weight("blk.{i}.attn_k", layer + "self_attn.k_proj", key),
        *weight("blk.{i}.attn_v", layer + "self_attn.v_proj"),
        *weight("blk.{i}.attn_output", layer + "self_attn.o_proj"),
    )


def gated(layer: str = LAYER, **options: Any) -> tuple[Pair, ...]:
    """Gate, up and down with biases."""
    rows = [weight(f"blk.{{i}}.ffn_{name}", f"{layer}mlp.{name}_proj", **options) for name in ("gate", "up", "down")]
    return tuple(pair for row in rows for pair in row)


def norms(layer: str = LAYER, transform: Transform = SAME) -> tuple[Pair, ...]:
    """Norms in front of attention and feed-forward, with biases."""
    return (
        *weight("blk.{i}.attn_norm", layer + "input_layernorm", transform),
        *weight("blk.{i}.ffn_norm", layer + "post_attention_layernorm", transform),
    )


# Settings


def _same_heads(record: Record) -> Any:
    return record.get("attention.head_count")


def _even_heads(record: Record) -> Any:
    width, count = record.get("embedding_length"), record.get("attention.head_count")
    return width // count if isinstance(width, int) and isinstance(count, int) and count > 0 else None


SIZES: tuple[Setting, ...] = (
    Value("block_count", "num_hidden_layers"),
    Value("context_length", "max_position_embeddings"),
    Value("embedding_length", "hidden_size"),
    Value("feed_forward_length", "intermediate_size"),
    Value("attention.head_count", "num_attention_heads"),
    Value("attention.head_count_kv", "num_key_value_heads", default=_same_heads),
)
HEAD_DIM: tuple[Setting, ...] = (
    Value("attention.key_length", "head_dim", default=_even_heads),
    Written("attention.value_length", head_dim),
)
RMS = Value("attention.layer_norm_rms_epsilon", "rms_norm_eps", real)
LAYER_NORM = Value("attention.layer_norm_epsilon", "layer_norm_eps", real)
THETA = Value("rope.freq_base", "rope_theta", real, default=10000.0)
VOCABULARY = Written("vocab_size", lambda config: config.get("vocab_size"), ("vocab_size",))
SILU = Fixed("hidden_act", ("silu", "swish"))
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


def llama_like(config: Config) -> Decoder:
    """A plain Llama-like stack."""
    return Decoder(**plain(config))


def with_experts(fields: dict[str, Any], experts: Experts, dense: frozenset[int] = frozenset()) -> dict[str, Any]:
    """The fields with a mixture in every layer but `dense`."""
    layers = tuple(
        Layer(layer.rope, layer.window, None if at in dense else experts) for at, layer in enumerate(fields["layers"])
    )
    return {**fields, "layers": layers}
