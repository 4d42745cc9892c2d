"""Every Llama-like family on tiny random models of transformers: to GGUF's form and back, names and keys against gguf's."""

from __future__ import annotations

import contextlib
import json
import random
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.architectures import zoo

from bessemer.architectures.base import families, find, find_gguf, stays_f32
from bessemer.ir.checkpoint import Checkpoint
from bessemer.ir.errors import Declined
from bessemer.weights import views

_SAME_CLASS = sorted(set(zoo.MODELS) - {"mistral"})  # without a window it is a Llama, and GGUF calls it one


@pytest.fixture(scope="module")
def held(saved: dict[str, Path]) -> dict[str, Checkpoint]:
    return {name: zoo.checkpoint(folder) for name, folder in saved.items()}


def test_a_real_model_is_the_file_that_llama_cpp_made(real_asset: Callable[[str], Path]) -> None:
    from bessemer.sources.gguf.records import records

    checkpoint = zoo.checkpoint(real_asset("llm/stories260K/hf"))
    file = records(real_asset("llm/stories260K/stories260K-f32.gguf"))
    metadata, tensors = find(checkpoint.config).to_gguf(checkpoint)
    assert zoo.same(tensors, dict(file.tensors)) == []
    theirs = {key: value for key, value in file.metadata.items() if key.startswith("llama.")}
    assert {key: np.float32(metadata[key]) for key in theirs} == {key: np.float32(value) for key, value in theirs.items()}


@pytest.mark.parametrize(
    "name",
    ["stories260K/stories260K-q4_0.gguf", "stories260K/stories260K-q8_0.gguf", "gguf/llama-2-tiny-random_NOTTRAINED.gguf"],
)
def test_real_quantized_files_go_there_and_back(name: str, real_asset: Callable[[str], Path]) -> None:
    from bessemer.sources.gguf.records import records

    file = records(real_asset(f"llm/{name}"))
    family = find_gguf(file.metadata)
    _, tensors = family.to_gguf(zoo.back(family, dict(file.metadata), dict(file.tensors)))
    assert set(tensors) == set(file.tensors)
    for held in tensors.values():
        other = file.tensors[held.name]
        assert (held.type, held.shape) == (other.type, other.shape)
        np.testing.assert_array_equal(held.read(0, held.rows), other.read(0, other.rows))


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo.MODELS)
def test_to_gguf_and_back_is_the_same_model(
    name: str, answers: dict[str, tuple[Path, Any]], held: dict[str, Checkpoint], tmp_path: Path
) -> None:
    checkpoint = held[name]
    family = find(checkpoint.config)
    assert not family.strangers(checkpoint.config)
    metadata, tensors = family.to_gguf(checkpoint)
    there = find_gguf(metadata)
    assert (there.name == family.name) == (name in _SAME_CLASS)
    again = zoo.back(there, metadata, tensors)
    assert zoo.same(checkpoint.tensors, again.tensors) == []
    assert there.decoder(again.config) == family.decoder(checkpoint.config)
    np.testing.assert_array_equal(_logits(_written(again, tmp_path)), answers[name][1])


def _written(checkpoint: Checkpoint, folder: Path) -> Path:
    from safetensors.numpy import save_file

    (folder / "config.json").write_text(json.dumps(checkpoint.config))
    save_file(zoo.arrays(checkpoint.tensors), folder / "model.safetensors", {"format": "pt"})
    return folder


def _logits(folder: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    model, report = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    with torch.no_grad():
        return model(torch.tensor([zoo.TOKENS])).logits[0].numpy()


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo.MODELS)
def test_names_and_keys_are_those_of_the_gguf_package(name: str, held: dict[str, Checkpoint]) -> None:
    gguf = pytest.importorskip("gguf")
    family = find(held[name].config)
    metadata, tensors = family.to_gguf(held[name])
    kind = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == family.architecture)
    names = gguf.get_tensor_name_map(kind, held[name].config["num_hidden_layers"])
    for hf in held[name].tensors:
        theirs = names.get_name(_their_spelling(hf), (".weight", ".bias"))
        assert theirs in tensors, (hf, theirs)
    known = {
        str(value).replace("{arch}", family.architecture)
        for group in vars(gguf.Keys).values() if isinstance(group, type)
        for value in vars(group).values() if isinstance(value, str)
    }  # fmt: skip
    assert set(metadata) <= known


