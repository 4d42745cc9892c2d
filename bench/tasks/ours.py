"""Our stage on one model: ours.py MODEL SAMPLES.npz FOLDER LEVEL [METHOD [PRECISION]]; writes ours.onnx and ours.tflite.

LEVEL 'float' writes the float ONNX file that rivals quantize; opset=N may follow.
Prints the seconds of the stage and what it chose.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from bessemer.ir.errors import Declined
from bessemer.ir.model import Model
from bessemer.passes.qdq import KERNELS_KEY
from bessemer.pipeline import ConvertOptions, _prepare, normalise, open_model
from bessemer.quantize.levels import Quantize
from bessemer.quantize.stage import quantize
from bessemer.targets.registry import find, validate


def write(model: Model, target: str, folder: Path, stem: str, **options: str) -> None:
    """The artifact of a target, with its path or the reason why there is none."""
    loaded = find(target).load()
    try:
        made = loaded.write(_prepare(model, loaded, validate(target, loaded, options)), folder, stem)
    except Declined as refusal:
        print(f"declined-{target} {' '.join(str(refusal).split())[:160]}")
        return
    print(f"{target} {made.path}")


def main() -> None:
    """See above."""
    path, samples, folder, level = sys.argv[1:5]
    method, precision, *_ = (*sys.argv[5:], *("auto", "int8")[len(sys.argv) - 5 :])
    model = open_model(Path(path), ConvertOptions().opening)
    normalise(model, ConvertOptions())
    out = Path(folder)
    if level == "float":
        write(model, "onnx", out, "float", **dict(item.split("=") for item in sys.argv[5:]))
        return
    with np.load(samples) as held:
        arrays = {name: held[name] for name in held.files}
    count = len(next(iter(arrays.values())))
    feeds = [{name: array[place] for name, array in arrays.items()} for place in range(count)]
    start = time.perf_counter()
    made, record = quantize(model, Quantize(precision, method, level=int(level)), feeds)
    made.graph.metadata_props[KERNELS_KEY] = "integer"
    print(f"seconds {time.perf_counter() - start:.2f}")
    print(f"chose {record.method}, level {record.level}, {record.snr:.1f} dB, {len(record.floats)} operators float")
    write(made, "ort", out, "ours")
    write(made, "tflite", out, "ours")


if __name__ == "__main__":
    main()
