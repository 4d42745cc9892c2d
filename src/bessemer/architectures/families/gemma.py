"""Gemma 1 to 3 (text). GGUF holds their norms plus one; the output matrix is the embedding."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bessemer.architectures import common, rope
from bessemer.architectures.base import IGNORED, Config, Family, Pair
from bessemer.architectures.settings import (
    Fixed,
    Harmless,
    Record,
    Refused,
    Setting,
    Value,
    limit,
    real,
    setting,
)
from bessemer.architectures.transforms import Plus
from bessemer.ir.decoder import Decoder, Layer
from bessemer.ir.errors import Blocker

_ONE = Plus(1.0)
_AT = common.LAYER
_STACK = (
    Pair("token_embd.weight", "model.embed_tokens.weight"),
    Pair("output_norm.weight", "model.norm.weight", _ONE),
    Pair("blk.{i}.attn_norm.weight", _AT + "input_layernorm.weight", _ONE),
    *common.attention(permuted=False),
    *common.gated(),
)
_TENSORS_1 = (*_STACK, Pair("blk.{i}.ffn_norm.weight", _AT + "post_attention_layernorm.weight", _ONE))
_TENSORS_2 = (
    *_STACK,
    Pair("blk.{i}.post_attention_norm.weight", _AT + "post_attention_layernorm.weight", _ONE),
    Pair("blk.{i}.ffn_norm.weight", _AT + "pre_feedforward_layernorm.weight", _ONE),
    Pair("blk.{i}.post_ffw_norm.weight", _AT + "post_feedforward_layernorm.weight", _ONE),
)
_TENSORS_3 = (
    *_TENSORS_2,
    Pair("blk.{i}.attn_q_norm.weight", _AT + "self_attn.q_norm.weight", _ONE),
    Pair("blk.{i}.attn_k_norm.weight", _AT + "self_attn.k_norm.weight", _ONE),
)
_GELU = ("gelu_pytorch_tanh", "gelu", "gelu_new")
"""llama.cpp's gelu is the tanh one, and so is what Gemma's config means by 'gelu'."""


@dataclass(frozen=True)
class LayerKinds:
    """`layer_types` <-> which layers see a window. period: every period-th layer sees all, if a file does not say it."""

    period: int

    @property
    def keys(self) -> tuple[str, ...]:
        return ("layer_types", "sliding_window_pattern", "_sliding_window_pattern")

    def write(self, config: Config, blockers: list[Blocker]) -> dict[str, Any]:
        kinds = config["layer_types"]
        strange = sorted({str(kind) for kind in kinds} - {"sliding_attention", "full_attention"})
        if strange or len(kinds) != config["num_hidden_layers"]:
            reason = f"{', '.join(strange) or len(kinds)} is unknown, or not one for each layer"
            blockers.append(setting("layer_types", reason))
        usual = usual_kinds(len(kinds), self.period)
        pattern = [kind == "sliding_attention" for kind in kinds]
        return {} if kinds == usual else {"attention.sliding_window_pattern": pattern}

    def read(self, record: Record, blockers: list[Blocker]) -> dict[str, Any]:
        count = int(record.get("block_count", 0))
        if not 0 <= count <= 1 << 16:
            return {}
        held = record.get("attention.sliding_window_pattern", self.period)
        if isinstance(held, list):
            return {"layer_types": ["sliding_attention" if flag else "full_attention" for flag in held]}
        return {"layer_types": usual_kinds(count, int(held))}


def usual_kinds(count: int, period: int) -> list[str]:
    """Every period-th layer sees all positions."""
    return ["full_attention" if (at + 1) % period == 0 else "sliding_attention" for at in range(count)]


@dataclass(frozen=True)
class QueryScale:
    """`query_pre_attn_scalar`, which GGUF does not hold: llama.cpp knows it by the number of layers. large: layers of the
    model that scales by hidden_size / num_attention_heads (the 27B one); all others scale by head_dim."""

    large: int

    @property
    def keys(self) -> tuple[str, ...]:
        return ("query_pre_attn_scalar",)

    def write(self, config: Config, blockers: list[Blocker]) -> dict[str, Any]:
        known = self._known(config)
        given = config.get("query_pre_attn_scalar", 256)
        if given != known:
            reason = f"{given} has no place in GGUF, whose runtimes take {known} here"
            blockers.append(limit("query_pre_attn_scalar", reason))
        return {}

    def read(self, record: Record, blockers: list[Blocker]) -> dict[str, Any]:
        width, count = record.get("embedding_length", 0), record.get("attention.head_count", 1)
        size = record.get("attention.key_length")
        config = {"num_hidden_layers": record.get("block_count"), "hidden_size": width, "num_attention_heads": count}
        if not isinstance(width, int) or not isinstance(count, int) or count < 1:
            return {}
        return {"query_pre_attn_scalar": self._known({**config, "head_dim": size or width // count})}

    def _known(self, config: Config) -> int:
        whole = config["num_hidden_layers"] == self.large
        return int(config["hidden_size"] // config["num_attention_heads"] if whole else config["head_dim"])


@dataclass(frozen=True)
class Thetas:
    """Gemma 3's two bases: `rope_theta` of layers that see all, `rope_local_base_freq` of those with a window."""

    @property
    def keys(self) -> tuple[str, ...]:
        return ("rope_theta", "rope_local_base_freq")

    def write(self, config: Config, blockers: list[Blocker]) -> dict[str, Any]:
        return {
            "rope.freq_base": float(config["rope_theta"]),
            "rope.freq_base_swa": float(config["rope_local_base_freq"]),
        }

    def read(self, record: Record, blockers: list[Blocker]) -> dict[str, Any]:
        return {
            "rope_theta": real(record.get("rope.freq_base", 1e6)),
            "rope_local_base_freq": real(record.get("rope.freq_base_swa", 1e4)),
        }


