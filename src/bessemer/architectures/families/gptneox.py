"""GPT-NeoX and Pythia (Black et al. 2022): queries, keys and values interleaved by head, a part of each head rotates."""

from __future__ import annotations

import math
from typing import Any

from bessemer.architectures import common, rope
from bessemer.architectures.base import Config, Family, Pair
from bessemer.architectures.settings import Fixed, Harmless, Read, Setting, Value, Written, real
from bessemer.architectures.share import RotaryShare, rotated
from bessemer.architectures.transforms import Reordered, interleaved
from bessemer.ir.decoder import Decoder, Layer
from bessemer.weights.views import Index

LAYER = "gpt_neox.layers.{i}."


def _order(config: Config) -> Index:
    heads = config["num_attention_heads"]
    return interleaved(heads, heads, common.head_dim(config))


TENSORS = (
    Pair("token_embd.weight", "gpt_neox.embed_in.weight"),
    *common.weight("output_norm", "gpt_neox.final_layer_norm", bias=True),
    Pair("output.weight", "embed_out.weight"),
    Pair("output.weight", "gpt_neox.embed_in.weight", when=common.says("tie_word_embeddings")),
    *common.weight("blk.{i}.attn_norm", LAYER + "input_layernorm", bias=True),
    Pair("blk.{i}.attn_qkv.weight", LAYER + "attention.query_key_value.weight", Reordered(_order)),
    Pair("blk.{i}.attn_qkv.bias", LAYER + "attention.query_key_value.bias", Reordered(_order)),
    *common.weight("blk.{i}.attn_output", LAYER + "attention.dense", bias=True),
    *common.weight("blk.{i}.ffn_norm", LAYER + "post_attention_layernorm", bias=True),
    *common.weight("blk.{i}.ffn_up", LAYER + "mlp.dense_h_to_4h", bias=True),
    *common.weight("blk.{i}.ffn_down", LAYER + "mlp.dense_4h_to_h", bias=True),
)


SETTINGS: tuple[Setting, ...] = (
    Value("block_count", "num_hidden_layers"),
    Value("context_length", "max_position_embeddings"),
    Value("embedding_length", "hidden_size"),
    Value("feed_forward_length", "intermediate_size"),
    Value("attention.head_count", "num_attention_heads"),
    Value("attention.layer_norm_epsilon", "layer_norm_eps", real),
    Value("use_parallel_residual", "use_parallel_residual", bool, default=True),
    RotaryShare("rotary_pct"),
    Written("rope.freq_base", lambda config: base if (base := float(config["rotary_emb_base"])) != 10000 else None),
    Read("rotary_emb_base", lambda record: record.get("rope.freq_base", 10000.0)),
    rope.Scaling(("linear",)),
    Fixed("hidden_act", ("gelu", "gelu_fast", "gelu_new", "gelu_pytorch_tanh")),
    Fixed("attention_bias", (True,)),
    Harmless(("classifier_dropout", "head_dim", "num_key_value_heads")),
)


def _completed(config: dict[str, Any]) -> dict[str, Any]:
    config = common.completed(config)
    for name, new, default in (("rotary_pct", "partial_rotary_factor", 0.25), ("rotary_emb_base", "rope_theta", 10000.0)):
        config[name] = config.pop(new, config.get(name, default))
    return config


def _computes(config: Config) -> Decoder:
    size = common.head_dim(config)
    return Decoder(
        layers=(Layer(rope.rope({**config, "rope_theta": config["rotary_emb_base"]}, rotated(config, "rotary_pct"))),)
        * config["num_hidden_layers"],
        hidden=config["hidden_size"], heads=config["num_attention_heads"], kv_heads=config["num_attention_heads"],
        head_dim=size, vocabulary=config["vocab_size"], context=config["max_position_embeddings"],
        activation=common.ACTIVATIONS[config["hidden_act"]], eps=config["layer_norm_eps"], scale=1 / math.sqrt(size),
        norm="layer", parallel="two" if config["use_parallel_residual"] else "", gated=False, fused_qkv=True,
        tied=False,
    )  # fmt: skip


FAMILIES = (
    Family(
        "gptneox", "gptneox", ("gpt_neox",), ("GPTNeoXForCausalLM", "GPTNeoXModel"), TENSORS, SETTINGS, computes=_computes,
        defaults={
            "vocab_size": 50432, "hidden_size": 6144, "num_hidden_layers": 44, "num_attention_heads": 64,
            "intermediate_size": 24576, "max_position_embeddings": 2048, "layer_norm_eps": 1e-5, "hidden_act": "gelu",
            "use_parallel_residual": True, "tie_word_embeddings": False,
        },
        complete=_completed,
        dropped=lambda config: ("embed_out.weight",) if config.get("tie_word_embeddings") else (),
        prefixes={f"{part}.": f"gpt_neox.{part}." for part in ("layers", "embed_in", "final_layer_norm")},
    ),
)  # fmt: skip
