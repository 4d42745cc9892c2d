"""Falcon (Almazrouei et al. 2023): attention and feed-forward side by side; 7B has one key head, 40B and 11B several.

Falcon-RW (ALiBi, biases, one after the other) has no place in GGUF's graph and is declined.
"""

from __future__ import annotations

import math
from typing import Any

from bessemer.architectures import common, rope
from bessemer.architectures.base import Config, Family, Pair
from bessemer.architectures.settings import Fixed, Read, Record, Refused, Setting, Value, Written, holds, real
from bessemer.architectures.transforms import Reordered, interleaved
from bessemer.ir.decoder import Decoder, Layer
from bessemer.weights.views import Index

LAYER = "transformer.h.{i}."


def _order(config: Config) -> Index:
    return interleaved(config["num_attention_heads"], config["num_kv_heads"], _size(config))


def _size(config: Config) -> int:
    return int(config["hidden_size"] // config["num_attention_heads"])


def _two_norms(config: Config, layer: int) -> bool:
    return config.get("num_ln_in_parallel_attn") == 2


def _one_norm(config: Config, layer: int) -> bool:
    return not _two_norms(config, layer)


TENSORS = (
    Pair("token_embd.weight", "transformer.word_embeddings.weight"),
    *common.weight("output_norm", "transformer.ln_f", bias=True),
    Pair("output.weight", "lm_head.weight", optional=True),
    *common.weight("blk.{i}.attn_norm", LAYER + "input_layernorm", bias=True, when=_one_norm),
    *common.weight("blk.{i}.attn_norm", LAYER + "ln_mlp", bias=True, when=_two_norms),
    *common.weight("blk.{i}.attn_norm_2", LAYER + "ln_attn", bias=True, when=_two_norms),
    Pair("blk.{i}.attn_qkv.weight", LAYER + "self_attention.query_key_value.weight", Reordered(_order)),
    Pair("blk.{i}.attn_output.weight", LAYER + "self_attention.dense.weight"),
    Pair("blk.{i}.ffn_up.weight", LAYER + "mlp.dense_h_to_4h.weight"),
    Pair("blk.{i}.ffn_down.weight", LAYER + "mlp.dense_4h_to_h.weight"),
)


def _grouped(record: Record) -> bool:
    return bool(record.get("attention.head_count_kv", 1) != 1)


def _norms(record: Record) -> int | None:
    """One norm is what the new architecture has to say; the old one has no other."""
    return 1 if _grouped(record) and not holds("blk.0.attn_norm_2.weight")(record) else None


SETTINGS: tuple[Setting, ...] = (
    Value("block_count", "num_hidden_layers"),
    Value("context_length", "max_position_embeddings"),
    Written("tensor_data_layout", lambda config: "jploski"),
    Value("embedding_length", "hidden_size"),
    Value("feed_forward_length", "ffn_hidden_size"),
    Value("attention.head_count", "num_attention_heads"),
    Value("attention.head_count_kv", "num_kv_heads", default=1),
    Value("attention.layer_norm_epsilon", "layer_norm_epsilon", real),
    Written("rope.freq_base", lambda config: base if (base := float(config["rope_theta"])) != 10000 else None),
    Read("rope_theta", lambda record: record.get("rope.freq_base", 10000.0)),
    rope.Scaling(("linear",)),
    Read("new_decoder_architecture", _grouped),
    Read("multi_query", lambda record: not _grouped(record)),
    Read("num_ln_in_parallel_attn", _norms),
    Fixed("parallel_attn", (True,)),
    Fixed("activation", ("gelu",)),
    Refused("alibi", "GGUF's runtimes let Falcon's heads rotate, this model has ALiBi's biases"),
    Refused("bias", "GGUF's runtimes know no biases in Falcon's layers"),
)


def _completed(config: dict[str, Any]) -> dict[str, Any]:
    config = rope.unified(config)
    config.setdefault("rope_theta", 10000.0)
    for name, other in (("num_attention_heads", "n_head"), ("num_hidden_layers", "n_layer"), ("num_kv_heads", "n_head_kv")):
        if (value := config.pop(other, None)) is not None:
            config[name] = value
    new = config.setdefault("new_decoder_architecture", config.get("model_type") == "RefinedWeb")
    if not new:
        config["num_kv_heads"] = 1 if config["multi_query"] else config.get("num_attention_heads")
    config.setdefault("num_kv_heads", config.get("num_attention_heads"))
    config.setdefault("num_ln_in_parallel_attn", 2 if new else 1)
    if isinstance(width := config.get("hidden_size"), int):
        config.setdefault("ffn_hidden_size", 4 * width)
    return config


def _computes(config: Config) -> Decoder:
    size = _size(config)
    return Decoder(
        layers=(Layer(rope.rope(config, size)),) * config["num_hidden_layers"],
        hidden=config["hidden_size"], heads=config["num_attention_heads"], kv_heads=config["num_kv_heads"], head_dim=size,
        vocabulary=config["vocab_size"], context=config["max_position_embeddings"],
        activation=common.ACTIVATIONS[config["activation"]], eps=config["layer_norm_epsilon"], scale=1 / math.sqrt(size),
        norm="layer", parallel="two" if _two_norms(config, 0) else "one", gated=False, fused_qkv=True,
        tied=bool(config["tie_word_embeddings"]),
    )  # fmt: skip


FAMILIES = (
    Family(
        "falcon", "falcon", ("falcon", "RefinedWeb", "RefinedWebModel"), ("FalconForCausalLM", "RWForCausalLM"),
        TENSORS, SETTINGS, computes=_computes,
        defaults={
            "vocab_size": 65024, "hidden_size": 4544, "num_hidden_layers": 32, "num_attention_heads": 71,
            "max_position_embeddings": 2048, "layer_norm_epsilon": 1e-5, "activation": "gelu", "multi_query": True,
            "parallel_attn": True, "tie_word_embeddings": True,
        },
        complete=_completed,
    ),
)  # fmt: skip
