"""Small random decoders of many architectures as transformers saves them, every weight and bias drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SIZES = {
    "vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 36,
    "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
GROUPED = {**SIZES, "num_key_value_heads": 2}
GPT2 = {"vocab_size": 99, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "bos_token_id": 1, "eos_token_id": 2}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "rope_theta": 10000.0}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 16, "rope_theta": 10000.0}  # fmt: skip
QWEN_EXPERTS = {
    **GROUPED, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 20, "decoder_sparse_step": 1,
    "mlp_only_layers": [],
}  # fmt: skip
DEEPSEEK = {
    **SIZES, "num_key_value_heads": 4, "q_lora_rank": None, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4,
    "v_head_dim": 6, "head_dim": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1,
    "moe_intermediate_size": 20,
    "first_k_dense_replace": 1, "routed_scaling_factor": 1.5, "n_group": 1, "topk_group": 1, "topk_method": "greedy",
}  # fmt: skip

CAUSAL: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", GROUPED),
    "llama-tied-biases": ("Llama", {**GROUPED, "tie_word_embeddings": True, "attention_bias": True}),
    "llama3": ("Llama", {**GROUPED, "rope_parameters": LLAMA3}),
    "llama-yarn": ("Llama", {**GROUPED, "rope_parameters": YARN}),
    "mistral": ("Mistral", {**GROUPED, "sliding_window": 6, "head_dim": 8}),
    "mixtral": ("Mixtral", {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None}),
    "qwen2": ("Qwen2", GROUPED),
    "qwen2-moe": ("Qwen2Moe", {**QWEN_EXPERTS, "shared_expert_intermediate_size": 24}),
    "qwen3": ("Qwen3", {**GROUPED, "head_dim": 8}),
    "qwen3-moe": ("Qwen3Moe", {**QWEN_EXPERTS, "head_dim": 8, "norm_topk_prob": True}),
    "gemma": ("Gemma", {**GROUPED, "head_dim": 8}),
    "gemma2": ("Gemma2", {**GROUPED, "head_dim": 8, "sliding_window": 6, "query_pre_attn_scalar": 8}),
    "gemma3": ("Gemma3", {**GROUPED, "num_hidden_layers": 6, "head_dim": 8, "sliding_window": 6,
                          "query_pre_attn_scalar": 8}),
    "phi": ("Phi", {**SIZES, "partial_rotary_factor": 0.5}),
    "phi3": ("Phi3", GROUPED),
    "gpt2": ("GPT2", GPT2),
    "gpt-neox": ("GPTNeoX", {**SIZES, "rotary_pct": 0.5, "use_parallel_residual": True}),
    "gpt-neox-serial": ("GPTNeoX", {**SIZES, "use_parallel_residual": False}),
    "bloom": ("Bloom", {"vocab_size": 99, "hidden_size": 32, "n_layer": 2, "n_head": 4, "bos_token_id": 1,
                        "eos_token_id": 2}),
    "falcon": ("Falcon", {**SIZES, "new_decoder_architecture": False, "multi_query": True, "alibi": False, "bias": False}),
    "falcon-40b": ("Falcon", {**SIZES, "new_decoder_architecture": True, "num_kv_heads": 2, "alibi": False, "bias": False}),
    "mpt": ("Mpt", {"vocab_size": 99, "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 64}),
    "starcoder2": ("Starcoder2", {**GROUPED, "use_bias": True, "sliding_window": None}),
    "stablelm": ("StableLm", {**GROUPED, "partial_rotary_factor": 0.5, "use_qkv_bias": True}),
    "olmo": ("Olmo", {**GROUPED, "clip_qkv": 0.5}),
    "olmo2": ("Olmo2", GROUPED),
    "granite": ("Granite", {**GROUPED, "embedding_multiplier": 3.0, "residual_multiplier": 0.5, "attention_multiplier": 0.3,
                            "logits_scaling": 2.0}),
    "smollm3": ("SmolLM3", {**GROUPED, "num_hidden_layers": 4}),
    "deepseek-v2": ("DeepseekV2", DEEPSEEK),
    "deepseek-v2-ranked": ("DeepseekV2", {**DEEPSEEK, "q_lora_rank": 12}),
}  # fmt: skip
"""name -> what the classes of transformers begin with, and settings."""
KINDS = {"GPT2": "GPT2LMHeadModel", "Gemma3": "Gemma3ForCausalLM"}
CONFIGS = {"Gemma3": "Gemma3TextConfig"}


def made(name: str, folder: Path) -> tuple[Any, Path]:
    """A model of transformers and where it was saved. Norms are drawn, too, so that each one counts."""
    import torch
    import transformers

    kind, settings = CAUSAL[name]
    config = getattr(transformers, CONFIGS.get(kind, f"{kind}Config"))(**settings)
    torch.manual_seed(0)
    model = getattr(transformers, KINDS.get(kind, f"{kind}ForCausalLM"))._from_config(config, attn_implementation="eager")
    with torch.no_grad():
        for parameter in model.eval().parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 1.2 / max(parameter.shape[-1], 1) ** 0.5)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(folder / name)
    return model, folder / name
