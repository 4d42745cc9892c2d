"""Real SavedModels and frozen graphs through the command line, with the accuracy that is known of them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bessemer.runners.litert import LiteRTRunner
from bessemer.runners.onnxruntime import OrtRunner

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Asset = Callable[[str], Path]
pytestmark = pytest.mark.slow

SCALE, ZERO = 0.5847029089927673, 83
"""Of the input of kws_ref_model.tflite, whose integers the samples hold."""


def converted(bessemer: Run, out: Path, model: Path, *extra: object) -> list[Path]:
    """Artifacts for both runtimes, verified."""
    targets = ("--to", "ort", "--to", "tflite", "--out", out)
    done = bessemer("convert", model, *targets, "--original", "reference", "--json", *extra)
    assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-2000:]
    rows = json.loads(done.stdout)["targets"]
    assert all(row["verified"] for row in rows), [row["summary"] for row in rows]
    return [*out.glob("*.ort.onnx"), *out.glob("*.tflite")]


def right(artifact: Path, name: str, samples: Any, labels: Any, batch: int) -> float:
    """The share of samples whose class is the label's."""
    runner = LiteRTRunner(artifact) if artifact.suffix == ".tflite" else OrtRunner(artifact)
    found = [next(iter(runner.run({name: samples[at : at + batch]}).values())) for at in range(0, len(samples), batch)]
    return float((np.concatenate(found).argmax(-1) == labels).mean())


def test_a_saved_model_keeps_its_accuracy(bessemer: Run, real_asset: Asset, tmp_path: Path) -> None:
    """91.3 % of the thousand samples of MLPerf Tiny's keyword spotting."""
    files = sorted(real_asset("data/mlperf_tiny_kws01").glob("*.bin"))
    held = np.stack([np.frombuffer(file.read_bytes(), np.int8) for file in files]).reshape(-1, 49, 10, 1)
    samples = ((held.astype(np.float32) - ZERO) * SCALE).astype(np.float32)
    labels = np.array([int(file.stem.split("_")[-1]) for file in files])
    for artifact in converted(bessemer, tmp_path, real_asset("mcu_models/mlperf_tiny/kws_ref_model")):
        assert right(artifact, "input_1", samples, labels, 100) == pytest.approx(0.913, abs=0.0015)


@pytest.mark.parametrize(
    ("model", "frames", "least"),
    [("DS_CNN_S", 49, 0.916), ("CNN_S", 49, 0.903), ("Basic_LSTM_S", 49, 0.903), ("GRU_S", 25, 0)],
)
def test_frozen_graphs_behind_their_front_end(
    bessemer: Run, real_asset: Asset, tmp_path: Path, model: str, frames: int, least: float
) -> None:
    path = real_asset(f"audio/kws_arm_tf1_pb/{model}.pb")
    cut = ("--inputs", "Mfcc", "--shape", f"Mfcc=1x{frames}x10")
    artifacts = converted(bessemer, tmp_path, path, *cut)
    features = np.load(real_asset("data/kws_mfcc_490_features.npz"))
    samples = features["x"].reshape(-1, 49, 10).astype(np.float32)
    for artifact in artifacts if least else ():
        assert right(artifact, "Mfcc", samples, features["y"], 1) >= least - 0.001


def test_a_wav_file_is_decoded_nowhere(bessemer: Run, real_asset: Asset, tmp_path: Path) -> None:
    done = bessemer("convert", real_asset("audio/kws_arm_tf1_pb/CNN_S.pb"), "--to", "ort", "--out", tmp_path)
    assert done.returncode == 3
    assert "DecodeWav" in done.stdout + done.stderr


def test_a_pitch_tracker(bessemer: Run, real_asset: Asset, tmp_path: Path) -> None:
    assert len(converted(bessemer, tmp_path, real_asset("audio/basic_pitch/nmp_saved_model"))) == 2
