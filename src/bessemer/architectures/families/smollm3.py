"""SmolLM3: a Llama whose every fourth layer has no positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bessemer.architectures import common, rope
from bessemer.architectures.base import Config, Family
from bessemer.architectures.settings import Fixed, Harmless, Record, Refused, Setting, Written, limit
from bessemer.ir.decoder import Decoder, Layer
from bessemer.ir.errors import Blocker

STEP = 4
"""llama.cpp's graph has no key for it."""


@dataclass(frozen=True)
class _Positions:
    """`no_rope_layers` (1: with positions), which GGUF does not hold."""

    keys = ("no_rope_layers", "no_rope_layer_interval")

    def write(self, config: Config, blockers: list[Blocker]) -> dict[str, Any]:
        if config["no_rope_layers"] != _positions(len(config["no_rope_layers"]), STEP):
            reason = f"llama.cpp's graph leaves out positions in every {STEP}th layer, this model in others"
            blockers.append(limit("no_rope_layers", reason))
        return {}

    def read(self, record: Record, blockers: list[Blocker]) -> dict[str, Any]:
        return {"no_rope_layer_interval": STEP}


def _positions(count: int, step: int) -> list[int]:
    return [int((at + 1) % step != 0) for at in range(count)]


_SETTINGS: tuple[Setting, ...] = (
    *common.SIZES, common.HeadDim(), common.RMS, common.THETA, common.VOCABULARY, common.SILU, common.WHOLE_ROPE,
    Written("rope.dimension_count", common.head_dim), rope.Scaling(("linear", "yarn")), _Positions(),
    Refused("use_sliding_window", "llama.cpp's graph sees all positions"), Fixed("attention_bias", (False,)),
    Fixed("mlp_bias", (False,)), Harmless(("layer_types", "sliding_window", "max_window_layers")),
)  # fmt: skip


def _completed(config: dict[str, Any]) -> dict[str, Any]:
    config = common.completed(config)
    count, step = config.get("num_hidden_layers"), config.get("no_rope_layer_interval")
    if isinstance(count, int) and isinstance(step, int) and 0 <= count <= 1 << 16 and step > 0:
        config.setdefault("no_rope_layers", _positions(count, step))
    return config


def _computes(config: Config) -> Decoder:
    fields = common.plain(config)
    layers = tuple(
        layer if turned else Layer() for layer, turned in zip(fields["layers"], config["no_rope_layers"], strict=True)
    )
    return Decoder(**{**fields, "layers": layers})


FAMILIES = (
    Family(
        "smollm3", "smollm3", ("smollm3",), ("SmolLM3ForCausalLM",),
        (*common.ends(), *common.norms(), *common.attention(permuted=True), *common.gated()), _SETTINGS,
        computes=_computes,
        defaults={
            "rms_norm_eps": 1e-6, "rope_theta": 2e6, "hidden_act": "silu", "tie_word_embeddings": True,
            "max_position_embeddings": 32768, "num_key_value_heads": 4, "no_rope_layer_interval": STEP,
        },
        complete=_completed,
    ),
)  # fmt: skip
