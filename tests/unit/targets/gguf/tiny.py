"""Random GGUF files with the names and facts of real architectures, small enough to quantize hundreds of times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from bessemer.blocks import encoded
from bessemer.ir.checkpoint import Lazy
from bessemer.targets.gguf.mix import Plan
from bessemer.wire.gguf.types import BY_NAME

Tensors = dict[str, npt.NDArray[np.float32]]

_DENSE = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
_FUSED = ("attn_qkv", "attn_output", "ffn_up", "ffn_down")
_EXPERTS = ("ffn_gate_exps", "ffn_up_exps", "ffn_down_exps")
_MIXED = ("attn_q", "attn_k", "attn_v", "attn_output")

FAMILIES: dict[str, tuple[dict[str, Any], tuple[str, ...], bool]] = {
    "llama": ({"block_count": 17, "attention.head_count": 4}, _DENSE, True),
    "llama, grouped": ({"block_count": 34, "attention.head_count": 8, "attention.head_count_kv": 2}, _DENSE, True),
    "llama, 70B": (
        {"block_count": 80, "attention.head_count": 8, "attention.head_count_kv": 4}, ("attn_v", "ffn_down"), True),
    "llama, 8 experts": (
        {"block_count": 9, "attention.head_count": 8, "attention.head_count_kv": 2, "expert_count": 8,
         "expert_used_count": 2},
        (*_MIXED, *_EXPERTS, "ffn_gate_inp"), True),
    "qwen2": ({"block_count": 24, "attention.head_count": 6, "attention.head_count_kv": 3}, _DENSE, True),
    "qwen2moe": (
        {"block_count": 10, "attention.head_count": 4, "expert_count": 4, "expert_used_count": 2},
        (*_MIXED, *_EXPERTS, "ffn_gate_inp", "ffn_down_shexp", "ffn_gate_inp_shexp"), True),
    "gemma": ({"block_count": 18, "attention.head_count": 4, "attention.head_count_kv": 1}, _DENSE, False),
    "falcon": ({"block_count": 33, "attention.head_count": 8, "attention.head_count_kv": 1}, _FUSED, True),
    "phi2": ({"block_count": 16, "attention.head_count": 4}, _FUSED, True),
    "gpt2": ({"block_count": 12, "attention.head_count": 4}, _FUSED, False),
    "bert": (
        {"block_count": 6, "attention.head_count": 4}, ("attn_q", "attn_v", "attn_output", "ffn_up", "ffn_down"), False),
}  # fmt: skip
"""Name (its first word: the architecture) -> facts, matrices of a layer, whether there is an output matrix."""

_NEEDED = {
    "context_length": 64, "embedding_length": 256, "feed_forward_length": 256, "attention.layer_norm_rms_epsilon": 1e-5,
    "attention.layer_norm_epsilon": 1e-5, "attention.causal": True, "vocab_size": 32,
}  # fmt: skip


def write(path: Path, family: str, columns: int = 256, seed: int = 0, kind: str = "F32") -> tuple[dict[str, Any], Tensors]:
    """A file of random weights; its metadata and tensors."""
    facts, matrices, output = FAMILIES[family]
    architecture = family.split(",")[0]
    metadata = {f"{architecture}.{key}": value for key, value in {**_NEEDED, **facts}.items()}
    tensors = dict(_tensors(facts, matrices, output, columns, seed))
    writer = gguf.GGUFWriter(path, architecture)
    metadata["general.file_type"] = int(kind == "F16")
    for key, value in metadata.items():
        add = {int: writer.add_uint32, float: writer.add_float32, bool: writer.add_bool}[type(value)]
        add(key, value)
    for name, values in tensors.items():
        stored = values.astype(np.float16) if kind == "F16" and values.ndim > 1 else values
        writer.add_tensor(name, stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return {"general.architecture": architecture, **metadata}, tensors


def _tensors(
    facts: Mapping[str, Any], matrices: tuple[str, ...], output: bool, columns: int, seed: int
) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    draw = np.random.default_rng(seed)

    def normal(*shape: int) -> npt.NDArray[np.float32]:
        return draw.standard_normal(shape).astype(np.float32)

    yield "token_embd.weight", normal(8, columns)
    yield "position_embd.weight", normal(8, columns)
    yield "token_types.weight", normal(2, columns)
    if output:
        yield "output.weight", normal(8, columns)
    yield "output_norm.weight", normal(columns)
    for layer in range(facts["block_count"]):
        yield f"blk.{layer}.attn_norm.weight", normal(columns)
        for matrix in matrices:
            experts = (facts["expert_count"],) if "exps" in matrix else ()
            yield f"blk.{layer}.{matrix}.weight", normal(*experts, 4, columns)


def lazy(tensors: Tensors, kind: str = "F32") -> dict[str, Lazy]:
    """The tensors as a checkpoint has them."""
    return {name: _lazy(name, values, kind if values.ndim > 1 else "F32") for name, values in tensors.items()}


def _lazy(name: str, values: npt.NDArray[np.float32], kind: str) -> Lazy:
    held = values.reshape(-1, values.shape[-1]).astype({"F32": np.float32, "F16": np.float16}[kind])
    data = np.ascontiguousarray(held).view(np.uint8)
    return Lazy(name, values.shape, kind, BY_NAME[kind].row_bytes(values.shape[-1]), lambda start, stop: data[start:stop])


def encoded_as(tensor: Lazy, found: Plan, name: str) -> bytes:
    """A tensor's bytes by our encoders."""
    if found.types[name] == tensor.type:
        return bytes(tensor.read(0, tensor.rows))
    stored = tensor.read(0, tensor.rows).view(np.float16 if tensor.type == "F16" else np.float32)
    weights = stored.astype(np.float32).reshape(-1, tensor.rows, tensor.columns)
    importance = found.importance.get(name)
    experts = np.split(weights[0], len(importance)) if importance is not None and importance.ndim > 1 else [weights[0]]
    factors = importance if len(experts) > 1 else [importance]
    return b"".join(
        encoded(np.ascontiguousarray(part), found.types[name], None if weigh is None else weigh).tobytes()
        for part, weigh in zip(experts, factors, strict=True)
    )