_SETTINGS: tuple[Setting, ...] = (
    *common.SIZES, common.HeadDim(explicit=True), common.RMS, common.WHOLE_ROPE, Fixed("attention_bias", (False,)),
    Fixed("tie_word_embeddings", (True,)), Refused("use_bidirectional_attention", "llama.cpp's graph of Gemma is causal"),
)  # fmt: skip
_IMAGES = "vision_config"
_BESIDE_TEXT = (
    "text_config", _IMAGES, "mm_tokens_per_image", "boi_token_index", "eoi_token_index", "image_token_index",
    "boi_token_id", "eoi_token_id", "image_token_id",
)  # fmt: skip
_WINDOW = Value("attention.sliding_window", "sliding_window", default=4096)
_DEFAULTS: dict[str, Any] = {
    "rms_norm_eps": 1e-6, "tie_word_embeddings": True, "head_dim": 256, "max_position_embeddings": 8192,
    "rope_theta": 10000.0,
}  # fmt: skip
_DEFAULTS_2: dict[str, Any] = {
    **_DEFAULTS, "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 256, "sliding_window": 4096,
}  # fmt: skip


def _completed2(config: dict[str, Any]) -> dict[str, Any]:
    return _with_kinds(common.completed(config), 2)


def _with_kinds(config: dict[str, Any], period: int) -> dict[str, Any]:
    count = config.get("num_hidden_layers")
    period = config.get("sliding_window_pattern", config.get("_sliding_window_pattern", period))
    if isinstance(count, int) and isinstance(period, int) and 0 <= count <= 1 << 16 and period > 0:
        config.setdefault("layer_types", usual_kinds(count, period))
    return config


def _text(config: dict[str, Any]) -> dict[str, Any]:
    """Of a model of texts and images, what says of texts."""
    text = config.get("text_config")
    return {**config, **text, _IMAGES: True} if isinstance(text, Mapping) else config


def _images_note(config: Config) -> tuple[str, ...]:
    return ("the model of texts alone: its vision tower and projector are left out",) if config.get(_IMAGES) else ()


