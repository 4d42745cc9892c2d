"""RWKV: version 6 (Peng et al. 2024), which GGUF's runtimes know, and version 4 (Peng et al. 2023), which they do not.

Version 4's table is the one of rwkv.cpp's GGMF files (its names are those of the authors' own checkpoints, its decay is
-exp of theirs), so that these become checkpoints of transformers' RwkvForCausalLM.
"""

from __future__ import annotations

from typing import Any

from bessemer.architectures import common
from bessemer.architectures.base import Config, Family, Pair
from bessemer.architectures.families.mamba import EXPONENTIAL
from bessemer.architectures.settings import Harmless, NoRuntime, Read, Setting, Value, Written, real
from bessemer.architectures.transforms import Halved, Reshaped, Stacked, Swapped

BLOCK = "rwkv.blocks.{i}."
ATTENTION, FEED = BLOCK + "attention.", BLOCK + "feed_forward."
FLAT = Reshaped(lambda config, shape: shape[-1:], lambda config, shape: (1, 1, shape[-1]))
TURNED, INNER = Swapped((1, 0)), Swapped((0, 2, 1))
RESCALED = Halved("rescale_every")




SIXTH = (
    Pair("token_embd.weight", "rwkv.embeddings.weight"),
    *common.weight("token_embd_norm", "rwkv.blocks.0.pre_ln", bias=True),
    *common.weight("output_norm", "rwkv.ln_out", bias=True),
    Pair("output.weight", "head.weight"),
    *common.weight("blk.{i}.attn_norm", BLOCK + "ln1", bias=True),
    *common.weight("blk.{i}.attn_norm_2", BLOCK + "ln2", bias=True),
    Pair("blk.{i}.time_mix_lerp_x.weight", ATTENTION + "time_maa_x", FLAT),
    Pair("blk.{i}.time_mix_lerp_fused.weight", tuple(f"{ATTENTION}time_maa_{part}" for part in "wkvrg"), Stacked()),
    Pair("blk.{i}.time_mix_w1.weight", ATTENTION + "time_maa_w1", TURNED),
    Pair("blk.{i}.time_mix_w2.weight", ATTENTION + "time_maa_w2", INNER),
    Pair("blk.{i}.time_mix_decay.weight", ATTENTION + "time_decay", FLAT),
    Pair("blk.{i}.time_mix_decay_w1.weight", ATTENTION + "time_decay_w1", TURNED),
    Pair("blk.{i}.time_mix_decay_w2.weight", ATTENTION + "time_decay_w2", TURNED),
    Pair("blk.{i}.time_mix_first.weight", ATTENTION + "time_faaaa"),
    *(Pair(f"blk.{{i}}.time_mix_{n}.weight", f"{ATTENTION}{n}.weight") for n in ("receptance", "key", "value", "gate")),
    *common.weight("blk.{i}.time_mix_ln", ATTENTION + "ln_x", bias=True),
    Pair("blk.{i}.time_mix_output.weight", ATTENTION + "output.weight", RESCALED),
    Pair("blk.{i}.channel_mix_lerp_k.weight", FEED + "time_maa_k", FLAT),
    Pair("blk.{i}.channel_mix_lerp_r.weight", FEED + "time_maa_r", FLAT),
    Pair("blk.{i}.channel_mix_receptance.weight", FEED + "receptance.weight"),
    Pair("blk.{i}.channel_mix_key.weight", FEED + "key.weight"),
    Pair("blk.{i}.channel_mix_value.weight", FEED + "value.weight", RESCALED),
)
FOURTH = (
    Pair("emb.weight", "rwkv.embeddings.weight"),
    *common.weight("blocks.0.ln0", "rwkv.blocks.0.pre_ln", bias=True),
    *common.weight("blocks.{i}.ln1", BLOCK + "ln1", bias=True),
    *common.weight("blocks.{i}.ln2", BLOCK + "ln2", bias=True),
    Pair("blocks.{i}.att.time_decay", ATTENTION + "time_decay", EXPONENTIAL),
    Pair("blocks.{i}.att.time_first", ATTENTION + "time_first"),
    Pair("blocks.{i}.att.time_mix_k", ATTENTION + "time_mix_key", FLAT),
    Pair("blocks.{i}.att.time_mix_v", ATTENTION + "time_mix_value", FLAT),
    Pair("blocks.{i}.att.time_mix_r", ATTENTION + "time_mix_receptance", FLAT),
    *(Pair(f"blocks.{{i}}.att.{n}.weight", f"{ATTENTION}{n}.weight") for n in ("key", "value", "receptance", "output")),
    Pair("blocks.{i}.ffn.time_mix_k", FEED + "time_mix_key", FLAT),
    Pair("blocks.{i}.ffn.time_mix_r", FEED + "time_mix_receptance", FLAT),
    *(Pair(f"blocks.{{i}}.ffn.{n}.weight", f"{FEED}{n}.weight") for n in ("key", "value", "receptance")),
    *common.weight("ln_out", "rwkv.ln_out", bias=True),
    Pair("head.weight", "head.weight"),
)


