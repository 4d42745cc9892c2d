"""TFLite, Keras .h5 and SavedModels -> ONNX against tf2onnx, ONNX -> TFLite against onnx2tf, Keras .h5 and SavedModels ->
TFLite against TensorFlow's converter: whole processes, in alternation, ours verified.

python bench/convert.py --tf2onnx VENV --onnx2tf VENV --tensorflow VENV MODEL...
Each VENV is a virtual environment with that peer installed (see bench/README.md). Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from measure import Measured, load, measure, median, peak, ratio

Command = Callable[[Path], list[str]]
"""From an empty folder to the command that writes there."""


KERAS = (".h5", ".hdf5")
LEGACY = {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
"""With this the peers load what Keras 2 wrote."""
TFLITE_CONVERTER = """import pathlib, sys, tensorflow as tf
model = tf.keras.models.load_model(sys.argv[1], compile=False)
pathlib.Path(sys.argv[2]).write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
"""


SAVED_CONVERTER = """import pathlib, sys, tensorflow as tf
pathlib.Path(sys.argv[2]).write_bytes(tf.lite.TFLiteConverter.from_saved_model(sys.argv[1]).convert())
"""


def trained(model: Path) -> bool:
    """Whether it is a file of the framework that trains: Keras, or a SavedModel's folder."""
    return model.suffix in KERAS or model.is_dir()


def ours(model: Path, target: str, out: Path) -> list[str]:
    """What TensorFlow wrote is verified against the evaluator of its format: TensorFlow takes no part."""
    original = ["--original", "reference"] if trained(model) else []
    return [sys.executable, "-m", "bessemer", "convert", str(model), "--to", target, "--out", str(out), *original]


def tf2onnx(model: Path, venv: Path, out: Path) -> list[str]:
    kind = "--saved-model" if model.is_dir() else "--keras" if model.suffix in KERAS else "--tflite"
    return [
        str(venv / "bin/python"), "-m", "tf2onnx.convert", kind, str(model),
        "--output", str(out / "m.onnx"), "--opset", "17",
    ]  # fmt: skip


def tensorflow(model: Path, venv: Path, out: Path) -> list[str]:
    script = SAVED_CONVERTER if model.is_dir() else TFLITE_CONVERTER
    return [str(venv / "bin/python"), "-c", script, str(model), str(out / "m.tflite")]


def onnx2tf(model: Path, venv: Path, out: Path) -> list[str]:
    """It overwrites its input in place, so it gets a copy; and it fails on image models where it cannot download
    sample images, so noise of that shape lies in its folder.
    """
    copy = out / model.name
    shutil.copy(model, copy)
    noise = np.random.default_rng(0).random((20, 128, 128, 3), dtype=np.float32)
    np.save(out / "calibration_image_sample_data_20x128x128x3_float32.npy", noise)
    return [str(venv / "bin/onnx2tf"), "-i", str(copy), "-o", str(out / "tf"), "-n"]


def once(make: Command, limit: float) -> Measured:
    with tempfile.TemporaryDirectory() as folder:
        return measure(make(Path(folder)), limit=limit, cwd=Path(folder), env=LEGACY)


def race(mine: Command, theirs: Command, pairs: int, limit: float) -> tuple[list[Measured], list[Measured]]:
    """Alternate; one run of each comes first and does not count, unless it is a long one."""
    found: tuple[list[Measured], list[Measured]] = ([], [])
    once(mine, limit)
    first = once(theirs, limit)
    if first.seconds > limit / 4:
        return [once(mine, limit)], [first]
    for _ in range(pairs):
        found[0].append(once(mine, limit))
        found[1].append(once(theirs, limit))
    return found


def seconds(runs: list[Measured]) -> str:
    if runs[0].stopped:
        return f"stopped at {runs[0].seconds:.0f}"
    return f"{median(runs):.2f}" + ("" if runs[0].code == 0 else f" (exit {runs[0].code})")


Peer = Callable[[Path, Path, Path], list[str]]


def races(model: Path, arguments: argparse.Namespace) -> list[tuple[str, Peer, Path]]:
    """(our target, peer, its venv) of every race that a model can run."""
    if trained(model):
        known = [("onnx", tf2onnx, arguments.tf2onnx), ("tflite", tensorflow, arguments.tensorflow)]
    elif model.suffix == ".tflite":
        known = [("onnx", tf2onnx, arguments.tf2onnx)]
    else:
        known = [("tflite", onnx2tf, arguments.onnx2tf)]
    return [item for item in known if item[2] is not None]


def compare(model: Path, target: str, peer: Peer, venv: Path, arguments: argparse.Namespace) -> None:
    mine, theirs = race(
        lambda out: ours(model, target, out),
        lambda out: peer(model, venv, out),
        arguments.pairs,
        arguments.limit,
    )
    more = "> " if theirs[0].stopped else ""
    print(
        f"| {model.name} -> {target} | {peer.__name__} | {seconds(mine)} | {seconds(theirs)} "
        f"| {more}{ratio(theirs, mine):.1f} | {peak(mine) / 1e6:.0f} | {peak(theirs) / 1e6:.0f} "
        f"| {peak(theirs) / peak(mine):.1f} |",
        flush=True,
    )
    for run in (mine[0], theirs[0]):
        if run.code not in (0, -9):
            print(run.tail.strip()[-300:], file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--tf2onnx", type=Path)
    parser.add_argument("--onnx2tf", type=Path)
    parser.add_argument("--tensorflow", type=Path)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--limit", type=float, default=420.0)
    arguments = parser.parse_args()
    print(f"{load()}\n")
    print("| conversion | peer | ours, s | peer, s | times faster | ours, MB | peer, MB | times leaner |")
    print("| --- |" + " --- |" * 7)
    for model in arguments.models:
        for target, peer, venv in races(model, arguments):
            compare(model.resolve(), target, peer, venv.resolve(), arguments)


if __name__ == "__main__":
    main()
