"""Llama 1 to 3 and Mistral: one GGUF architecture, whose rotation turns neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bessemer.architectures import common, rope
from bessemer.architectures.base import Config, Family
from bessemer.architectures.settings import Fixed, Record, Setting, Value, Written
from bessemer.ir.decoder import Decoder, Layer

TENSORS = (*common.ends(), *common.norms(), *common.attention(permuted=True), *common.gated())
SETTINGS: tuple[Setting, ...] = (
    *common.SIZES, *common.HEAD_DIM, common.RMS, common.THETA, common.VOCABULARY, common.SILU, common.WHOLE_ROPE,
    Written("rope.dimension_count", common.head_dim), rope.Scaling(("linear", "yarn", "llama3")),
)  # fmt: skip
LLAMA_ONLY: tuple[Setting, ...] = (*common.BIASES,)
WINDOW = Value("attention.sliding_window", "sliding_window", optional=True)


def made(config: Config) -> dict[str, npt.NDArray[np.float32]]:
    """Llama 3.1's divisors of the frequencies."""
    return rope.llama3_tensor(config, common.head_dim(config))


def _mistral(config: Config) -> Decoder:
    fields = common.plain(config)
    window = config.get("sliding_window")
    return Decoder(**{**fields, "layers": tuple(Layer(layer.rope, window) for layer in fields["layers"])})


def _window_note(config: Config) -> tuple[str, ...]:
    window, context = config.get("sliding_window"), config.get("max_position_embeddings", 0)
    if not window or window >= context:
        return ()
    seen = f"the model sees the latest {window} positions; llama.cpp lets this architecture see all of them"
    return (f"{seen}, so texts longer than {window} tokens depart from the original",)


def _dense(record: Record) -> bool:
    return not record.get("expert_count")


def _windowed(record: Record) -> bool:
    return _dense(record) and record.get("attention.sliding_window") is not None


DEFAULTS: dict[str, Any] = {
    "max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "silu",
    "tie_word_embeddings": False,
}  # fmt: skip

FAMILIES = (
    Family(
        "mistral", "llama", ("mistral",), ("MistralForCausalLM",), TENSORS, (*SETTINGS, WINDOW),
        computes=_mistral,
        defaults={**DEFAULTS, "max_position_embeddings": 131072, "num_key_value_heads": 8},
        complete=common.completed, made=made, claims=_windowed, notes=_window_note,
    ),
    Family(
        "llama", "llama", ("llama",), ("LlamaForCausalLM", "LLaMAForCausalLM", "LlamaModel"), TENSORS,
        (*SETTINGS, *LLAMA_ONLY, Fixed("sliding_window", (None,))),
        computes=common.llama_like, defaults=DEFAULTS, complete=common.completed, made=made, claims=_dense,
        prefixes={"layers.": "model.layers.", "embed_tokens.": "model.embed_tokens.", "norm.": "model.norm."},
    ),
)  # fmt: skip
