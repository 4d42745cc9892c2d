"""MPT (MosaicML 2023): ALiBi or learned positions, fused projections that may be clipped, norms mostly without biases."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bessemer.architectures import common
from bessemer.architectures.base import Config, Family, Pair
from bessemer.architectures.settings import (
    Fixed,
    Harmless,
    Read,
    Record,
    Refused,
    Setting,
    Value,
    Written,
    lacks,
    real,
    setting,
)
from bessemer.ir.decoder import Decoder, Layer
from bessemer.ir.errors import Blocker

LAYER = "transformer.blocks.{i}."


def _learned(config: Config, layer: int) -> bool:
    return not _attention(config).get("alibi", True)


TENSORS = (
    Pair("token_embd.weight", "transformer.wte.weight"),
    Pair("position_embd.weight", "transformer.wpe.weight", when=_learned),
    *common.weight("output_norm", "transformer.norm_f", bias="_biased"),
    Pair("output.weight", "lm_head.weight", optional=True),
    *common.weight("blk.{i}.attn_norm", LAYER + "norm_1", bias="_biased"),
    *common.weight("blk.{i}.attn_qkv", LAYER + "attn.Wqkv", bias="_biased"),
    *common.weight("blk.{i}.attn_output", LAYER + "attn.out_proj", bias="_biased"),
    *common.weight("blk.{i}.ffn_norm", LAYER + "norm_2", bias="_biased"),
    *common.weight("blk.{i}.ffn_up", LAYER + "ffn.up_proj", bias="_biased"),
    *common.weight("blk.{i}.ffn_down", LAYER + "ffn.down_proj", bias="_biased"),
)


def _attention(config: Config) -> Mapping[str, Any]:
    held = config.get("attn_config")
    return held if isinstance(held, Mapping) else {}


@dataclass(frozen=True)
class Attention:
    """`attn_config` <-> 'attention.clamp_kqv' and 'attention.max_alibi_bias' (0: learned positions)."""

    keys: tuple[str, ...] = ("attn_config",)

    def write(self, config: Config, blockers: list[Blocker]) -> dict[str, Any]:
        held = _attention(config)
        refused = [key for key in ("softmax_scale", "qk_ln", "prefix_lm", "rope", "qk_gn") if held.get(key)]
        blockers += [setting(f"attn_config.{key}", f"{held[key]!r} has no place in GGUF") for key in refused]
        if held.get("kv_n_heads") not in (None, config.get("n_heads")):
            blockers.append(setting("attn_config.kv_n_heads", "fewer key heads than query heads are not in this table"))
        bias = float(held.get("alibi_bias_max", 8)) if held.get("alibi", True) else 0.0
        clip = {} if held.get("clip_qkv") is None else {"attention.clamp_kqv": float(held["clip_qkv"])}
        return {**clip, "attention.max_alibi_bias": bias}

    def read(self, record: Record, blockers: list[Blocker]) -> dict[str, Any]:
        clip, bias = record.get("attention.clamp_kqv"), record.get("attention.max_alibi_bias", 0.0)
        held = {"attn_type": "multihead_attention", "alibi": bool(bias), "clip_qkv": None if clip is None else real(clip)}
        whole = bias and float(bias).is_integer()
        return {"attn_config": {**held, **({"alibi_bias_max": int(bias) if whole else real(bias)} if bias else {})}}


SETTINGS: tuple[Setting, ...] = (
    Value("block_count", "n_layers"),
    Value("context_length", "max_seq_len"),
    Value("embedding_length", "d_model"),
    Written("feed_forward_length", lambda config: int(config["d_model"] * config["expansion_ratio"])),
    Value("attention.head_count", "n_heads"),
    Value("attention.layer_norm_epsilon", "layer_norm_epsilon", real),
    Attention(),
    Read("expansion_ratio", lambda record: _ratio(record)),
    Read("no_bias", lacks("blk.0.attn_qkv.bias")),
    Fixed("norm_type", ("low_precision_layernorm", "layernorm")),
    Refused("logit_scale", "GGUF's runtimes do not scale MPT's logits"),
    Fixed("embedding_fraction", (None, 1, 1.0)),
    Harmless((
        "learned_pos_emb", "init_device", "init_config", "verbose", "emb_pdrop", "resid_pdrop", "ffn_config", "fc_type",
        "use_pad_tok_in_ffn", "tokenizer_name",
    )),
)  # fmt: skip


def _ratio(record: Record) -> Any:
    width, inner = record.get("embedding_length"), record.get("feed_forward_length")
    return inner // width if width and inner and inner % width == 0 else None


def _completed(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "_biased": config.get("no_bias") is False}


def _computes(config: Config) -> Decoder:
    size, held = config["d_model"] // config["n_heads"], _attention(config)
    return Decoder(
        layers=(Layer(),) * config["n_layers"],
        hidden=config["d_model"], heads=config["n_heads"], kv_heads=config["n_heads"], head_dim=size,
        vocabulary=config["vocab_size"], context=config["max_seq_len"], activation="gelu",
        eps=config["layer_norm_epsilon"], scale=1 / math.sqrt(size), norm="layer",
        positions="learned" if _learned(config, 0) else "alibi", alibi_bias=float(held.get("alibi_bias_max", 8)),
        gated=False, fused_qkv=True, clip_qkv=float(held.get("clip_qkv") or 0), tied=bool(config["tie_word_embeddings"]),
    )  # fmt: skip


FAMILIES = (
    Family(
        "mpt", "mpt", ("mpt",), ("MptForCausalLM", "MPTForCausalLM", "MptModel"), TENSORS, SETTINGS, computes=_computes,
        defaults={
            "vocab_size": 50368, "d_model": 2048, "n_heads": 16, "n_layers": 24, "max_seq_len": 2048, "expansion_ratio": 4,
            "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True, "attn_config": {"alibi": True},
        },
        complete=_completed, count="n_layers",
        prefixes={"blocks.": "transformer.blocks.", "wte.": "transformer.wte.", "norm_f.": "transformer.norm_f."},
    ),
)  # fmt: skip
