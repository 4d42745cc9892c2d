"""llama.cpp's mixes as data: what each file type makes of a tensor, by its part in the model.

The rules are those of llama.cpp's llama-quant.cpp (`llama_tensor_get_type_impl`, `tensor_allows_quantization`,
`tensor_type_fallback`); what a converter keeps in float32 is convert_hf_to_gguf.py's list. In every list the first rule that
holds counts; where none does, the tensor gets the mix's base type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

MIXES: Mapping[str, tuple[int, str]] = {
    "F32": (0, "F32"), "F16": (1, "F16"), "Q4_0": (2, "Q4_0"), "Q4_1": (3, "Q4_1"), "Q8_0": (7, "Q8_0"),
    "Q5_0": (8, "Q5_0"), "Q5_1": (9, "Q5_1"), "Q2_K": (10, "Q2_K"), "Q3_K_S": (11, "Q3_K"), "Q3_K_M": (12, "Q3_K"),
    "Q3_K_L": (13, "Q3_K"), "Q4_K_S": (14, "Q4_K"), "Q4_K_M": (15, "Q4_K"), "Q5_K_S": (16, "Q5_K"),
    "Q5_K_M": (17, "Q5_K"), "Q6_K": (18, "Q6_K"), "Q2_K_S": (21, "Q2_K"), "IQ4_NL": (25, "IQ4_NL"),
    "IQ4_XS": (30, "IQ4_XS"), "BF16": (32, "BF16"), "TQ1_0": (36, "TQ1_0"), "TQ2_0": (37, "TQ2_0"),
    "MXFP4_MOE": (38, "MXFP4"), "Q1_0": (40, "Q1_0"), "Q2_0": (41, "Q2_0"),
}  # fmt: skip
"""Mix -> general.file_type and base type."""

WEIGHED = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS")
"""Formats whose encoders take an importance matrix into account."""

SEARCHED = ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "IQ3_XS", "IQ3_S", "IQ3_M")
"""Mixes of formats without an encoder here."""


@dataclass(frozen=True)
class Place:
    """What rules ask about a tensor. layer: its number among those of its kind; layers: how many there are;
    heads: query heads per key-value head (rounded down, 0 where there are none); weighed: with an importance matrix."""

    layer: int
    layers: int
    heads: int
    experts: int
    falcon: bool
    weighed: bool

    @property
    def eighth(self) -> bool:
        """In the first eighth of the layers."""
        return self.layer < self.layers // 8

    @property
    def sixteenth(self) -> bool:
        """In the first sixteenth."""
        return self.layer < self.layers // 16

    @property
    def more(self) -> bool:
        """In the first or last eighth, or each third between (use_more_bits)."""
        return self.eighth or self.layer >= 7 * self.layers // 8 or (self.layer - self.layers // 8) % 3 == 2


Rule = tuple[str, Callable[[Place], bool]]
Rules = Mapping[str, tuple[Rule, ...]]


def _always(place: Place) -> bool:
    return True


def _grouped(place: Place) -> bool:
    return place.heads >= 4


VALUE: Rules = {
    "Q2_K": (("Q4_K", _grouped), ("Q3_K", _always)),
    "Q2_K_S": (("Q4_K", _grouped),),
    "Q3_K_M": (("Q5_K", lambda place: place.layer < 2), ("Q4_K", _always)),
    "Q3_K_L": (("Q5_K", _always),),
    "IQ4_NL": (("Q5_K", _grouped),),
    "IQ4_XS": (("Q5_K", _grouped),),
    "Q4_K_M": (("Q6_K", lambda place: place.more),),
    "Q5_K_M": (("Q6_K", lambda place: place.more),),
    "Q4_K_S": (("Q5_K", lambda place: place.layer < 4),),
}
"""attn_v, attn_qkv, attn_kv_b."""

DOWN: Rules = {
    "Q2_K": (("Q3_K", _always),),
    "Q2_K_S": (("Q4_K", lambda place: place.eighth),),
    "Q3_K_M": (
        ("Q5_K", lambda place: place.sixteenth),
        ("Q4_K", lambda place: not place.falcon or place.more),
    ),
    "Q3_K_L": (("Q4_K", lambda place: place.falcon), ("Q5_K", _always)),
    "Q4_K_M": (
        ("Q6_K", lambda place: place.sixteenth if place.falcon else place.more),
        ("Q5_K", lambda place: place.falcon and place.more),
    ),
    "IQ4_NL": (("Q5_K", lambda place: place.eighth and not place.weighed),),
    "IQ4_XS": (("Q5_K", lambda place: place.eighth and not place.weighed),),
    "Q5_K_M": (("Q6_K", lambda place: place.more),),
    "Q4_K_S": (("Q5_K", lambda place: place.eighth and not place.falcon),),
    "Q4_0": (("Q4_1", lambda place: place.eighth and place.weighed),),
    "Q5_0": (("Q5_1", lambda place: place.eighth and place.weighed),),
}
"""ffn_down."""

_EIGHT_EXPERTS: Rule = ("Q5_K", lambda place: place.experts == 8 and not place.falcon)


def _dense(place: Place) -> bool:
    return place.experts != 8 and not place.falcon


OUT: Rules = {
    **dict.fromkeys(("Q3_K_S", "IQ4_NL", "Q4_K_S", "Q4_K_M", "IQ4_XS"), (_EIGHT_EXPERTS,)),
    "Q2_K": (_EIGHT_EXPERTS, ("Q3_K", _dense)),
    "Q3_K_M": (_EIGHT_EXPERTS, ("Q4_K", _dense)),
    "Q3_K_L": (("Q4_K", lambda place: place.falcon), ("Q5_K", _dense)),
}
"""attn_output."""

EMBEDDING: Rules = dict.fromkeys(("TQ1_0", "TQ2_0", "Q2_0"), (("Q4_K", _always),))
"""token_embd where there is an output matrix."""

SEVENTY_BILLION = {"llama": 80, "qwen2": 80, "deci": 80, "olmo": 80, "jais2": 68}
"""Layers by which llama.cpp knows a 70B model (a llama: if it has fewer key-value heads than heads)."""

SMALLER = {
    **dict.fromkeys(("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_XS"), "IQ4_NL"),
    **dict.fromkeys(("Q2_0", "Q2_K", "Q3_K", "TQ1_0", "TQ2_0"), "Q4_0"),
    "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0",
}  # fmt: skip
"""For rows that a type's blocks do not fill: the type with blocks of 32 to take (F16 where these do not fill them, too)."""

