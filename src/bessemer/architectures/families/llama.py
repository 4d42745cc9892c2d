"""Llama 1 to 3, Mistral, Mixtral: one GGUF architecture, whose rotation turns neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bessemer.architectures import common, rope
from bessemer.architectures.base import Config, Family, Pair
from bessemer.architectures.settings import Fixed, Only, Record, Setting, Value, Written
from bessemer.ir.decoder import Decoder, Experts

_SETTINGS: tuple[Setting, ...] = (
    *common.SIZES, common.HeadDim(), common.RMS, common.THETA, common.VOCABULARY, common.SILU, common.WHOLE_ROPE,
    Written("rope.dimension_count", common.head_dim), rope.Scaling(("linear", "yarn", "llama3")),
)  # fmt: skip
_DENSE = (Only("expert_count", (0,)), Only("expert_used_count", (0,)))
_STACK = (*common.ends(), *common.norms())
_MIXTURE = (
    Pair("blk.{i}.ffn_gate_inp.weight", common.LAYER + "block_sparse_moe.gate.weight"),
    Pair("blk.{i}.ffn_gate_inp.weight", common.LAYER + "mlp.gate.weight"),
    *common.experts("block_sparse_moe", ("w1", "w3", "w2")),
)
_DEFAULTS: dict[str, Any] = {
    "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": False,
}  # fmt: skip
_MISTRAL: dict[str, Any] = {**_DEFAULTS, "max_position_embeddings": 131072, "num_key_value_heads": 8}


def _made(config: Config) -> dict[str, npt.NDArray[np.float32]]:
    return rope.llama3_tensor(config, common.head_dim(config))


def _completed(config: dict[str, Any]) -> dict[str, Any]:
    return common.renamed(common.completed(config), {"num_experts": "num_local_experts"})


def _mixtral(config: Config) -> Decoder:
    experts = Experts(config["num_local_experts"], config["num_experts_per_tok"], normalized=True)
    return Decoder(**common.with_experts(common.plain(config), experts))


def _dense(record: Record) -> bool:
    return not record.get("expert_count")


def _windowed(record: Record) -> bool:
    return _dense(record) and record.get("attention.sliding_window") is not None


FAMILIES = (
    Family(
        "mistral", "llama", ("mistral",), ("MistralForCausalLM",),
        (*_STACK, *common.attention(permuted=True), *common.gated()), (*_SETTINGS, *_DENSE, common.WINDOW),
        computes=common.windowed, defaults={**_MISTRAL, "sliding_window": 4096}, complete=common.completed, made=_made,
        claims=_windowed, notes=common.window_note,
    ),
    Family(
        "mixtral", "llama", ("mixtral",), ("MixtralForCausalLM",),
        (*_STACK, *common.attention(permuted=True), *_MIXTURE),
        (
            *_SETTINGS, common.WINDOW, Value("expert_count", "num_local_experts"),
            Value("expert_used_count", "num_experts_per_tok"),
        ),
        computes=_mixtral,
        defaults={**_MISTRAL, "rms_norm_eps": 1e-5, "rope_theta": 1e6, "num_local_experts": 8, "num_experts_per_tok": 2},
        complete=_completed, made=_made, claims=lambda record: not _dense(record), parts="num_local_experts",
        notes=common.window_note,
    ),
    Family(
        "llama", "llama", ("llama",), ("LlamaForCausalLM", "LLaMAForCausalLM", "LlamaModel"),
        (*_STACK, *common.attention(permuted=True, bias="attention_bias"), *common.gated(bias="mlp_bias")),
        (*_SETTINGS, *common.BIASES, *_DENSE, Fixed("sliding_window", (None,))),
        computes=common.llama_like, defaults={**_DEFAULTS, "max_position_embeddings": 2048}, complete=common.completed,
        made=_made, claims=_dense,
        prefixes={"layers.": "model.layers.", "embed_tokens.": "model.embed_tokens.", "norm.": "model.norm."},
    ),
)  # fmt: skip
