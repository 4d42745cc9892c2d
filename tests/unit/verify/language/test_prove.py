"""The trained stories260K beside itself in three runtimes, whole and broken."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from bessemer.ir.errors import UnreadableInput, UsageError
from bessemer.runners import llama
from bessemer.sources.base import OpenOptions
from bessemer.sources.gguf import checkpoint
from bessemer.verify.language import compare, prove
from bessemer.verify.language import texts as told
from bessemer.verify.language.choose import original, reference, runtime, types, words
from bessemer.verify.language.huggingface import HuggingFaceSubject
from bessemer.verify.language.llama import LlamaSubject
from bessemer.verify.language.reference import ReferenceSubject
from bessemer.verify.language.subjects import Subject
from bessemer.verify.language.tokenizers import compared_tokens

FOLDER = "llm/stories260K"


@pytest.fixture
def stories(real_asset: Callable[[str], Path]) -> Path:
    if not llama.available():
        pytest.skip("llama.cpp is not installed")
    return real_asset(FOLDER)


@pytest.fixture
def opened() -> Iterator[Callable[[Path], tuple[Subject, ReferenceSubject]]]:
    """A GGUF file in llama.cpp, and its decoded weights."""
    made: list[Subject] = []

    def subjects(path: Path) -> tuple[Subject, ReferenceSubject]:
        held = checkpoint(path, OpenOptions())
        running, decoded = runtime(path, held), reference(held, "decoded weights")
        assert running is not None
        assert decoded is not None
        made.append(running)
        return running, decoded

    yield subjects
    for subject in made:
        subject.close()


Opened = Callable[[Path], tuple[Subject, ReferenceSubject]]


@pytest.mark.skipif(not find_spec("transformers"), reason="transformers is not installed")
def test_transformers_and_llama_cpp_are_one_model(stories: Path, opened: Opened, tmp_path: Path) -> None:
    running, _ = opened(stories / "stories260K-f32.gguf")
    beside = HuggingFaceSubject(stories / "hf")
    proof = prove(beside, running)
    assert proof.within
    assert proof.original.startswith("transformers")
    assert [run.context for run in proof.runs] == ["short", "long"]
    assert all(
        run.mean_kld is not None and run.mean_kld < 1e-10 and run.same_top == 1.0 for run in proof.runs
    )
    with llama.Llama(stories / "stories260K-f32.gguf") as model:
        (tokens,) = model.tokenize(["Once upon a time"])
        made = beside._child.ask("generate", tokens=tokens, count=200)
        assert made == model.generate(tokens, 200, stop=False)
    beside.close()


def test_the_reference_is_llama_cpp_in_float32(stories: Path, opened: Opened) -> None:
    path = stories / "stories260K-f32.gguf"
    running, decoded = opened(path)
    held = checkpoint(path, OpenOptions())
    proof = prove(decoded, running, weights=compare(held.tensors, held.tensors), types=types(held))
    assert proof.within
    assert proof.tokens is not None
    assert proof.tokens.differing == 0
    assert all(run.mean_kld is not None and run.mean_kld < 1e-10 for run in proof.runs)


@pytest.mark.parametrize(("name", "most"), [("f16", 1e-5), ("q8_0", 5e-3), ("q4_0", 0.5)])
def test_what_quantization_costs_is_told_from_what_the_runtime_adds(
    stories: Path, opened: Opened, name: str, most: float
) -> None:
    before, after = (stories / f"stories260K-{kind}.gguf" for kind in ("f32", name))
    first, _ = opened(before)
    running, decoded = opened(after)
    one, two = checkpoint(before, OpenOptions()), checkpoint(after, OpenOptions())
    weights = compare(one.tensors, two.tensors)
    proof = prove(first, running, decoded=decoded, weights=weights, types=types(two))
    assert proof.within
    short = {run.comparison: run for run in proof.runs if run.context == "short"}
    assert set(short) == {"overall", "quantization", "runtime"}
    cost, added = (short[name].mean_kld for name in ("quantization", "runtime"))
    assert cost is not None
    assert added is not None
    assert 0 < cost < most
    assert added < 2e-3


def changed(source: Path, out: Path, old: bytes, new: bytes) -> Path:
    data = source.read_bytes()
    assert data.count(old) == 1
    out.write_bytes(data.replace(old, new))
    return out


def test_a_wrong_setting_is_found(stories: Path, opened: Opened, tmp_path: Path) -> None:
    """The norms' epsilon ten times as large, which hardly shows in what the model says."""
    source = stories / "stories260K-f32.gguf"
    key = b"layer_norm_rms_epsilon" + struct.pack("<I", 6)
    old, new = (key + struct.pack("<f", value) for value in (1e-5, 1e-4))
    running, _ = opened(source)
    wrong, _ = opened(changed(source, tmp_path / "wrong.gguf", old, new))
    proof = prove(running, wrong)
    assert not proof.within
    assert all(run.same_top > 0.99 and not run.within for run in proof.runs)


