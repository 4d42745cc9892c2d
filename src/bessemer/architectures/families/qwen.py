"""Qwen 2 and 3, dense and as mixtures of experts. Their rotation turns halves, as Hugging Face's does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bessemer.architectures import common, rope
from bessemer.architectures.base import MOST, Config, Family, Pair
from bessemer.architectures.settings import (
    Fixed,
    Read,
    Record,
    Refused,
    Setting,
    Value,
    holds,
    setting,
    whole,
)
from bessemer.ir.decoder import Decoder, Experts
from bessemer.ir.errors import Blocker

_SETTINGS: tuple[Setting, ...] = (
    *common.SIZES, common.RMS, common.THETA, common.SILU, common.WHOLE_ROPE, rope.Scaling(("linear", "yarn")),
)  # fmt: skip


@dataclass(frozen=True)
class _Windows:
    """`use_sliding_window` and what goes with it <-> 'attention.sliding_window' and its pattern, which llama.cpp's graph
    does not read (`common.window_note` says so), and which bring the settings back."""

    keys = ("use_sliding_window", "sliding_window", "max_window_layers", "layer_types")

    def write(self, config: Config, blockers: list[Blocker]) -> dict[str, Any]:
        if not config.get("use_sliding_window"):
            return {}
        kinds = list(config["layer_types"])
        if len(kinds) != config["num_hidden_layers"] or set(kinds) - {_SEES_ALL, _SEES_LATEST}:
            blockers.append(setting("layer_types", "it is not one known kind for each layer"))
        pattern = [kind == _SEES_LATEST for kind in kinds]
        window = whole(config["sliding_window"])
        return {"attention.sliding_window": window, "attention.sliding_window_pattern": pattern}

    def read(self, record: Record, blockers: list[Blocker]) -> dict[str, Any]:
        window, pattern = record.get("attention.sliding_window"), record.get("attention.sliding_window_pattern")
        if window is None:
            return {"use_sliding_window": False}
        if not isinstance(pattern, list):
            blockers.append(setting("attention.sliding_window", "nothing says which layers it is for"))
            return {}
        kinds = [_SEES_LATEST if windowed else _SEES_ALL for windowed in pattern]
        return {"use_sliding_window": True, "sliding_window": whole(window), "layer_types": kinds}


_SEES_ALL, _SEES_LATEST = "full_attention", "sliding_attention"
_MIXTURE: tuple[Setting, ...] = (
    Value("expert_count", "num_experts"), Value("expert_used_count", "num_experts_per_tok"),
    Value("expert_feed_forward_length", "moe_intermediate_size"),
    Fixed("decoder_sparse_step", (1,)), Refused("mlp_only_layers", "llama.cpp wants experts in every layer"),
)  # fmt: skip
_HEAD_NORMS = (
    Pair("blk.{i}.attn_q_norm.weight", common.LAYER + "self_attn.q_norm.weight"),
    Pair("blk.{i}.attn_k_norm.weight", common.LAYER + "self_attn.k_norm.weight"),
)
_ROUTER = Pair("blk.{i}.ffn_gate_inp.weight", common.LAYER + "mlp.gate.weight")
_SHARED = (
    Pair("blk.{i}.ffn_gate_inp_shexp.weight", common.LAYER + "mlp.shared_expert_gate.weight"),
    *common.gated("mlp.shared_expert", "_shexp"),
)
_STACK = (*common.ends(), *common.norms())
_PREFIXES = {"layers.": "model.layers.", "embed_tokens.": "model.embed_tokens.", "norm.": "model.norm."}
_DEFAULTS: dict[str, Any] = {
    "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": False,
    "max_position_embeddings": 32768,
}  # fmt: skip
_EXPERTS: dict[str, Any] = {"decoder_sparse_step": 1, "norm_topk_prob": False}


def _completed(config: dict[str, Any]) -> dict[str, Any]:
    """`sliding_window` counts where `use_sliding_window` says so, in the layers from `max_window_layers` on."""
    config = common.renamed(common.completed(config), {"num_local_experts": "num_experts"})
    if not config.get("use_sliding_window"):
        return {key: value for key, value in config.items() if key not in ("sliding_window", "layer_types")}
    count, first = config.get("num_hidden_layers"), config.get("max_window_layers", 28)
    if isinstance(count, int) and isinstance(first, int) and "layer_types" not in config and count <= MOST:
        config["layer_types"] = [_SEES_LATEST if at >= first else _SEES_ALL for at in range(count)]
    return config


def _qwen3(config: Config) -> Decoder:
    return Decoder(**{**_fields(config), "qk_norm": "rms-head"})


def _fields(config: Config) -> dict[str, Any]:
    fields = common.plain(config)
    if not config.get("use_sliding_window"):
        return fields
    return {**fields, "layers": tuple(common.in_window(config, at, held) for at, held in enumerate(fields["layers"]))}


def _experts(config: Config, **more: Any) -> Experts:
    return Experts(config["num_experts"], config["num_experts_per_tok"], bool(config["norm_topk_prob"]), **more)


def _qwen2_moe(config: Config) -> Decoder:
    return Decoder(**common.with_experts(_fields(config), _experts(config, shared=True, shared_gate=True)))


def _qwen3_moe(config: Config) -> Decoder:
    return Decoder(**{**common.with_experts(_fields(config), _experts(config)), "qk_norm": "rms-head"})


FAMILIES = (
    Family(
        "qwen2", "qwen2", ("qwen2",), ("Qwen2ForCausalLM", "Qwen2Model"),
        (*_STACK, *common.attention(permuted=False, bias=True, output_bias=False), *common.gated()),
        (*_SETTINGS, _Windows(), common.HeadDim()),
        computes=lambda config: Decoder(**_fields(config)), defaults=_DEFAULTS, complete=_completed,
        notes=common.window_note, prefixes=_PREFIXES,
    ),
    Family(
        "qwen2-moe", "qwen2moe", ("qwen2_moe",), ("Qwen2MoeForCausalLM",),
        (
            *_STACK, common.UNTIED, *common.attention(permuted=False, bias="qkv_bias", output_bias=False), _ROUTER,
            *common.experts(), *_SHARED,
        ),
        (
            *_SETTINGS, _Windows(), *_MIXTURE, Fixed("norm_topk_prob", (False,), computed=True), common.HeadDim(),
            Value("expert_shared_feed_forward_length", "shared_expert_intermediate_size"),
            Read("qkv_bias", holds("blk.0.attn_q.bias")),
        ),
        computes=_qwen2_moe, defaults={**_DEFAULTS, **_EXPERTS, "qkv_bias": True}, complete=_completed,
        notes=common.window_note,
    ),
    Family(
        "qwen3", "qwen3", ("qwen3",), ("Qwen3ForCausalLM", "Qwen3Model"),
        (*_STACK, *common.attention(permuted=False), *_HEAD_NORMS, *common.gated()),
        (*_SETTINGS, _Windows(), common.HeadDim(explicit=True), Fixed("attention_bias", (False,))),
        computes=_qwen3, defaults={**_DEFAULTS, "head_dim": 128}, complete=_completed, notes=common.window_note,
        prefixes=_PREFIXES,
    ),
    Family(
        "qwen3-moe", "qwen3moe", ("qwen3_moe",), ("Qwen3MoeForCausalLM",),
        (*_STACK, *common.attention(permuted=False), *_HEAD_NORMS, _ROUTER, *common.experts()),
        (
            *_SETTINGS, _Windows(), *_MIXTURE, common.HeadDim(), Fixed("norm_topk_prob", (True,), computed=True),
            Fixed("attention_bias", (False,)),
        ),
        computes=_qwen3_moe, defaults={**_DEFAULTS, **_EXPERTS}, complete=_completed, notes=common.window_note,
    ),
)  # fmt: skip
