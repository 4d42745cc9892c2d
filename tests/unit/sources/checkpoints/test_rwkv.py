"""rwkv.cpp's file of an RWKV 4 in transformers, beside the paper's equations on the file's own tensors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bessemer.ir.errors import Declined
from bessemer.opening import open_checkpoint
from bessemer.sources.base import OpenOptions
from bessemer.weights import views
from bessemer.wire.ggml import read

ASSET = "llm/rwkv_ggmf/tiny-rwkv-4v0-660K-FP16.bin"
TOKENS = [72, 101, 108, 108, 111, 32, 119, 111, 114, 108, 100, 10, 84]


def stored(path: Path) -> dict[str, Any]:
    """The file's tensors in float64, by its own names."""
    data, found = path.read_bytes(), {}
    for name, info in read(path).tensors.items():
        kind = np.float32 if info.nbytes == 4 * np.prod(info.shape) else np.float16
        count = int(np.prod(info.shape))
        found[name] = np.frombuffer(data, kind, count, info.offset).reshape(info.shape).astype(np.float64)
    return found


def by_paper(weights: dict[str, Any], tokens: list[int]) -> Any:
    """RWKV 4 by Peng et al. 2023, equations 11 to 18 and appendix B, one token after another."""

    def norm(x: Any, name: str) -> Any:
        return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def sigmoid(x: Any) -> Any:
        return 1 / (1 + np.exp(-x))

    xs = [norm(weights["emb.weight"][token], "blocks.0.ln0") for token in tokens]
    for layer in range(4):
        at, to = f"blocks.{layer}.att.", f"blocks.{layer}.ffn."
        one = two = above = below = np.zeros(128)
        largest = np.full(128, -1e38)
        for place, x in enumerate(xs):
            inside = norm(x, f"blocks.{layer}.ln1")
            mixed = {part: inside * weights[at + f"time_mix_{part}"] + one * (1 - weights[at + f"time_mix_{part}"])
                     for part in "kvr"}  # fmt: skip
            one = inside
            k, v, r = (weights[f"{at}{name}.weight"] @ mixed[name[0]] for name in ("key", "value", "receptance"))
            top = np.maximum(largest, k + weights[at + "time_first"])
            old, new = np.exp(largest - top), np.exp(k + weights[at + "time_first"] - top)
            x = x + weights[at + "output.weight"] @ (sigmoid(r) * (old * above + new * v) / (old * below + new))
            top = np.maximum(largest + weights[at + "time_decay"], k)
            old, new = np.exp(largest + weights[at + "time_decay"] - top), np.exp(k - top)
            above, below, largest = old * above + new * v, old * below + new, top
            inside = norm(x, f"blocks.{layer}.ln2")
            shares = [weights[to + f"time_mix_{part}"] for part in "kr"]
            k, r = (inside * share + two * (1 - share) for share in shares)
            two = inside
            squared = np.maximum(weights[to + "key.weight"] @ k, 0) ** 2
            xs[place] = x + sigmoid(weights[to + "receptance.weight"] @ r) * (weights[to + "value.weight"] @ squared)
    return np.array([weights["head.weight"] @ norm(x, "ln_out") for x in xs])


def test_transformers_computes_what_the_file_says(real_asset: Callable[[str], Path], tmp_path: Path) -> None:
    import torch
    from safetensors.numpy import save_file
    from transformers import RwkvForCausalLM

    path = real_asset(ASSET)
    found = open_checkpoint(path, OpenOptions())
    arrays = {name: np.array(views.stored(tensor)) for name, tensor in found.tensors.items()}
    save_file(arrays, tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(found.config))
    model: Any = RwkvForCausalLM
    model, loaded = model.from_pretrained(tmp_path, output_loading_info=True, dtype=torch.float32)
    assert not any(loaded[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    with torch.no_grad():
        answer = model.eval()(torch.tensor([TOKENS])).logits[0].numpy()
    wanted = by_paper(stored(path), TOKENS)
    assert np.abs(answer - wanted).max() < 1e-5 * wanted.std()


def test_gguf_is_declined(real_asset: Callable[[str], Path]) -> None:
    from bessemer.targets.gguf.target import contents

    with pytest.raises(Declined, match="version 4"):
        contents(open_checkpoint(real_asset(ASSET), OpenOptions()))
