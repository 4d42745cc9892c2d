"""GPT-2, GPT-NeoX, BLOOM, Falcon, MPT, Phi-2, BERT's kin, T5, Mamba and RWKV between Hugging Face and GGUF."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bessemer.architectures.base import Family, find, find_gguf
from bessemer.ir.checkpoint import Checkpoint, Lazy
from bessemer.ir.errors import Declined
from bessemer.ir.model import Origin
from bessemer.runners import llama
from bessemer.runners.decoder.runner import DecoderRunner
from bessemer.weights import views

from .others import CASES, FALCON, GPT2, SMALL, T5, TOKENS, Case, answers, checkpoint, gguf, save, write

LOGARITHM = ".A_log"
"""GGUF holds -exp of it, which does not give every last bit back."""


@dataclass
class Made:
    """A case, saved, and what this project makes of it."""

    case: Case
    folder: Path
    source: Checkpoint
    family: Family
    metadata: dict[str, Any]
    tensors: dict[str, Lazy]

    @property
    def facts(self) -> dict[str, Any]:
        return {**self.case.metadata, **self.metadata}


@pytest.fixture(scope="module", params=sorted(CASES))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    case, folder = CASES[request.param], tmp_path_factory.mktemp("model")
    save(case, folder)
    source = checkpoint(folder)
    family = find(source.config)
    return Made(case, folder, source, family, *family.to_gguf(source))


def test_every_setting_is_accounted_for(made: Made) -> None:
    assert made.family.strangers(made.source.config) == ()


def test_names_are_those_of_the_gguf_package(made: Made) -> None:
    """Its table of names is llama.cpp's own; ours may join tensors, but each name has to be one of its names."""
    import gguf as package

    kinds = {name: kind for kind, name in package.MODEL_ARCH_NAMES.items()}
    known = package.MODEL_TENSORS[kinds[made.case.architecture]]
    templates = {package.TENSOR_NAMES[kind] for kind in known}
    for name in made.tensors:
        bare = name.removesuffix(".weight").removesuffix(".bias")
        template = ".".join("{bid}" if part.isdecimal() else part for part in bare.split("."))
        assert template in templates


def test_one_to_one_names_are_those_of_the_gguf_package(made: Made) -> None:
    import gguf as package

    kinds = {name: kind for kind, name in package.MODEL_ARCH_NAMES.items()}
    table = package.get_tensor_name_map(kinds[made.case.architecture], 2)
    inner = {name: name.removeprefix("transformer.") for name in made.source.tensors}
    for name, bare in inner.items():
        found = table.get_name(name, (".weight", ".bias")) or table.get_name(bare, (".weight", ".bias"))
        if name not in made.case.left and found is not None:
            assert found in made.tensors


def test_the_way_back_gives_every_bit(made: Made) -> None:
    family = find_gguf(made.facts)
    assert family is made.family
    _, tensors = family.from_gguf(made.facts, made.tensors)
    assert set(tensors) == set(made.source.tensors) - set(made.case.left)
    for name, tensor in tensors.items():
        wanted, found = views.array(made.source.tensors[name]), views.array(tensor)
        if name.endswith(LOGARITHM):
            np.testing.assert_allclose(found, wanted, rtol=1e-7, atol=1e-7)
        elif name.endswith("position_embeddings.weight") and made.family.name in ("roberta", "xlm-roberta"):
            np.testing.assert_array_equal(wanted[2:], found[2:])  # no token reaches the rows up to the padding's
        else:
            np.testing.assert_array_equal(wanted, found)


def test_transformers_answers_the_same_after_the_way_back(made: Made, tmp_path: Path) -> None:
    config, tensors = find_gguf(made.facts).from_gguf(made.facts, made.tensors)
    folder = write(config, tensors, tmp_path / "back")
    bound = 1e-5 if made.case.architecture.startswith("mamba") else 0
    np.testing.assert_allclose(answers(made.case, folder), answers(made.case, made.folder), rtol=0, atol=bound)


@pytest.mark.skipif(not llama.available(), reason="llama.cpp is not installed")
def test_llama_cpp_answers_like_transformers(made: Made, tmp_path: Path) -> None:
    path = gguf(made.facts, made.tensors, tmp_path / "model.gguf")
    wanted = answers(made.case, made.folder)
    with llama.Llama(path, threads=2) as model:
        if made.case.architecture in ("bert", "nomic-bert", "t5encoder"):
            found = model.embeddings(TOKENS)
        elif made.case.architecture == "t5":
            found = model.logits(TOKENS[:8], source=TOKENS)
        else:
            found = model.logits(TOKENS)
    assert np.abs(found - wanted).max() < made.case.bound * wanted.std()


