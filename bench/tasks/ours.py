"""Our stage on one model: ours.py MODEL SAMPLES.npz FOLDER LEVEL [METHOD]; writes FOLDER/ours.onnx and ours.tflite.

LEVEL 'float' writes the float ONNX file that rivals quantize. Prints the seconds of the stage and what it chose.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from bessemer.ir.model import Model
from bessemer.pipeline import ConvertOptions, _prepare, normalise, open_model
from bessemer.quantize.levels import Quantize
from bessemer.quantize.stage import quantize
from bessemer.targets.registry import find, validate


def write(model: Model, target: str, folder: Path, stem: str) -> None:
    """The artifact of a target, renamed to ours.<suffix>."""
    loaded = find(target).load()
    made = loaded.write(_prepare(model, loaded, validate(target, loaded, {})), folder, stem)
    print(f"{target} {made.path}")


def main() -> None:
    """See above."""
    path, samples, folder, level = sys.argv[1:5]
    method = sys.argv[5] if len(sys.argv) > 5 else "auto"
    model = open_model(Path(path), ConvertOptions().opening)
    normalise(model, ConvertOptions())
    out = Path(folder)
    if level == "float":
        write(model, "onnx", out, "float")
        return
    with np.load(samples) as held:
        arrays = {name: held[name] for name in held.files}
    count = len(next(iter(arrays.values())))
    feeds = [{name: array[place] for name, array in arrays.items()} for place in range(count)]
    start = time.perf_counter()
    made, record = quantize(model, Quantize(level=int(level), method=method), feeds)
    print(f"seconds {time.perf_counter() - start:.2f}")
    print(f"chose {record.method}, level {record.level}, {record.snr:.1f} dB, {len(record.floats)} operators float")
    write(made, "ort", out, "ours")
    write(made, "tflite", out, "ours")


if __name__ == "__main__":
    main()
