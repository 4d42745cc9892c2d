"""LoRA adapters beside llama.cpp (adapter on a base, merged file) and torch (the sum computed by hand)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bessemer.architectures.base import find
from bessemer.architectures.lora import for_base, from_gguf_adapter, merged, recognised, to_gguf_adapter
from bessemer.ir.checkpoint import Adapter, Checkpoint
from bessemer.ir.errors import Declined
from bessemer.ir.model import Origin
from bessemer.runners import llama
from bessemer.sources.base import OpenOptions
from bessemer.weights import views

from .others import CASES, SMALL, TOKENS, Case, answers, checkpoint, gguf, save, write

LLAMA = Case("LlamaForCausalLM", {**SMALL, "num_key_value_heads": 2, "max_position_embeddings": 64}, "llama", 1e-4)
MODELS = {
    "llama": (LLAMA, ("q_proj", "k_proj", "v_proj", "down_proj"), {}),
    "llama-output": (LLAMA, ("lm_head", "embed_tokens"), {}),
    "llama-patterns": (
        LLAMA, ("q_proj", "v_proj", "up_proj"),
        {"alpha_pattern": {"up_proj": 20}, "rank_pattern": {"layers.0.self_attn.q_proj": 2}},
    ),
    "llama-rslora": (LLAMA, ("k_proj", "o_proj"), {"use_rslora": True}),
    "gpt2": (CASES["gpt2"], ("c_attn", "c_fc", "mlp.c_proj"), {"fan_in_fan_out": True}),
    "gptneox": (CASES["gptneox"], ("query_key_value", "dense_h_to_4h"), {}),
    "bloom": (CASES["bloom"], ("query_key_value",), {}),
}  # fmt: skip
PREFIX = "base_model.model."
Arrays = dict[str, np.ndarray[Any, Any]]


def drawn(base: Checkpoint, modules: tuple[str, ...], config: Mapping[str, Any]) -> Arrays:
    """Random matrices in PEFT's names."""
    random, made = np.random.default_rng(7), dict[str, np.ndarray[Any, Any]]()
    for name, weight in base.tensors.items():
        module = name.removesuffix(".weight")
        if len(weight.shape) != 2 or not module.endswith(modules):
            continue
        rank = next((r for at, r in config.get("rank_pattern", {}).items() if module.endswith(at)), 4)
        turned = config.get("fan_in_fan_out") or "embed" in module
        inputs, outputs = weight.shape if turned else weight.shape[::-1]
        part = "lora_embedding_{}" if "embed" in module else "lora_{}.weight"
        made[f"{PREFIX}{module}.{part.format('A')}"] = random.standard_normal((rank, inputs)).astype(np.float32) * 0.3
        made[f"{PREFIX}{module}.{part.format('B')}"] = random.standard_normal((outputs, rank)).astype(np.float32) * 0.3
    return made


def adapter(arrays: Arrays, config: Mapping[str, Any]) -> Checkpoint:
    tensors = {name: views.from_array(name, values) for name, values in arrays.items()}
    said = {"peft_type": "LORA", "r": 4, "lora_alpha": 6, **config}
    return Checkpoint(tensors, {}, None, Origin("huggingface", Path("adapter")), adapter=Adapter(said))


def sums(base: Checkpoint, arrays: Arrays, config: Mapping[str, Any]) -> Arrays:
    """W + alpha / r B A of PEFT's documentation, in float64."""
    made = {name: views.array(tensor).astype(np.float64) for name, tensor in base.tensors.items()}
    for name, a in arrays.items():
        if "_A" not in name:
            continue
        module = name.removeprefix(PREFIX).partition(".lora_")[0]
        alpha = next((value for at, value in config.get("alpha_pattern", {}).items() if module.endswith(at)), 6)
        scale = alpha / (len(a) ** 0.5 if config.get("use_rslora") else len(a))
        delta = scale * (arrays[name.replace("_A", "_B")].astype(np.float64) @ a)
        made[f"{module}.weight"] += delta.T if config.get("fan_in_fan_out") or "embed" in module else delta
    return {name: values.astype(np.float32) for name, values in made.items()}