def test_the_description_computes_like_transformers(made: Made) -> None:
    decoder = made.family.decoder(made.source.config)
    if decoder is None:
        assert made.family.name in ("t5", "t5encoder", "mamba", "mamba2")
        return
    runner = DecoderRunner(decoder, made.family.roles(made.source))
    wanted = answers(made.case, made.folder)
    found = runner.logits(TOKENS) if decoder.causal else runner.hidden(TOKENS)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5 * float(wanted.std()))


DECLINED = {
    "falcon-rw": ("FalconForCausalLM", {**FALCON, "alibi": True}, ("alibi",)),
    "falcon-serial": ("FalconForCausalLM", {**FALCON, "parallel_attn": False, "bias": True}, ("parallel_attn", "bias")),
    "gpt2-relu": ("GPT2LMHeadModel", {**GPT2, "activation_function": "relu"}, ("activation_function",)),
    "bert-relu": ("BertModel", {**SMALL, "hidden_act": "relu"}, ("hidden_act",)),
    "bert-decoder": ("BertModel", {**SMALL, "is_decoder": True}, ("is_decoder",)),
    "bloom": ("BloomForCausalLM", {"apply_residual_connection_post_layernorm": True},
              ("apply_residual_connection_post_layernorm",)),
    "mpt": ("MptForCausalLM", {"d_model": 32, "n_heads": 4, "attn_config": {"softmax_scale": 1.0, "qk_ln": True}},
            ("attn_config.softmax_scale", "attn_config.qk_ln")),
    "t5-deep": ("T5ForConditionalGeneration", {**T5, "num_decoder_layers": 3}, ("num_decoder_layers",)),
    "t5-silu": ("T5ForConditionalGeneration", {**T5, "feed_forward_proj": "gated-silu"}, ("feed_forward_proj",)),
    "mamba": ("MambaForCausalLM", {"hidden_size": 32, "expand": 4, "use_bias": True}, ("expand", "use_bias")),
    "nomic": ("NomicBertModel", {**SMALL, "prenorm": True, "moe_every_n_layers": 2}, ("prenorm", "moe_every_n_layers")),
    "rwkv4": ("RwkvForCausalLM", {"hidden_size": 32, "num_hidden_layers": 2}, ("model_type",)),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(DECLINED))
def test_what_gguf_cannot_say_is_declined_with_all_reasons(name: str) -> None:
    kind, settings, wanted = DECLINED[name]
    config = {"architectures": [kind], "vocab_size": 160, **settings}
    with pytest.raises(Declined) as raised:
        find(config).to_gguf(Checkpoint({}, config, None, Origin("huggingface", name)))
    assert {blocker.node for blocker in raised.value.blockers if blocker.op != "tensor"} == set(wanted)


def test_older_spellings_of_configs() -> None:
    """config.json as first published: GPT-2's n_ctx, Falcon's RefinedWeb, Nomic's own keys."""
    old = {"model_type": "RefinedWebModel", "architectures": ["RWForCausalLM"], "n_head": 71, "n_layer": 32}
    held = find(old).completed(old)
    assert (held["num_attention_heads"], held["num_kv_heads"], held["num_hidden_layers"]) == (71, 1, 32)
    large = {"model_type": "RefinedWeb", "n_head": 128, "n_head_kv": 8, "n_layer": 60, "hidden_size": 8192}
    held = find(large).completed(large)
    assert (held["num_kv_heads"], held["num_ln_in_parallel_attn"]) == (8, 2)
    nomic = {"model_type": "nomic_bert", "n_embd": 768, "n_positions": 8192, "rotary_emb_base": 1000, "n_layer": 12}
    held = find(nomic).completed(nomic)
    assert (held["hidden_size"], held["max_position_embeddings"], held["rope_theta"]) == (768, 2048, 1000)
    assert find({"model_type": "gpt2"}).completed({"n_ctx": 512})["n_positions"] == 512


@pytest.mark.parametrize("made", ["flan-t5", "t5", "t5-short"], indirect=True)
def test_t5_without_an_output_matrix_of_its_own(made: Made) -> None:
    """As llama.cpp's converter writes it, and as llama.cpp computes it: without the scale of the first T5."""
    tensors = {name: tensor for name, tensor in made.tensors.items() if name != "output.weight"}
    metadata = {key: value for key, value in made.facts.items() if not key.endswith("output_is_scaled_embedding")}
    config, _ = made.family.from_gguf(metadata, tensors)
    assert (config["tie_word_embeddings"], config["scale_decoder_outputs"]) == (True, False)


