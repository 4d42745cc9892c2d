"""Files of weights on the command line: converted, proven, compared, declined, refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bessemer.runners.llama.place import available

Asset = Callable[[str], Path]
STORIES = "llm/stories260K/stories260K-f32.gguf"
needs_llama = pytest.mark.skipif(not available(), reason="llama.cpp is not installed")


def bessemer(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bessemer", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "100"})


def rows(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(done.stdout)["targets"]
    return found


@needs_llama
def test_one_file_to_several_formats_each_proven(real_asset: Asset, tmp_path: Path) -> None:
    wanted = ("--to", "gguf:q4_k_m", "--to", "npz", "--to", "onnx")
    done = bessemer("convert", real_asset(STORIES), *wanted, "--out", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    mixed, plain, graph = rows(done)
    assert [row["status"] for row in (mixed, plain, graph)] == ["executed"] * 3
    assert {line["comparison"] for line in mixed["language"]["runs"]} == {"quantization", "runtime", "overall"}
    assert mixed["language"]["tokens"]["differing"] == 0
    overall = [line for line in plain["language"]["runs"] if line["comparison"] == "overall"]
    assert all(line["mean_kld"] < 1e-9 and line["same_top"] == 1 for line in overall)
    assert all(line["identical"] == line["tensors"] for line in plain["language"]["weights"])
    assert (tmp_path / "stories260K-f32.Q4_K_M.gguf").stat().st_size == mixed["files"][0]["bytes"]
    assert graph["files"][0]["path"] == "stories260K-f32.onnx"


@needs_llama
def test_another_model_is_not_the_same_model(real_asset: Asset) -> None:
    other = real_asset("llm/gguf/llama-2-tiny-random_NOTTRAINED.gguf")
    done = bessemer("verify", other, "--against", real_asset(STORIES))
    assert done.returncode == 4
    assert "not the same model" in done.stdout
    assert "differ" in done.stdout, "the proof itself is shown"


@needs_llama
def test_a_quantized_file_beside_its_original(real_asset: Asset) -> None:
    done = bessemer("compare", real_asset(STORIES), real_asset("llm/stories260K/stories260K-q8_0.gguf"), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["language"]["within"]


def test_unproven_files_say_so(real_asset: Asset, tmp_path: Path) -> None:
    done = bessemer("convert", real_asset(STORIES), "--to", "gguf:bf16", "--out", tmp_path, "--no-verify", "--json")
    assert done.returncode == 0, done.stderr
    (row,) = rows(done)
    assert (row["status"], row["verified"], row["language"]) == ("compiled-only", False, None)
    assert "not executed" in row["summary"]


def test_check_writes_nothing(real_asset: Asset, tmp_path: Path) -> None:
    words = ("check", real_asset(STORIES), "--to", "gguf:q6_k", "--to", "safetensors", "--json")
    done = subprocess.run(
        [sys.executable, "-m", "bessemer", *map(str, words)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert [row["status"] for row in rows(done)] == ["compiled-only"] * 2
    assert list(tmp_path.iterdir()) == []


def test_an_architecture_without_a_table_is_declined_and_kept_elsewhere(real_asset: Asset, tmp_path: Path) -> None:
    source = real_asset("audio/silero_vad/silero_vad_16k.safetensors")
    done = bessemer("convert", source, "--to", "gguf", "--to", "npz", "--out", tmp_path, "--json")
    assert done.returncode == 3, done.stderr
    declined, kept = rows(done)
    assert "no table" in declined["blockers"][0]["reason"]
    assert kept["verified"]
    assert not list(tmp_path.glob("*.gguf"))


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("gguf:q9_k", "Did you mean"), ("gguf:iq2_xxs", "neither a precision"),
        ("gguf:q8_0,types=attn_v", "not PATTERN=TYPE"),
        ("gguf:q8_0,types=(=Q4_0", "no regular expression"), ("ollama:q8_0,name=x", "belong together"),
        ("npz:bf16", "npz"), ("gguf:q8_0,importance=/nowhere/at/all.gguf", "/nowhere/at/all.gguf"),
    ],
)  # fmt: skip
def test_wrong_options_are_usage_errors(target: str, said: str, real_asset: Asset, tmp_path: Path) -> None:
    done = bessemer("convert", real_asset(STORIES), "--to", target, "--out", tmp_path)
    assert done.returncode in (2, 5), done.stdout
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_lying_count_is_refused(tmp_path: Path) -> None:
    """43 bytes that promise 2**60 strings."""
    file = tmp_path / "lying.gguf"
    key = b"\x01\x00\x00\x00\x00\x00\x00\x00a"
    head = b"GGUF\x03\x00\x00\x00" + (0).to_bytes(8, "little") + (1).to_bytes(8, "little") + key
    file.write_bytes(head + (9).to_bytes(4, "little") + (8).to_bytes(4, "little") + (1 << 60).to_bytes(8, "little"))
    done = bessemer("convert", file, "--to", "gguf", "--out", tmp_path / "out")
    assert done.returncode == 5
    assert "lying.gguf" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_an_unproven_model_enters_no_store(real_asset: Asset, tmp_path: Path) -> None:
    target = f"ollama:q8_0,store={tmp_path / 'store'},name=example.org/library/stories:tiny"
    done = bessemer("convert", real_asset(STORIES), "--to", target, "--out", tmp_path / "out", "--no-verify")
    assert done.returncode == 2
    assert "Only a verified model" in done.stderr
    assert not list(tmp_path.iterdir())


@needs_llama
def test_a_modelfile_and_a_store(real_asset: Asset, tmp_path: Path) -> None:
    store = tmp_path / "store"
    target = f"ollama:q8_0,system=Tell stories.,store={store},name=example.org/library/stories:tiny"
    done = bessemer("convert", real_asset(STORIES), "--to", target, "--out", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "out/stories260K-f32.Q8_0.Modelfile").read_text()
    assert text.startswith("FROM ./stories260K-f32.Q8_0.gguf\n")
    assert 'SYSTEM """Tell stories."""' in text
    manifest = json.loads((store / "manifests/example.org/library/stories/tiny").read_text())
    kinds = {layer["mediaType"].rpartition(".")[2]: layer for layer in manifest["layers"]}
    assert {"model", "system"} <= set(kinds)
    blob = store / "blobs" / kinds["model"]["digest"].replace(":", "-")
    assert blob.read_bytes() == (tmp_path / "out/stories260K-f32.Q8_0.gguf").read_bytes()
    assert any("Ollama store" in note for note in rows(done)[0]["notes"])


@needs_llama
def test_the_api_loads_stores_and_verifies(real_asset: Asset, tmp_path: Path) -> None:
    import bessemer as bm
    from bessemer.ir.errors import UsageError

    held = bm.load_checkpoint(real_asset(STORIES))
    assert held.parameters == 260_032
    made = bm.compile(held, "gguf:q8_0", out=tmp_path)
    assert made.path.name == "stories260K-f32.Q8_0.gguf"
    assert bm.verify(made, real_asset(STORIES)).verified
    with pytest.raises(UsageError, match="made from a graph"):
        bm.compile(held, "onnx", out=tmp_path)
    with pytest.raises(UsageError, match="made from weights"):
        bm.compile(bm.load(real_asset(STORIES)), "gguf", out=tmp_path)
