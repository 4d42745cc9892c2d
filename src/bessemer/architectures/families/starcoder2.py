"""StarCoder 2: layer norms, biases everywhere, a feed-forward without a gate."""

from __future__ import annotations

from bessemer.architectures import common, rope
from bessemer.architectures.base import Config, Family
from bessemer.architectures.settings import Fixed, Setting, Value, real
from bessemer.ir.decoder import Decoder

_SETTINGS: tuple[Setting, ...] = (
    *common.SIZES, common.HeadDim(),
    Value("attention.layer_norm_epsilon", "norm_epsilon", real), common.THETA, common.WHOLE_ROPE,
    Fixed("hidden_act", ("gelu_pytorch_tanh", "gelu_new")), Fixed("use_bias", (True,)), common.WINDOW,
    rope.Scaling(("linear", "yarn")), Fixed("mlp_type", (None, "default")), Fixed("norm_type", (None, "layer_norm")),
)  # fmt: skip


def _computes(config: Config) -> Decoder:
    fields = common.plain(config)
    layers = tuple(common.in_window(config, at, layer) for at, layer in enumerate(fields["layers"]))
    more = {"layers": layers, "norm": "layer", "eps": config["norm_epsilon"], "gated": False}
    return Decoder(**{**fields, **more})


FAMILIES = (
    Family(
        "starcoder2", "starcoder2", ("starcoder2",), ("Starcoder2ForCausalLM",),
        (
            *common.ends(bias=True), *common.norms(bias=True), *common.attention(permuted=False, bias=True),
            *common.weight("blk.{i}.ffn_up", common.LAYER + "mlp.c_fc", bias=True),
            *common.weight("blk.{i}.ffn_down", common.LAYER + "mlp.c_proj", bias=True),
        ),
        _SETTINGS, computes=_computes,
        defaults={
            "norm_epsilon": 1e-5, "rope_theta": 10000.0, "hidden_act": "gelu_pytorch_tanh", "tie_word_embeddings": True,
            "max_position_embeddings": 4096, "num_key_value_heads": 2, "use_bias": True,
        },
        complete=common.completed, notes=common.window_note,
    ),
)  # fmt: skip
