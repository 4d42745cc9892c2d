"""Phi 1, 1.5 and 2 (Microsoft 2023): attention and feed-forward side by side behind one norm, partly rotated heads."""

from __future__ import annotations

from typing import Any

from bessemer.architectures import common, rope
from bessemer.architectures.base import Config, Family, Pair
from bessemer.architectures.settings import Fixed, Harmless, Read, Refused, Setting, Written
from bessemer.architectures.share import RotaryShare, rotated
from bessemer.ir.decoder import Decoder

LAYER = "model.layers.{i}."

TENSORS = (
    Pair("token_embd.weight", "model.embed_tokens.weight"),
    *common.weight("output_norm", "model.final_layernorm", bias=True),
    Pair("output.weight", "lm_head.weight"),
    Pair("output.bias", "lm_head.bias"),
    *common.weight("blk.{i}.attn_norm", LAYER + "input_layernorm", bias=True),
    *common.weight("blk.{i}.attn_q", LAYER + "self_attn.q_proj", bias=True),
    *common.weight("blk.{i}.attn_k", LAYER + "self_attn.k_proj", bias=True),
    *common.weight("blk.{i}.attn_v", LAYER + "self_attn.v_proj", bias=True),
    *common.weight("blk.{i}.attn_output", LAYER + "self_attn.dense", bias=True),
    *common.weight("blk.{i}.ffn_up", LAYER + "mlp.fc1", bias=True),
    *common.weight("blk.{i}.ffn_down", LAYER + "mlp.fc2", bias=True),
)


SETTINGS: tuple[Setting, ...] = (
    *common.SIZES,
    common.LAYER_NORM,
    RotaryShare(),
    Written("rope.freq_base", lambda config: base if (base := float(config["rope_theta"])) != 10000 else None),
    Read("rope_theta", lambda record: record.get("rope.freq_base", 10000.0)),
    rope.Scaling(("linear",)),
    Fixed("hidden_act", ("gelu_new", "gelu_pytorch_tanh", "gelu_fast")),
    Refused("qk_layernorm", "GGUF's runtimes know no norms of queries and keys in this architecture"),
    Harmless(("head_dim",)),
)


def _completed(config: dict[str, Any]) -> dict[str, Any]:
    for name, other in (("layer_norm_eps", "layer_norm_epsilon"), ("max_position_embeddings", "n_positions")):
        if (value := config.pop(other, None)) is not None:
            config[name] = value
    config = common.completed(config)
    return {"rope_theta": 10000.0, "partial_rotary_factor": 0.5, **config}


def _computes(config: Config) -> Decoder:
    fields = common.plain(config, rotated(config))
    return Decoder(**{**fields, "norm": "layer", "parallel": "one", "gated": False})


FAMILIES = (
    Family(
        "phi2", "phi2", ("phi",), ("PhiForCausalLM", "PhiModel"), TENSORS, SETTINGS, computes=_computes,
        defaults={
            "vocab_size": 51200, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24,
            "num_attention_heads": 32, "max_position_embeddings": 2048, "layer_norm_eps": 1e-5, "hidden_act": "gelu_new",
            "tie_word_embeddings": False,
        },
        complete=_completed,
    ),
)  # fmt: skip
