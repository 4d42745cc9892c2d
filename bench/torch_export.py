"""A PyTorch program to an executable artifact: torch.onnx.export alone beside Bessemer with verification, whole processes.

python bench/torch_export.py MODEL.pt2... [--wide MEGABYTES]

--wide adds a module of linear layers that weighs so much, to see how often its weights are in memory.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from measure import measure

EXPORT = """
import sys, torch
program = torch.export.load(sys.argv[1])
torch.onnx.export(program, dynamo=True, optimize=True, verbose=False).save(sys.argv[2], external_data=True)
"""
WIDE = """
import sys, torch
size = 2048
count = max(1, int(float(sys.argv[1]) * 2**20 / 4 / size**2))
layers = torch.nn.Sequential(*(torch.nn.Linear(size, size) for _ in range(count)))
torch.export.save(torch.export.export(layers.eval(), (torch.randn(1, size),)), sys.argv[2])
"""


def main() -> None:
    """One line per model and way: seconds, peak memory of all processes, peak in parts of the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--wide", type=float, default=0.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = list(asked.models)
        if asked.wide:
            models.append(Path(folder) / f"wide_{asked.wide:.0f}.pt2")
            measure([sys.executable, "-c", WIDE, str(asked.wide), str(models[-1])])
        for model in models:
            size = model.stat().st_size
            onnx = str(Path(folder) / "out.onnx")
            bessemer = [sys.executable, "-m", "bessemer", "convert", str(model), "--out", folder]
            ways = {
                "torch.onnx.export": [sys.executable, "-c", EXPORT, str(model), onnx],
                "bessemer, unexecuted": [*bessemer, "--to", "onnx", "--stop-after", "write"],
                "bessemer, verified": [*bessemer, "--to", "onnx"],
                "bessemer, ort and tflite": [*bessemer, "--to", "ort", "--to", "tflite"],
            }
            for way, command in ways.items():
                found = measure(command)
                wrong = "" if found.code == 0 else f"  exit {found.code} {found.tail[-200:]}"
                said = f"{found.seconds:6.1f} s  {found.cpu:6.1f} CPU s  {found.peak / 2**20:7.0f} MiB"
                print(f"{model.name:28} {size / 2**20:7.1f} MiB  {way:26} {said}{wrong}", flush=True)


if __name__ == "__main__":
    main()
