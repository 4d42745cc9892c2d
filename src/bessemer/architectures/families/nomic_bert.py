"""Nomic BERT (Nussbaum et al. 2024): BERT with rotation, a gated feed-forward and no biases, as an embedding model.

config.json comes in two spellings: the authors' (GPT-2's keys) and transformers' own since version 5.
"""

from __future__ import annotations

from typing import Any

from bessemer.architectures import common, rope
from bessemer.architectures.base import Config, Family, Pair
from bessemer.architectures.families import bert
from bessemer.architectures.settings import Fixed, Harmless, Read, Refused, Setting, Value, Written, real
from bessemer.ir.decoder import Decoder, Layer

LAYER = "encoder.layers.{i}."

TENSORS = (
    Pair("token_embd.weight", "embeddings.word_embeddings.weight"),
    Pair("token_types.weight", "embeddings.token_type_embeddings.weight", optional=True),
    *common.weight("token_embd_norm", "emb_ln", bias=True),
    Pair("blk.{i}.attn_qkv.weight", LAYER + "attn.Wqkv.weight"),
    Pair("blk.{i}.attn_output.weight", LAYER + "attn.out_proj.weight"),
    *common.weight("blk.{i}.attn_output_norm", LAYER + "norm1", bias=True),
    Pair("blk.{i}.ffn_up.weight", LAYER + "mlp.fc11.weight"),
    Pair("blk.{i}.ffn_gate.weight", LAYER + "mlp.fc12.weight"),
    Pair("blk.{i}.ffn_down.weight", LAYER + "mlp.fc2.weight"),
    *common.weight("blk.{i}.layer_output_norm", LAYER + "norm2", bias=True),
)

SETTINGS: tuple[Setting, ...] = (
    Value("block_count", "num_hidden_layers"),
    Value("context_length", "max_position_embeddings"),
    Value("embedding_length", "hidden_size"),
    Value("feed_forward_length", "intermediate_size"),
    Value("attention.head_count", "num_attention_heads"),
    Value("attention.layer_norm_epsilon", "layer_norm_eps", real),
    Value("rope.freq_base", "rope_theta", real, default=10000.0),
    Written("attention.causal", lambda config: False),
    Written("tokenizer.ggml.token_type_count", lambda config: config.get("type_vocab_size", 1)),
    rope.Scaling(()),
    bert.TYPE_COUNT,
    Read("pad_token_id", lambda record: int(record.metadata.get("tokenizer.ggml.padding_token_id", 0))),
    Fixed("hidden_act", ("silu", "swiglu")),
    Fixed("causal", (None, False)),
    Fixed("rotary_emb_fraction", (None, 1.0, 1)),
    Refused("rotary_emb_interleaved", "GGUF's runtimes turn i with i + dims / 2 in this architecture"),
    Refused("rotary_emb_scale_base", "xPos has no place in GGUF"),
    Refused("prenorm", "GGUF's runtimes put norms behind the sums in this architecture"),
    Refused("qkv_proj_bias", "GGUF's runtimes know no biases in this architecture"),
    Refused("mlp_fc1_bias", "GGUF's runtimes know no biases in this architecture"),
    Refused("mlp_fc2_bias", "GGUF's runtimes know no biases in this architecture"),
    Refused("moe_every_n_layers", "mixtures of experts (nomic-embed v2) have no table here yet"),
    Refused("use_rms_norm", "GGUF's runtimes have layer norms in this architecture"),
    Harmless((
        "head_dim", "attention_probs_dropout_prob", "hidden_dropout_prob", "classifier_dropout", "dense_seq_output",
        "fused_bias_fc", "fused_dropout_add_ln", "max_trained_positions", "mlp_checkpoint_lvl", "parallel_block",
        "pad_vocab_size_multiple", "parallel_block_tied_norm", "use_flash_attn", "use_xentropy", "last_layer_subset",
        "rotary_scaling_factor", "scale_attn_by_inverse_layer_idx", "scale_attn_weights", "reorder_and_upcast_attn",
        "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj",
    )),
)  # fmt: skip
_SPELLINGS = {
    "n_layer": "num_hidden_layers", "n_embd": "hidden_size", "n_inner": "intermediate_size", "n_head": "num_attention_heads",
    "layer_norm_epsilon": "layer_norm_eps", "rotary_emb_base": "rope_theta", "activation_function": "hidden_act",
}  # fmt: skip


def _completed(config: dict[str, Any]) -> dict[str, Any]:
    config = rope.unified(config)
    for old, name in _SPELLINGS.items():
        if (value := config.pop(old, None)) is not None:
            config[name] = value
    config.setdefault("rope_theta", 1000.0)
    longest, trained = config.pop("n_positions", None), config.get("max_trained_positions", 2048)
    if isinstance(longest, int) and isinstance(trained, int):
        config["max_position_embeddings"] = min(longest, trained)
    return config


def _computes(config: Config) -> Decoder:
    held = bert.computes({**config, "hidden_act": "silu"})
    turned = Layer(rope.rope(config, held.head_dim))
    changed = {"layers": (turned,) * len(held.layers), "positions": "rope", "gated": True, "fused_qkv": True}
    return Decoder(**{**vars(held), **changed})


FAMILIES = (
    Family(
        "nomic-bert", "nomic-bert", ("nomic_bert",), ("NomicBertModel", "NomicBertForPreTraining", "NomicBertForMaskedLM"),
        TENSORS, SETTINGS, computes=_computes,
        defaults={
            "vocab_size": 30528, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
            "intermediate_size": 3072, "hidden_act": "silu", "max_position_embeddings": 2048, "type_vocab_size": 2,
            "layer_norm_eps": 1e-12,
        },
        complete=_completed, ignored=bert.HEADS, notes=lambda config: (bert.NOTE,), prefixes={"bert.": ""},
    ),
)  # fmt: skip