def _their_spelling(name: str) -> str:
    """What llama.cpp's converter makes of a name before it looks it up."""
    name = re.sub(r"block_sparse_moe\.experts\.\d+\.(w\d)", r"block_sparse_moe.experts.\1", name)
    name = name.replace("model.layers", "layers", 1) if "block_sparse_moe.experts" in name else name
    name = name.replace("block_sparse_moe", "feed_forward", 1) if "block_sparse_moe.experts" in name else name
    name = re.sub(r"mlp\.experts\.\d+\.", "mlp.experts.", name)
    name = re.sub(r"layernorm\.norms\.\d+\.", "layernorm.", name)
    return name.replace("kv_b_proj", "k_b_proj").replace("e_score_correction_bias", "e_score_correction.bias")


@pytest.mark.slow
def test_values_of_settings(held: dict[str, Checkpoint]) -> None:
    metadata, tensors = find(held["llama-3"].config).to_gguf(held["llama-3"])
    assert metadata["general.architecture"] == "llama"
    assert metadata["llama.attention.head_count_kv"] == 4 and metadata["llama.rope.dimension_count"] == 64
    assert "output.weight" not in tensors and tensors["rope_freqs.weight"].shape == (32,)
    metadata, _ = find(held["gemma3"].config).to_gguf(held["gemma3"])
    assert metadata["gemma3.rope.freq_base"] == 1e6 and metadata["gemma3.rope.freq_base_swa"] == 1e4
    assert "gemma3.attention.sliding_window_pattern" not in metadata
    metadata, _ = find(held["deepseek-v2-yarn"].config).to_gguf(held["deepseek-v2-yarn"])
    assert metadata["deepseek2.rope.scaling.yarn_log_multiplier"] == pytest.approx(0.0707)
    assert metadata["deepseek2.attention.head_count_kv"] == 1 and metadata["deepseek2.attention.key_length"] == 40


@pytest.mark.slow
def test_everything_that_is_missing_is_told_at_once(held: dict[str, Checkpoint]) -> None:
    source = held["llama"]
    tensors = dict(source.tensors)
    tensors["model.layers.0.strange.weight"] = tensors.pop("model.layers.1.mlp.up_proj.weight")
    config = {
        **source.config, "quantization_config": {"quant_method": "gptq"}, "hidden_act": "relu",
        "rope_scaling": {"rope_type": "dynamic", "factor": 2.0}, "rope_parameters": None,
    }  # fmt: skip
    with pytest.raises(Declined) as refused:
        find(config).to_gguf(Checkpoint(tensors, config, None, source.origin))
    said = {blocker.node: blocker.reason for blocker in refused.value.blockers}
    assert set(said) == {
        "quantization_config", "hidden_act", "rope_scaling", "model.layers.0.strange.weight",
        "model.layers.1.mlp.up_proj.weight",
    }  # fmt: skip
    assert "dynamic" in said["rope_scaling"] and "relu" in said["hidden_act"]


