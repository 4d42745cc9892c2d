"""Settings as published models spell them, older transformers' ways included: carried whole, or declined with a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bessemer.architectures.base import find, find_gguf
from bessemer.architectures.settings import Record
from bessemer.ir.checkpoint import Checkpoint
from bessemer.ir.errors import Blocker, Declined
from bessemer.ir.model import Origin
from bessemer.weights.views import from_array

_LLAMA3 = {
    "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}  # fmt: skip
_YARN = {"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096}
_LONG = {"short_factor": [1.0] * 48, "long_factor": [1.5] * 48, "type": "su"}

PUBLISHED: dict[str, dict[str, Any]] = {
    "Llama-3.2-1B": {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 128000,
        "eos_token_id": [128001, 128008, 128009], "head_dim": 64, "hidden_act": "silu", "hidden_size": 2048,
        "initializer_range": 0.02, "intermediate_size": 8192, "max_position_embeddings": 131072, "mlp_bias": False,
        "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 16, "num_key_value_heads": 8,
        "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": _LLAMA3, "rope_theta": 500000.0,
        "tie_word_embeddings": True, "torch_dtype": "bfloat16", "transformers_version": "4.45.0", "vocab_size": 128256,
    },
    "Mistral-7B-v0.1": {
        "architectures": ["MistralForCausalLM"], "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
        "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336, "max_position_embeddings": 32768,
        "model_type": "mistral", "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8,
        "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "sliding_window": 4096, "tie_word_embeddings": False,
        "torch_dtype": "bfloat16", "use_cache": True, "vocab_size": 32000,
    },
    "Mixtral-8x7B-v0.1": {
        "architectures": ["MixtralForCausalLM"], "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 14336,
        "max_position_embeddings": 32768, "model_type": "mixtral", "num_attention_heads": 32, "num_experts_per_tok": 2,
        "num_hidden_layers": 32, "num_key_value_heads": 8, "num_local_experts": 8, "output_router_logits": False,
        "rms_norm_eps": 1e-05, "rope_theta": 1000000.0, "router_aux_loss_coef": 0.02, "sliding_window": None,
        "tie_word_embeddings": False, "vocab_size": 32000,
    },
    "Qwen2.5-0.5B": {
        "architectures": ["Qwen2ForCausalLM"], "hidden_act": "silu", "hidden_size": 896, "intermediate_size": 4864,
        "max_position_embeddings": 32768, "max_window_layers": 24, "model_type": "qwen2", "num_attention_heads": 14,
        "num_hidden_layers": 24, "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0,
        "sliding_window": 32768, "tie_word_embeddings": True, "use_mrope": False, "use_sliding_window": False,
        "vocab_size": 151936,
    },
    "Qwen1.5-MoE-A2.7B": {
        "architectures": ["Qwen2MoeForCausalLM"], "decoder_sparse_step": 1, "hidden_act": "silu", "hidden_size": 2048,
        "intermediate_size": 5632, "max_position_embeddings": 8192, "max_window_layers": 21, "model_type": "qwen2_moe",
        "moe_intermediate_size": 1408, "norm_topk_prob": False, "num_attention_heads": 16, "num_experts": 60,
        "num_experts_per_tok": 4, "num_hidden_layers": 24, "num_key_value_heads": 16, "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0, "shared_expert_intermediate_size": 5632, "sliding_window": 32768,
        "tie_word_embeddings": False, "use_sliding_window": False, "vocab_size": 151936,
    },
    "Qwen3-30B-A3B": {
        "architectures": ["Qwen3MoeForCausalLM"], "attention_bias": False, "decoder_sparse_step": 1, "head_dim": 128,
        "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 6144, "max_position_embeddings": 40960,
        "max_window_layers": 48, "mlp_only_layers": [], "model_type": "qwen3_moe", "moe_intermediate_size": 768,
        "norm_topk_prob": True, "num_attention_heads": 32, "num_experts": 128, "num_experts_per_tok": 8,
        "num_hidden_layers": 48, "num_key_value_heads": 4, "rms_norm_eps": 1e-06, "rope_scaling": None,
        "rope_theta": 1000000.0, "sliding_window": None, "tie_word_embeddings": False, "use_sliding_window": False,
        "vocab_size": 151936,
    },
    "gemma-2-2b": {
        "architectures": ["Gemma2ForCausalLM"], "attn_logit_softcapping": 50.0, "cache_implementation": "hybrid",
        "final_logit_softcapping": 30.0, "head_dim": 256, "hidden_act": "gelu_pytorch_tanh", "attention_bias": False,
        "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 2304, "intermediate_size": 9216,
        "max_position_embeddings": 8192, "model_type": "gemma2", "num_attention_heads": 8, "num_hidden_layers": 26,
        "num_key_value_heads": 4, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-06, "rope_theta": 10000.0,
        "sliding_window": 4096, "vocab_size": 256000,
    },
    "gemma-3-1b-it": {
        "architectures": ["Gemma3ForCausalLM"], "attn_logit_softcapping": None, "final_logit_softcapping": None,
        "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 1152, "intermediate_size": 6912,
        "max_position_embeddings": 32768, "model_type": "gemma3_text", "num_attention_heads": 4, "num_hidden_layers": 26,
        "num_key_value_heads": 1, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-06, "rope_local_base_freq": 10000,
        "rope_scaling": None, "rope_theta": 1000000, "sliding_window": 512, "sliding_window_pattern": 6,
        "attention_bias": False, "vocab_size": 262144,
    },
    "Phi-3-mini-4k-instruct": {
        "architectures": ["Phi3ForCausalLM"], "embd_pdrop": 0.0, "hidden_act": "silu", "hidden_size": 3072,
        "intermediate_size": 8192, "max_position_embeddings": 4096, "model_type": "phi3", "num_attention_heads": 32,
        "num_hidden_layers": 32, "num_key_value_heads": 32, "original_max_position_embeddings": 4096,
        "resid_pdrop": 0.0, "rms_norm_eps": 1e-05, "rope_scaling": None, "rope_theta": 10000.0, "sliding_window": 2047,
        "tie_word_embeddings": False, "vocab_size": 32064, "attention_bias": False,
    },
    "Phi-3-mini-128k-instruct": {
        "architectures": ["Phi3ForCausalLM"], "hidden_act": "silu", "hidden_size": 3072, "intermediate_size": 8192,
        "max_position_embeddings": 131072, "model_type": "phi3", "num_attention_heads": 32, "num_hidden_layers": 32,
        "num_key_value_heads": 32, "original_max_position_embeddings": 4096, "rms_norm_eps": 1e-05,
        "rope_scaling": _LONG, "rope_theta": 10000.0, "sliding_window": 262144, "tie_word_embeddings": False,
        "vocab_size": 32064,
    },
    "granite-3.3-2b": {
        "architectures": ["GraniteForCausalLM"], "attention_bias": False, "attention_multiplier": 0.015625,
        "embedding_multiplier": 12.0, "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 8192,
        "logits_scaling": 8.0, "max_position_embeddings": 131072, "mlp_bias": False, "model_type": "granite",
        "num_attention_heads": 32, "num_hidden_layers": 40, "num_key_value_heads": 8, "residual_multiplier": 0.22,
        "rms_norm_eps": 1e-05, "rope_scaling": None, "rope_theta": 10000000.0, "tie_word_embeddings": True,
        "vocab_size": 49159,
    },
    "SmolLM3-3B": {
        "architectures": ["SmolLM3ForCausalLM"], "attention_bias": False, "hidden_act": "silu", "hidden_size": 2048,
        "intermediate_size": 11008, "layer_types": ["full_attention"] * 36, "max_position_embeddings": 65536,
        "max_window_layers": 28, "mlp_bias": False, "model_type": "smollm3", "no_rope_layer_interval": 4,
        "no_rope_layers": [1, 1, 1, 0] * 9, "num_attention_heads": 16, "num_hidden_layers": 36, "num_key_value_heads": 4,
        "rms_norm_eps": 1e-06, "rope_scaling": None, "rope_theta": 5000000.0, "sliding_window": None,
        "use_sliding_window": False, "vocab_size": 128256,
    },
    "OLMo-1B-hf": {
        "architectures": ["OlmoForCausalLM"], "attention_bias": False, "clip_qkv": None, "hidden_act": "silu",
        "hidden_size": 2048, "intermediate_size": 8192, "max_position_embeddings": 2048, "model_type": "olmo",
        "num_attention_heads": 16, "num_hidden_layers": 16, "num_key_value_heads": 16, "rope_scaling": None,
        "rope_theta": 10000.0, "tie_word_embeddings": True, "vocab_size": 50304,
    },
    "OLMo-2-0425-1B": {
        "architectures": ["Olmo2ForCausalLM"], "attention_bias": False, "hidden_act": "silu", "hidden_size": 2048,
        "intermediate_size": 8192, "max_position_embeddings": 4096, "model_type": "olmo2", "num_attention_heads": 16,
        "num_hidden_layers": 16, "num_key_value_heads": 16, "rms_norm_eps": 1e-06, "rope_theta": 500000,
        "tie_word_embeddings": False, "vocab_size": 100352,
    },
    "stablelm-2-1_6b": {
        "architectures": ["StableLmForCausalLM"], "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 5632,
        "layer_norm_eps": 1e-05, "max_position_embeddings": 4096, "model_type": "stablelm", "num_attention_heads": 32,
        "num_hidden_layers": 24, "num_key_value_heads": 32, "partial_rotary_factor": 0.25, "rope_theta": 10000,
        "tie_word_embeddings": False, "use_qkv_bias": True, "vocab_size": 100352,
    },
    "starcoder2-3b": {
        "architectures": ["Starcoder2ForCausalLM"], "embedding_dropout": 0.1, "hidden_act": "gelu_pytorch_tanh",
        "hidden_size": 3072, "intermediate_size": 12288, "max_position_embeddings": 16384, "mlp_type": "default",
        "model_type": "starcoder2", "norm_epsilon": 1e-05, "norm_type": "layer_norm", "num_attention_heads": 24,
        "num_hidden_layers": 30, "num_key_value_heads": 2, "residual_dropout": 0.1, "rope_theta": 999999.44,
        "sliding_window": 4096, "use_bias": True, "vocab_size": 49152,
    },
    "DeepSeek-V2-Lite": {
        "architectures": ["DeepseekV2ForCausalLM"], "attention_bias": False, "aux_loss_alpha": 0.001,
        "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV2Config"}, "first_k_dense_replace": 1,
        "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 10944, "kv_lora_rank": 512,
        "max_position_embeddings": 163840, "model_type": "deepseek_v2", "moe_intermediate_size": 1408,
        "moe_layer_freq": 1, "n_group": 1, "n_routed_experts": 64, "n_shared_experts": 2, "norm_topk_prob": False,
        "num_attention_heads": 16, "num_experts_per_tok": 6, "num_hidden_layers": 27, "num_key_value_heads": 16,
        "q_lora_rank": None, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "rms_norm_eps": 1e-06,
        "rope_scaling": {
            "beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 0.707, "mscale_all_dim": 0.707,
            "original_max_position_embeddings": 4096, "type": "yarn",
        },
        "rope_theta": 10000, "routed_scaling_factor": 1.0, "scoring_func": "softmax", "seq_aux": True,
        "tie_word_embeddings": False, "topk_group": 1, "topk_method": "greedy", "v_head_dim": 128, "vocab_size": 102400,
    },
}  # fmt: skip
_NOTED = {"Mistral-7B-v0.1", "Phi-3-mini-4k-instruct", "starcoder2-3b"}
"""Models whose window llama.cpp does not keep."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_settings_are_carried_there_and_back(name: str) -> None:
    config = PUBLISHED[name]
    family = find(config)
    assert family.strangers(config) == ()
    assert bool(family.remarks(config)) == (name in _NOTED)
    decoder = family.decoder(config)
    assert decoder is not None and len(decoder.layers) == config["num_hidden_layers"]
    blockers: list[Blocker] = []
    complete = family.completed(config)
    metadata = {"general.architecture": family.architecture, **family._metadata(complete, blockers)}
    made = {key: from_array(key, values) for key, values in family.made(complete).items()}
    shapes = {"token_embd.weight": (config["vocab_size"],), **_signs(config)}
    tensors = {key: _shaped(key, shape) for key, shape in shapes.items()}
    again = find_gguf(metadata)._config(Record(metadata, {**tensors, **made}), blockers)
    assert not blockers
    assert find(again).decoder(again) == decoder