def rwkv6() -> Checkpoint:
    """A tiny RWKV 6 with the names and shapes of RWKV/v6-Finch-1B6-HF."""
    random, wide, sizes = np.random.default_rng(3), 128, {}
    for name in ("rwkv.embeddings.weight", "head.weight"):
        sizes[name] = (160, wide)
    for layer in range(3):
        at, to = f"rwkv.blocks.{layer}.attention.", f"rwkv.blocks.{layer}.feed_forward."
        sizes |= {f"{at}time_maa_{part}": (1, 1, wide) for part in "xwkvrg"}
        sizes |= {f"{at}{part}.weight": (wide, wide) for part in ("receptance", "key", "value", "gate", "output")}
        sizes |= {f"{at}time_maa_w1": (wide, 160), f"{at}time_maa_w2": (5, 32, wide), f"{at}time_decay": (1, 1, wide)}
        sizes |= {f"{at}time_decay_w1": (wide, 64), f"{at}time_decay_w2": (64, wide), f"{at}time_faaaa": (2, 64)}
        sizes |= {f"{to}time_maa_k": (1, 1, wide), f"{to}time_maa_r": (1, 1, wide), f"{to}key.weight": (448, wide)}
        sizes |= {f"{to}value.weight": (wide, 448), f"{to}receptance.weight": (wide, wide)}
    norms = ["rwkv.ln_out", "rwkv.blocks.0.pre_ln"]
    norms += [f"rwkv.blocks.{layer}.{part}" for layer in range(3) for part in ("ln1", "ln2", "attention.ln_x")]
    sizes |= {f"{name}.{part}": (wide,) for name in norms for part in ("weight", "bias")}
    values = {name: 0.1 * random.standard_normal(size) + name.endswith(".weight") * (len(size) == 1)
              for name, size in sizes.items()}  # fmt: skip
    config = {"architectures": ["Rwkv6ForCausalLM"], "model_type": "rwkv6", "hidden_size": wide, "num_hidden_layers": 3,
              "rescale_every": 2, "vocab_size": 160, "head_size": 64}  # fmt: skip
    tensors = {name: views.from_array(name, value.astype(np.float32)) for name, value in values.items()}
    return Checkpoint(tensors, config, None, Origin("huggingface", "rwkv6"))


def by_paper(source: Checkpoint, tokens: list[int]) -> np.ndarray[Any, Any]:
    """RWKV 6 by the equations of Peng et al. 2024 (section 4.2), in float64, one token after another."""
    weights = {name: views.array(tensor).astype(np.float64) for name, tensor in source.tensors.items()}

    def norm(x: Any, name: str) -> Any:
        return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def sigmoid(x: Any) -> Any:
        return 1 / (1 + np.exp(-x))

    def attention(x: Any, before: Any, state: Any, at: str) -> tuple[Any, Any]:
        shift = before - x
        mixed = np.tanh((x + shift * weights[at + "time_maa_x"][0, 0]) @ weights[at + "time_maa_w1"]).reshape(5, -1)
        mixed = np.einsum("ij,ijk->ik", mixed, weights[at + "time_maa_w2"])
        w, k, v, r, g = (x + shift * (weights[f"{at}time_maa_{p}"][0, 0] + mixed[i]) for i, p in enumerate("wkvrg"))
        decay = weights[at + "time_decay"][0, 0] + np.tanh(w @ weights[at + "time_decay_w1"]) @ weights[at + "time_decay_w2"]
        names = ("receptance", r), ("key", k), ("value", v), ("gate", g)
        r, k, v, g = (weights[f"{at}{name}.weight"] @ part for name, part in names)
        r, k, v, decay = (part.reshape(-1, 64) for part in (r, k, v, np.exp(-np.exp(decay))))
        outer = k[:, :, None] * v[:, None, :]
        out = np.einsum("hi,hij->hj", r, state + weights[at + "time_faaaa"][:, :, None] * outer)
        out = (out - out.mean(-1, keepdims=True)) / np.sqrt(out.var(-1, keepdims=True) + 64e-5)
        out = out.reshape(-1) * weights[at + "ln_x.weight"] + weights[at + "ln_x.bias"]
        return weights[at + "output.weight"] @ (out * g * sigmoid(g)), decay[:, :, None] * state + outer

    def feed(x: Any, before: Any, at: str) -> Any:
        shift = before - x
        k, r = (x + shift * weights[f"{at}time_maa_{part}"][0, 0] for part in "kr")
        inner = np.maximum(weights[at + "key.weight"] @ k, 0) ** 2
        return sigmoid(weights[at + "receptance.weight"] @ r) * (weights[at + "value.weight"] @ inner)

    xs = [norm(weights["rwkv.embeddings.weight"][token], "rwkv.blocks.0.pre_ln") for token in tokens]
    for layer in range(3):
        at, state = f"rwkv.blocks.{layer}.", np.zeros((2, 64, 64))
        one, two = np.zeros(128), np.zeros(128)
        for place, x in enumerate(xs):
            inside = norm(x, at + "ln1")
            change, state = attention(inside, one, state, at + "attention.")
            one, x = inside, x + change
            inside = norm(x, at + "ln2")
            xs[place], two = x + feed(inside, two, at + "feed_forward."), inside
    return np.array([weights["head.weight"] @ norm(x, "rwkv.ln_out") for x in xs])


