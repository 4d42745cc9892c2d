"""Real Keras files through the command line, beside the evaluator of their layers and beside Keras itself."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Asset = Callable[[str], Path]

FILES = (
    "mcu_models/mlperf_tiny/pretrainedResnet.h5", "mcu_models/mlperf_tiny/vww_96.h5",
    "mcu_models/mlperf_tiny/str_ww_ref_model.h5", "mcu_models/mlperf_tiny/kws_model.h5",
    "face/keras/fer2013_mini_XCEPTION.107-0.66.hdf5",
)  # fmt: skip
CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.mark.parametrize("name", FILES)
def test_beside_the_evaluator(bessemer: Run, real_asset: Asset, name: str) -> None:
    done = bessemer("convert", real_asset(name), "--to", "ort", "--to", "tflite", "--original", "reference", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert [row["verified"] for row in found["targets"]] == [True, True]
    assert "reference evaluator" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_beside_keras(bessemer: Run, real_asset: Asset, name: str) -> None:
    pytest.importorskip("tf_keras")
    done = bessemer("convert", real_asset(name), "--to", "ort", "--to", "tflite", "--original", "runtime", "--json")
    assert done.returncode == 0, done.stderr
    assert "tf_keras" in done.stdout


@pytest.mark.slow
def test_accuracy_on_cifar(bessemer: Run, real_asset: Asset, tmp_path: Path) -> None:
    """ResNet-8 of MLPerf Tiny on 2,000 recompressed test images: what its published TFLite twin reaches."""
    shares = []
    for name in (FILES[0], FILES[0].replace(".h5", ".tflite")):
        source = real_asset(name)
        border = json.loads(bessemer("inspect", source, "--json").stdout)["inputs"][0]["name"]
        with np.load(real_asset("data/cifar10_test.npz")) as held:
            numbers = np.array([CIFAR.index(label) for label in held["labels"]])
            np.savez(tmp_path / "cifar.npz", **{border: held["images"].astype(np.float32), "labels": numbers})
        done = bessemer(
            "convert", source, "--to", "ort", "--to", "tflite", "--original", "auto" if "tflite" in name else "reference",
            "--data", tmp_path / "cifar.npz", "--json",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        shares += [row["accuracy"] for row in json.loads(done.stdout)["targets"]]
    assert {item["samples"] for item in shares} == {2000}
    assert {item[side] for item in shares for side in ("original", "artifact")} == {shares[0]["original"]}
    assert shares[0]["original"] > 0.75


def test_a_weights_file_says_the_way_out(bessemer: Run, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.attrs["layer_names"] = np.array(["dense"], "S")
    done = bessemer("inspect", tmp_path / "w.h5")
    assert done.returncode == 5
    assert "holds the weights of a Keras model" in done.stderr
    assert "model.save" in done.stderr


@pytest.mark.parametrize("twin", ["vww_96_float.tflite", "pretrainedResnet.tflite"])
def test_the_published_twin_answers_the_same(bessemer: Run, real_asset: Asset, twin: str) -> None:
    """What is known of the accuracy of the one (85.3 % of visual wake words) holds for the other."""
    source = real_asset("mcu_models/mlperf_tiny/" + twin.replace("_float", "").replace(".tflite", ".h5"))
    done = bessemer("compare", source, real_asset(f"mcu_models/mlperf_tiny/{twin}"), "--original", "reference")
    assert done.returncode == 0, done.stdout + done.stderr
