"""LoRA adapters, merged and in GGUF's form: against torch's own sums, and executed by libllama, equal both ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.architectures import zoo
from tests.unit.architectures.test_runtimes import _written

from bessemer.architectures.base import find
from bessemer.architectures.lora import merged, to_gguf_adapter
from bessemer.ir.checkpoint import Adapter, Checkpoint, Lazy
from bessemer.ir.errors import Declined
from bessemer.ir.model import Origin
from bessemer.runners.llama import Llama, available
from bessemer.weights import views

_ATTENTION = tuple(f"self_attn.{name}_proj" for name in "qkvo")
_DENSE = (*_ATTENTION, *(f"mlp.{name}_proj" for name in ("gate", "up", "down")))
TARGETS: dict[str, tuple[str, ...]] = {
    "llama": _DENSE, "qwen3": _DENSE, "gemma": _DENSE, "phi3": ("self_attn.qkv_proj", "mlp.gate_up_proj"),
    "stablelm": _ATTENTION, "deepseek-v2": ("self_attn.o_proj", "mlp.shared_experts.up_proj"),
    "qwen3-moe": _ATTENTION,
}  # fmt: skip
"""Modules of each layer that change."""


def _adapter(base: Checkpoint, targets: tuple[str, ...], embedding: bool = False, **settings: Any) -> Checkpoint:
    draw, tensors = np.random.default_rng(7), dict[str, Lazy]()
    layers = base.config["num_hidden_layers"]
    modules = [f"model.layers.{at}.{name}" for at in range(layers) for name in targets]
    for module in modules:
        if f"{module}.weight" not in base.tensors:  # a dense layer among mixtures
            continue
        outputs, inputs = base.tensors[f"{module}.weight"].shape
        rank = settings.get("rank_pattern", {}).get(module.rsplit(".", 1)[1], 4)
        for side, shape in (("A", (rank, inputs)), ("B", (outputs, rank))):
            name = f"base_model.model.{module}.lora_{side}.weight"
            tensors[name] = views.from_array(name, draw.normal(size=shape).astype(np.float32) * 0.2)
    if embedding:
        tokens, hidden = base.tensors["model.embed_tokens.weight"].shape
        for side, shape in (("A", (4, tokens)), ("B", (hidden, 4))):
            name = f"base_model.model.model.embed_tokens.lora_embedding_{side}"
            tensors[name] = views.from_array(name, draw.normal(size=shape).astype(np.float32) * 0.2)
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, **settings}
    return Checkpoint(tensors, {}, None, Origin("huggingface", Path("adapter")), adapter=Adapter(config))


def _torch_sums(base: Checkpoint, adapter: Checkpoint, scale: dict[str, float], factor: float) -> dict[str, Any]:
    """What PEFT's definition gives, worked out by torch."""
    torch = pytest.importorskip("torch")
    held = {name: torch.from_numpy(values) for name, values in zoo.arrays(base.tensors).items()}
    factors = {name: torch.from_numpy(values) for name, values in zoo.arrays(adapter.tensors).items()}
    for name in [name for name in factors if "_A" in name]:
        module = name.removeprefix("base_model.model.").split(".lora_")[0]
        delta = factors[name.replace("_A", "_B")] @ factors[name]
        times = scale.get(module.rsplit(".", 1)[1], scale[""]) * factor
        held[f"{module}.weight"] = held[f"{module}.weight"] + times * (delta.T if "embedding" in name else delta)
    return {name: values.numpy() for name, values in held.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings", "scale", "factor"),
    [
        ("llama", {}, {"": 2.0}, 1.0), ("llama", {"use_rslora": True}, {"": 4.0}, 0.5),
        ("llama", {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"down_proj": 2, "nothing": 9}},
         {"": 2.0, "q_proj": 4.0, "down_proj": 0.5}, 1.0),
        ("qwen3", {"embedding": True}, {"": 2.0}, 1.0),
    ],
)  # fmt: skip
def test_merged_is_the_sum(
    name: str, settings: dict[str, Any], scale: dict[str, float], factor: float, saved: dict[str, Path]
) -> None:
    base = zoo.checkpoint(saved[name])
    adapter = _adapter(base, TARGETS[name], **settings)
    wanted = _torch_sums(base, adapter, scale, factor)
    model = merged(base, adapter, factor)
    got = zoo.arrays(model.tensors)
    assert set(got) == set(wanted) and model.records is None
    for key, values in wanted.items():
        np.testing.assert_allclose(got[key], values, rtol=0, atol=2e-6, err_msg=key)


