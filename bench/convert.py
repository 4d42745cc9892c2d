"""TFLite -> ONNX against tf2onnx, ONNX -> TFLite against onnx2tf: whole processes, side by side, ours verified.

python bench/convert.py --tf2onnx VENV --onnx2tf VENV MODEL...
Each VENV is a virtual environment with that peer installed (see bench/README.md).
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from measure import Measured, measure


def ours(model: Path, target: str, out: Path) -> list[str]:
    return [sys.executable, "-m", "bessemer", "convert", str(model), "--to", target, "--out", str(out)]


def tf2onnx(model: Path, venv: Path, out: Path) -> list[str]:
    return [
        str(venv / "bin/python"), "-m", "tf2onnx.convert", "--tflite", str(model),
        "--output", str(out / "m.onnx"), "--opset", "17",
    ]  # fmt: skip


def onnx2tf(model: Path, venv: Path, out: Path) -> list[str]:
    """onnx2tf overwrites its input in place: it gets a copy."""
    copy = out / model.name
    shutil.copy(model, copy)
    return [str(venv / "bin/onnx2tf"), "-i", str(copy), "-o", str(out / "tf"), "-n"]


def repeat(make: object, runs: int, limit: float) -> list[Measured]:
    found: list[Measured] = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            found.append(measure(make(Path(folder)), limit=limit))  # type: ignore[operator]
    return found


def line(title: str, runs: Sequence[Measured]) -> str:
    seconds = statistics.median(run.seconds for run in runs)
    peak = max(run.peak for run in runs) / 1e6
    return f"{title:10s} {seconds:8.2f} s  {peak:8.0f} MB  exit {runs[0].code}"


def compare(model: Path, arguments: argparse.Namespace) -> None:
    source_is_tflite = model.suffix == ".tflite"
    venv = arguments.tf2onnx if source_is_tflite else arguments.onnx2tf
    target = "onnx" if source_is_tflite else "tflite"
    if venv is None:
        return
    peer = tf2onnx if source_is_tflite else onnx2tf
    mine = repeat(lambda out: ours(model, target, out), arguments.runs, arguments.limit)
    theirs = repeat(lambda out: peer(model, venv, out), arguments.runs, arguments.limit)
    faster = statistics.median(r.seconds for r in theirs) / statistics.median(r.seconds for r in mine)
    leaner = max(r.peak for r in theirs) / max(max(r.peak for r in mine), 1)
    print(f"\n{model.name} -> {target}")
    print(line("bessemer", mine))
    print(line(peer.__name__, theirs))
    print(
        f"bessemer is {faster:.1f}x faster with {leaner:.1f}x less memory, verification included", flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--tf2onnx", type=Path)
    parser.add_argument("--onnx2tf", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--limit", type=float, default=420.0)
    arguments = parser.parse_args()
    for model in arguments.models:
        compare(model, arguments)


if __name__ == "__main__":
    main()
