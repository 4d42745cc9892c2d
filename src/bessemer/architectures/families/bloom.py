"""BLOOM (BigScience 2022): ALiBi, a norm after the embedding, queries, keys and values interleaved by head."""

from __future__ import annotations

import math
from typing import Any

from bessemer.architectures import common
from bessemer.architectures.base import Config, Family, Pair
from bessemer.architectures.settings import Harmless, Refused, Setting, Value, Written, real
from bessemer.architectures.transforms import Reordered, interleaved
from bessemer.ir.decoder import Decoder, Layer
from bessemer.weights.views import Index

LAYER = "transformer.h.{i}."


def _order(config: Config) -> Index:
    heads = config["n_head"]
    return interleaved(heads, heads, config["hidden_size"] // heads)


TENSORS = (
    Pair("token_embd.weight", "transformer.word_embeddings.weight"),
    *common.weight("token_embd_norm", "transformer.word_embeddings_layernorm", bias=True),
    *common.weight("output_norm", "transformer.ln_f", bias=True),
    Pair("output.weight", "lm_head.weight", optional=True),
    *common.weight("blk.{i}.attn_norm", LAYER + "input_layernorm", bias=True),
    Pair("blk.{i}.attn_qkv.weight", LAYER + "self_attention.query_key_value.weight", Reordered(_order)),
    Pair("blk.{i}.attn_qkv.bias", LAYER + "self_attention.query_key_value.bias", Reordered(_order)),
    *common.weight("blk.{i}.attn_output", LAYER + "self_attention.dense", bias=True),
    *common.weight("blk.{i}.ffn_norm", LAYER + "post_attention_layernorm", bias=True),
    *common.weight("blk.{i}.ffn_up", LAYER + "mlp.dense_h_to_4h", bias=True),
    *common.weight("blk.{i}.ffn_down", LAYER + "mlp.dense_4h_to_h", bias=True),
)

SETTINGS: tuple[Setting, ...] = (
    Value("block_count", "n_layer"),
    Value("context_length", "seq_length"),
    Value("embedding_length", "hidden_size"),
    Written("feed_forward_length", lambda config: 4 * config["hidden_size"]),
    Value("attention.head_count", "n_head"),
    Written("attention.head_count_kv", lambda config: config["n_head"]),
    Value("attention.layer_norm_epsilon", "layer_norm_epsilon", real),
    Refused("apply_residual_connection_post_layernorm", "GGUF's runtimes add what goes into a norm, not what comes out"),
    Harmless((
        "slow_but_exact", "offset_alibi", "skip_bias_add", "skip_bias_add_qkv", "masked_softmax_fusion", "n_inner",
        "unk_token_id", "attention_softmax_in_fp32", "bias_dropout_fusion", "seed",
    )),
)  # fmt: skip


def _completed(config: dict[str, Any]) -> dict[str, Any]:
    for name, other in (("hidden_size", "n_embed"), ("n_layer", "num_hidden_layers"), ("n_head", "num_attention_heads")):
        if (value := config.pop(other, None)) is not None:
            config[name] = value
    return config


def _computes(config: Config) -> Decoder:
    size = config["hidden_size"] // config["n_head"]
    return Decoder(
        layers=(Layer(),) * config["n_layer"],
        hidden=config["hidden_size"], heads=config["n_head"], kv_heads=config["n_head"], head_dim=size,
        vocabulary=config["vocab_size"], context=config["seq_length"], activation="gelu_tanh",
        eps=config["layer_norm_epsilon"], scale=1 / math.sqrt(size), norm="layer", positions="alibi", gated=False,
        fused_qkv=True, embedding_norm=True, tied=bool(config["tie_word_embeddings"]),
    )  # fmt: skip


FAMILIES = (
    Family(
        "bloom", "bloom", ("bloom",), ("BloomForCausalLM", "BloomModel"), TENSORS, SETTINGS, computes=_computes,
        defaults={
            "vocab_size": 250880, "hidden_size": 64, "n_layer": 2, "n_head": 8, "seq_length": 2048,
            "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True,
        },
        complete=_completed, count="n_layer",
        prefixes={
            "h.": "transformer.h.", "word_embeddings.": "transformer.word_embeddings.", "ln_f.": "transformer.ln_f.",
            "word_embeddings_layernorm.": "transformer.word_embeddings_layernorm.",
        },
    ),
)  # fmt: skip