def test_rwkv_6_there_and_back() -> None:
    source = rwkv6()
    family = find(source.config)
    metadata, tensors = family.to_gguf(source)
    assert tensors["blk.2.time_mix_lerp_fused.weight"].shape == (5, 1, 1, 128)
    config, weights = find_gguf(metadata).from_gguf(metadata, tensors)
    assert config["rescale_every"] == 2
    assert set(weights) == set(source.tensors)
    for name, tensor in weights.items():
        np.testing.assert_array_equal(views.array(tensor), views.array(source.tensors[name]))


@pytest.mark.skipif(not llama.available(), reason="llama.cpp is not installed")
def test_rwkv_6_answers_as_its_paper_says(tmp_path: Path) -> None:
    source = rwkv6()
    path = gguf(*find(source.config).to_gguf(source), tmp_path / "model.gguf")
    wanted = by_paper(source, TOKENS)
    with llama.Llama(path, threads=2) as model:
        found = model.logits(TOKENS)
    assert np.abs(found - wanted).max() < 1e-4 * wanted.std()


PUBLISHED: dict[str, Callable[[str], str]] = {
    "gpt2": lambda name: name.removeprefix("transformer."),
    "bloom": lambda name: name.removeprefix("transformer."),
    "bert": lambda name: "bert." + name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"),
    "distilbert": lambda name: "distilbert." + name,
    "roberta": lambda name: "roberta." + name,
    "t5": lambda name: name.replace("shared.weight", "encoder.embed_tokens.weight"),
}
"""How the first checkpoints of the hub spell what transformers writes today."""
BESIDE = {
    "gpt2": {"h.0.attn.bias": (1, 1, 64, 64), "h.1.attn.masked_bias": ()},
    "gptneox": {"gpt_neox.layers.0.attention.bias": (1, 1, 64, 64), "gpt_neox.layers.0.attention.rotary_emb.inv_freq": (2,)},
    "falcon-7b": {"lm_head.weight": (160, 32)},
    "bert": {"cls.predictions.bias": (160,), "bert.embeddings.position_ids": (1, 64), "cls.seq_relationship.bias": (2,)},
    "distilbert": {"vocab_projector.bias": (160,)},
    "roberta": {"lm_head.dense.weight": (32, 32), "roberta.embeddings.position_ids": (1, 66)},
    "t5": {"decoder.embed_tokens.weight": (160, 32), "lm_head.weight": (160, 32)},
}
"""And what they hold besides: buffers, tied matrices, heads."""


@pytest.mark.parametrize("made", sorted({*PUBLISHED, *BESIDE}), indirect=True)
def test_as_first_published(made: Made, request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.params["made"]
    spelled = PUBLISHED.get(name, lambda name: name)
    tensors = {spelled(key): tensor for key, tensor in made.source.tensors.items()}
    shared = made.source.tensors.get("shared.weight")
    for key, shape in BESIDE.get(name, {}).items():
        extra = views.from_array(key, np.zeros(shape, np.float32))
        tensors[key] = shared if shared is not None and "embed_tokens" in key else extra
    older = Checkpoint(tensors, made.source.config, None, made.source.origin)
    metadata, found = made.family.to_gguf(older)
    assert metadata == made.metadata
    assert {key: tensor.shape for key, tensor in found.items()} == {key: t.shape for key, t in made.tensors.items()}
    for key, tensor in found.items():
        np.testing.assert_array_equal(views.array(tensor), views.array(made.tensors[key]))
    _, back = made.family.from_gguf(made.facts, found)
    assert set(made.family.carried(older)) == set(back)
