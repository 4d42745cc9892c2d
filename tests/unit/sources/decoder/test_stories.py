"""A trained Llama of 260 K parameters: the same greedy story wherever it runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from bessemer.ir.errors import UsageError
from bessemer.ir.model import Model
from bessemer.opening import normalise, open_model
from bessemer.request import ConvertOptions
from bessemer.runners.base import Runner
from bessemer.runners.decoder.generation import greedy
from bessemer.runners.onnxruntime import OrtRunner
from bessemer.sources.base import OpenOptions
from bessemer.sources.sniff import identify
from bessemer.targets.onnx.target import TARGET, OnnxOptions

ONCE = [1, 403, 407, 261, 378]
"""'Once upon a time' behind the token that begins a text."""
COUNT = 200


def in_onnxruntime(path: Path, out: Path, opset: int | None = None, *, optimize: bool = True) -> Runner:
    model = open_model(path, OpenOptions())
    normalise(model, ConvertOptions())
    prepared = TARGET.prepare(Model(model.graph, model.origin), OnnxOptions(opset=opset))
    return OrtRunner(TARGET.write(prepared, out, f"model{opset}").path, optimize=optimize)


def test_the_story_is_the_same_in_onnxruntime_and_the_reference(
    real_asset: Callable[[str], Path], tmp_path: Path
) -> None:
    path = real_asset("llm/stories260K/stories260K-f32.gguf")
    hub = real_asset("llm/stories260K/hf")
    story = greedy(in_onnxruntime(path, tmp_path), ONCE, COUNT)
    assert len(story) == COUNT and len(set(story)) > 40
    assert greedy(in_onnxruntime(hub, tmp_path), ONCE, COUNT) == story
    assert greedy(in_onnxruntime(path, tmp_path, opset=17), ONCE, COUNT) == story
    assert greedy(identify(path).load().runner(path, OpenOptions()), ONCE, COUNT) == story


def test_llama_cpp_tells_the_same_story(real_asset: Callable[[str], Path], tmp_path: Path) -> None:
    from bessemer.runners.llama.place import available

    if not available():
        pytest.skip("llama.cpp is not installed")
    from bessemer.runners.llama.client import Llama

    path = real_asset("llm/stories260K/stories260K-f32.gguf")
    with Llama(path, threads=1) as original:
        told = original.generate(ONCE, COUNT, stop=False)
    assert greedy(in_onnxruntime(path, tmp_path), ONCE, COUNT) == told


def test_transformers_tells_the_same_story(real_asset: Callable[[str], Path], tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    import torch
    import transformers

    hub = real_asset("llm/stories260K/hf")
    original = transformers.LlamaForCausalLM.from_pretrained(hub, local_files_only=True).eval()
    with torch.no_grad():
        told = original.generate(torch.tensor([ONCE]), max_new_tokens=COUNT, do_sample=False, eos_token_id=None)
    path = real_asset("llm/stories260K/stories260K-f32.gguf")
    assert greedy(in_onnxruntime(path, tmp_path), ONCE, COUNT) == told[0, len(ONCE) :].tolist()


@pytest.mark.parametrize("kind", ["f16", "q8_0", "q4_0"])
def test_stored_blocks_become_a_graph_of_their_values(
    kind: str, real_asset: Callable[[str], Path], tmp_path: Path
) -> None:
    path = real_asset(f"llm/stories260K/stories260K-{kind}.gguf")
    artifact = in_onnxruntime(path, tmp_path, optimize=False)  # its optimiser rounds activations beside such weights
    own = identify(path).load().runner(path, OpenOptions())
    assert greedy(artifact, ONCE, 60) == greedy(own, ONCE, 60)
    feeds = {
        "input_ids": np.array([ONCE]), "attention_mask": np.ones((1, len(ONCE)), np.int64),
        "position_ids": np.arange(len(ONCE))[None],
        **{spec.name: np.zeros((1, 4, 0, 8), np.float32) for spec in own.signature.inputs[3:]},
    }  # fmt: skip
    np.testing.assert_allclose(artifact.run(feeds)["logits"], own.run(feeds)["logits"], rtol=1e-4, atol=1e-4)


def test_a_text_that_ends_early_ends(real_asset: Callable[[str], Path], tmp_path: Path) -> None:
    runner = in_onnxruntime(real_asset("llm/stories260K/hf"), tmp_path)
    whole = greedy(runner, ONCE, 20)
    assert greedy(runner, ONCE, 20, ends=[whole[7]]) == whole[: whole.index(whole[7]) + 1]
    with pytest.raises(UsageError, match="at least one token"):
        greedy(runner, [], 3)


def test_a_gguf_file_comes_back_from_its_graph(real_asset: Callable[[str], Path], tmp_path: Path) -> None:
    """Settings and tokenizer go along with the ONNX file; with them it is the same checkpoint again."""
    from shutil import copy

    from bessemer.opening import open_checkpoint
    from bessemer.weights.views import stored

    path = real_asset("llm/stories260K/stories260K-f32.gguf")
    model = open_model(path, OpenOptions())
    assert {"config.json", "tokenizer.json", "tokenizer.model"} <= {file.name for file in model.companions}
    for file in model.companions:
        copy(file, tmp_path)
    normalise(model, ConvertOptions())
    prepared = TARGET.prepare(Model(model.graph, model.origin), OnnxOptions())
    back = open_checkpoint(TARGET.write(prepared, tmp_path, "story").path, OpenOptions())
    original = open_checkpoint(path, OpenOptions())
    assert back.config == original.config and set(back.tensors) == set(original.tensors)
    for name, tensor in original.tensors.items():
        np.testing.assert_array_equal(stored(back.tensors[name]), stored(tensor), err_msg=name)
    assert back.tokenizer is not None and original.tokenizer is not None
    assert back.tokenizer.tokens == original.tokenizer.tokens