KEPT = (
    "_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel", "per_layer_model_proj",
    "ssm_conv1d", "shortconv.conv.weight", "indexer.k_proj.weight", "indexer.q_proj.weight", "time_mix_first.weight",
    "time_mix_w0.weight", "time_mix_w1.weight", "time_mix_w2.weight", "time_mix_v0.weight", "time_mix_v1.weight",
    "time_mix_v2.weight", "time_mix_a0.weight", "time_mix_a1.weight", "time_mix_a2.weight", "time_mix_g1.weight",
    "time_mix_g2.weight", "time_mix_decay_w1.weight", "time_mix_decay_w2.weight", "time_mix_lerp_fused.weight",
    "attn_rel_b.weight", ".position_embd", "sam.pos_embd", "sam.neck.", "sam.net_", ".rel_pos", ".patch_embd",
    ".patch_merger", "a.rvq.codebook", "mm.a.code_embd",
)  # fmt: skip
"""Parts of the names of matrices that are not quantized."""
KEPT_WHOLE = ("position_embd.weight", "token_types.weight")

KEPT_OF = {
    "glm5-next": (
        "hc_", "indexer.attn_q_b", "indexer.attn_k", "indexer.proj", "indexer_compressor_gate", "indexer_compressor_ape",
        "ssm_f_a.weight", "ssm_f_b.weight", "ssm_g_a.weight", "ssm_g_b.weight", "ssm_beta.weight", "attn_kv_a_mqa.weight",
        "attn_k_b.weight", "attn_v_b.weight",
    ),
}  # fmt: skip
"""Further ones of an architecture."""
AT_LEAST_Q8_0 = {"glm5-next": ("attn_q_a", "attn_q_b", "nextn.eh_proj")}

SINGLE = (
    ".ffn_gate_inp.weight", ".ffn_gate_inp_shexp.weight", ".ssm_conv1d.weight", ".shortconv.conv.weight",
    ".time_mix_first.weight", ".time_mix_w1.weight", ".time_mix_w2.weight", ".time_mix_decay_w1.weight",
    ".time_mix_decay_w2.weight", ".time_mix_lerp_fused.weight", ".altup_correct_coef.weight", ".altup_predict_coef.weight",
    ".ssm_conv1d_q.weight", ".ssm_conv1d_k.weight", ".ssm_conv1d_v.weight", ".indexer.proj.weight", "_norm.weight",
)  # fmt: skip
"""How the names of matrices end that a converter writes as float32, for that is how llama.cpp computes with them."""
SINGLE_WHOLE = ("position_embd.weight", "token_types.weight", "v.position_embd.weight", "a.position_embd.weight")
MATRIX_ENDINGS = (".weight", ".lora_a", ".lora_b")
"""What does not end so is float32, too."""


def chosen(rules: Rules, mix: str, place: Place) -> str | None:
    """The type by the first rule of a mix that holds."""
    return next((kind for kind, holds in rules.get(mix, ()) if holds(place)), None)