def _wide(config: Config, usual: int) -> int:
    """Ranks of the small matrices, which config.json does not hold."""
    return 2 * usual if config["hidden_size"] == 4096 else usual


SETTINGS: tuple[Setting, ...] = (
    Written("context_length", lambda config: 1 << 20),
    Value("embedding_length", "hidden_size"),
    Value("block_count", "num_hidden_layers"),
    Value("attention.layer_norm_epsilon", "layer_norm_epsilon", real),
    Value("rescale_every_n_layers", "rescale_every", default=0),
    Value("wkv.head_size", "head_size"),
    Written("time_mix_extra_dim", lambda config: _wide(config, 32)),
    Written("time_decay_extra_dim", lambda config: _wide(config, 64)),
    Value("feed_forward_length", "intermediate_size"),
    Written("attention.head_count", lambda config: 0),
    Harmless(("attention_hidden_size", "head_size_divisor", "num_attention_heads", "model_version")),
)


SETTINGS_4: tuple[Setting, ...] = (
    NoRuntime("llama.cpp has no architecture for RWKV's version 4, only for 6 and 7"),
    Read("attention_hidden_size", lambda record: record.get("embedding_length")),
    Read("tie_word_embeddings", lambda record: False),
    Value("embedding_length", "hidden_size"),
    Value("block_count", "num_hidden_layers"),
    Value("feed_forward_length", "intermediate_size"),
    Value("vocab_size", "vocab_size"),
    Value("context_length", "context_length", default=1024),
    Value("attention.layer_norm_epsilon", "layer_norm_epsilon", real, default=1e-5),
    Value("rescale_every_n_layers", "rescale_every", default=0),
)


def _completed(config: dict[str, Any]) -> dict[str, Any]:
    if isinstance(width := config.get("hidden_size"), int):
        config.setdefault("intermediate_size", int(width * 3.5 // 32 * 32))
    return config


def _completed_4(config: dict[str, Any]) -> dict[str, Any]:
    if isinstance(width := config.get("hidden_size"), int):
        config.setdefault("intermediate_size", 4 * width)
    return config


DEFAULTS: dict[str, Any] = {"layer_norm_epsilon": 1e-5, "rescale_every": 6, "tie_word_embeddings": False}

FAMILIES = (
    Family(
        "rwkv6", "rwkv6", ("rwkv6",), ("Rwkv6ForCausalLM",), SIXTH, SETTINGS,
        defaults={**DEFAULTS, "head_size": 64}, complete=_completed,
    ),
    Family(
        "rwkv4", "rwkv4", ("rwkv",), ("RwkvForCausalLM",), FOURTH, SETTINGS_4,
        defaults={**DEFAULTS, "context_length": 1024}, complete=_completed_4,
    ),
)  # fmt: skip
