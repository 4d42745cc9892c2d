"""The types that mixes give to tensors, against llama.cpp's own quantizer on files of many architectures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.targets.gguf import tiny

from bessemer.ir.errors import BessemerError, Declined, UsageError
from bessemer.runners.isolated import IsolatedRunner
from bessemer.runners.llama.place import available
from bessemer.targets.gguf.mix import plan
from bessemer.targets.gguf.rules import MIXES
from bessemer.wire.gguf.reader import read
from bessemer.wire.gguf.types import BY_NAME

needs_llama = pytest.mark.skipif(not available(), reason="no llama.cpp is installed")


@pytest.fixture(scope="module")
def quantizer() -> Iterator[IsolatedRunner]:
    with IsolatedRunner("bessemer.runners.llama.model:Quantizer") as child:
        yield child


def _quantized(child: IsolatedRunner, source: Path, mix: str, importance: Mapping[str, Any], **options: int) -> Path:
    out = source.with_name("out.gguf")
    options = {"ftype": MIXES[mix][0], "nthread": 1, **options}
    child.ask("quantize", path=str(source), out=str(out), options=options, importance=dict(importance))
    return out


def _importance(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Of all matrices: a number for each column, of each expert."""
    draw = np.random.default_rng(3)
    matrices = {name: held for name, held in tensors.items() if held.ndim > 1}
    return {
        name: draw.random(held.shape[-1] * (held.shape[0] if held.ndim > 2 else 1), np.float32)
        for name, held in matrices.items()
    }


@needs_llama
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_every_mix_gives_the_types_of_llama_quantize(family: str, tmp_path: Path, quantizer: IsolatedRunner) -> None:
    source = tmp_path / "source.gguf"
    for columns in (256, 96, 40) if family in ("llama", "qwen2moe") else (256,):
        metadata, tensors = tiny.write(source, family, columns)
        held = tiny.lazy(tensors)
        for mix in MIXES:
            for importance in ({}, _importance(tensors)) if mix in ("Q4_0", "Q5_0", "IQ4_XS", "Q2_K_S") else ({},):
                try:
                    wanted = read(_quantized(quantizer, source, mix, importance))
                except BessemerError:  # rows that its blocks do not fill, or no importance where it is needed
                    with pytest.raises(Declined):
                        plan(mix, held, metadata, (), importance)
                    continue
                found = plan(mix, held, metadata, (), importance)
                assert found.types == {name: info.type.name for name, info in wanted.tensors.items()}, (mix, columns)
                assert found.file_type == wanted.metadata["general.file_type"]


@needs_llama
@pytest.mark.parametrize("family", ["llama, grouped", "llama, 8 experts"])
@pytest.mark.parametrize("mix", ["Q3_K_M", "Q4_0", "Q4_K_M", "Q5_1", "IQ4_XS", "MXFP4_MOE", "TQ1_0"])
@pytest.mark.parametrize("weighed", [False, True])
def test_files_have_the_bytes_of_llama_quantize(
    family: str, mix: str, weighed: bool, tmp_path: Path, quantizer: IsolatedRunner
) -> None:
    source = tmp_path / "source.gguf"
    metadata, tensors = tiny.write(source, family, kind="F16")
    held = tiny.lazy(tensors, "F16")
    importance = _importance(tensors) if weighed else {}
    out = _quantized(quantizer, source, mix, importance)
    found = plan(mix, held, metadata, (), importance)
    wanted = read(out)
    data = out.read_bytes()
    for name, tensor in held.items():
        info = wanted.tensors[name]
        assert tiny.encoded_as(tensor, found, name) == data[info.offset : info.offset + info.nbytes], name


@needs_llama
@pytest.mark.parametrize("family", ["llama", "gemma"])
def test_the_output_type_is_that_of_a_tied_embedding_too(
    family: str, tmp_path: Path, quantizer: IsolatedRunner
) -> None:
    source = tmp_path / "source.gguf"
    metadata, tensors = tiny.write(source, family)
    wanted = read(_quantized(quantizer, source, "Q4_K_M", {}, output_tensor_type=BY_NAME["Q5_1"].id))
    found = plan("Q4_K_M", tiny.lazy(tensors), metadata, [(r"^output\.weight$", "Q5_1")])
    assert found.types == {name: info.type.name for name, info in wanted.tensors.items()}


def test_patterns_override_the_mix_and_the_first_one_counts(tmp_path: Path) -> None:
    metadata, tensors = tiny.write(tmp_path / "source.gguf", "llama")
    found = plan("Q4_K_M", tiny.lazy(tensors), metadata, [(r"blk\.3\.ffn_down", "F16"), ("ffn_down|attn_v", "Q8_0")])
    kinds = {name: kind for name, kind in found.types.items() if "ffn_down" in name or "attn_v" in name}
    assert kinds.pop("blk.3.ffn_down.weight") == "F16"
    assert set(kinds.values()) == {"Q8_0"}
    with pytest.raises(UsageError, match="No tensor that may be quantized"):
        plan("Q4_K_M", tiny.lazy(tensors), metadata, [("no_such_tensor", "Q8_0")])
    with pytest.raises(UsageError, match="no type of GGUF"):
        plan("Q4_K_M", tiny.lazy(tensors), metadata, [("attn_v", "Q9_K")])


