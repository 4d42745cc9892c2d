"""Tiny models of every Llama-like family with random weights, saved by transformers; and what tests compare them with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from bessemer.architectures.base import Family
from bessemer.ir.checkpoint import Checkpoint, Lazy
from bessemer.ir.model import Origin
from bessemer.weights import views

TOKENS = [int(token) for token in np.random.default_rng(0).integers(3, 500, 40)]
_LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}  # fmt: skip
_YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64}
_DEEPSEEK: dict[str, Any] = {
    "n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
    "first_k_dense_replace": 1, "kv_lora_rank": 32, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 24,
}  # fmt: skip

_SU = {
    "rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 300,
    "short_factor": [1.0, 1.05, 1.1, 1.2], "long_factor": [1.5, 2.0, 3.0, 5.0],
}  # fmt: skip

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {"num_key_value_heads": 2}),
    "llama-biases": ("llama", {"attention_bias": True, "mlp_bias": True, "head_dim": 24}),
    "llama-3": ("llama", {"rope_parameters": _LLAMA3, "tie_word_embeddings": True, "head_dim": 64}),
    "llama-linear": ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}}),
    "llama-yarn": ("llama", {"rope_parameters": _YARN}),
    "mistral": ("mistral", {"num_key_value_heads": 2, "sliding_window": None}),
    "mistral-window": ("mistral", {"num_key_value_heads": 2, "sliding_window": 8}),
    "mixtral": ("mixtral", {"num_key_value_heads": 2, "num_local_experts": 4}),
    "qwen2": ("qwen2", {"num_key_value_heads": 2, "tie_word_embeddings": True}),
    "qwen2-window": ("qwen2", {
        "num_key_value_heads": 2, "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1,
    }),
    "qwen2-moe": ("qwen2_moe", {
        "num_key_value_heads": 2, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 48,
    }),
    "qwen3": ("qwen3", {"num_key_value_heads": 2, "head_dim": 32}),
    "qwen3-moe": ("qwen3_moe", {
        "num_key_value_heads": 2, "head_dim": 32, "num_experts": 4, "num_experts_per_tok": 2,
        "moe_intermediate_size": 32, "norm_topk_prob": True,
    }),
    "gemma": ("gemma", {"num_key_value_heads": 1, "head_dim": 32}),
    "gemma2": ("gemma2", {
        "num_key_value_heads": 2, "head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 8, "num_hidden_layers": 4,
    }),
    "gemma3": ("gemma3_text", {
        "num_key_value_heads": 2, "head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 8, "num_hidden_layers": 7,
    }),
    "phi3": ("phi3", {"num_key_value_heads": 2, "pad_token_id": 0}),
    "phi3-longrope": ("phi3", {
        "num_key_value_heads": 2, "pad_token_id": 0, "max_position_embeddings": 1200,
        "original_max_position_embeddings": 300, "rope_parameters": {**_SU, "partial_rotary_factor": 0.5},
    }),
    "granite": ("granite", {
        "num_key_value_heads": 2, "embedding_multiplier": 12.0, "residual_multiplier": 0.22,
        "attention_multiplier": 0.0625, "logits_scaling": 8.0,
    }),
    "smollm3": ("smollm3", {"num_key_value_heads": 2, "num_hidden_layers": 5, "pad_token_id": 0}),
    "olmo": ("olmo", {"clip_qkv": 0.5, "num_key_value_heads": 2}),
    "olmo2": ("olmo2", {"num_key_value_heads": 2}),
    "stablelm": ("stablelm", {"num_key_value_heads": 2, "use_qkv_bias": True, "num_attention_heads": 2}),
    "stablelm-2": ("stablelm", {
        "num_key_value_heads": 2, "qk_layernorm": True, "use_parallel_residual": True, "rope_parameters":
        {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
    }),
    "starcoder2": ("starcoder2", {"num_key_value_heads": 2, "sliding_window": None}),
    "deepseek-v2": ("deepseek_v2", {**_DEEPSEEK, "q_lora_rank": 48}),
    "deepseek-v3": ("deepseek_v3", {
        **_DEEPSEEK, "q_lora_rank": 48, "n_routed_experts": 8, "n_group": 4, "topk_group": 2, "num_key_value_heads": 4,
    }),
    "deepseek-v2-yarn": ("deepseek_v2", {
        **_DEEPSEEK, "q_lora_rank": None, "rope_parameters": {**_YARN, "mscale": 0.707, "mscale_all_dim": 0.707},
    }),
}  # fmt: skip
"""name -> (model_type, settings beside the common ones)."""

BEYOND: dict[str, tuple[str, dict[str, Any]]] = {
    "deepseek-v2-groups": ("deepseek_v2", {
        **_DEEPSEEK, "q_lora_rank": None, "n_routed_experts": 8, "topk_method": "group_limited_greedy", "n_group": 4,
        "topk_group": 2,
    }),
    "deepseek-v2-plain-yarn": ("deepseek_v2", {**_DEEPSEEK, "q_lora_rank": None, "rope_parameters": _YARN}),
    "gemma2-scale": ("gemma2", {"num_key_value_heads": 2, "head_dim": 32, "query_pre_attn_scalar": 20}),
    "qwen3-moe-raw": ("qwen3_moe", {
        "num_key_value_heads": 2, "head_dim": 32, "num_experts": 4, "num_experts_per_tok": 2,
        "moe_intermediate_size": 32, "norm_topk_prob": False,
    }),
    "smollm3-all": ("smollm3", {"num_key_value_heads": 2, "no_rope_layers": [1, 0], "pad_token_id": 0}),
    "llama-gelu": ("llama", {"num_key_value_heads": 2, "hidden_act": "gelu_pytorch_tanh"}),
    "qwen2-llama3": ("qwen2", {"num_key_value_heads": 2, "rope_parameters": _LLAMA3}),
}  # fmt: skip
"""Models that GGUF has no place for, and that our evaluator can run."""

_COMMON: dict[str, Any] = {
    "vocab_size": 512, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 256, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


def save(name: str, folder: Path) -> Any:
    """The model, built by transformers with a fixed seed and saved there; norms and biases are random as well.

    Values of vectors are multiples of 1/256, so that a norm plus one stays exact in float32.
    """
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    kind, settings = (MODELS | BEYOND)[name]
    torch.manual_seed(sorted(MODELS | BEYOND).index(name))
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](**{**_COMMON, **settings}), attn_implementation="eager")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
                parameter.copy_((parameter * 256).round() / 256 + 0.0)  # no minus zero: one more and one less is zero
            else:
                parameter.copy_(torch.randn_like(parameter) * 0.1)
    model.eval().save_pretrained(folder)
    return model


def checkpoint(folder: Path) -> Checkpoint:
    """What a folder of save_pretrained holds."""
    from safetensors.numpy import load_file

    tensors: dict[str, Lazy] = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors |= {name: views.from_array(name, values) for name, values in load_file(path).items()}
    config = json.loads((folder / "config.json").read_text())
    return Checkpoint(tensors, config, None, Origin("huggingface", folder.name))


def arrays(tensors: dict[str, Lazy]) -> dict[str, np.ndarray[Any, Any]]:
    """All tensors, read in two halves so that views are asked for parts of themselves."""
    return {name: _read(tensor) for name, tensor in tensors.items()}


def _read(tensor: Lazy) -> np.ndarray[Any, Any]:
    half = tensor.rows // 2
    data = np.concatenate([tensor.read(0, half), tensor.read(half, tensor.rows)])
    return np.ascontiguousarray(data).view(views.numpy_type(tensor.type)).reshape(tensor.shape)


def same(one: dict[str, Lazy], other: dict[str, Lazy]) -> list[str]:
    """Names of tensors that differ in presence, shape, type or a bit."""
    a, b = arrays(one), arrays(other)
    names = set(a) ^ set(b)
    return sorted(names | {name for name in set(a) & set(b) if not _equal(a[name], b[name])})


def _equal(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def back(family: Family, metadata: dict[str, Any], tensors: dict[str, Lazy]) -> Checkpoint:
    """A GGUF's content in Hugging Face's form."""
    config, weights = family.from_gguf(metadata, tensors)
    return Checkpoint(weights, config, None, Origin("gguf", "memory"))
