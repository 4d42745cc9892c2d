"""`make demo`: the digits model to every target, verified on the held-out digits, with a report per source."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "build" / "demo"
TARGETS = ("onnx", "onnx:fp16", "onnx:int8", "ort", "ort:int8", "tflite", "tflite:fp16", "tflite:int8")


def convert(model: str, data: str) -> int:
    """Run the command a user would type; returns its exit code."""
    out = OUT / model
    command = [sys.executable, "-m", "bessemer", "convert", str(HERE / model), "--data", str(HERE / data)]
    command += [word for target in TARGETS for word in ("--to", target)]
    command += ["--calibration", str(HERE / "digits_calibration.npz")]
    command += ["--out", str(out), "--report", str(out / "report.html"), "--report", str(out / "report.json")]
    print("$ bessemer", " ".join(command[3:]), flush=True)
    return subprocess.run(command, check=False).returncode


def main() -> None:
    """Both demo models; the exit code is the worst of them."""
    codes = [convert("digits.onnx", "digits_test.npz"), convert("digits.tflite", "digits_test.npz")]
    for model in ("digits.onnx", "digits.tflite"):
        print(f"Report: {OUT / model / 'report.html'}")
    sys.exit(max(codes))


if __name__ == "__main__":
    main()