@pytest.fixture(scope="module", params=sorted(MODELS))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
    case, modules, config = MODELS[request.param]
    folder = tmp_path_factory.mktemp("base")
    save(case, folder)
    base = checkpoint(folder)
    return case, folder, base, drawn(base, modules, config), config


def test_merged_is_the_sum(model: tuple[Any, ...]) -> None:
    _, _, base, arrays, config = model
    found, wanted = merged(base, adapter(arrays, config)), sums(base, arrays, config)
    changed = {name.removeprefix(PREFIX).partition(".lora_")[0] + ".weight" for name in arrays}
    for name, tensor in found.tensors.items():
        assert (tensor is base.tensors[name]) is (name not in changed)
        np.testing.assert_allclose(views.array(tensor), wanted[name], rtol=0, atol=1e-6)


def test_rows_of_merged_do_not_depend_on_how_they_are_read(model: tuple[Any, ...]) -> None:
    _, _, base, arrays, config = model
    for tensor in merged(base, adapter(arrays, config), 0.5).tensors.values():
        parts = [views.floats(tensor, at, min(at + 5, tensor.rows)) for at in range(0, tensor.rows, 5)]
        np.testing.assert_allclose(np.concatenate(parts), views.floats(tensor), rtol=0, atol=1e-6)


@pytest.mark.skipif(not llama.available(), reason="llama.cpp is not installed")
def test_adapter_and_merged_file_answer_like_the_merged_model_in_transformers(
    model: tuple[Any, ...], tmp_path: Path
) -> None:
    case, _, base, arrays, config = model
    family = find(base.config)
    plain = gguf(*family.to_gguf(base), tmp_path / "base.gguf")
    whole = gguf(*family.to_gguf(merged(base, adapter(arrays, config))), tmp_path / "merged.gguf")
    beside = gguf(*to_gguf_adapter(adapter(arrays, config), base.config), tmp_path / "adapter.gguf")
    tensors = {name: views.from_array(name, values) for name, values in sums(base, arrays, config).items()}
    wanted = answers(case, write(base.config, tensors, tmp_path / "torch"))
    with llama.Llama(plain, threads=2) as one:
        alone = one.logits(TOKENS)
    with llama.Llama(plain, threads=2, adapters=[(beside, 1.0)]) as one:
        adapted = one.logits(TOKENS)
    with llama.Llama(whole, threads=2) as one:
        joined = one.logits(TOKENS)
    spread = float(wanted.std())
    assert np.abs(alone - wanted).max() > 0.5 * spread  # the adapter does something
    assert np.abs(adapted - joined).max() < 2e-3 * spread
    assert np.abs(joined - wanted).max() < case.bound * spread


