"""Models in libllama, in a child process."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bessemer.ir.errors import BessemerError, RuntimeRefused, UsageError
from bessemer.runners import llama
from bessemer.runners.llama import ggml, place

PROMPT = "Once upon a time, there was"


def test_words_and_tokens(stories: llama.Llama) -> None:
    (tokens,) = stories.tokenize([PROMPT])
    assert tokens[0] == 1
    assert b"".join(stories.pieces(tokens[1:])).decode() == f" {PROMPT}"
    assert stories.detokenize(tokens) == f" {PROMPT}"
    assert stories.tokenize([PROMPT], add_special=False) == [tokens[1:]]
    assert stories.tokenize(["<s>"], add_special=False) == [[1]]
    assert stories.tokenize(["<s>"], add_special=False, parse_special=False) != [[1]]


def test_logits_do_not_depend_on_how_they_are_fetched(stories: llama.Llama) -> None:
    (tokens,) = stories.tokenize([PROMPT * 20])
    whole = stories.logits(tokens)
    assert whole.shape == (len(tokens), 512)
    np.testing.assert_allclose(np.concatenate(list(stories.stream(tokens))), whole, atol=1e-4)
    np.testing.assert_allclose(
        stories.logits(tokens[:9]), whole[:9], atol=1e-4
    )  # it looks at nothing to come


def test_generation_takes_the_likeliest(stories: llama.Llama) -> None:
    (tokens,) = stories.tokenize([PROMPT])
    made = stories.generate(tokens, 40)
    again = stories.logits([*tokens, *made]).argmax(-1)
    assert made == again[len(tokens) - 1 : -1].tolist()
    assert stories.detokenize(made).startswith("a little girl named Lily.")


def test_facts_and_metadata(stories: llama.Llama) -> None:
    assert stories.runtime.startswith("llama.cpp")
    assert stories.facts["vocabulary"] == 512
    assert stories.facts["context"] == 512
    assert stories.metadata["general.architecture"] == "llama"
    assert stories.embeddings([1, 403]).shape == (2, 64)


@pytest.mark.parametrize("tokens", [[], [512], [-1]])
def test_tokens_outside_the_vocabulary_never_reach_it(stories: llama.Llama, tokens: list[int]) -> None:
    with pytest.raises(UsageError, match=r"0 \.\. 511"):
        stories.logits(tokens)


def test_a_vocabulary_alone_computes_nothing(libllama: Path, real_asset: Callable[[str], Path]) -> None:
    with llama.Llama(real_asset("llm/gguf_vocab/ggml-vocab-bert-bge.gguf"), vocabulary_only=True) as model:
        assert model.tokenize(["Hello wörld"]) == [[101, 7592, 2088, 102]]
        with pytest.raises(UsageError, match="vocabulary alone"):
            model.logits([101])


def test_what_the_library_says_of_a_broken_file_is_told(libllama: Path, tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF" + bytes([3, 0, 0, 0]) + os.urandom(500))
    with (
        llama.Llama(path) as model,
        pytest.raises(RuntimeRefused, match=r"broken\.gguf\. It says: .*gguf_init"),
    ):
        _ = model.facts


def adapter(path: Path, model: Path) -> tuple[np.ndarray, np.ndarray]:
    """A LoRA of rank 4 for one projection of stories260K, written by the `gguf` package."""
    gguf = pytest.importorskip("gguf")
    rng = np.random.default_rng(5)
    a, b = (rng.standard_normal(shape).astype(np.float32) * 0.3 for shape in ((4, 64), (64, 4)))
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 8.0)
    writer.add_tensor("blk.2.attn_output.weight.lora_a", a)
    writer.add_tensor("blk.2.attn_output.weight.lora_b", b)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return a, b


def merged(source: Path, out: Path, name: str, delta: np.ndarray) -> None:
    """The model with `delta` added to one tensor, in place of its bytes."""
    gguf = pytest.importorskip("gguf")
    (tensor,) = (held for held in gguf.GGUFReader(source).tensors if held.name == name)
    data = bytearray(source.read_bytes())
    fresh = np.frombuffer(data, "<f4", tensor.n_elements, tensor.data_offset).reshape(delta.shape) + delta
    data[tensor.data_offset : tensor.data_offset + fresh.nbytes] = fresh.astype("<f4").tobytes()
    out.write_bytes(data)


def test_an_adapter_equals_its_merged_weights(
    stories: llama.Llama, real_asset: Callable[[str], Path], tmp_path: Path
) -> None:
    source = real_asset("llm/stories260K/stories260K-f32.gguf")
    a, b = adapter(tmp_path / "lora.gguf", source)
    merged(source, tmp_path / "merged.gguf", "blk.2.attn_output.weight", 0.5 * (8.0 / 4) * b @ a)
    (tokens,) = stories.tokenize([PROMPT])
    with (
        llama.Llama(source, adapters=[(tmp_path / "lora.gguf", 0.5)]) as kept,
        llama.Llama(tmp_path / "merged.gguf") as fused,
    ):
        expected = fused.logits(tokens)
        np.testing.assert_allclose(kept.logits(tokens), expected, atol=2e-3)
        assert np.abs(expected - stories.logits(tokens)).max() > 0.5


def test_llama_cpps_own_quantizer(libllama: Path, real_asset: Callable[[str], Path], tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    source = real_asset("llm/stories260K/stories260K-f32.gguf")
    llama.quantize(source, tmp_path / "q.gguf", "Q8_0", pure=True)
    for tensor in gguf.GGUFReader(tmp_path / "q.gguf").tensors:
        if tensor.tensor_type.name == "Q8_0":
            (before,) = (held for held in gguf.GGUFReader(source).tensors if held.name == tensor.name)
            assert tensor.data.tobytes() == ggml.quantized(before.data, "Q8_0").tobytes()
            break
    else:
        pytest.fail("nothing was quantized")


def test_importance_reaches_the_quantizer(
    libllama: Path, real_asset: Callable[[str], Path], tmp_path: Path
) -> None:
    gguf = pytest.importorskip("gguf")
    source = real_asset("llm/stories260K/stories260K-f32.gguf")
    name = "blk.0.attn_output.weight"
    factors = np.random.default_rng(0).random(64).astype(np.float32) * 9 + 0.1
    llama.quantize(source, tmp_path / "q.gguf", "Q4_0", pure=True, importance={name: factors})
    (made,) = (held for held in gguf.GGUFReader(tmp_path / "q.gguf").tensors if held.name == name)
    (before,) = (held for held in gguf.GGUFReader(source).tensors if held.name == name)
    assert made.data.tobytes() == ggml.quantized(before.data, "Q4_0", factors).tobytes()
    assert made.data.tobytes() != ggml.quantized(before.data, "Q4_0").tobytes()


def test_a_mix_that_does_not_exist(libllama: Path) -> None:
    with pytest.raises(UsageError, match="'Q9_K' is no mix"):
        llama.quantize("a", "b", "Q9_K")


@pytest.mark.parametrize("name", ["F16", "BF16", "Q4_0", "Q8_0", "Q6_K", "IQ4_XS", "TQ2_0", "MXFP4"])
def test_rows_in_ggmls_own_code_agree_with_the_gguf_package(libllama: Path, name: str) -> None:
    gguf = pytest.importorskip("gguf")
    weights = np.random.default_rng(1).standard_normal((3, 512)).astype(np.float32)
    data = ggml.quantized(weights, name)
    expected = gguf.quants.dequantize(data, gguf.GGMLQuantizationType[name])
    np.testing.assert_array_equal(ggml.dequantized(data, name), expected)


def test_where_the_variable_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(place.VARIABLE, str(tmp_path))
    with pytest.raises(UsageError, match="where no libllama is"):
        llama.find()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "libllama.so.0.5.0").touch()
    (tmp_path / "bin" / "libllama.so").touch()
    (tmp_path / "bin" / "libllama-common.so").touch()
    place._find.cache_clear()
    assert llama.find() == tmp_path / "bin" / "libllama.so"
    assert llama.version(llama.find()) == "0.5.0"


def test_a_file_that_is_no_library_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "libllama.so").write_bytes(b"no ELF")
    monkeypatch.setenv(place.VARIABLE, str(tmp_path))
    with llama.Llama(tmp_path / "model.gguf") as model, pytest.raises(BessemerError, match=r"libllama\.so"):
        _ = model.facts
