"""Write demo/digits.tflite from demo/digits.onnx with Bessemer itself, verified on the held-out digits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

if __name__ == "__main__":
    command = [sys.executable, "-m", "bessemer", "convert", str(HERE / "digits.onnx"), "--to", "tflite"]
    sys.exit(subprocess.run([*command, "--data", str(HERE / "digits_test.npz"), "--out", str(HERE)]).returncode)
