"""BERT and its kin as embedding models: learned positions, norms after each sum, nothing masked; heads are left out.

BERT (Devlin et al. 2018), RoBERTa and XLM-RoBERTa (positions count from the padding id on), DistilBERT (no token types),
all of them GGUF's 'bert'; which one a file was is told by its tokenizer.
"""

from __future__ import annotations

import math
from typing import Any

from bessemer.architectures import common
from bessemer.architectures.base import Config, Family, Pair
from bessemer.architectures.settings import Fixed, Harmless, Read, Record, Setting, Value, Written, real
from bessemer.architectures.transforms import DroppedRows
from bessemer.ir.decoder import Decoder, Layer

HEADS = (r"^pooler\.", r"^cls\.", r"^lm_head\.", r"^vocab_(transform|layer_norm|projector)\.", r"position_ids$")
"""Tensors behind the last layer, which an embedding model does not use."""
OLDER = {".gamma": ".weight", ".beta": ".bias"}
"""Norms as TensorFlow's checkpoints, and those converted from them, name them."""
NOTE = "heads behind the last layer (pooler, masked language model) are not part of GGUF's embedding models"


def _offset(config: Config) -> int:
    """Position of the first token in RoBERTa's table."""
    return int(config["pad_token_id"]) + 1


def _embedding(positions: Pair) -> tuple[Pair, ...]:
    return (
        Pair("token_embd.weight", "embeddings.word_embeddings.weight"),
        positions,
        *common.weight("token_embd_norm", "embeddings.LayerNorm", bias=True),
    )


def _layers(layer: str) -> tuple[Pair, ...]:
    return (
        *common.weight("blk.{i}.attn_q", layer + "attention.self.query", bias=True),
        *common.weight("blk.{i}.attn_k", layer + "attention.self.key", bias=True),
        *common.weight("blk.{i}.attn_v", layer + "attention.self.value", bias=True),
        *common.weight("blk.{i}.attn_output", layer + "attention.output.dense", bias=True),
        *common.weight("blk.{i}.attn_output_norm", layer + "attention.output.LayerNorm", bias=True),
        *common.weight("blk.{i}.ffn_up", layer + "intermediate.dense", bias=True),
        *common.weight("blk.{i}.ffn_down", layer + "output.dense", bias=True),
        *common.weight("blk.{i}.layer_output_norm", layer + "output.LayerNorm", bias=True),
    )


PLAIN = Pair("position_embd.weight", "embeddings.position_embeddings.weight")
SHIFTED = Pair("position_embd.weight", "embeddings.position_embeddings.weight", DroppedRows(_offset))
TYPES = Pair("token_types.weight", "embeddings.token_type_embeddings.weight")
LAYERS = _layers("encoder.layer.{i}.")
DISTILLED = "transformer.layer.{i}."
DISTILLED_LAYERS = (
    *common.weight("blk.{i}.attn_q", DISTILLED + "attention.q_lin", bias=True),
    *common.weight("blk.{i}.attn_k", DISTILLED + "attention.k_lin", bias=True),
    *common.weight("blk.{i}.attn_v", DISTILLED + "attention.v_lin", bias=True),
    *common.weight("blk.{i}.attn_output", DISTILLED + "attention.out_lin", bias=True),
    *common.weight("blk.{i}.attn_output_norm", DISTILLED + "sa_layer_norm", bias=True),
    *common.weight("blk.{i}.ffn_up", DISTILLED + "ffn.lin1", bias=True),
    *common.weight("blk.{i}.ffn_down", DISTILLED + "ffn.lin2", bias=True),
    *common.weight("blk.{i}.layer_output_norm", DISTILLED + "output_layer_norm", bias=True),
)

SETTINGS: tuple[Setting, ...] = (
    Value("block_count", "num_hidden_layers"),
    Value("embedding_length", "hidden_size"),
    Value("feed_forward_length", "intermediate_size"),
    Value("attention.head_count", "num_attention_heads"),
    Value("attention.layer_norm_epsilon", "layer_norm_eps", real),
    Written("attention.causal", lambda config: False),
    Written("tokenizer.ggml.token_type_count", lambda config: config.get("type_vocab_size", 1)),
    Fixed("hidden_act", ("gelu", "gelu_new", "gelu_pytorch_tanh", "gelu_fast")),
    Fixed("position_embedding_type", ("absolute",)),
    Fixed("is_decoder", (False,)),
    Harmless((
        "attention_probs_dropout_prob", "hidden_dropout_prob", "classifier_dropout", "gradient_checkpointing",
        "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type",
        "directionality",
    )),
)  # fmt: skip
CONTEXT = Value("context_length", "max_position_embeddings")
TYPE_COUNT = Read("type_vocab_size", lambda record: _rows(record, "token_types.weight"))
SHIFTED_CONTEXT: tuple[Setting, ...] = (
    Written("context_length", lambda config: config["max_position_embeddings"] - _offset(config)),
    Read("max_position_embeddings", lambda record: record.get("context_length", 0) + 1 + _padding(record)),
    Read("pad_token_id", lambda record: _padding(record)),
)
DISTILLED_SETTINGS: tuple[Setting, ...] = (
    Value("block_count", "n_layers"),
    CONTEXT,
    Value("embedding_length", "dim"),
    Value("feed_forward_length", "hidden_dim"),
    Value("attention.head_count", "n_heads"),
    Written("attention.layer_norm_epsilon", lambda config: 1e-12),
    Written("attention.causal", lambda config: False),
    Written("tokenizer.ggml.token_type_count", lambda config: 1),
    Fixed("activation", ("gelu", "gelu_new", "gelu_pytorch_tanh", "gelu_fast")),
    Harmless(("dropout", "qa_dropout", "seq_classif_dropout", "sinusoidal_pos_embds", "tie_weights_")),
)


