"""Importance matrices: against llama-quantize, which reads them, and against transformers, whose inputs are summed."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from shutil import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.architectures import zoo
from tests.unit.targets.gguf import tiny

from bessemer.architectures.base import find
from bessemer.ir.errors import UnreadableInput, UsageError
from bessemer.opening import open_checkpoint
from bessemer.runners.llama.place import available
from bessemer.runners.llama.place import find as find_llama
from bessemer.sources.base import OpenOptions
from bessemer.targets.gguf.importance import Matrix, load, measure, measured_on, read, write
from bessemer.targets.gguf.mix import plan
from bessemer.targets.gguf.options import GgufOptions
from bessemer.targets.gguf.target import GgufTarget
from bessemer.wire.errors import WireError
from bessemer.wire.gguf.reader import read as read_gguf
from bessemer.wire.imatrix import parse


def _random(tensors: Mapping[str, Any], silent: str = "") -> Matrix:
    """Sums and counts of all matrices of layers; the second expert of the tensor `silent` saw nothing."""
    draw, sums, counts = np.random.default_rng(21), {}, {}
    for name, held in tensors.items():
        if held.ndim > 1 and name.startswith("blk."):
            experts = held.shape[0] if held.ndim > 2 else 1
            sums[name] = (draw.random((experts, held.shape[-1]), np.float32) * 100) ** 2
            counts[name] = draw.integers(1, 5000, experts)
            if name == silent:
                sums[name][1], counts[name][1] = 0, 0
    return Matrix(sums, counts, 7, 512, ("a text",))


def _older(matrix: Matrix) -> bytes:
    """As llama-imatrix writes its .dat files."""
    parts = [struct.pack("<i", len(matrix.sums))]
    for name, values in matrix.importance().items():
        parts += [struct.pack("<i", len(name)), name.encode(), struct.pack("<ii", 3, len(values))]
        parts.append((values * np.float32(3)).astype("<f4").tobytes())
    return b"".join([*parts, struct.pack("<ii", 7, 6), b"a text"])


@pytest.mark.parametrize("family", ["llama", "llama, 8 experts"])
@pytest.mark.parametrize("form", ["imatrix.gguf", "imatrix.dat"])
@pytest.mark.parametrize("mix", ["Q4_0", "IQ4_XS", "Q3_K_S"])
def test_files_are_those_of_llama_quantize_with_the_same_matrix(family: str, form: str, mix: str, tmp_path: Path) -> None:
    quantize = find_llama().with_name("llama-quantize") if available() else Path()
    if not quantize.is_file():
        pytest.skip("llama-quantize is not beside libllama")
    metadata, tensors = tiny.write(tmp_path / "source.gguf", family)
    matrix, path = _random(tensors, "blk.2.ffn_up_exps.weight"), tmp_path / form
    if form.endswith(".gguf"):
        write(path, matrix)
    else:
        path.write_bytes(_older(matrix))
    out = tmp_path / "out.gguf"
    arguments = [quantize, "--imatrix", path, tmp_path / "source.gguf", out, mix, "2"]
    told = subprocess.run(arguments, capture_output=True, check=True, text=True).stdout
    assert f"loaded {len(matrix.sums)} importance matrix entries" in told.replace("have", "loaded")
    held = tiny.lazy(tensors)
    found = plan(mix, held, metadata, (), read(path))
    wanted, data = read_gguf(out), out.read_bytes()
    for name, info in wanted.tensors.items():
        assert found.types[name] == info.type.name, name
        assert tiny.encoded_as(held[name], found, name) == data[info.offset : info.offset + info.nbytes], name
    facts = {key: value for key, value in wanted.metadata.items() if key.startswith("quantize.")}
    assert facts == load(path).facts(str(path))


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    _, tensors = tiny.write(tmp_path / "source.gguf", "llama, 8 experts")
    matrix = _random(tensors, "blk.0.ffn_down_exps.weight")
    write(tmp_path / "matrix.gguf", matrix)
    again = load(tmp_path / "matrix.gguf")
    assert (again.chunks, again.chunk_size, again.datasets) == (7, 512, ("a text",))
    for name, sums in matrix.sums.items():
        np.testing.assert_array_equal(again.sums[name], sums)
        np.testing.assert_array_equal(again.counts[name], matrix.counts[name])
    silent = again.importance()["blk.0.ffn_down_exps.weight"].reshape(8, -1)
    assert (silent[1] == 1).all()


_TOKENS = [int(token) for token in np.random.default_rng(22).integers(3, 500, 90)]


def _summed(model: Any, chunk: int) -> dict[str, tuple[Any, int]]:
    """Module -> sum of squares of what came into it, and rows, by hooks of PyTorch."""
    import torch

    held: dict[str, tuple[Any, int]] = {}

    def hook(name: str) -> Any:
        def take(module: Any, inputs: Any) -> None:
            rows = inputs[0].reshape(-1, inputs[0].shape[-1]).double().numpy()
            before, count = held.get(name, (0, 0))
            held[name] = before + (rows**2).sum(0), count + len(rows)

        return take

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(hook(name))
    with torch.no_grad():
        for start in range(0, len(_TOKENS) // chunk * chunk, chunk):
            model(torch.tensor([_TOKENS[start : start + chunk]]))
    return held


def test_measured_sums_are_those_of_transformers_inputs(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    model = zoo.save("llama", tmp_path)
    checkpoint = zoo.checkpoint(tmp_path)
    family = find(checkpoint.config)
    decoder = family.decoder(checkpoint.config)
    assert decoder is not None
    matrix = measure(decoder, family.roles(checkpoint), _TOKENS, chunk=40, datasets=("random",))
    wanted = _summed(model, 40)
    names = {"attn_q": "self_attn.q_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
             "ffn_gate": "mlp.gate_proj", "ffn_down": "mlp.down_proj"}  # fmt: skip
    for layer in range(len(decoder.layers)):
        for ours, theirs in names.items():
            sums, count = wanted[f"model.layers.{layer}.{theirs}"]
            name = f"blk.{layer}.{ours}.weight"
            np.testing.assert_allclose(matrix.sums[name][0], sums, rtol=1e-4)
            assert matrix.counts[name].tolist() == [count] == [80]
    assert "output.weight" not in matrix.sums
    assert matrix.chunks == 2
    metadata, tensors = family.to_gguf(checkpoint)
    assert set(matrix.sums) == {name for name, held in tensors.items() if name.startswith("blk.") and len(held.shape) > 1}
    assert plan("Q8_0", tensors, metadata, (), matrix.importance()).importance.keys() == set(matrix.sums)


def test_experts_are_summed_by_who_came_to_them(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    model = zoo.save("mixtral", tmp_path)
    checkpoint = zoo.checkpoint(tmp_path)
    family = find(checkpoint.config)
    decoder = family.decoder(checkpoint.config)
    assert decoder is not None
    matrix = measure(decoder, family.roles(checkpoint), _TOKENS, chunk=len(_TOKENS))
    seen: list[tuple[Any, Any]] = []
    experts = model.model.layers[0].mlp.experts
    experts.register_forward_pre_hook(lambda module, inputs: seen.append((inputs[0].clone(), inputs[1].clone())))
    with torch.no_grad():
        model(torch.tensor([_TOKENS]))
        states, chosen = seen[0]
        for expert in range(4):
            x = states[(chosen == expert).any(1)]
            gate, up = (x @ experts.gate_up_proj[expert].T).chunk(2, dim=-1)
            inner = torch.nn.functional.silu(gate) * up
            for name, rows in (("gate", x), ("up", x), ("down", inner)):
                key = f"blk.0.ffn_{name}_exps.weight"
                assert matrix.counts[key][expert] == len(x)
                np.testing.assert_allclose(matrix.sums[key][expert], (rows.double() ** 2).sum(0).numpy(), rtol=1e-4)


def test_a_text_that_is_too_short_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    zoo.save("llama", tmp_path)
    checkpoint = zoo.checkpoint(tmp_path)
    family = find(checkpoint.config)
    decoder = family.decoder(checkpoint.config)
    assert decoder is not None
    with pytest.raises(UsageError, match="chunks of 512"):
        measure(decoder, family.roles(checkpoint), _TOKENS)


def test_what_is_no_importance_matrix_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "matrix"
    _, tensors = tiny.write(tmp_path / "model.gguf", "llama")
    whole = _older(_random(tensors))
    for data in (b"", b"abc", b"\x01\0\0\0", struct.pack("<i", 2**31 - 1), whole[: len(whole) // 2], b"GGUF" + bytes(9)):
        path.write_bytes(data)
        with pytest.raises(UnreadableInput, match="no importance matrix"):
            read(path)
    with pytest.raises(UnreadableInput, match="lacks imatrix"):
        read(tmp_path / "model.gguf")
    with pytest.raises(UnreadableInput, match="cannot be read"):
        read(tmp_path / "absent.gguf")


@settings(max_examples=200)
@given(st.binary(max_size=80))
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    try:
        held = parse(struct.pack("<i", 1) + data)
    except WireError:
        return
    assert len(held.entries) == 1


STORIES = "llm/stories260K"


def _told(model: Path, text: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bessemer", "importance", str(model), str(text), "-o", str(out), *more]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_measures_a_trained_model(real_asset: Callable[[str], Path], tmp_path: Path) -> None:
    """The sums are those of llama-imatrix, where that is installed; its BOS begins each chunk."""
    model, text = real_asset(f"{STORIES}/stories260K-f32.gguf"), real_asset(f"{STORIES}/tinystories_sample.txt")
    done = _told(model, text, tmp_path / "ours.gguf", "--chunk", "128", "--json")
    assert json.loads(done.stdout) == {
        "path": str(tmp_path / "ours.gguf"), "matrices": 35, "chunks": 14, "chunk_size": 128, "unseen_experts": {},
    }  # fmt: skip
    _equal(load(tmp_path / "ours.gguf"), _theirs(model, text, tmp_path))


def _theirs(model: Path, text: Path, folder: Path) -> Matrix:
    """What llama-imatrix measures in chunks of 128, keys and values in float32. Skips where it is not installed."""
    program = find_llama().with_name("llama-imatrix") if available() else Path()
    if not program.is_file():
        pytest.skip("llama-imatrix is not beside libllama")
    exact = ["-fa", "off", "-ctk", "f32", "-ctv", "f32", "-t", "2", "--output-format", "gguf"]
    out = folder / "theirs.gguf"
    subprocess.run([program, "-m", model, "-f", text, "-c", "128", "-o", out, *exact], capture_output=True, check=True)
    return load(out)


def _equal(got: Matrix, wanted: Matrix) -> None:
    assert got.sums.keys() == wanted.sums.keys()
    for name, sums in wanted.sums.items():
        np.testing.assert_array_equal(got.counts[name], wanted.counts[name])
        np.testing.assert_allclose(got.sums[name], sums, rtol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mixtral", "qwen2-moe", "qwen3", "phi3", "granite", "olmo2"])
def test_families_are_measured_as_llama_imatrix_does(
    name: str, real_asset: Callable[[str], Path], tmp_path: Path
) -> None:
    """Random models behind a trained tokenizer: names of matrices, tokens of each expert, sums."""
    pytest.importorskip("transformers")
    text = real_asset(f"{STORIES}/tinystories_sample.txt")
    zoo.save(name, tmp_path)
    copy(real_asset(f"{STORIES}/hf/tokenizer.model"), tmp_path)
    held = open_checkpoint(tmp_path, OpenOptions())
    prepared = GgufTarget().prepare(held, GgufOptions(precision="F32"))
    model = GgufTarget().write(prepared, tmp_path, "model").path
    _equal(measured_on(held, text.read_text(), name="text", chunk=128), _theirs(model, text, tmp_path))


def test_the_command_refuses_what_it_cannot_measure(real_asset: Callable[[str], Path], tmp_path: Path) -> None:
    model = real_asset(f"{STORIES}/stories260K-f32.gguf")
    text = tmp_path / "short.txt"
    text.write_text("Once upon a time")
    done = _told(model, text, tmp_path / "out.gguf")
    assert done.returncode == 2 and "chunks of 512" in done.stderr
    text.write_bytes(b"\xff\xfe\xfa")
    done = _told(model, text, tmp_path / "out.gguf")
    assert done.returncode == 5 and "not UTF-8" in done.stderr
    assert not (tmp_path / "out.gguf").exists()
