"""What a transformer computes, as data: one description that the reference evaluator and the graph builder both read.

An architecture's family (`bessemer.architectures`) fills it from a config.json. Weights are asked for by role. Roles are
GGUF's tensor names ('token_embd.weight', 'blk.3.attn_q.weight', 'blk.3.ffn_gate_exps.weight', 'output_norm.weight'),
with the values in Hugging Face's layout: rope is not permuted, Gemma's norms are stored minus one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Activation = Literal["silu", "gelu", "gelu_tanh", "relu", "relu2", "tanh", "sigmoid"]


@dataclass(frozen=True)
class Rope:
    """Rotary positions (Su et al. 2021). dims: rotated elements of a head, its first ones; theta: base of the frequencies.

    interleaved: neighbours turn together (GPT-J, DeepSeek); else element i with i + dims / 2 (GPT-NeoX, Llama).
    inverse: frequency of each pair in radians per position where a scaling changes them (llama3, yarn, longrope, linear:
    the family works them out); empty: theta ** (-2 i / dims). magnitude: factor of cosine and sine (yarn, longrope).
    """

    dims: int
    theta: float
    interleaved: bool = False
    inverse: tuple[float, ...] = ()
    magnitude: float = 1.0


@dataclass(frozen=True)
class Latent:
    """Multi-head latent attention (DeepSeek-V2, section 2.1). query_rank 0: queries are not compressed (role attn_q), else
    attn_q_a, attn_q_a_norm, attn_q_b. attn_kv_a_mqa's rows: key_rank, then rope_dim; attn_kv_a_norm; attn_kv_b's rows: of
    each head nope_dim of its key, then value_dim."""

    query_rank: int
    key_rank: int
    nope_dim: int
    rope_dim: int
    value_dim: int


@dataclass(frozen=True)
class Experts:
    """A mixture of experts. used: experts per token; normalized: the chosen weights are scaled to sum 1; scale: factor of
    them after that; sigmoid: scores are sigmoids (DeepSeek-V3), else a softmax over all experts;
    softmax_after: the softmax runs over the chosen experts alone (Mixtral's and GPT-OSS's way; equal to normalized);
    shared: whether experts that every token goes through stand beside; shared_gate: with a sigmoid gate (Qwen2-MoE).
    groups, groups_used: experts are chosen inside the best groups.
    """

    count: int
    used: int
    normalized: bool
    scale: float = 1.0
    sigmoid: bool = False
    softmax_after: bool = False
    shared: bool = False
    shared_gate: bool = False
    groups: int = 1
    groups_used: int = 1


@dataclass(frozen=True)
class Layer:
    """What may differ from layer to layer. rope: None for a layer without positions; window: how many latest positions are
    seen, itself included; None for all; experts: None for a dense feed-forward."""

    rope: Rope | None = None
    window: int | None = None
    experts: Experts | None = None


@dataclass(frozen=True)
class Decoder:
    """A stack of attention and feed-forward, causal or not. All sizes are of Hugging Face's config.

    heads, kv_heads, head_dim: value heads have head_dim as well, but with `latent`;
    scale: factor of the scores before the softmax; softcap: c * tanh(scores / c), 0 for none;
    norm: of every block; norm_offset: added to a norm's weight (Gemma); eps: of all norms;
    qk_norm: 'rms-head' or 'layer-head' normalize each head (roles attn_q_norm, attn_k_norm), 'rms-all' the whole vector;
    positions: 'rope', 'learned' (role position_embd), 'alibi' (alibi_bias: largest slope exponent), 'none';
    position_offset: of learned positions (RoBERTa);
    pre_norm: norms in front of attention and feed-forward (roles attn_norm, ffn_norm); post_norm: norms of their results
    before they are added (Gemma 2: post_attention_norm, post_ffw_norm); after_norm: the sums are normalized (BERT:
    attn_output_norm, layer_output_norm);
    parallel: attention and feed-forward read the same input and are added together; its norms: 'one' shared (Falcon,
    Phi-2: attn_norm) or 'two' (GPT-NeoX: attn_norm, ffn_norm; Falcon 40B: attn_norm, attn_norm_2);
    gated: activation(gate(x)) * up(x); fused_qkv: role attn_qkv (rows: queries, keys, values), else attn_q, attn_k, attn_v;
    fused_gate: role ffn_up holds gate then up (Phi-3);
    embedding_scale, residual_scale, logit_scale: factors (logit_scale multiplies); logit_softcap; embedding_norm: role
    token_embd_norm; token_types: BERT's second embedding; tied: the output matrix is token_embd;
    clip_qkv: limit of what the projections give. Biases are wherever the weights hold a role ending in '.bias'.
    """

    layers: tuple[Layer, ...]
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    context: int
    activation: Activation
    eps: float
    scale: float
    norm: Literal["rms", "layer"] = "rms"
    norm_offset: float = 0.0
    causal: bool = True
    softcap: float = 0.0
    qk_norm: Literal["", "rms-head", "layer-head", "rms-all"] = ""
    positions: Literal["rope", "learned", "alibi", "none"] = "rope"
    position_offset: int = 0
    alibi_bias: float = 8.0
    pre_norm: bool = True
    post_norm: bool = False
    after_norm: bool = False
    final_norm: bool = True
    parallel: Literal["", "one", "two"] = ""
    gated: bool = True
    fused_qkv: bool = False
    fused_gate: bool = False
    latent: Latent | None = None
    embedding_scale: float = 1.0
    residual_scale: float = 1.0
    logit_scale: float = 1.0
    logit_softcap: float = 0.0
    embedding_norm: bool = False
    token_types: bool = False
    tied: bool = False
    clip_qkv: float = 0.0
    notes: tuple[str, ...] = field(default=())
