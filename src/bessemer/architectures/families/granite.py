"""Granite (dense): a Llama with four multipliers."""

from __future__ import annotations

from bessemer.architectures import common, rope
from bessemer.architectures.base import Config, Family
from bessemer.architectures.settings import Setting, Value, Written, real
from bessemer.ir.decoder import Decoder

_MULTIPLIERS = {
    "embedding_scale": "embedding_multiplier", "residual_scale": "residual_multiplier",
    "attention.scale": "attention_multiplier", "logit_scale": "logits_scaling",
}  # fmt: skip
_SETTINGS: tuple[Setting, ...] = (
    *common.SIZES, common.HeadDim(), common.RMS, common.THETA, common.VOCABULARY, common.SILU, common.WHOLE_ROPE,
    *common.BIASES, Written("rope.dimension_count", common.head_dim), rope.Scaling(("linear", "yarn")),
    *(Value(gguf, name, real, default=1.0) for gguf, name in _MULTIPLIERS.items()),
)  # fmt: skip


def _computes(config: Config) -> Decoder:
    fields = {
        "scale": config["attention_multiplier"], "embedding_scale": config["embedding_multiplier"],
        "residual_scale": config["residual_multiplier"], "logit_scale": 1 / config["logits_scaling"],
    }  # fmt: skip
    return Decoder(**{**common.plain(config), **fields})


FAMILIES = (
    Family(
        "granite", "granite", ("granite",), ("GraniteForCausalLM",),
        (
            *common.ends(), *common.norms(), *common.attention(permuted=True, bias="attention_bias"),
            *common.gated(bias="mlp_bias"),
        ),
        _SETTINGS, computes=_computes,
        defaults={
            "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": False,
            "max_position_embeddings": 2048, **dict.fromkeys(_MULTIPLIERS.values(), 1.0),
        },
        complete=common.completed,
    ),
)  # fmt: skip
