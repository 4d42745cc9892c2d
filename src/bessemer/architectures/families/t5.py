"""T5 and its kin (Raffel et al. 2020; v1.1, Flan, mT5, umT5), and their encoders alone: positions as biases by distance.

T5 of the first version scales its last states by hidden ** -0.5 before the embedding that is its output matrix. llama.cpp
does not; its converter writes nothing for that, and its logits come out too large by hidden ** 0.5. So GGUF gets an output
matrix of its own here: the embedding times that factor. A file without one is read as what llama.cpp makes of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from bessemer.architectures.base import Config, Family, Pair
from bessemer.architectures.settings import (
    Fixed,
    Harmless,
    Read,
    Record,
    Setting,
    Value,
    Written,
    holds,
    real,
    setting,
)
from bessemer.architectures.transforms import Repeated
from bessemer.ir.errors import Blocker

_holds_gate = holds("enc.blk.0.ffn_gate.weight")
SCALED = "output_is_scaled_embedding"
"""Key of GGUF that no runtime reads: the output matrix is the embedding times hidden ** -0.5."""
ENCODER, DECODER = "encoder.block.{i}.layer.", "decoder.block.{i}.layer."


def _factor(config: Config) -> float:
    return 1 / math.sqrt(config["d_model"])


def _own_output(config: Config, layer: int = 0) -> bool:
    """Whether GGUF's output matrix is a scaled embedding; otherwise it is its own, or the embedding serves."""
    return not _untied(config, layer) and bool(config["scale_decoder_outputs"])


def _untied(config: Config, layer: int) -> bool:
    return not config.get("tie_word_embeddings", True)


def _gated(config: Config, layer: int) -> bool:
    return bool(config["_gated"])


def _plain(config: Config, layer: int) -> bool:
    return not config["_gated"]


def _biased(config: Config, layer: int) -> bool:
    """Which layers have a table of distances; the others use the first one's."""
    return layer == 0 or config.get("model_type") == "umt5"


def _attention(gguf: str, hf: str, **options: Any) -> tuple[Pair, ...]:
    return tuple(Pair(f"{gguf}_{part}.weight", f"{hf}.{part}.weight", **options) for part in "qkvo")


def _feed_forward(gguf: str, hf: str, **options: Any) -> tuple[Pair, ...]:
    inside = hf + "DenseReluDense."
    return (
        Pair(f"{gguf}ffn_gate.weight", f"{inside}wi_0.weight", when=_gated, **options),
        Pair(f"{gguf}ffn_up.weight", f"{inside}wi_1.weight", when=_gated, **options),
        Pair(f"{gguf}ffn_up.weight", f"{inside}wi.weight", when=_plain, **options),
        Pair(f"{gguf}ffn_down.weight", f"{inside}wo.weight", **options),
        Pair(f"{gguf}ffn_norm.weight", f"{hf}layer_norm.weight", **options),
    )


EMBEDDING = Pair("token_embd.weight", "shared.weight")
ENDS = (
    EMBEDDING,
    Pair("output.weight", "shared.weight", Repeated(_factor), optional=True, when=_own_output),
    Pair("output.weight", "lm_head.weight", when=_untied),
)
ENCODER_LAYERS = (
    *_attention("enc.blk.{i}.attn", ENCODER + "0.SelfAttention"),
    Pair("enc.blk.{i}.attn_rel_b.weight", ENCODER + "0.SelfAttention.relative_attention_bias.weight", when=_biased),
    Pair("enc.blk.{i}.attn_norm.weight", ENCODER + "0.layer_norm.weight"),
    *_feed_forward("enc.blk.{i}.", ENCODER + "1."),
    Pair("enc.output_norm.weight", "encoder.final_layer_norm.weight"),
)
SECOND: dict[str, Any] = {"layers": "num_decoder_layers"}
CROSS = "1.EncDecAttention"
UNUSED = CROSS + ".relative_attention_bias.weight"  # the first T5s hold it, nobody computes with it
DECODER_LAYERS = (
    *_attention("dec.blk.{i}.attn", DECODER + "0.SelfAttention", **SECOND),
    Pair(
        "dec.blk.{i}.attn_rel_b.weight", DECODER + "0.SelfAttention.relative_attention_bias.weight", when=_biased, **SECOND
    ),
    Pair("dec.blk.{i}.attn_norm.weight", DECODER + "0.layer_norm.weight", **SECOND),
    *_attention("dec.blk.{i}.cross_attn", DECODER + CROSS, **SECOND),
    Pair("dec.blk.{i}.cross_attn_rel_b.weight", DECODER + UNUSED, optional=True, **SECOND),
    Pair("dec.blk.{i}.cross_attn_norm.weight", DECODER + "1.layer_norm.weight", **SECOND),
    *_feed_forward("dec.blk.{i}.", DECODER + "2.", **SECOND),
    Pair("dec.output_norm.weight", "decoder.final_layer_norm.weight"),
)  # fmt: skip

