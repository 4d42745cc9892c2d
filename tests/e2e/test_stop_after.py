"""Stages of the road, saved and taken up again: the artifacts are those of the whole road, byte for byte."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]
DEMO = Path(__file__).resolve().parents[2] / "demo"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name in ("digits.onnx", "digits.tflite"):
        shutil.copy(DEMO / name, tmp_path)
    return tmp_path


def made(folder: Path) -> dict[str, bytes]:
    """Artifacts by suffix."""
    return {file.suffix: file.read_bytes() for file in folder.iterdir() if file.suffix != ".bsm"}


@pytest.mark.parametrize("model", ["digits.onnx", "digits.tflite", "quantized"])
def test_every_portable_stage_goes_on_to_the_same_bytes(
    bessemer: Run, home: Path, real_asset: Callable[[str], Path], model: str
) -> None:
    if model == "quantized":
        shutil.copy(real_asset("mcu_models/mlperf_tiny/vww_96_int8.tflite"), home / model)
    targets = ("--to", "onnx:opset=17", "--to", "tflite")
    assert bessemer("convert", model, *targets, "--out", "whole").returncode == 0
    for stage in ("open", "normalise", "rewrite"):
        done = bessemer("convert", model, "--stop-after", stage, "--out", "saved", "--json")
        assert done.returncode == 0, done.stderr
        archive = Path(json.loads(done.stdout)["archive"])
        done = bessemer("convert", archive, *targets, "--out", stage, "--json")
        assert done.returncode == 0, done.stderr
        assert made(home / stage) == made(home / "whole"), stage
        first = (home / archive).read_bytes()
        bessemer("convert", model, "--stop-after", stage, "--out", "saved")
        assert (home / archive).read_bytes() == first


def test_an_archive_is_inspected_run_and_compared_by_its_own_graph(bessemer: Run, home: Path) -> None:
    assert bessemer("convert", "digits.onnx", "--stop-after", "rewrite").returncode == 0
    archive = home / "out" / "digits.rewrite.bsm"
    assert "digits.rewrite.bsm, after rewrite" in bessemer("inspect", archive).stdout
    assert bessemer("compare", "digits.onnx", archive).returncode == 0
    (home / "digits.onnx").unlink()
    assert bessemer("run", archive).returncode == 0
    done = bessemer("convert", archive, "--to", "onnx")
    assert done.returncode == 2
    assert "was made from ../digits.onnx, which is not there" in done.stderr
    shutil.copy(DEMO / "digits.tflite", home / "digits.onnx")
    done = bessemer("convert", archive, "--to", "onnx")
    assert done.returncode == 2
    assert "is not the file that" in done.stderr


def test_later_stages_say_what_was_not_done(bessemer: Run, home: Path) -> None:
    done = bessemer("convert", "digits.onnx", "--to", "tflite", "--stop-after", "prepare", "--json")
    assert (done.returncode, json.loads(done.stdout)["targets"][0]["status"]) == (0, "compiled-only")
    assert not (home / "out").exists()
    done = bessemer("convert", "digits.onnx", "--to", "tflite", "--stop-after", "write", "--json")
    row = json.loads(done.stdout)["targets"][0]
    assert (done.returncode, row["status"], row["verified"]) == (0, "compiled-only", False)
    artifact = home / "out" / row["files"][0]["path"]
    assert bessemer("verify", artifact, "--against", "digits.onnx").returncode == 0


def test_stages_and_what_speaks_of_later_ones_exclude_each_other(bessemer: Run, home: Path) -> None:
    done = bessemer("convert", "digits.onnx", "--stop-after", "rewrite", "--to", "tflite")
    assert done.returncode == 2
    assert "--stop-after rewrite ends before targets" in done.stderr
    assert bessemer("convert", "digits.onnx", "--stop-after", "lunch").returncode == 2
    assert bessemer("convert", "digits.onnx").returncode == 2


def test_a_quantized_archive_goes_on_to_the_same_bytes(bessemer: Run, home: Path) -> None:
    """One set of encodings, saved once, serves every target bit for bit as the direct road does."""
    with np.load(DEMO / "digits_test.npz") as held:
        images = next(held[name] for name in held.files if held[name].ndim > 1)
    np.save(home / "some.npy", images[:20])
    targets = ("--to", "tflite:int8", "--to", "ort:int8", "--to", "onnx:int8")
    assert bessemer("convert", "digits.onnx", *targets, "--calibration", "some.npy", "--out", "whole").returncode == 0
    stop = ("convert", "digits.onnx", "--to", "tflite:int8", "--calibration", "some.npy", "--stop-after", "quantize")
    stop = (*stop, "--json")
    archives = [json.loads(bessemer(*stop, "--out", place).stdout)["archive"] for place in ("one", "two")]
    assert (home / archives[0]).read_bytes() == (home / archives[1]).read_bytes()
    plain = ("--to", "tflite", "--to", "ort", "--to", "onnx:int8")
    done = bessemer("convert", archives[0], *plain, "--data", "some.npy", "--out", "later", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["targets"]
    assert [(row["precision"], row["quantization"]["samples"]) for row in rows] == [("int8", 20)] * 3
    assert all(row["quantization"]["emulation"] > 30 for row in rows)
    names = {file.name.split(".")[-1]: file for file in (home / "later").iterdir()}
    assert sorted(file.read_bytes() for file in (home / "later").iterdir()) == sorted(
        file.read_bytes() for file in (home / "whole").iterdir()
    ), names
    assert "after quantize" in bessemer("inspect", archives[0]).stdout
    assert bessemer("compare", "digits.onnx", archives[0], "--data", "some.npy", "--bound", "snr(25)").returncode == 0
    done = bessemer("convert", archives[0], "--to", "tflite:float16")
    assert done.returncode == 2
    assert "was quantized to int8" in done.stderr


def test_quantize_is_one_precision(bessemer: Run, home: Path) -> None:
    stop = ("convert", "digits.onnx", "--stop-after", "quantize")
    done = bessemer(*stop, "--to", "tflite:int8", "--to", "ort:int16x8")
    assert done.returncode == 2
    assert "saves one set of integers" in done.stderr
    assert "no static precision" in " ".join(bessemer(*stop, "--to", "tflite").stderr.split())
    assert "none was given" in bessemer(*stop, "--to", "tflite:int8").stderr