def _signs(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Tensors by whose presence settings are known."""
    there = {} if find(config).completed(config)["tie_word_embeddings"] else {"output.weight": (1,)}
    there |= {"blk.0.attn_q.bias": (1,)} if config["model_type"] in ("qwen2_moe", "stablelm") else {}
    return there | ({"blk.0.ffn_norm.weight": (1,)} if config["model_type"] == "stablelm" else {})


def _shaped(name: str, shape: tuple[int, ...]) -> Any:
    import numpy as np

    return from_array(name, np.zeros((*shape, 1), np.float32))


_GROUPS = {"topk_method": "group_limited_greedy", "n_group": 8, "topk_group": 3}


@pytest.mark.parametrize(
    ("name", "change", "said", "computed"),
    [
        ("DeepSeek-V2-Lite", _GROUPS, "topk_method", True), ("DeepSeek-V2-Lite", {"q_lora_rank": 1536}, "q_lora_rank", True),
        ("DeepSeek-V2-Lite", {"topk_method": "best"}, "topk_method", False),
        ("DeepSeek-V2-Lite", {"rope_scaling": _YARN}, "mscale", True),
        ("gemma-2-2b", {"query_pre_attn_scalar": 224}, "query_pre_attn_scalar", True),
        ("gemma-3-1b-it", {"use_bidirectional_attention": True}, "use_bidirectional_attention", False),
        ("SmolLM3-3B", {"no_rope_layers": [1] * 36}, "no_rope_layers", True),
        ("Qwen3-30B-A3B", {"norm_topk_prob": False}, "norm_topk_prob", True),
        ("Qwen3-30B-A3B", {"mlp_only_layers": [3]}, "mlp_only_layers", False),
        ("Llama-3.2-1B", {"hidden_act": "gelu"}, "hidden_act", True),
        ("Llama-3.2-1B", {"hidden_act": "strange"}, "hidden_act", False),
        ("Llama-3.2-1B", {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "rope_scaling", False),
        ("Llama-3.2-1B", {"partial_rotary_factor": 0.5}, "partial_rotary_factor", False),
        ("starcoder2-3b", {"use_bias": False}, "use_bias", False),
        ("Mixtral-8x7B-v0.1", {"quantization_config": {"quant_method": "awq"}}, "quantization_config", False),
    ],
)  # fmt: skip
def test_what_llama_cpp_cannot_do_is_declined(name: str, change: dict[str, Any], said: str, computed: bool) -> None:
    config = {**PUBLISHED[name], **change}
    family = find(config)
    with pytest.raises(Declined) as refused:
        family.to_gguf(Checkpoint({}, config, None, Origin("huggingface", Path(name))))
    assert any(said in blocker.node for blocker in refused.value.blockers)
    if computed:
        assert family.decoder(config) is not None
    else:
        with pytest.raises(Declined):
            family.decoder(config)
