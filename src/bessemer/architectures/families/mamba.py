"""Mamba (Gu and Dao 2023) and Mamba-2 (Dao and Gu 2024): no attention, states by layer. GGUF holds A, not its logarithm."""

from __future__ import annotations

from typing import Any

import numpy as np

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
    real,
)
from bessemer.architectures.transforms import Chained, Mapped, Reshaped
from bessemer.weights.views import Floats

LAYER = "backbone.layers.{i}."
MIXER = LAYER + "mixer."


def decay(logarithm: Floats) -> Floats:
    """A = -exp(A_log), rounded once."""
    return (-np.exp(logarithm.astype(np.float64))).astype(np.float32)


def logarithm(decay: Floats) -> Floats:
    """A_log = log(-A), rounded once: within one unit of the last place of the value that was."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(-decay.astype(np.float64)).astype(np.float32)


EXPONENTIAL = Mapped(decay, logarithm)
KERNEL = Reshaped(lambda config, shape: (shape[0], shape[-1]), lambda config, shape: (shape[0], 1, shape[-1]))
COLUMN = Reshaped(lambda config, shape: (*shape, 1), lambda config, shape: shape[:1])


def _groups(config: Config, shape: tuple[int, ...]) -> tuple[int, ...]:
    count = int(config["n_groups"])
    if count < 1 or shape[0] % count:
        raise ValueError(f"{shape[0]} values are no {count} groups")
    return count, shape[0] // count


GROUPS = Reshaped(_groups, lambda config, shape: (shape[0] * shape[1],))


def _untied(config: Config, layer: int) -> bool:
    return not config.get("tie_word_embeddings")


ENDS = (
    Pair("token_embd.weight", "backbone.embeddings.weight"),
    Pair("token_embd.weight", "backbone.embedding.weight"),
    Pair("output_norm.weight", "backbone.norm_f.weight"),
    Pair("output.weight", "lm_head.weight", when=_untied),
    Pair("blk.{i}.attn_norm.weight", LAYER + "norm.weight"),
    Pair("blk.{i}.ssm_in.weight", MIXER + "in_proj.weight"),
    Pair("blk.{i}.ssm_conv1d.weight", MIXER + "conv1d.weight", KERNEL),
    Pair("blk.{i}.ssm_conv1d.bias", MIXER + "conv1d.bias"),
)
FIRST = (
    *ENDS,
    Pair("blk.{i}.ssm_x.weight", MIXER + "x_proj.weight"),
    *common.weight("blk.{i}.ssm_dt", MIXER + "dt_proj", bias=True),
    Pair("blk.{i}.ssm_a", MIXER + "A_log", EXPONENTIAL),
    Pair("blk.{i}.ssm_d", MIXER + "D"),
    Pair("blk.{i}.ssm_out.weight", MIXER + "out_proj.weight"),
)
SECOND = (
    *ENDS,
    Pair("blk.{i}.ssm_dt.bias", MIXER + "dt_bias"),
    Pair("blk.{i}.ssm_a", MIXER + "A_log", Chained((EXPONENTIAL, COLUMN))),
    Pair("blk.{i}.ssm_d", MIXER + "D", COLUMN),
    Pair("blk.{i}.ssm_norm.weight", MIXER + "norm.weight", GROUPS),
    Pair("blk.{i}.ssm_out.weight", MIXER + "out_proj.weight"),
)

BOTH: tuple[Setting, ...] = (
    Written("context_length", lambda config: 1 << 20),
    Value("embedding_length", "hidden_size"),
    Written("feed_forward_length", lambda config: 0),
    Written("attention.head_count", lambda config: 0),
    Value("block_count", "num_hidden_layers"),
    Value("ssm.conv_kernel", "conv_kernel"),
    Value("ssm.state_size", "state_size"),
    Value("attention.layer_norm_rms_epsilon", "layer_norm_epsilon", real),
    Fixed("hidden_act", ("silu",)),
    Fixed("use_conv_bias", (True,)),
    Fixed("expand", (2, 2.0)),
    Refused("use_bias", "GGUF's runtimes know no biases of Mamba's projections"),
    Harmless((
        "residual_in_fp32", "rescale_prenorm_residual", "time_step_init_scheme", "time_step_floor", "time_step_max",
        "time_step_min", "time_step_scale", "use_mambapy", "use_associative_scan", "rms_norm", "fused_add_norm", "ssm_cfg",
        "pad_vocab_size_multiple", "chunk_size", "norm_before_gate",
    )),
)  # fmt: skip
SETTINGS: tuple[Setting, ...] = (
    *BOTH,
    Value("ssm.inner_size", "intermediate_size"),
    Value("ssm.time_step_rank", "time_step_rank"),
    Written("ssm.dt_b_c_rms", lambda config: False),
)
SETTINGS_2: tuple[Setting, ...] = (
    *BOTH,
    Written("ssm.inner_size", lambda config: config["num_heads"] * config["head_dim"], ("head_dim",)),
    Read("head_dim", lambda record: _head(record)),
    Value("ssm.time_step_rank", "num_heads"),
    Value("ssm.group_count", "n_groups"),
    Refused("time_step_limit", "GGUF's runtimes do not clip the step"),
    Harmless(("time_step_rank",)),
)


def _head(record: Record) -> int | None:
    inner, heads = record.get("ssm.inner_size"), record.get("ssm.time_step_rank")
    return inner // heads if inner and heads else None


def _completed(config: dict[str, Any]) -> dict[str, Any]:
    for old, name in (("d_model", "hidden_size"), ("n_layer", "num_hidden_layers")):
        if (value := config.pop(old, None)) is not None:
            config[name] = value
    width = config.get("hidden_size")
    if isinstance(width, int):
        config.setdefault("intermediate_size", 2 * width)
        if config.get("time_step_rank", "auto") == "auto":
            config["time_step_rank"] = -(width // -16)
    return config


def _completed_2(config: dict[str, Any]) -> dict[str, Any]:
    """A step between 0 and infinity is no limit; transformers 5 spells infinity {"__float__": "Infinity"}."""
    limit = config.get("time_step_limit")
    if isinstance(limit, list | tuple) and len(limit) == 2 and limit[0] == 0 and "inf" in str(limit[1]).lower():
        del config["time_step_limit"]
    return config


DEFAULTS: dict[str, Any] = {
    "vocab_size": 50280, "hidden_size": 768, "num_hidden_layers": 32, "state_size": 16, "conv_kernel": 4, "expand": 2,
    "layer_norm_epsilon": 1e-5, "hidden_act": "silu", "use_conv_bias": True, "tie_word_embeddings": True,
}  # fmt: skip

FAMILIES = (
    Family(
        "mamba", "mamba", ("mamba",), ("MambaForCausalLM", "MambaLMHeadModel"), FIRST, SETTINGS, defaults=DEFAULTS,
        complete=_completed,
    ),
    Family(
        "mamba2", "mamba2", ("mamba2",), ("Mamba2ForCausalLM",), SECOND, SETTINGS_2,
        defaults={
            **DEFAULTS, "vocab_size": 32768, "hidden_size": 4096, "num_hidden_layers": 64, "state_size": 128,
            "num_heads": 128, "head_dim": 64, "n_groups": 8, "tie_word_embeddings": False,
        },
        complete=_completed_2,
        prefixes={"model.backbone.": "backbone.", "model.lm_head.": "lm_head."},
    ),
)  # fmt: skip
