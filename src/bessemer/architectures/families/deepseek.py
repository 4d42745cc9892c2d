"""DeepSeek-V2 and V3: latent attention, whose expansion GGUF holds as two tensors by head, experts beside shared ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from bessemer.architectures import common, rope
from bessemer.architectures.base import Config, Family, Pair, tied
from bessemer.architectures.settings import (
    Fixed,
    Harmless,
    Only,
    Read,
    Record,
    Setting,
    Value,
    Written,
    limit,
    real,
)
from bessemer.architectures.transforms import (
    UNHEARD,
    Names,
    Tensors,
    Transform,
    joined_rows,
    split_rows,
    unblocked,
)
from bessemer.ir.checkpoint import Lazy
from bessemer.ir.decoder import Decoder, Experts, Latent
from bessemer.ir.errors import Blocker
from bessemer.weights import views

_AT = common.LAYER + "self_attn."
FURTHER = "layers that guess the tokens after the next one are left out, as transformers leaves them out"
_LITE = (26, 27)
"""Layers of the models whose queries llama.cpp takes for uncompressed, whatever the file says."""


class _Expansion(Transform):
    """kv_b_proj [heads x (nope + value), rank] <-> attn_k_b [heads, rank, nope] and attn_v_b [heads, value, rank]."""

    def forward(self, tensors: Tensors, names: Names, config: Config) -> list[Lazy]:
        heads, nope, value = (int(config[key]) for key in ("num_attention_heads", "qk_nope_head_dim", "v_head_dim"))
        whole = views.reshaped(tensors[0], (heads, nope + value, tensors[0].columns))
        keys, values = split_rows(whole, names, (nope, value))
        return [views.renamed(views.transposed(unblocked(keys), (0, 2, 1)), names[0]), values]

    def backward(self, tensors: Tensors, names: Names, config: Config) -> list[Lazy]:
        keys = views.transposed(unblocked(tensors[0]), (0, 2, 1))
        joined = joined_rows(names[0], [keys, tensors[1]])
        return [views.reshaped(joined, (joined.rows, joined.columns))]

    def role(self, tensors: Tensors, names: Names, config: Config) -> list[Lazy]:
        return [views.renamed(tensors[0], names[0].replace("attn_k_b", "attn_kv_b"))]


def _compressed(config: Config, layer: int) -> bool:
    return bool(config.get("q_lora_rank"))


def _direct(config: Config, layer: int) -> bool:
    return not config.get("q_lora_rank")


def _dense(config: Config, layer: int) -> bool:
    return layer < int(config.get("first_k_dense_replace", 0))


def _mixed(config: Config, layer: int) -> bool:
    return not _dense(config, layer)


_TENSORS = (
    *common.ends(head=UNHEARD),
    *common.norms(),
    Pair("blk.{i}.attn_q.weight", _AT + "q_proj.weight", UNHEARD, when=_direct),
    Pair("blk.{i}.attn_q_a.weight", _AT + "q_a_proj.weight", UNHEARD, when=_compressed),
    Pair("blk.{i}.attn_q_a_norm.weight", _AT + "q_a_layernorm.weight", when=_compressed),
    Pair("blk.{i}.attn_q_b.weight", _AT + "q_b_proj.weight", UNHEARD, when=_compressed),
    Pair("blk.{i}.attn_kv_a_mqa.weight", _AT + "kv_a_proj_with_mqa.weight", UNHEARD),
    Pair("blk.{i}.attn_kv_a_norm.weight", _AT + "kv_a_layernorm.weight"),
    Pair(("blk.{i}.attn_k_b.weight", "blk.{i}.attn_v_b.weight"), _AT + "kv_b_proj.weight", _Expansion()),
    Pair("blk.{i}.attn_output.weight", _AT + "o_proj.weight"),
    *common.gated(when=_dense),
    Pair("blk.{i}.ffn_gate_inp.weight", common.LAYER + "mlp.gate.weight", when=_mixed),
    *common.experts(when=_mixed),
    *common.gated("mlp.shared_experts", "_shexp", when=_mixed),
)


@dataclass(frozen=True)
class _Queries:
    """`q_lora_rank` <-> 'attention.q_lora_rank', 0 for none."""

    keys = ("q_lora_rank",)

    def write(self, config: Config, blockers: list[Blocker]) -> dict[str, Any]:
        rank = int(config.get("q_lora_rank", 0))
        if rank and config["num_hidden_layers"] in _LITE:
            reason = f"llama.cpp takes a DeepSeek of {config['num_hidden_layers']} layers for one without compressed queries"
            blockers.append(limit("q_lora_rank", reason))
        return {"attention.q_lora_rank": rank}

    def read(self, record: Record, blockers: list[Blocker]) -> dict[str, Any]:
        return {"q_lora_rank": int(record.get("attention.q_lora_rank") or 0) or None}


@dataclass(frozen=True)
class _Yarn(rope.Scaling):
    """DeepSeek's yarn: `mscale_all_dim` is a tenth of itself in GGUF; llama.cpp takes `mscale` to be the same."""

    allowed: tuple[str, ...] = ("yarn",)

    def write(self, config: Config, blockers: list[Blocker]) -> dict[str, Any]:
        written = super().write(config, blockers)
        if rope.kind(config) != "yarn":
            return written
        scaling = config["rope_scaling"]
        weight = scaling.get("mscale_all_dim")
        if not weight or scaling.get("mscale") != weight:
            blockers.append(limit("rope_scaling.mscale", "llama.cpp's graph of DeepSeek asks for mscale = mscale_all_dim"))
            return {}
        return {**written, "rope.scaling.yarn_log_multiplier": 0.1 * float(weight)}

    def read(self, record: Record, blockers: list[Blocker]) -> dict[str, Any]:
        read = super().read(record, blockers)
        tenth = record.get("rope.scaling.yarn_log_multiplier")
        if "rope_scaling" in read and tenth is not None:
            weight = real(real(tenth) * 10)
            read["rope_scaling"] |= {"mscale": weight, "mscale_all_dim": weight}
        return read


