"""Phi-3 and Phi-4 (mini and larger): queries, keys and values in one matrix, gate and up in one, longrope."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bessemer.architectures import common, rope
from bessemer.architectures.base import Config, Family, Pair
from bessemer.architectures.settings import Harmless, Record, Refused, Setting, Value
from bessemer.architectures.share import RotaryShare, rotated
from bessemer.ir.decoder import Decoder

_AT = common.LAYER
_TENSORS = (
    *common.ends(),
    *common.norms(),
    Pair("blk.{i}.attn_qkv.weight", _AT + "self_attn.qkv_proj.weight"),
    Pair("blk.{i}.attn_output.weight", _AT + "self_attn.o_proj.weight"),
    Pair("blk.{i}.ffn_up.weight", _AT + "mlp.gate_up_proj.weight"),
    Pair("blk.{i}.ffn_down.weight", _AT + "mlp.down_proj.weight"),
)


class _Window:
    """'attention.sliding_window' of 0 is none."""

    keys = ("sliding_window",)

    def write(self, config: Config, blockers: list[Any]) -> dict[str, Any]:
        return {"attention.sliding_window": int(config.get("sliding_window", 0))}

    def read(self, record: Record, blockers: list[Any]) -> dict[str, Any]:
        window = record.get("attention.sliding_window")
        return {"sliding_window": int(window) if window else None}


_SETTINGS: tuple[Setting, ...] = (
    *common.SIZES, common.HeadDim(), common.RMS, common.THETA, common.SILU, RotaryShare(),
    rope.Scaling(("longrope",)), _Window(),
    Value("rope.scaling.original_context_length", "original_max_position_embeddings", default=4096),
    Harmless(("embd_layer",)), Refused("attention_bias", "llama.cpp's graph of Phi-3 has no biases"),
)  # fmt: skip


def _computes(config: Config) -> Decoder:
    fields = common.plain(config, rotated(config))
    layers = tuple(common.in_window(config, at, layer) for at, layer in enumerate(fields["layers"]))
    return Decoder(**{**fields, "layers": layers, "fused_qkv": True, "fused_gate": True})


def _made(config: Config) -> dict[str, npt.NDArray[np.float32]]:
    return rope.longrope_tensors(config, rotated(config))


FAMILIES = (
    Family(
        "phi3", "phi3", ("phi3",), ("Phi3ForCausalLM",), _TENSORS, _SETTINGS,
        computes=_computes,
        defaults={
            "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": False,
            "max_position_embeddings": 4096, "original_max_position_embeddings": 4096,
        },
        complete=common.completed, made=_made, notes=common.window_note,
    ),
)  # fmt: skip
