"""StableLM: layer norms, a quarter of each head rotated, optionally norms of each head and parallel residuals."""

from __future__ import annotations

from typing import Any

from bessemer.architectures import common, rope
from bessemer.architectures.base import Config, Family, Pair
from bessemer.architectures.settings import Read, Setting, Written, holds, lacks
from bessemer.architectures.share import RotaryShare, rotated
from bessemer.architectures.transforms import Stacked
from bessemer.ir.decoder import Decoder

_AT = common.LAYER


def _serial(config: Config, layer: int) -> bool:
    return not config.get("use_parallel_residual")


_NORMED = common.says("qk_layernorm")
_TENSORS = (
    *common.ends(bias=True),
    common.UNTIED,
    *common.weight("blk.{i}.attn_norm", _AT + "input_layernorm", bias=True),
    Pair("blk.{i}.ffn_norm.weight", _AT + "post_attention_layernorm.weight", when=_serial),
    Pair("blk.{i}.ffn_norm.bias", _AT + "post_attention_layernorm.bias", when=_serial),
    *common.attention(permuted=False, bias="use_qkv_bias", output_bias=False),
    Pair(
        "blk.{i}.attn_q_norm.weight", _AT + "self_attn.q_layernorm.norms.{e}.weight", Stacked(), when=_NORMED,
        parts="num_attention_heads",
    ),
    Pair(
        "blk.{i}.attn_k_norm.weight", _AT + "self_attn.k_layernorm.norms.{e}.weight", Stacked(), when=_NORMED,
        parts="num_key_value_heads",
    ),
    *common.gated(),
)  # fmt: skip
_SETTINGS: tuple[Setting, ...] = (
    *common.SIZES, common.HeadDim(), common.LAYER_NORM, common.THETA, common.SILU,
    RotaryShare(usual=0.25), rope.Scaling(("linear",)),
    Read("use_qkv_bias", holds("blk.0.attn_q.bias")),
    Read("qk_layernorm", holds("blk.0.attn_q_norm.weight")),
    Read("use_parallel_residual", lacks("blk.0.ffn_norm.weight")),
    Written("use_parallel_residual", lambda config: bool(config["use_parallel_residual"]), loose=True),
)  # fmt: skip


def _computes(config: Config) -> Decoder:
    more: dict[str, Any] = {
        "norm": "layer", "qk_norm": "layer-head" if config["qk_layernorm"] else "",
        "parallel": "one" if config["use_parallel_residual"] else "", "eps": config["layer_norm_eps"],
    }  # fmt: skip
    return Decoder(**{**common.plain(config, rotated(config)), **more})


FAMILIES = (
    Family(
        "stablelm", "stablelm", ("stablelm", "stablelm_epoch"), ("StableLmForCausalLM", "StableLMEpochForCausalLM"),
        _TENSORS, _SETTINGS, computes=_computes,
        defaults={
            "layer_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": False,
            "max_position_embeddings": 4096, "partial_rotary_factor": 0.25, "use_qkv_bias": False, "qk_layernorm": False,
            "use_parallel_residual": False,
        },
        complete=common.completed,
    ),
)  # fmt: skip