@pytest.mark.slow
@pytest.mark.skipif(not available(), reason="no libllama is installed")
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *((name, {}) for name in TARGETS), ("llama", {"use_rslora": True}),
        ("llama", {"alpha_pattern": {"o_proj": 3}, "embedding": True}),
    ],
)  # fmt: skip
def test_libllama_with_the_adapter_answers_as_the_merged_model(
    name: str, settings: dict[str, Any], saved: dict[str, Path], tmp_path: Path
) -> None:
    base = zoo.checkpoint(saved[name])
    adapter = _adapter(base, TARGETS[name], **settings)
    whole = _written(tmp_path / "merged.gguf", *find(base.config).to_gguf(merged(base, adapter)))
    plain = _written(tmp_path / "base.gguf", *find(base.config).to_gguf(base))
    beside = _written(tmp_path / "adapter.gguf", *to_gguf_adapter(adapter, base.config))
    answers = []
    for path, adapters in ((whole, ()), (plain, ((beside, 1.0),)), (plain, ())):
        with Llama(path, threads=1, adapters=adapters) as runtime:
            answers.append(np.asarray(runtime.logits(zoo.TOKENS)))
    spread = answers[0].std()
    assert np.abs(answers[0] - answers[1]).max() < (5e-3 if name == "gemma" else 5e-5) * spread
    assert np.abs(answers[0] - answers[2]).max() > 0.1 * spread


@pytest.mark.slow
def test_a_change_of_one_of_tied_matrices_parts_them(saved: dict[str, Path]) -> None:
    base = zoo.checkpoint(saved["qwen2"])
    assert base.config["tie_word_embeddings"]
    model = merged(base, _adapter(base, (), embedding=True))
    assert model.config["tie_word_embeddings"] is False
    held = zoo.arrays(model.tensors)
    np.testing.assert_array_equal(held["lm_head.weight"], zoo.arrays(base.tensors)["model.embed_tokens.weight"])
    assert np.abs(held["lm_head.weight"] - held["model.embed_tokens.weight"]).max() > 0.1


@pytest.mark.slow
def test_types_stay_and_blocks_become_floats(saved: dict[str, Path]) -> None:
    base = zoo.checkpoint(saved["llama"])
    key = "model.layers.0.self_attn.q_proj.weight"
    held = views.mapped(base.tensors[key], lambda values: values, "BF16")
    base.tensors[key] = held
    other = "model.layers.1.self_attn.q_proj.weight"
    base.tensors[other] = views.mapped(base.tensors[other], lambda values: values, "Q8_0")
    model = merged(base, _adapter(base, ("self_attn.q_proj",)))
    assert (model.tensors[key].type, model.tensors[other].type) == ("BF16", "F32")


@pytest.mark.slow
def test_what_llama_cpp_would_not_do_is_declined(saved: dict[str, Path]) -> None:
    base = zoo.checkpoint(saved["llama"])
    with pytest.raises(Declined, match="no such weight"):
        merged(zoo.checkpoint(saved["phi3"]), _adapter(base, ("self_attn.q_proj",)))
    with pytest.raises(Declined, match="the adapter is for"):
        merged(zoo.checkpoint(saved["qwen3"]), _adapter(base, ("self_attn.q_proj",)))
    with pytest.raises(Declined, match="--base"):
        to_gguf_adapter(_adapter(base, ("self_attn.q_proj",)), {})
    latent = zoo.checkpoint(saved["deepseek-v2"])
    with pytest.raises(Declined, match="no such matrix of its own"):
        to_gguf_adapter(_adapter(latent, ("self_attn.kv_b_proj",)), latent.config)
    with pytest.raises(Declined, match="without looking at adapters"):
        to_gguf_adapter(_adapter(latent, ("self_attn.q_a_proj",)), latent.config)