def test_a_wrong_tokenizer_is_found(stories: Path, opened: Opened, tmp_path: Path) -> None:
    source = stories / "stories260K-f32.gguf"
    running, _ = opened(source)
    word = struct.pack("<Q", 7) + "▁Once".encode()
    other, _ = opened(changed(source, tmp_path / "other.gguf", word, struct.pack("<Q", 7) + "▁Onxe".encode()))
    proof = prove(running, other, corpus=("Once more", "nothing"))
    assert not proof.within
    assert proof.tokens is not None
    assert proof.tokens.differing == 1
    assert "'Once more'" in proof.tokens.examples[0]


def test_weights_in_a_wrong_order_are_found(stories: Path, opened: Opened, tmp_path: Path) -> None:
    """Two rows of a matrix that Q4_0 then blurs: the decoded weights and the artifact agree with each other."""
    gguf = pytest.importorskip("gguf")
    source = stories / "stories260K-q4_0.gguf"
    (tensor,) = (held for held in gguf.GGUFReader(source).tensors if held.name == "blk.1.ffn_up.weight")
    data = bytearray(source.read_bytes())
    rows = np.frombuffer(data, np.uint8, tensor.n_bytes, tensor.data_offset).reshape(tensor.data.shape).copy()
    data[tensor.data_offset : tensor.data_offset + tensor.n_bytes] = rows[::-1].tobytes()
    (tmp_path / "wrong.gguf").write_bytes(data)
    first, _ = opened(stories / "stories260K-f32.gguf")
    running, decoded = opened(tmp_path / "wrong.gguf")
    one = checkpoint(stories / "stories260K-f32.gguf", OpenOptions())
    two = checkpoint(tmp_path / "wrong.gguf", OpenOptions())
    proof = prove(
        first, running, decoded=decoded, weights=compare(one.tensors, two.tensors), types=types(two)
    )
    assert not proof.within
    (line,) = (line for line in proof.weights if line.type == "Q4_0")
    assert not line.within
    assert "layers.1.mlp.up_proj" in line.worst


def test_models_of_another_kind_are_not_compared(stories: Path, opened: Opened) -> None:
    running, decoded = opened(stories / "stories260K-f32.gguf")
    decoded.kind = "encoder"
    proof = prove(decoded, running)
    assert not proof.within
    assert proof.runs == []
    assert "kind 'encoder'" in proof.problems[0]


def test_other_sizes_of_the_vocabulary_are_said(stories: Path, opened: Opened) -> None:
    running, decoded = opened(stories / "stories260K-f32.gguf")
    decoded.vocabulary = 500
    proof = prove(running, decoded)
    assert "first 500 were compared" in proof.notes[0]