@dataclass(frozen=True)
class _Groups:
    """llama.cpp stops at a file whose best groups are all groups."""

    keys = ()

    def write(self, config: Config, blockers: list[Blocker]) -> dict[str, Any]:
        if config["n_group"] > 1 and not 0 < config["topk_group"] < config["n_group"]:
            blockers.append(limit("topk_group", "llama.cpp wants fewer groups to be used than there are"))
        return {}

    def read(self, record: Record, blockers: list[Blocker]) -> dict[str, Any]:
        return {}


def _key_sizes(record: Record) -> int | None:
    whole, turned = record.get("attention.key_length_mla"), record.get("rope.dimension_count")
    return int(whole) - int(turned) if whole is not None and turned is not None else None


_SETTINGS: tuple[Setting, ...] = (
    *common.SIZES[:-1], Written("attention.head_count_kv", lambda config: 1, ("num_key_value_heads", "head_dim")),
    Read("num_key_value_heads", lambda record: record.get("attention.head_count")),
    common.RMS, common.THETA, common.VOCABULARY, common.SILU, _Yarn(), _Queries(),
    Value("leading_dense_block_count", "first_k_dense_replace", default=0),
    Value("attention.kv_lora_rank", "kv_lora_rank"),
    Value("rope.dimension_count", "qk_rope_head_dim"),
    Written("attention.key_length", lambda config: config["kv_lora_rank"] + config["qk_rope_head_dim"]),
    Written("attention.value_length", lambda config: config["kv_lora_rank"]),
    Written("attention.key_length_mla", lambda config: config["qk_nope_head_dim"] + config["qk_rope_head_dim"]),
    Read("qk_nope_head_dim", _key_sizes), Value("attention.value_length_mla", "v_head_dim"),
    Value("expert_feed_forward_length", "moe_intermediate_size"), Value("expert_count", "n_routed_experts"),
    Value("expert_used_count", "num_experts_per_tok"), Value("expert_shared_count", "n_shared_experts"),
    Value("expert_weights_scale", "routed_scaling_factor", real, default=1.0),
    Fixed("attention_bias", (False,)), Fixed("mlp_bias", (False,)), Fixed("moe_layer_freq", (None, 1)),
    Harmless(("ep_size", "seq_aux", "aux_loss_alpha", "qk_head_dim")),
)  # fmt: skip
_SOFTMAX: tuple[Setting, ...] = (
    Fixed("norm_topk_prob", (False,)), Fixed("topk_method", ("greedy",), computed=True),
    Fixed("scoring_func", (None, "softmax")), Only("expert_gating_func", (0, 1)), Only("expert_weights_norm", (False,)),
    Only("expert_group_count", (0, 1)), Only("expert_group_used_count", (0, 1)), Harmless(("topk_group", "n_group")),
)  # fmt: skip
_SIGMOID: tuple[Setting, ...] = (
    Value("expert_weights_norm", "norm_topk_prob", bool, default=False), Written("expert_gating_func", lambda config: 2),
    Value("expert_group_count", "n_group", default=1), Value("expert_group_used_count", "topk_group", default=1), _Groups(),
    Fixed("scoring_func", (None, "sigmoid")), Fixed("topk_method", (None, "noaux_tc")), Fixed("rope_interleave", (True,)),
    Harmless(("num_nextn_predict_layers", "num_mtp_layers")),
)  # fmt: skip


