"""GPT-2 (Radford et al. 2019): learned positions, fused projections, matrices stored [inputs, outputs]."""

from __future__ import annotations

import math
from typing import Any

from bessemer.architectures import common
from bessemer.architectures.base import Config, Family, Pair
from bessemer.architectures.settings import Fixed, Harmless, Refused, Setting, Value, real
from bessemer.architectures.transforms import Transposed
from bessemer.ir.decoder import Decoder, Layer

LAYER = "transformer.h.{i}."


def _turned(gguf: str, hf: str) -> tuple[Pair, ...]:
    return (
        Pair(f"blk.{{i}}.{gguf}.weight", f"{LAYER}{hf}.weight", Transposed()),
        Pair(f"blk.{{i}}.{gguf}.bias", f"{LAYER}{hf}.bias"),
    )


TENSORS = (
    Pair("token_embd.weight", "transformer.wte.weight"),
    Pair("position_embd.weight", "transformer.wpe.weight"),
    *common.weight("output_norm", "transformer.ln_f", bias=True),
    Pair("output.weight", "lm_head.weight", optional=True),
    *common.weight("blk.{i}.attn_norm", LAYER + "ln_1", bias=True),
    *_turned("attn_qkv", "attn.c_attn"),
    *_turned("attn_output", "attn.c_proj"),
    *common.weight("blk.{i}.ffn_norm", LAYER + "ln_2", bias=True),
    *_turned("ffn_up", "mlp.c_fc"),
    *_turned("ffn_down", "mlp.c_proj"),
)

SETTINGS: tuple[Setting, ...] = (
    Value("block_count", "n_layer"),
    Value("context_length", "n_positions"),
    Value("embedding_length", "n_embd"),
    Value("feed_forward_length", "n_inner"),
    Value("attention.head_count", "n_head"),
    Value("attention.layer_norm_epsilon", "layer_norm_epsilon", real),
    Fixed("activation_function", ("gelu_new", "gelu_pytorch_tanh", "gelu_fast")),
    Fixed("scale_attn_weights", (True,)),
    Refused("scale_attn_by_inverse_layer_idx", "scores are scaled by the layer's number too, which GGUF's runtimes do not"),
    Harmless((
        "n_ctx", "reorder_and_upcast_attn", "summary_type", "summary_use_proj", "summary_activation",
        "summary_first_dropout", "summary_proj_to_labels",
    )),
)  # fmt: skip


def _completed(config: dict[str, Any]) -> dict[str, Any]:
    if "n_positions" not in config:
        config["n_positions"] = config.get("n_ctx", 1024)
    if isinstance(width := config.get("n_embd"), int):
        config.setdefault("n_inner", 4 * width)
    return config


def _computes(config: Config) -> Decoder:
    size = config["n_embd"] // config["n_head"]
    return Decoder(
        layers=(Layer(),) * config["n_layer"],
        hidden=config["n_embd"], heads=config["n_head"], kv_heads=config["n_head"], head_dim=size,
        vocabulary=config["vocab_size"], context=config["n_positions"],
        activation=common.ACTIVATIONS[config["activation_function"]],
        eps=config["layer_norm_epsilon"], scale=1 / math.sqrt(size), norm="layer", positions="learned",
        gated=False, fused_qkv=True, tied=bool(config["tie_word_embeddings"]),
    )  # fmt: skip


FAMILIES = (
    Family(
        "gpt2", "gpt2", ("gpt2",), ("GPT2LMHeadModel", "GPT2Model"), TENSORS, SETTINGS, computes=_computes,
        defaults={
            "vocab_size": 50257, "n_embd": 768, "n_layer": 12, "n_head": 12, "layer_norm_epsilon": 1e-5,
            "activation_function": "gelu_new", "tie_word_embeddings": True,
        },
        complete=_completed, count="n_layer",
        prefixes={f"{part}.": f"transformer.{part}." for part in ("h", "wte", "wpe", "ln_f")},
    ),
)  # fmt: skip