@pytest.mark.slow
def test_tensors_that_do_not_fit_the_settings_are_declined(held: dict[str, Checkpoint]) -> None:
    source = held["llama"]
    config = {**source.config, "num_attention_heads": 3, "num_key_value_heads": 3}
    with pytest.raises(Declined, match="heads"):
        find(config).to_gguf(Checkpoint(source.tensors, config, None, source.origin))
    metadata, tensors = find(source.config).to_gguf(source)
    with pytest.raises(Declined, match="context_length"):
        find_gguf(metadata).from_gguf({**metadata, "llama.context_length": "many"}, tensors)
    del metadata["llama.block_count"]
    with pytest.raises(Declined, match="block_count"):
        find_gguf(metadata).from_gguf(metadata, tensors)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "key", "value", "reason"),
    [
        ("llama", "attention.scale", 0.5, "no place"), ("llama", "rope.dimension_count", 8, "config.json would mean 16"),
        ("llama", "attention.value_length", 8, "values of another size"), ("llama", "attention.causal", False, "no place"),
        ("llama", "feed_forward_length", [96, 80], "for all layers"), ("qwen3-moe", "expert_weights_scale", 2.5, "no place"),
        ("deepseek-v2", "expert_gating_func", 2, "no place in config.json"),
        ("deepseek-v2", "attention.key_length", 99, "config.json would mean 40"),
    ],
)  # fmt: skip
def test_what_a_file_says_is_not_lost(name: str, key: str, value: Any, reason: str, held: dict[str, Checkpoint]) -> None:
    metadata, tensors = find(held[name].config).to_gguf(held[name])
    family = find_gguf(metadata)
    metadata[f"{family.architecture}.rope.scaling.finetuned"] = False
    family.from_gguf(metadata, tensors)
    with pytest.raises(Declined, match=reason):
        family.from_gguf({**metadata, f"{family.architecture}.{key}": value}, tensors)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "old"), [("qwen3-moe", "mlp"), ("qwen2-moe", "mlp"), ("mixtral", "block_sparse_moe")])
def test_experts_that_lie_in_one_tensor_are_the_same(name: str, old: str, held: dict[str, Checkpoint]) -> None:
    """transformers 5 holds them so in memory: gate and up in one, all experts in one."""
    source, config = held[name], held[name].config
    words = ("w1", "w3", "w2") if name == "mixtral" else ("gate_proj", "up_proj", "down_proj")
    tensors = {key: tensor for key, tensor in source.tensors.items() if ".experts." not in key}
    tensors = {key.replace("block_sparse_moe.gate", "mlp.gate"): tensor for key, tensor in tensors.items()}
    arrays = zoo.arrays(source.tensors)
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}.{old}.experts"
        gate, up, down = (np.stack([arrays[f"{at}.{e}.{word}.weight"] for e in range(4)]) for word in words)
        for key, values in (("gate_up_proj", np.concatenate([gate, up], 1)), ("down_proj", down)):
            full = f"model.layers.{layer}.mlp.experts.{key}"
            tensors[full] = views.from_array(full, values)
    _, wanted = find(config).to_gguf(source)
    _, got = find(config).to_gguf(Checkpoint(tensors, config, None, source.origin))
    assert zoo.same(got, wanted) == []


@pytest.mark.slow
def test_a_key_that_no_runtime_reads_may_say_anything(held: dict[str, Checkpoint]) -> None:
    metadata, tensors = find(held["stablelm"].config).to_gguf(held["stablelm"])
    assert metadata["stablelm.use_parallel_residual"] is False
    config, _ = find_gguf(metadata).from_gguf({**metadata, "stablelm.use_parallel_residual": True}, tensors)
    assert config["use_parallel_residual"] is False  # llama.cpp's converter says True of models that do not say it