def _computes(config: Config) -> Decoder:
    nope, turned = int(config["qk_nope_head_dim"]), int(config["qk_rope_head_dim"])
    fields = common.plain({**config, "head_dim": turned})
    sigmoid = config.get("model_type") == "deepseek_v3"
    groups, used = (int(config["n_group"]), int(config["topk_group"])) if sigmoid else _groups(config)
    experts = Experts(
        config["n_routed_experts"], config["num_experts_per_tok"],
        normalized=sigmoid and bool(config["norm_topk_prob"]), sigmoid=sigmoid,
        scale=float(config["routed_scaling_factor"]), shared=bool(config["n_shared_experts"]),
        groups=groups, groups_used=used,
    )  # fmt: skip
    interleaved = rope.rope(config, turned, interleaved=True)
    layers = tuple(type(layer)(rope=interleaved) for layer in fields["layers"])
    fields = common.with_experts({**fields, "layers": layers}, experts, frozenset(range(config["first_k_dense_replace"])))
    rank = int(config.get("q_lora_rank", 0))
    latent = Latent(rank, config["kv_lora_rank"], nope, turned, config["v_head_dim"])
    more = {"latent": latent, "head_dim": nope + turned, "scale": _scale(config, nope + turned), "kv_heads": fields["heads"]}
    return Decoder(**{**fields, **more})


def _groups(config: Config) -> tuple[int, int]:
    """llama.cpp ranks groups by their two best experts, this method by the best one: it has no place in GGUF."""
    if config["topk_method"] == "greedy":
        return 1, 1
    if config["topk_method"] != "group_limited_greedy":
        raise ValueError(f"topk_method '{config['topk_method']}' is not known")
    return int(config["n_group"]), int(config["topk_group"])


def _scale(config: Config, size: int) -> float:
    scaling = config.get("rope_scaling") or {}
    factor, weight = float(scaling.get("factor", 1.0)), float(scaling.get("mscale_all_dim") or 0.0)
    grown = 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0
    return grown * grown / math.sqrt(size)


def _further(config: Config) -> tuple[str, ...]:
    """A tied output matrix, and beginnings of the layers that guess the tokens after the next one, for which transformers
    has no place either."""
    count, more = config.get("num_hidden_layers"), config.get("num_nextn_predict_layers", 1)
    if not isinstance(count, int) or not isinstance(more, int) or not 0 < more <= 16:
        return tied(config)
    return tied(config) + tuple(f"model.layers.{at}." for at in range(count, count + more))


_DEFAULTS: dict[str, Any] = {
    "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": False, "kv_lora_rank": 512,
    "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
}  # fmt: skip

FAMILIES = (
    Family(
        "deepseek-v2", "deepseek2", ("deepseek_v2",), ("DeepseekV2ForCausalLM",), _TENSORS, (*_SETTINGS, *_SOFTMAX),
        computes=_computes,
        defaults={
            **_DEFAULTS, "max_position_embeddings": 2048, "first_k_dense_replace": 0, "n_routed_experts": 64,
            "n_shared_experts": 2, "routed_scaling_factor": 1.0, "topk_method": "greedy", "norm_topk_prob": False,
            "moe_intermediate_size": 1407,
        },
        complete=common.completed, parts="n_routed_experts",
        claims=lambda record: record.get("attention.key_length_mla") is not None and record.get("expert_gating_func") != 2,
    ),
    Family(
        "deepseek-v3", "deepseek2", ("deepseek_v3",), ("DeepseekV3ForCausalLM",),
        (
            *_TENSORS,
            Pair("blk.{i}.exp_probs_b.bias", common.LAYER + "mlp.gate.e_score_correction_bias", when=_mixed),
        ),
        (*_SETTINGS, *_SIGMOID), computes=_computes,
        defaults={
            **_DEFAULTS, "model_type": "deepseek_v3", "max_position_embeddings": 4096, "first_k_dense_replace": 3,
            "n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 8, "routed_scaling_factor": 2.5,
            "norm_topk_prob": True, "moe_intermediate_size": 2048, "n_group": 8, "topk_group": 4, "rope_interleave": True,
        },
        complete=common.completed, parts="n_routed_experts", dropped=_further,
        claims=lambda record: record.get("attention.key_length_mla") is not None and record.get("expert_gating_func") == 2,
        notes=lambda config: (FURTHER,) if config.get("num_nextn_predict_layers") else (),
    ),
)  # fmt: skip
