"""Tiny models of the families that are not Llama-like, with random weights, as transformers builds and saves them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bessemer.ir.checkpoint import Checkpoint, Lazy
from bessemer.ir.model import Origin
from bessemer.weights import views

VOCABULARY = 160
TOKENS = [5, 17, 100, 33, 33, 150, 7, 90, 12, 60, 61, 62, 88, 99, 111, 19]
"""No padding among them."""
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
FALCON = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 2048, "bias": False,
    "alibi": False,
}  # fmt: skip
T5 = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "n_positions": 64, "decoder_start_token_id": 0}


@dataclass(frozen=True)
class Case:
    """kind: class of transformers; settings: of its config; architecture: GGUF's; bound: how far llama.cpp's answers may be
    from transformers', in standard deviations of those (most of these architectures' gelu is an approximation there, from a
    table in half precision); metadata: what a tokenizer would say; left: tensors that GGUF has no place for."""

    kind: str
    settings: dict[str, Any]
    architecture: str
    bound: float = 1e-2
    metadata: dict[str, Any] = field(default_factory=dict)
    left: tuple[str, ...] = ()
    patch: dict[str, Any] = field(default_factory=dict)


BERT, BPE = {"tokenizer.ggml.model": "bert"}, {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.padding_token_id": 1}
POOLER = ("pooler.dense.weight", "pooler.dense.bias")
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
NEOX = {**SMALL, "max_position_embeddings": 64}
MAMBA = {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 16}
ROPE = {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.5}

CASES = {
    "gpt2": Case("GPT2LMHeadModel", GPT2, "gpt2"),
    "gpt2-wide": Case("GPT2LMHeadModel", {**GPT2, "n_inner": 80, "tie_word_embeddings": False}, "gpt2"),
    "gptneox": Case("GPTNeoXForCausalLM", {**NEOX, "rotary_pct": 0.25}, "gptneox"),
    "gptneox-serial": Case(
        "GPTNeoXForCausalLM", {**NEOX, "use_parallel_residual": False, "rope_parameters": ROPE}, "gptneox"
    ),
    "bloom": Case("BloomForCausalLM", {"hidden_size": 32, "n_layer": 2, "n_head": 4}, "bloom", patch={"seq_length": 64}),
    "bloom-3-heads": Case("BloomForCausalLM", {"hidden_size": 48, "n_layer": 2, "n_head": 3}, "bloom"),
    "falcon-7b": Case("FalconForCausalLM", {**FALCON, "new_decoder_architecture": False}, "falcon"),
    "falcon-40b": Case("FalconForCausalLM", {**FALCON, "new_decoder_architecture": True, "num_kv_heads": 2}, "falcon"),
    "falcon-11b": Case(
        "FalconForCausalLM",
        {**FALCON, "new_decoder_architecture": True, "num_kv_heads": 2, "num_ln_in_parallel_attn": 1, "rope_parameters": {
            "rope_type": "default", "rope_theta": 500042.0}},
        "falcon",
    ),
    "mpt": Case("MptForCausalLM", {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 64}, "mpt"),
    "mpt-clipped": Case(
        "MptForCausalLM",
        {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 64, "attn_config": {"clip_qkv": 0.4}},
        "mpt",
    ),
    "phi2": Case("PhiForCausalLM", {**SMALL, "max_position_embeddings": 64, "rope_parameters": ROPE}, "phi2"),
    "phi2-grouped": Case("PhiForCausalLM", {**SMALL, "max_position_embeddings": 64, "num_key_value_heads": 2}, "phi2"),
    "bert": Case("BertModel", {**SMALL, "max_position_embeddings": 64}, "bert", metadata=BERT, left=POOLER),
    "distilbert": Case(
        "DistilBertModel", {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": 64}, "bert",
        metadata=BERT,
    ),
    "roberta": Case(
        "RobertaModel", {**SMALL, "max_position_embeddings": 66, "type_vocab_size": 1, "pad_token_id": 1}, "bert",
        metadata=BPE, left=POOLER,
    ),
    "xlm-roberta": Case(
        "XLMRobertaModel", {**SMALL, "max_position_embeddings": 66, "type_vocab_size": 1, "pad_token_id": 1}, "bert",
        metadata={"tokenizer.ggml.model": "t5", "tokenizer.ggml.padding_token_id": 1}, left=POOLER,
    ),
    "nomic-bert": Case("NomicBertModel", SMALL, "nomic-bert", 1e-4, BERT),
    "t5": Case("T5ForConditionalGeneration", T5, "t5", 1e-4),
    "t5-short": Case("T5ForConditionalGeneration", {**T5, "num_decoder_layers": 1}, "t5", 1e-4),
    "flan-t5": Case(
        "T5ForConditionalGeneration", {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}, "t5"
    ),
    "t5-encoder": Case("T5EncoderModel", T5, "t5encoder", 1e-4),
    "mamba": Case("MambaForCausalLM", MAMBA, "mamba", 1e-4),
    "mamba2": Case(
        "Mamba2ForCausalLM", {**MAMBA, "num_heads": 4, "head_dim": 16, "n_groups": 2, "chunk_size": 16}, "mamba2", 1e-4
    ),
}  # fmt: skip


def save(case: Case, folder: Path) -> None:
    """Random weights, biases and norms included, in the form of save_pretrained."""
    import torch
    import transformers

    torch.manual_seed(len(case.settings))
    kind: Any = getattr(transformers, case.kind)
    model = kind(kind.config_class(vocab_size=VOCABULARY, **case.settings))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn_like(parameter) * 0.15
            keep = name.endswith(("A_log", "dt_proj.bias", "dt_bias")) or "norm" in name.lower() or "ln_" in name
            parameter.copy_(parameter + noise if keep else noise)
    model.eval().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **case.patch}))


def checkpoint(folder: Path) -> Checkpoint:
    """What save_pretrained left there."""
    from safetensors.numpy import load_file

    tensors = {name: views.from_array(name, values) for name, values in load_file(folder / "model.safetensors").items()}
    return Checkpoint(tensors, json.loads((folder / "config.json").read_text()), None, Origin("huggingface", folder.name))


def write(config: dict[str, Any], tensors: dict[str, Lazy], folder: Path) -> Path:
    """A directory that transformers can load."""
    from safetensors.numpy import save_file

    folder.mkdir()
    arrays = {name: np.ascontiguousarray(views.stored(tensor)) for name, tensor in tensors.items()}
    save_file(arrays, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def answers(case: Case, folder: Path) -> np.ndarray[Any, Any]:
    """Logits, or an encoder's states, for TOKENS by transformers; T5's decoder gets the first eight of them."""
    import torch
    import transformers

    kind: Any = getattr(transformers, case.kind)
    model = kind.from_pretrained(folder).eval()
    tokens = torch.tensor([TOKENS])
    inputs = {"input_ids": tokens}
    if case.architecture == "t5":
        inputs["decoder_input_ids"] = tokens[:, :8]
    with torch.no_grad():
        made = model(**inputs)
    found: np.ndarray[Any, Any] = (made.logits if "logits" in made else made.last_hidden_state)[0].numpy()
    return found


def gguf(metadata: dict[str, Any], tensors: dict[str, Lazy], path: Path) -> Path:
    """A file without a tokenizer."""
    from bessemer.wire.gguf.writer import layout

    name = metadata["general.architecture"]
    facts = {**metadata, "tokenizer.ggml.model": "none", f"{name}.vocab_size": VOCABULARY}
    held = list(tensors.items())
    header, places, size = layout(facts, [(key, tensor.shape, tensor.type) for key, tensor in held])
    with path.open("wb") as file:
        file.write(header)
        for place, (_, tensor) in zip(places, held, strict=True):
            file.seek(place)
            file.write(np.ascontiguousarray(tensor.read(0, tensor.rows)).tobytes())
        file.truncate(size)
    return path