@pytest.mark.slow
def test_of_images_and_texts_the_texts_are_carried(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from bessemer.runners.decoder.runner import DecoderRunner

    text = {
        "vocab_size": 512, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 8,
        "max_position_embeddings": 256,
    }  # fmt: skip
    vision = {
        "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
        "patch_size": 14,
    }  # fmt: skip
    settings = transformers.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    model = transformers.Gemma3ForConditionalGeneration(settings).eval()
    model.save_pretrained(tmp_path)
    checkpoint = zoo.checkpoint(tmp_path)
    family = find(checkpoint.config)
    assert family.strangers(checkpoint.config) == () and "vision tower" in family.remarks(checkpoint.config)[0]
    decoder = family.decoder(checkpoint.config)
    assert decoder is not None
    tokens = list(range(3, 40))
    with torch.no_grad():
        wanted = model(torch.tensor([tokens])).logits[0].numpy()
    got = DecoderRunner(decoder, family.roles(checkpoint)).logits(tokens)
    assert np.abs(got - wanted).max() < 2e-5 * wanted.std()
    metadata, tensors = family.to_gguf(checkpoint)
    config, again = find_gguf(metadata).from_gguf(metadata, tensors)
    assert config["architectures"] == ["Gemma3ForCausalLM"]
    text_only = {f"language_model.{name}" for name in again}
    assert text_only == {name for name in checkpoint.tensors if name.startswith("language_model.")}


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo.MODELS)
def test_settings_of_any_kind_are_declined_or_carried(name: str, held: dict[str, Checkpoint]) -> None:
    source = held[name]
    family = find(source.config)
    metadata, tensors = family.to_gguf(source)
    for seed in range(10):
        draw = random.Random(seed)
        config, facts = _spoiled(source.config, draw), _spoiled(metadata, draw)
        spoiled = Checkpoint(source.tensors, config, None, source.origin)
        for way in (family.decoder, family.remarks, family.strangers):
            with contextlib.suppress(Declined):
                way(config)
        for make in (family.to_gguf, family.roles):
            with contextlib.suppress(Declined):
                make(spoiled)
        with contextlib.suppress(Declined):
            find_gguf(facts).from_gguf(facts, tensors)


_JUNK: tuple[Any, ...] = (
    None, "x", -1, 0, [], {}, 1e300, True, [1, 2], {"a": 1}, float("nan"), 1 << 40, ["sliding_attention"], 3,
)  # fmt: skip


def _spoiled(held: Mapping[str, Any], draw: random.Random) -> dict[str, Any]:
    spoiled = dict(held)
    key = draw.choice(sorted(set(held) - {"architectures", "model_type", "general.architecture"}))
    value = spoiled[key]
    inside = isinstance(value, dict) and value and draw.random() < 0.7
    spoiled[key] = {**value, draw.choice(sorted(value)): draw.choice(_JUNK)} if inside else draw.choice(_JUNK)
    return spoiled


def test_unknown_architectures_are_declined_by_name() -> None:
    with pytest.raises(Declined, match=r"there are tables for .*llama.*qwen2"):
        find({"model_type": "plankton", "architectures": ["PlanktonForCausalLM"]})
    with pytest.raises(Declined, match="LlamaForSequenceClassification"):
        find({"model_type": "llama", "architectures": ["LlamaForSequenceClassification"]})
    with pytest.raises(Declined, match="plankton"):
        find_gguf({"general.architecture": "plankton"})
    assert find({"model_type": "qwen2"}).name == "qwen2"


def test_names_are_each_one_familys() -> None:
    for names in ([held.name for held in families()], [name for held in families() for name in held.classes]):
        assert len(names) == len(set(names))


def test_listing_families_imports_nothing_heavy() -> None:
    code = "import sys; from bessemer.architectures.base import families; families(); print(*sys.modules)"
    loaded = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())
    assert not loaded & {"torch", "transformers", "numba", "onnx_ir", "onnx", "tokenizers", "gguf"}


@pytest.mark.parametrize(
    ("name", "shape", "stays"),
    [
        ("blk.0.attn_norm.weight", (64,), True), ("blk.0.attn_q_norm.weight", (4, 16), True),
        ("blk.1.ffn_gate_inp.weight", (4, 64), True), ("blk.1.ffn_gate_inp_shexp.weight", (1, 64), True),
        ("position_embd.weight", (8, 8), True), ("token_types.weight", (2, 8), True), ("blk.0.ssm_a", (8, 2), True),
        ("blk.3.ssm_conv1d.weight", (8, 4), True), ("blk.0.attn_q.weight", (64, 64), False),
        ("token_embd.weight", (9, 64), False), ("blk.0.ffn_gate_exps.weight", (4, 8, 8), False),
        ("blk.0.ffn_gate.weight", (8, 8), False), ("blk.2.time_mix_lerp_fused.weight", (5, 1, 1, 8), True),
    ],
)  # fmt: skip
def test_what_stays_f32(name: str, shape: tuple[int, ...], stays: bool) -> None:
    assert stays_f32(name, shape) == stays
