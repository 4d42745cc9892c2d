"""OLMo 1 (norms without weights) and OLMo 2 (norms after attention and feed-forward)."""

from __future__ import annotations

from typing import Any

from bessemer.architectures import common, rope
from bessemer.architectures.base import Config, Family, Pair
from bessemer.architectures.settings import Fixed, Setting, Value, Written, real
from bessemer.ir.decoder import Decoder

_AT = common.LAYER
_EPSILON = 1e-5
"""OLMo 1's layer norms have it fixed (transformers' OlmoLayerNorm)."""
_TENSORS_1 = (
    Pair("token_embd.weight", "model.embed_tokens.weight"),
    common.output(),
    *common.attention(permuted=True),
    *common.gated(),
)
_TENSORS_2 = (
    *common.ends(),
    common.UNTIED,
    *common.attention(permuted=False),
    Pair("blk.{i}.attn_q_norm.weight", _AT + "self_attn.q_norm.weight"),
    Pair("blk.{i}.attn_k_norm.weight", _AT + "self_attn.k_norm.weight"),
    Pair("blk.{i}.post_attention_norm.weight", _AT + "post_attention_layernorm.weight"),
    *common.gated(),
    Pair("blk.{i}.post_ffw_norm.weight", _AT + "post_feedforward_layernorm.weight"),
)
_SETTINGS: tuple[Setting, ...] = (
    *common.SIZES, common.HeadDim(), common.THETA, common.SILU, common.WHOLE_ROPE, Fixed("attention_bias", (False,)),
    rope.Scaling(("linear", "yarn")),
)  # fmt: skip
_DEFAULTS: dict[str, Any] = {
    "hidden_act": "silu", "rope_theta": 10000.0, "tie_word_embeddings": False, "max_position_embeddings": 2048,
}  # fmt: skip


def _olmo(config: Config) -> Decoder:
    fields = {"norm": "layer", "eps": _EPSILON, "clip_qkv": config.get("clip_qkv", 0.0)}
    return Decoder(**{**common.plain(config), **fields})


def _olmo2(config: Config) -> Decoder:
    return Decoder(**{**common.plain(config), "pre_norm": False, "post_norm": True, "qk_norm": "rms-all"})


FAMILIES = (
    Family(
        "olmo", "olmo", ("olmo",), ("OlmoForCausalLM", "OLMoForCausalLM"), _TENSORS_1,
        (
            *_SETTINGS, Written("attention.layer_norm_epsilon", lambda config: _EPSILON),
            Value("attention.clamp_kqv", "clip_qkv", real, optional=True),
        ),
        computes=_olmo, defaults=_DEFAULTS, complete=common.completed,
    ),
    Family(
        "olmo2", "olmo2", ("olmo2",), ("Olmo2ForCausalLM",), _TENSORS_2, (*_SETTINGS, common.RMS),
        computes=_olmo2, defaults={**_DEFAULTS, "rms_norm_eps": 1e-5}, complete=common.completed,
        claims=lambda record: not record.get("attention.sliding_window"),
    ),
)  # fmt: skip