def _rows(record: Record, name: str) -> int | None:
    return record.tensors[name].shape[0] if name in record.tensors else None


def _padding(record: Record) -> int:
    return int(record.metadata.get("tokenizer.ggml.padding_token_id", 1))


def _tokenizer(kind: str, types: tuple[int, ...] = ()) -> Any:
    def claims(record: Record) -> bool:
        same = record.metadata.get("tokenizer.ggml.model") == kind
        return same and (not types or record.metadata.get("tokenizer.ggml.token_type_count") in types)

    return claims


def computes(config: Config, offset: int = 0, types: bool = True) -> Decoder:
    """An encoder of BERT's kind. offset: of learned positions; types: whether it has token types."""
    size = config["hidden_size"] // config["num_attention_heads"]
    return Decoder(
        layers=(Layer(),) * config["num_hidden_layers"],
        hidden=config["hidden_size"], heads=config["num_attention_heads"], kv_heads=config["num_attention_heads"],
        head_dim=size, vocabulary=config["vocab_size"], context=config["max_position_embeddings"] - offset,
        activation=common.ACTIVATIONS[config["hidden_act"]], eps=config["layer_norm_eps"], scale=1 / math.sqrt(size),
        norm="layer", causal=False, positions="learned", position_offset=offset, pre_norm=False, after_norm=True,
        final_norm=False, gated=False, embedding_norm=True, token_types=types,
    )  # fmt: skip


def _distilled(config: Config) -> Decoder:
    names = ("n_layers", "num_hidden_layers"), ("dim", "hidden_size"), ("n_heads", "num_attention_heads")
    held = {name: config[own] for own, name in names}
    return computes({**config, **held, "hidden_act": config["activation"], "layer_norm_eps": 1e-12}, types=False)


BERT_DEFAULTS: dict[str, Any] = {
    "vocab_size": 30522, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072,
    "hidden_act": "gelu", "max_position_embeddings": 512, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 0,
}  # fmt: skip
ROBERTA_DEFAULTS = {**BERT_DEFAULTS, "pad_token_id": 1}

FAMILIES = (
    Family(
        "distilbert", "bert", ("distilbert",), ("DistilBertModel", "DistilBertForMaskedLM"),
        (*_embedding(PLAIN), *DISTILLED_LAYERS), DISTILLED_SETTINGS, computes=_distilled,
        defaults={
            "vocab_size": 30522, "dim": 768, "n_layers": 6, "n_heads": 12, "hidden_dim": 3072, "activation": "gelu",
            "max_position_embeddings": 512,
        },
        claims=_tokenizer("bert", (1,)), count="n_layers", ignored=HEADS, notes=lambda config: (NOTE,),
        prefixes={"distilbert.": ""},
    ),
    Family(
        "roberta", "bert", ("roberta", "camembert"), ("RobertaModel", "RobertaForMaskedLM", "CamembertModel"),
        (*_embedding(SHIFTED), TYPES, *LAYERS), (*SETTINGS, *SHIFTED_CONTEXT, TYPE_COUNT),
        computes=lambda config: computes(config, _offset(config)), defaults=ROBERTA_DEFAULTS,
        claims=_tokenizer("gpt2"), ignored=HEADS, notes=lambda config: (NOTE,), prefixes={"roberta.": ""},
    ),
    Family(
        "xlm-roberta", "bert", ("xlm-roberta",), ("XLMRobertaModel", "XLMRobertaForMaskedLM"),
        (*_embedding(SHIFTED), TYPES, *LAYERS), (*SETTINGS, *SHIFTED_CONTEXT, TYPE_COUNT),
        computes=lambda config: computes(config, _offset(config)), defaults=ROBERTA_DEFAULTS,
        claims=_tokenizer("t5"), ignored=HEADS, notes=lambda config: (NOTE,), prefixes={"roberta.": ""},
    ),
    Family(
        "bert", "bert", ("bert",), ("BertModel", "BertForMaskedLM", "BertForPreTraining"),
        (*_embedding(PLAIN), TYPES, *LAYERS), (*SETTINGS, CONTEXT, TYPE_COUNT), computes=computes,
        defaults=BERT_DEFAULTS, ignored=HEADS, notes=lambda config: (NOTE,), prefixes={"bert.": ""}, endings=OLDER,
    ),
)  # fmt: skip