def _completed3(config: dict[str, Any]) -> dict[str, Any]:
    """Rope by layer type, as transformers 5 spells it, becomes `rope_theta`, `rope_local_base_freq` and `rope_scaling`."""
    config = common.completed(_text(config))
    parameters = config.pop("rope_parameters", None)
    if isinstance(parameters, Mapping):
        full, local = (dict(parameters.get(kind) or {}) for kind in ("full_attention", "sliding_attention"))
        config["rope_theta"] = full.get("rope_theta", config["rope_theta"])
        config["rope_local_base_freq"] = local.get("rope_theta", config["rope_local_base_freq"])
        config = rope.unified({**config, "rope_scaling": full})
        if local.get("rope_type", "default") != "default":
            config["rope_scaling"] = {"rope_type": f"{local['rope_type']} of windowed layers"}
    return _with_kinds(config, 6)


def _gemma(config: Config, **more: Any) -> Decoder:
    fields = {
        **common.plain(config), "activation": "gelu_tanh", "norm_offset": 1.0, "tied": True,
        "embedding_scale": math.sqrt(config["hidden_size"]),
    }  # fmt: skip
    return Decoder(**{**fields, **more})


def _gemma2(config: Config, **more: Any) -> Decoder:
    layers = common.plain(config)["layers"]
    fields = {
        "layers": tuple(common.in_window(config, at, layer) for at, layer in enumerate(layers)),
        "post_norm": True, "scale": 1 / math.sqrt(config["query_pre_attn_scalar"]),
        "softcap": config.get("attn_logit_softcapping", 0.0), "logit_softcap": config.get("final_logit_softcapping", 0.0),
    }  # fmt: skip
    return _gemma(config, **{**fields, **more})


def _gemma3(config: Config) -> Decoder:
    size = common.head_dim(config)
    unscaled = {key: value for key, value in config.items() if key != "rope_scaling"}
    local = rope.rope(unscaled, size, theta=config["rope_local_base_freq"])
    turned = {"full_attention": rope.rope(config, size), "sliding_attention": local}
    kinds = config["layer_types"]
    layers = tuple(common.in_window(config, at, Layer(rope=turned[kind])) for at, kind in enumerate(kinds))
    return _gemma2(config, layers=layers, qk_norm="rms-head")


FAMILIES = (
    Family(
        "gemma", "gemma", ("gemma",), ("GemmaForCausalLM",), _TENSORS_1,
        (*_SETTINGS, common.THETA, rope.Scaling(("linear", "yarn")), Fixed("hidden_act", _GELU),
         Fixed("hidden_activation", _GELU)),
        computes=_gemma, defaults=_DEFAULTS, complete=common.completed,
    ),
    Family(
        "gemma2", "gemma2", ("gemma2",), ("Gemma2ForCausalLM",), _TENSORS_2,
        (
            *_SETTINGS, common.THETA, rope.Scaling(("linear", "yarn")), _WINDOW, Fixed("hidden_activation", _GELU),
            LayerKinds(2), QueryScale(46), Harmless(("hidden_act",)),
            Value("attn_logit_softcapping", "attn_logit_softcapping", real, default=50.0),
            Value("final_logit_softcapping", "final_logit_softcapping", real, default=30.0),
        ),
        computes=_gemma2,
        defaults={**_DEFAULTS_2, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}, complete=_completed2,
    ),
    Family(
        "gemma3", "gemma3", ("gemma3_text", "gemma3"),
        ("Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"), _TENSORS_3,
        (
            *_SETTINGS, Thetas(), rope.Scaling(("linear",)), _WINDOW, Fixed("hidden_activation", _GELU), LayerKinds(6),
            QueryScale(62), Value("final_logit_softcapping", "final_logit_softcapping", real, optional=True),
            Refused("attn_logit_softcapping", "llama.cpp's graph of Gemma 3 has no cap of attention scores"),
            Harmless(_BESIDE_TEXT),
        ),
        computes=_gemma3,
        defaults={
            **_DEFAULTS_2, "max_position_embeddings": 131072, "rope_theta": 1e6, "rope_local_base_freq": 1e4,
            "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 262208,
        },
        complete=_completed3, notes=_images_note,
        prefixes={"language_model.": "", "model.language_model.": "model."},
        ignored=(*IGNORED, r"^(model\.)?(vision_tower|multi_modal_projector)\."),
    ),
)  # fmt: skip