SETTINGS: tuple[Setting, ...] = (
    Value("block_count", "num_layers"),
    Value("context_length", "n_positions"),
    Value("embedding_length", "d_model"),
    Value("feed_forward_length", "d_ff"),
    Value("attention.head_count", "num_heads"),
    Value("attention.key_length", "d_kv"),
    Written("attention.value_length", lambda config: config["d_kv"]),
    Value("attention.layer_norm_epsilon", "layer_norm_epsilon", real, optional=True),
    Value("attention.layer_norm_rms_epsilon", "layer_norm_epsilon", real),
    Value("attention.relative_buckets_count", "relative_attention_num_buckets"),
    Fixed("relative_attention_max_distance", (128,)),
    Fixed("feed_forward_proj", ("relu", "gated-gelu")),
    Read("feed_forward_proj", lambda record: "gated-gelu" if _holds_gate(record) else "relu"),
    Harmless((
        "dropout_rate", "initializer_factor", "classifier_dropout", "dense_act_fn", "is_gated_act", "is_decoder",
        "output_past", "_gated", "scale_decoder_outputs",
    )),
)  # fmt: skip


@dataclass(frozen=True)
class Layers:
    """The decoder's layers; llama.cpp's loader has room for as many as the encoder has."""

    keys: tuple[str, ...] = ("num_decoder_layers",)

    def write(self, config: Config, blockers: list[Blocker]) -> dict[str, Any]:
        count = int(config["num_decoder_layers"])
        if count > config["num_layers"]:
            blockers.append(setting(self.keys[0], "llama.cpp cannot load a decoder that has more layers than the encoder"))
        return {"decoder_block_count": count}

    def read(self, record: Record, blockers: list[Blocker]) -> dict[str, Any]:
        return {self.keys[0]: record.get("decoder_block_count", record.get("block_count"))}


DECODER_SETTINGS: tuple[Setting, ...] = (
    Layers(),
    Value("decoder_start_token_id", "decoder_start_token_id", default=0),
    Read("is_encoder_decoder", lambda record: True),
    Written(SCALED, lambda config: True if _own_output(config) else None),
    Read("tie_word_embeddings", lambda record: "output.weight" not in record.tensors or record.get(SCALED) is not None),
    Read("scale_decoder_outputs", lambda record: record.get(SCALED) is not None),
)

def _completed(config: dict[str, Any]) -> dict[str, Any]:
    """transformers 5 ties always and says of the scale what `tie_word_embeddings` says in older ones."""
    config.setdefault("scale_decoder_outputs", bool(config.get("tie_word_embeddings", True)))
    config["_gated"] = str(config["feed_forward_proj"]).startswith("gated-")
    config.setdefault("num_decoder_layers", config.get("num_layers"))
    return config


DEFAULTS: dict[str, Any] = {
    "vocab_size": 32128, "d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8, "n_positions": 512,
    "relative_attention_num_buckets": 32, "relative_attention_max_distance": 128, "layer_norm_epsilon": 1e-6,
    "feed_forward_proj": "relu", "tie_word_embeddings": True, "decoder_start_token_id": 0,
}  # fmt: skip
GATED = {**DEFAULTS, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
PREFIXES = {"encoder.embed_tokens.": "shared.", "decoder.embed_tokens.": "shared.", "transformer.": ""}


def _family(name: str, kinds: tuple[str, ...], classes: tuple[str, ...], defaults: dict[str, Any]) -> Family:
    return Family(
        name, "t5", kinds, classes, (*ENDS, *ENCODER_LAYERS, *DECODER_LAYERS), (*SETTINGS, *DECODER_SETTINGS),
        defaults=defaults, complete=_completed, count="num_layers", prefixes=PREFIXES, claims=lambda record: name == "t5",
    )  # fmt: skip


FAMILIES = (
    _family("t5", ("t5",), ("T5ForConditionalGeneration", "T5WithLMHeadModel"), DEFAULTS),
    _family("mt5", ("mt5",), ("MT5ForConditionalGeneration",), GATED),
    Family(
        "t5encoder", "t5encoder", ("t5",), ("T5EncoderModel", "MT5EncoderModel"), (EMBEDDING, *ENCODER_LAYERS),
        (*SETTINGS, Harmless(("num_decoder_layers",))),
        defaults=DEFAULTS, complete=_completed, count="num_layers", prefixes=PREFIXES,
    ),
)  # fmt: skip