def test_gguf_and_back_keeps_every_bit(model: tuple[Any, ...]) -> None:
    _, _, base, arrays, config = model
    metadata, tensors = to_gguf_adapter(adapter(arrays, config), base.config)
    assert metadata["general.type"] == "adapter"
    back = from_gguf_adapter(metadata, tensors, base.config)
    assert set(back.tensors) == set(arrays)
    for name, tensor in back.tensors.items():
        if "up_proj.lora_B" in name:  # its own alpha went into it
            np.testing.assert_allclose(views.array(tensor), arrays[name] * 20 / 6, rtol=1e-6)
        else:
            np.testing.assert_array_equal(views.array(tensor), arrays[name])
    again, once = merged(base, back), merged(base, adapter(arrays, config))
    for name, tensor in again.tensors.items():
        np.testing.assert_allclose(views.array(tensor), views.array(once.tensors[name]), rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("llama")
    save(LLAMA, folder)
    return checkpoint(folder)


def test_mlx_spells_the_same_adapter(small: Checkpoint) -> None:
    """[inputs, rank] and [rank, outputs], with a scale of its own."""
    arrays = drawn(small, ("q_proj",), {})
    spelled = {
        name.removeprefix(PREFIX).removesuffix(".weight").replace("_A", "_a").replace("_B", "_b"): values.T
        for name, values in arrays.items()
    }
    assert recognised(spelled)
    other = adapter(spelled, {"lora_alpha": None, "lora_parameters": {"rank": 4, "scale": 1.5}})
    one, two = merged(small, other), merged(small, adapter(arrays, {}))
    for name, tensor in one.tensors.items():
        np.testing.assert_array_equal(views.array(tensor), views.array(two.tensors[name]))
    peft = for_base(other, small.config)
    assert set(peft.tensors) == set(arrays)
    assert peft.adapter is not None
    assert peft.adapter.config["lora_alpha"] == 6


def test_half_precision_stays(small: Checkpoint) -> None:
    """The sum is made in float32 and rounded once."""
    import ml_dtypes

    halves = {name: views.array(tensor).astype(ml_dtypes.bfloat16) for name, tensor in small.tensors.items()}
    tensors = {name: views.from_array(name, values) for name, values in halves.items()}
    base = Checkpoint(tensors, small.config, None, small.origin)
    arrays = drawn(base, ("q_proj",), {})
    wanted = sums(base, arrays, {})
    for name, tensor in merged(base, adapter(arrays, {})).tensors.items():
        assert tensor.type == "BF16"
        rounded = wanted[name].astype(ml_dtypes.bfloat16).astype(np.float32)
        np.testing.assert_array_max_ulp(views.array(tensor), rounded, 1 << 16)  # one of bfloat16's


def test_dora_is_merged_and_has_no_gguf(small: Checkpoint) -> None:
    """Liu et al. 2024, equation 5: m (W + B A) / |W + B A|, by row."""
    arrays = drawn(small, ("q_proj",), {})
    wanted = sums(small, arrays, {})
    modules = [name.removeprefix(PREFIX).partition(".lora_")[0] for name in arrays if "_A" in name]
    magnitudes = {module: np.linspace(0.5, 2, 32, dtype=np.float32) for module in modules}
    arrays |= {f"{PREFIX}{module}.lora_magnitude_vector": values for module, values in magnitudes.items()}
    found = merged(small, adapter(arrays, {"use_dora": True}))
    for module, values in magnitudes.items():
        whole = wanted[f"{module}.weight"]
        whole = whole / np.linalg.norm(whole, axis=1, keepdims=True) * values[:, None]
        np.testing.assert_allclose(views.array(found.tensors[f"{module}.weight"]), whole, atol=1e-6)
    with pytest.raises(Declined, match="magnitudes"):
        to_gguf_adapter(adapter(arrays, {"use_dora": True}), small.config)


def test_all_that_does_not_fit_is_told_at_once(small: Checkpoint) -> None:
    arrays = drawn(small, ("q_proj",), {})
    key = next(iter(arrays))
    arrays[key] = arrays[key][:, :-1]
    arrays |= {f"{PREFIX}model.layers.9.mlp.up_proj.lora_{part}.weight": np.ones((4, 4), np.float32) for part in "AB"}
    arrays[f"{PREFIX}model.norm.weight"] = np.ones(7, np.float32)
    with pytest.raises(Declined) as raised:
        merged(small, adapter(arrays, {"lora_bias": True}))
    nodes = [blocker.node for blocker in raised.value.blockers]
    assert nodes == [
        "lora_bias", "model.layers.0.self_attn.q_proj.weight", "model.layers.9.mlp.up_proj.weight", "model.norm.weight",
    ]  # fmt: skip


@pytest.mark.parametrize("config", [{}, {"lora_alpha": "8"}])
def test_an_unknown_scale_is_not_guessed(small: Checkpoint, config: dict[str, Any]) -> None:
    arrays = drawn(small, ("q_proj",), {})
    with pytest.raises(Declined, match="lora_alpha"):
        merged(small, adapter(arrays, {"lora_alpha": None, **config}))


def test_whole_tensors_take_the_places_of_the_models(small: Checkpoint) -> None:
    arrays = drawn(small, ("q_proj",), {})
    arrays[f"{PREFIX}model.norm.weight"] = np.full(32, 3, np.float32)
    found = merged(small, adapter(arrays, {"modules_to_save": ["norm"]}))
    np.testing.assert_array_equal(views.array(found.tensors["model.norm.weight"]), 3)
    with pytest.raises(Declined, match=r"model\.norm\.weight"):
        to_gguf_adapter(adapter(arrays, {}), small.config)


def test_discollama(real_asset: Callable[[str], Path], tmp_path: Path) -> None:
    """MLX's adapter for a Llama 3 8B, which comes without its settings."""
    from bessemer.opening import open_checkpoint

    found = open_checkpoint(real_asset("llm/gguf/discollama_adapters.safetensors"), OpenOptions())
    assert found.adapter is not None
    config = {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256,
    }  # fmt: skip
    with pytest.raises(Declined, match="lora_parameters"):
        to_gguf_adapter(found, config)
    found.adapter = Adapter({"lora_parameters": {"rank": 8, "scale": 20.0}})
    metadata, tensors = to_gguf_adapter(found, config)
    assert metadata["adapter.lora.alpha"] == 160
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    assert shapes["blk.31.attn_q.weight.lora_b"] == (4096, 8)
    assert shapes["blk.30.attn_v.weight.lora_b"] == (1024, 8)
    stored = views.array(found.tensors["model.layers.30.self_attn.v_proj.lora_a"])
    np.testing.assert_array_equal(views.array(tensors["blk.30.attn_v.weight.lora_a"]), stored.T)
    assert len(tensors) == 8


@pytest.fixture
def stories(real_asset: Callable[[str], Path]) -> Path:
    return real_asset("llm/stories260K/hf/config.json").parent


def saved(base: Path, folder: Path) -> Path:
    """A PEFT directory for the trained stories260K: small random changes of queries and of the feed-forward's way down."""
    import json

    from safetensors.numpy import save_file

    arrays = drawn(checkpoint(base), ("q_proj", "down_proj"), {})
    folder.mkdir()
    save_file({name: values * np.float32(0.3) for name, values in arrays.items()}, folder / "adapter_model.safetensors")
    said = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(said))
    return folder


