"""Language models as weight files: Hugging Face -> GGUF, quantization and the way back, beside llama.cpp's own tools and a
plain copy of the same bytes with fdatasync.

python bench/language.py --work FOLDER --vocabulary tokenizer.model --llama FOLDER-OF-llama-quantize --source llama.cpp
The peers are built from the sources that the llama-cpp-python sdist vendors (see bench/README.md). A random Llama of
1.1 G parameters in bfloat16 (2.2 GB) is made in FOLDER once. Whole processes in alternation; nobody verifies here
(ours: --no-verify), the files of both are compared byte for byte. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
from measure import Measured, load, measure, median, peak

HIDDEN, LAYERS, INNER, WORDS, HEADS, GROUPS = 2048, 22, 5632, 32000, 32, 4
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": INNER,
    "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": GROUPS, "vocab_size": WORDS,
    "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
    "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "bfloat16",
}  # fmt: skip
LIMIT = 3600.0
WARM = 1


@dataclass(frozen=True)
class Race:
    """One line of the table. mine, theirs: from the file to write to the command; same: whether the bytes must agree."""

    title: str
    mine: Callable[[Path], list[str]]
    theirs: Callable[[Path], list[str]] | None
    same: bool = False


def shapes(layers: int, hidden: int, inner: int, words: int, keys: int) -> dict[str, tuple[int, ...]]:
    """Tensors of a Llama."""
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (words, hidden)}
    for layer in range(layers):
        at = f"model.layers.{layer}."
        found |= {
            at + "input_layernorm.weight": (hidden,), at + "post_attention_layernorm.weight": (hidden,),
            at + "self_attn.q_proj.weight": (hidden, hidden), at + "self_attn.k_proj.weight": (keys, hidden),
            at + "self_attn.v_proj.weight": (keys, hidden), at + "self_attn.o_proj.weight": (hidden, hidden),
            at + "mlp.gate_proj.weight": (inner, hidden), at + "mlp.up_proj.weight": (inner, hidden),
            at + "mlp.down_proj.weight": (hidden, inner),
        }  # fmt: skip
    return {**found, "model.norm.weight": (hidden,), "lm_head.weight": (words, hidden)}


def header_of(tensors: dict[str, tuple[int, ...]]) -> tuple[bytes, int]:
    """A safetensors header for bfloat16, and the bytes behind it."""
    at, held = 0, {}
    for name, shape in tensors.items():
        size = int(np.prod(shape)) * 2
        held[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(held).encode()
    return len(text).to_bytes(8, "little") + text, at


def make_random(folder: Path, vocabulary: Path) -> None:
    """The 1.1 G model, unless it is there."""
    place = folder / "model.safetensors"
    if not place.exists():
        folder.mkdir(parents=True, exist_ok=True)
        tensors, rng = shapes(LAYERS, HIDDEN, INNER, WORDS, HIDDEN // HEADS * GROUPS), np.random.default_rng(0)
        with place.open("wb") as file:
            file.write(header_of(tensors)[0])
            for shape in tensors.values():
                values = rng.standard_normal(shape, np.float32) * 0.02 if len(shape) > 1 else np.ones(shape, np.float32)
                file.write(values.astype(ml_dtypes.bfloat16).tobytes())
    (folder / "config.json").write_text(json.dumps(CONFIG))
    shutil.copyfile(vocabulary, folder / "tokenizer.model")


def make_sparse(folder: Path, vocabulary: Path) -> None:
    """Eight billion weights of zero that take no room on the disk (Llama 3's shape)."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = shapes(32, 4096, 14336, 128256, 1024)
    header, size = header_of(tensors)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(header)
        file.truncate(len(header) + size)
    sizes = {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_key_value_heads": 8}
    (folder / "config.json").write_text(json.dumps({**CONFIG, **sizes, "vocab_size": 128256}))
    shutil.copyfile(vocabulary, folder / "tokenizer.model")


def ours(source: Path, target: str) -> Callable[[Path], list[str]]:
    def command(out: Path) -> list[str]:
        return [sys.executable, "-m", "bessemer", "convert", str(source), "--to", target, "--out", str(out), "--no-verify"]

    return command


def copied(source: Path) -> Callable[[Path], list[str]]:
    return lambda out: ["dd", f"if={source}", f"of={out}/copy", "bs=4M", "conv=fdatasync", "status=none"]


def races(model: Path, half: Path, llama: Path, source: Path) -> list[Race]:
    def script(kind: str) -> Callable[[Path], list[str]]:
        convert = str(source / "convert_hf_to_gguf.py")
        return lambda out: [sys.executable, convert, str(model), "--outtype", kind, "--outfile", str(out / "theirs.gguf")]

    def quantize(kind: str) -> Callable[[Path], list[str]]:
        return lambda out: [str(llama / "llama-quantize"), str(half), str(out / "theirs.gguf"), kind, str(cores())]

    weights = model / "model.safetensors"
    copies = [Race("Hugging Face -> bf16, a copy with fdatasync", ours(model, "gguf:bf16"), copied(weights))]
    scripts = [
        Race(f"Hugging Face -> {kind}, convert_hf_to_gguf", ours(model, f"gguf:{kind}"), script(kind))
        for kind in ("f16", "bf16", "q8_0")
    ]
    quantized = [
        Race(f"GGUF f16 -> {kind}, llama-quantize", ours(half, f"gguf:{kind}"), quantize(kind), same=True)
        for kind in ("Q8_0", "Q4_0", "Q4_K_M", "Q6_K", "Q5_K_M", "Q3_K_M", "Q2_K", "IQ4_XS")
    ]
    back = [Race("GGUF f16 -> safetensors, a copy with fdatasync", ours(half, "safetensors"), copied(half))]
    return [*copies, *scripts, *quantized, *back]


def cores() -> int:
    return len(os.sched_getaffinity(0))


def once(command: Callable[[Path], list[str]], out: Path) -> Measured:
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    os.sync()
    return measure(command(out), limit=LIMIT, cwd=out)


def run(race: Race, work: Path, pairs: int) -> str:
    mine, theirs, equal = [], [], ""
    for pair in range(pairs):
        sides = [(race.mine, work / "mine", mine), (race.theirs, work / "theirs", theirs)]
        for command, out, found in sides if pair % 2 else reversed(sides):  # the first to write gets colder memory
            if command is not None:
                found.append(once(command, out))
        equal = compared(work) if race.same else ""
    ours_alone = f"| {race.title} | {median(mine):.2f} | "
    if not theirs:
        return f"{ours_alone}- | - | {peak(mine) >> 20} | - | |"
    times = f"{median(theirs):.2f} | {median(theirs) / median(mine):.2f}x"
    return f"{ours_alone}{times} | {peak(mine) >> 20} | {peak(theirs) >> 20} | {equal} |"


def compared(work: Path) -> str:
    """Whether the weights of both files are the same bytes (headers name their maker)."""
    from gguf import GGUFReader

    made = next((work / "mine").glob("*.gguf"))
    if filecmp.cmp(made, work / "theirs/theirs.gguf", shallow=False):
        return "whole file"
    left, right = ({item.name: item for item in GGUFReader(path).tensors} for path in (made, work / "theirs/theirs.gguf"))
    if left.keys() != right.keys():
        return "no: names"
    bad = [name for name in left if not np.array_equal(left[name].data, right[name].data)]
    return f"no: {bad[0]}" if bad else f"{len(left)} tensors"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--vocabulary", type=Path, required=True, help="a SentencePiece model of 32,000 tokens")
    parser.add_argument("--llama", type=Path, required=True, help="folder with llama-quantize")
    parser.add_argument("--source", type=Path, required=True, help="folder with convert_hf_to_gguf.py")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--only", default="", help="races whose title holds this")
    parser.add_argument("--sparse", action="store_true", help="also the sparse 8 G model, ours alone")
    said = parser.parse_args(arguments)
    model, half = said.work / "llama-1.1b", said.work / "llama-1.1b.f16.gguf"
    make_random(model, said.vocabulary)
    if not half.exists():
        once(ours(model, "gguf:f16"), said.work / "half")
        next((said.work / "half").glob("*.gguf")).replace(half)
    print(load())
    print("| race | ours s | theirs s | ratio | ours MB | theirs MB | same bytes |\n" + "| --- " * 7 + "|")
    for race in races(model, half, said.llama, said.source):
        if said.only in race.title:
            print(run(race, said.work, said.pairs), flush=True)
    if said.sparse:
        make_sparse(said.work / "llama-8b", said.vocabulary)
        for target in ("gguf:q8_0", "gguf:q4_k_m", "safetensors"):
            print(run(Race(f"sparse 8 G -> {target}", ours(said.work / "llama-8b", target), None), said.work, 1), flush=True)


if __name__ == "__main__":
    main()
