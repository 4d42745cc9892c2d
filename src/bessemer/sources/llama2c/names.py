"""Meta's names of a Llama's weights, which llama2.c and ggml's first files share, as GGUF's.

All of them hold queries and keys so that neighbours turn together, as GGUF does: the architecture's table brings both the
names and that order into Hugging Face's form.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bessemer.ir.checkpoint import Lazy
from bessemer.sources.llama2c.vocabulary import SPECIAL
from bessemer.weights.views import renamed

ENDS = {"tok_embeddings": "token_embd", "norm": "output_norm", "output": "output"}
LAYER = {
    "attention.wq": "attn_q", "attention.wk": "attn_k", "attention.wv": "attn_v", "attention.wo": "attn_output",
    "feed_forward.w1": "ffn_gate", "feed_forward.w2": "ffn_down", "feed_forward.w3": "ffn_up",
    "attention_norm": "attn_norm", "ffn_norm": "ffn_norm",
}  # fmt: skip
COMPUTED = ("freqs_cis", "freqs_cos", "freqs_sin", "rope.freqs", "inner_attention.rope.freqs")
"""Tables of angles that some files store; they follow from the sizes."""
_LAYER = re.compile(r"layers\.(\d+)\.(.+)")


@dataclass(frozen=True)
class Facts:
    """A Llama's sizes. theta: base of the rotation; eps: of the norms; head: elements of a head, 0 for dim / heads."""

    dim: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    vocab: int
    context: int
    eps: float = 1e-5
    theta: float = 10000.0
    head: int = 0

    @property
    def metadata(self) -> dict[str, Any]:
        """As a GGUF file says them."""
        head = self.head or self.dim // self.heads
        return {
            "llama.attention.key_length": head, "llama.attention.value_length": head,
            "general.architecture": "llama", "llama.context_length": self.context, "llama.embedding_length": self.dim,
            "llama.block_count": self.layers, "llama.feed_forward_length": self.hidden,
            "llama.rope.dimension_count": head, "llama.attention.head_count": self.heads,
            "llama.attention.head_count_kv": self.kv_heads, "llama.attention.layer_norm_rms_epsilon": self.eps,
            "llama.rope.freq_base": self.theta, "llama.vocab_size": self.vocab,
        }  # fmt: skip


def is_meta(tensors: Mapping[str, Any]) -> bool:
    """Whether these are Meta's names of a Llama."""
    return {"tok_embeddings.weight", "layers.0.attention.wq.weight", "layers.0.feed_forward.w1.weight"} <= set(tensors)


def translated(facts: Facts, tensors: Mapping[str, Lazy]) -> tuple[dict[str, Any], dict[str, Lazy]]:
    """config.json and tensors in Hugging Face's form. Raises Declined with every tensor that is missing or left over."""
    from bessemer.architectures.base import find_gguf

    kept = {name: tensor for name, tensor in tensors.items() if not name.endswith(COMPUTED)}
    named = {_gguf(name): renamed(tensor, _gguf(name)) for name, tensor in kept.items()}
    metadata = {**facts.metadata, **SPECIAL}
    return find_gguf(metadata).from_gguf(metadata, named)


def _gguf(name: str) -> str:
    """GGUF's name; the same for one that is not known, which the table then refuses."""
    plain = name.removesuffix(".weight")
    inside = _LAYER.fullmatch(plain)
    if inside and inside[2] in LAYER:
        return f"blk.{int(inside[1])}.{LAYER[inside[2]]}.weight"
    return f"{ENDS[plain]}.weight" if plain in ENDS else name