@pytest.mark.skipif(not llama.available(), reason="llama.cpp is not installed")
def test_an_adapter_is_kept_or_merged_and_proven_both_ways(stories: Path, tmp_path: Path) -> None:
    """The adapter as GGUF on its base, the merged file, and the adapter back in PEFT's form."""
    from bessemer.api import convert

    peft = saved(stories, tmp_path / "adapter")
    kept = convert(peft, "gguf", tmp_path / "kept", base=stories)
    whole = convert(stories, "gguf", tmp_path / "merged", adapters=((peft, 1.0),))
    for evidence in (kept, whole):
        row = evidence.targets[0]
        assert (row.status, row.verified) == ("executed", True), row.summary
        assert "llama.cpp" in row.runtime
    file = next((tmp_path / "kept").glob("*.gguf"))
    back = convert(file, "safetensors", tmp_path / "back", base=stories)
    assert back.targets[0].verified
    again = open_directory(next((tmp_path / "back").rglob("adapter_model.safetensors")).parent)
    wanted = open_directory(peft)
    assert set(again.tensors) == set(wanted.tensors)
    for name, tensor in again.tensors.items():
        np.testing.assert_array_equal(views.array(tensor), views.array(wanted.tensors[name]))


def open_directory(folder: Path) -> Checkpoint:
    from bessemer.opening import open_checkpoint

    return open_checkpoint(folder, OpenOptions())


def test_a_gguf_adapter_alone_has_no_other_form(stories: Path, tmp_path: Path) -> None:
    """Which weights its tensors belong to follows from the model."""
    from bessemer.api import convert

    found = open_directory(saved(stories, tmp_path / "adapter"))
    path = gguf(*to_gguf_adapter(found, checkpoint(stories).config), tmp_path / "adapter.gguf")
    row = convert(path, "safetensors", tmp_path / "out").targets[0]
    assert row.status == "declined"
    assert [blocker.rule for blocker in row.blockers] == ["no-base"]