def test_what_has_no_encoder_is_declined_by_name(tmp_path: Path) -> None:
    metadata, tensors = tiny.write(tmp_path / "source.gguf", "llama")
    with pytest.raises(UsageError, match="no encoder for the mix 'IQ2_XXS'"):
        plan("IQ2_XXS", tiny.lazy(tensors), metadata)
    with pytest.raises(Declined) as caught:
        plan("Q4_K_M", tiny.lazy(tensors), metadata, [("attn_v", "IQ3_S")])
    assert len(caught.value.blockers) == 17


def test_importance_of_another_model_is_refused(tmp_path: Path) -> None:
    metadata, tensors = tiny.write(tmp_path / "source.gguf", "llama, 8 experts")
    for name, size in (("blk.0.attn_v.weight", 512), ("blk.0.ffn_up_exps.weight", 256)):
        with pytest.raises(UsageError, match="another model"):
            plan("Q4_K_M", tiny.lazy(tensors), metadata, (), {name: np.ones(size, np.float32)})
    with pytest.raises(UsageError, match="infinite"):
        plan("Q4_K_M", tiny.lazy(tensors), metadata, (), {"blk.0.attn_v.weight": np.full(256, np.nan, np.float32)})


def test_what_the_importance_does_not_speak_of_is_told(tmp_path: Path) -> None:
    metadata, tensors = tiny.write(tmp_path / "source.gguf", "llama")
    importance = _importance(tensors)
    assert plan("Q4_K_M", tiny.lazy(tensors), metadata, (), importance).notes == []
    del importance["token_embd.weight"], importance["blk.3.attn_k.weight"]
    notes = plan("Q4_K_M", tiny.lazy(tensors), metadata, (), importance).notes
    assert notes == ["the importance matrix says nothing of 1 tensor of layers (blk.3.attn_k.weight)"]
    assert plan("Q8_0", tiny.lazy(tensors), metadata, (), importance).notes == []


def _from_a_hub(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """All in bfloat16, as checkpoints from a hub are; 1-D tensors too."""
    from dataclasses import replace

    return {name: replace(held, type="BF16", row_bytes=2 * held.columns) for name, held in tiny.lazy(tensors).items()}


@pytest.mark.parametrize(("mix", "matrix", "number"), [("keep", "BF16", 32), ("F16", "F16", 1), ("Q8_0", "Q8_0", 7)])
def test_what_comes_from_a_hub_is_written_as_a_converter_does(
    mix: str, matrix: str, number: int, tmp_path: Path
) -> None:
    metadata, tensors = tiny.write(tmp_path / "source.gguf", "llama, 8 experts")
    metadata.pop("general.file_type")
    found = plan(mix, _from_a_hub(tensors), metadata)
    for name, kind in found.types.items():
        single = "norm" in name or "ffn_gate_inp" in name or name in ("position_embd.weight", "token_types.weight")
        if mix != "Q8_0" or "attn" not in name:
            assert kind == ("F32" if single else matrix), name
    assert found.file_type == number


def test_a_kept_gguf_stays_as_it_is(tmp_path: Path) -> None:
    metadata, tensors = tiny.write(tmp_path / "source.gguf", "llama")
    found = plan("keep", tiny.lazy(tensors, "F16"), metadata)
    assert found.file_type is None
    assert found.types == {name: "F16" if held.ndim > 1 else "F32" for name, held in tensors.items()}


def test_weights_that_were_blocks_are_told_of(tmp_path: Path) -> None:
    from dataclasses import replace

    metadata, tensors = tiny.write(tmp_path / "source.gguf", "llama")
    held = tiny.lazy(tensors)
    held["blk.0.ffn_up.weight"] = replace(held["blk.0.ffn_up.weight"], type="Q8_0", row_bytes=272)
    assert plan("Q4_K_M", held, metadata).notes == ["1 tensor from Q8_0 to Q4_K: they carry the error of Q8_0 along"]
    assert plan("Q8_0", held, metadata).notes == []


def test_facts_of_other_kinds_do_not_stop_a_plan(tmp_path: Path) -> None:
    """Metadata are what a file says: numbers may be texts, lists, or missing, and names need not be UTF-8."""
    metadata, tensors = tiny.write(tmp_path / "source.gguf", "llama")
    wanted = plan("Q4_K_M", tiny.lazy(tensors), metadata).types
    tensors["blk.0.\udcff.weight"] = tensors["blk.0.ffn_up.weight"]
    for value in ("many", [], [4, 4], 1e300, float("nan"), None):
        odd = {**metadata, "llama.attention.head_count": value, "llama.attention.head_count_kv": value}
        found = plan("Q4_K_M", tiny.lazy(tensors), odd).types
        assert {name: found[name] for name in wanted} == wanted
