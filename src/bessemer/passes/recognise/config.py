"""A config.json from what a graph tells, for the architectures that graphs tell apart; others have to be said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bessemer.ir.errors import UsageError
from bessemer.passes.recognise.facts import Facts

NAMES = {"silu": "silu", "gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "relu": "relu"}
"""Transformers' names of functions."""
OLD_NAMES = {**NAMES, "gelu_tanh": "gelu_new"}


def guessed(facts: Facts, said: Mapping[str, Any]) -> dict[str, Any]:
    """The settings; `said` ones count before those of the graph. Raises UsageError naming what nobody knows."""
    kind = said.get("model_type") or _kind(facts)
    found = {key: value for key, value in {**_settings(facts, kind), **said}.items() if value is not None}
    missing = [key for key in _needed(kind) if not found.get(key)]
    if missing:
        raise UsageError(
            f"The graph does not tell {', '.join(missing)} of its language model",
            fix="Say --config config.json with it, or put the model's config.json beside the file",
        )
    return found


def _kind(facts: Facts) -> str:
    """Raises UsageError for a graph that could be several architectures, or none with a rule here."""
    if facts.learned and facts.norm == "layer" and not facts.gated and not facts.parallel:
        return "gpt2"
    if facts.norm == "layer" and facts.parallel == "one" and not facts.gated and "attn_q" in facts.biases:
        return "phi"
    plain = facts.norm == "rms" and facts.gated and not facts.parallel and not facts.post_norm and facts.pre_norm
    if plain and facts.activation == "silu" and facts.qk_norm:
        return "qwen3"
    if plain and facts.activation == "silu":
        return "qwen2" if "attn_q" in facts.biases and "attn_output" not in facts.biases else "llama"
    raise UsageError(
        "The graph is a decoder, and does not tell of which architecture",
        where=f"norms: {facts.norm}, activation: {facts.activation}, parallel: {facts.parallel or 'no'}",
        fix="Say --config config.json, or put the model's config.json beside the file",
    )


def _settings(facts: Facts, kind: str) -> dict[str, Any]:
    if kind == "gpt2":
        return _gpt2(facts)
    common = {
        "architectures": [f"{CLASSES[kind]}ForCausalLM"], "model_type": kind, "vocab_size": facts.vocabulary,
        "hidden_size": facts.hidden, "intermediate_size": facts.inner, "num_hidden_layers": facts.layers,
        "num_attention_heads": facts.heads or None, "num_key_value_heads": facts.kv_heads or None,
        "hidden_act": NAMES[facts.activation], "tie_word_embeddings": facts.tied, "rope_theta": facts.theta or None,
    }  # fmt: skip
    if kind == "phi":
        share = 2 * len(facts.inverse) / facts.head_dim if facts.head_dim else None
        act = OLD_NAMES[facts.activation]
        return {**common, "layer_norm_eps": facts.eps, "partial_rotary_factor": share, "hidden_act": act}
    own = {"rms_norm_eps": facts.eps, "head_dim": facts.head_dim or None}
    if kind == "llama":
        own |= {"attention_bias": "attn_q" in facts.biases, "mlp_bias": "ffn_up" in facts.biases}
    return {**common, **own}


def _gpt2(facts: Facts) -> dict[str, Any]:
    return {
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": facts.vocabulary, "n_embd": facts.hidden,
        "n_inner": facts.inner, "n_layer": facts.layers, "n_head": facts.heads or None, "n_positions": facts.learned,
        "layer_norm_epsilon": facts.eps, "activation_function": OLD_NAMES[facts.activation],
        "tie_word_embeddings": facts.tied,
    }  # fmt: skip


CLASSES = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3", "phi": "Phi"}
"""What the names of transformers' classes begin with."""


def _needed(kind: str) -> tuple[str, ...]:
    if kind == "gpt2":
        return ("n_head", "n_positions")
    return ("num_attention_heads", "num_key_value_heads", "rope_theta", "max_position_embeddings") if kind in CLASSES else ()