def test_without_a_runtime_the_reference_stands_in(
    stories: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = stories / "stories260K-f32.gguf"
    held = checkpoint(path, OpenOptions())
    monkeypatch.setattr(llama, "available", lambda: False)
    assert isinstance(original(path, held), ReferenceSubject)
    with pytest.raises(llama.LlamaMissing, match="llama_runtime"):
        original(path, held, "runtime")
    held.config = {}
    with pytest.raises(llama.LlamaMissing, match="llama_runtime"):
        original(path, held)
    monkeypatch.setattr(llama, "available", lambda: True)
    held.origin = replace(held.origin, format="npz")
    with pytest.raises(UsageError, match="Nothing here runs"):
        original(path, held)


def test_the_users_text_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("Grüße", encoding="utf-8")
    assert told.read(path) == told.Text("mine.txt", "Grüße")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UnreadableInput, match="no text in UTF-8"):
        told.read(path)
    path.write_text(" \n")
    with pytest.raises(UnreadableInput, match="holds no text"):
        told.read(path)


def test_a_short_text_and_a_short_context_are_enough(stories: Path, opened: Opened) -> None:
    running, decoded = opened(stories / "stories260K-f32.gguf")
    proof = prove(running, decoded, text=told.Text("one line", "The end."), corpus=("x",))
    assert proof.within
    (run,) = proof.runs
    assert run.context == "short"
    assert run.tokens == run.length


def test_the_directory_is_read_as_it_is(stories: Path, tmp_path: Path) -> None:
    """No weights of config.json's shapes: transformers would draw them."""
    pytest.importorskip("transformers")
    shutil.copytree(stories / "hf", tmp_path / "hf")
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    config["num_hidden_layers"] = 6
    (tmp_path / "hf" / "config.json").write_text(json.dumps(config))
    subject = HuggingFaceSubject(tmp_path / "hf")
    with pytest.raises(UsageError, match="are missing"):
        _ = subject.kind
    subject.close()


def test_llama_cpps_arithmetic(stories: Path) -> None:
    subject = LlamaSubject(stories / "stories260K-f32.gguf", ("F32",))
    assert subject.arithmetic == "F32"
    assert subject.kind == "causal"
    assert subject.words is not None
    assert (subject.words.prefix, subject.words.suffix) == ((1,), ())
    subject.close()


def test_a_normalizer_that_llama_cpp_lacks_is_said_and_not_held_against_it(stories: Path, opened: Opened) -> None:
    """tok512.model drops repeated spaces; llama.cpp keeps them."""
    pytest.importorskip("sentencepiece")
    from bessemer.tokenization import from_directory

    running, _ = opened(stories / "stories260K-f32.gguf")
    mine = words(from_directory(stories / "hf", {"model_type": "llama"}))
    found = compared_tokens(mine, running.words)
    assert found is not None
    assert found.differing == 0
    assert found.normalized > 10
    assert "'  '" in " ".join(found.examples)
    found = compared_tokens(mine, running.words, ("a  b", "a b"))
    assert found is not None
    assert (found.differing, found.normalized, found.texts) == (0, 1, 2)
    assert mine is not None
    found = compared_tokens(replace(mine, normalize=None), running.words, ("a  b", "a b"))
    assert found is not None
    assert (found.differing, found.normalized) == (1, 0)


def test_a_graph_is_the_same_model(stories: Path, opened: Opened, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    import bessemer
    from bessemer.runners.onnxruntime import OrtRunner
    from bessemer.verify.language.graph import GraphSubject

    running, _ = opened(stories / "stories260K-f32.gguf")
    made = bessemer.compile(bessemer.load(stories / "hf"), "onnx", out=tmp_path)
    graph = GraphSubject(OrtRunner(made.path), running.words, context=512)
    proof = prove(running, graph, corpus=("x",))
    assert proof.within
    assert graph.vocabulary == 512
    assert proof.artifact.startswith("ONNX Runtime")
    assert all(run.mean_kld is not None and run.mean_kld < 1e-9 for run in proof.runs)
