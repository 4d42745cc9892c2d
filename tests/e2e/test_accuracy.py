"""Real labelled images through the command line: original and artifact answer the same."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]
pytestmark = pytest.mark.slow

MNIST = ("data/mnist/t10k-images-idx3-ubyte.gz", "data/mnist/t10k-labels-idx1-ubyte.gz")


def accuracies(done: subprocess.CompletedProcess[str]) -> list[tuple[int, float, float]]:
    rows = json.loads(done.stdout)["targets"]
    assert all(row["verified"] for row in rows), [row["summary"] for row in rows]
    return [(row["accuracy"]["samples"], row["accuracy"]["original"], row["accuracy"]["artifact"]) for row in rows]


@pytest.mark.parametrize(
    ("model", "how", "least"),
    [("burn_mnist.onnx", "mean=0.1307,std=0.3081", 0.98), ("conv_fc_mnist.tflite", "scale=255", 0.9)],
)
def test_mnist(bessemer: Run, real_asset: Callable[[str], Path], model: str, how: str, least: float) -> None:
    images, labels = map(real_asset, MNIST)
    done = bessemer(
        "convert", real_asset(f"mnist_models/{model}"), "--to", "onnx", "--to", "tflite", "--data", images,
        "--labels", labels, "--preprocess", how, "--samples", 200, "--json",
    )  # fmt: skip
    for samples, original, artifact in accuracies(done):
        assert samples == 200
        assert original == artifact >= least


@pytest.mark.parametrize(
    ("model", "extra", "least"),
    [
        ("squeezenet1.1_fp32_webnn.onnx", ("--preprocess", "torch,crop=224"), 0.6),
        ("tf2_mobilenet_v2_1.0_224_ptq.tflite", ("--preprocess", "crop=224", "--label-offset", 1), 0.7),
    ],
)
def test_imagenet(
    bessemer: Run, real_asset: Callable[[str], Path], model: str, extra: tuple[object, ...], least: float
) -> None:
    """A float model with normalised images, and a quantized one that takes the pixels.

    The integer kernels of two runtimes round differently, so the classes are what is demanded.
    """
    source, images = real_asset(f"imagenet_classifiers/{model}"), real_asset("data/imagenet_val")
    done = bessemer(
        "convert", source, "--to", "onnx", "--to", "tflite", "--data", images, "--samples", 50,
        "--bound", "close(1e-3, 1e-3) or top1(0.95)", *extra, "--json",
    )  # fmt: skip
    for samples, original, artifact in accuracies(done):
        assert samples == 50
        assert original >= least
        assert abs(original - artifact) <= 0.02
