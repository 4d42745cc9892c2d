"""What LiteRT's kernels add to an integer model, layer by layer, each layer fed the same inputs.

python bench/integer_kernels.py MODEL.tflite INPUTS.npy [--samples N]

Each layer becomes a file of its own. Its results from the optimised kernels (XNNPACK) and from the reference kernels
stand beside the exact integer emulation (`runners/tflite_reference.py`) and beside the Q/DQ emulation in ONNX Runtime
that quantization is judged by. Figures are steps of the result's encoding: the largest, and the share of values off.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bessemer.ir.types import Array
from bessemer.pipeline import ConvertOptions, normalise, open_model
from bessemer.quantize.judge import emulated
from bessemer.runners.graph import GraphRunner
from bessemer.runners.litert import LiteRTRunner
from bessemer.runners.tflite_reference import TFLiteReference
from bessemer.wire.tflite import read, write
from bessemer.wire.tflite import records as rec

PAIRS = ("XNNPACK - exact", "reference - exact", "XNNPACK - Q/DQ", "reference - Q/DQ")
MOVES = frozenset({"RESHAPE", "TRANSPOSE", "PAD", "DEQUANTIZE"})


@dataclass
class Tally:
    """Differences of one kind of layer."""

    layers: int = 0
    values: int = 0
    off: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    most: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, found: dict[str, Array]) -> None:
        """Count the results of one run of one layer."""
        self.values += found["exact"].size
        for pair in PAIRS:
            left, right = (found[name].astype(np.int64) for name in pair.split(" - "))
            apart = np.abs(left - right)
            self.off[pair] += int((apart > 0).sum())
            self.most[pair] = max(self.most[pair], int(apart.max(initial=0)))

    def line(self, name: str) -> str:
        """A row of the table."""
        cells = [f"{self.most[pair]} ({100 * self.off[pair] / max(self.values, 1):.3g} %)" for pair in PAIRS]
        return " | ".join(["", f"{name} x{self.layers}", *cells, ""]).strip()


class OneLayer:
    """One operator of a file as a file of its own, in every executor."""

    def __init__(self, model: rec.Model, place: int, folder: Path) -> None:
        graph = model.subgraphs[0]
        operator = graph.operators[place]
        used = list(dict.fromkeys(index for index in (*operator.inputs, *operator.outputs) if index >= 0))
        number = {index: position for position, index in enumerate(used)} | {-1: -1}
        held = [model.buffers[graph.tensors[index].buffer] for index in used]
        tensors = [
            replace(graph.tensors[index], buffer=position + 1 if held[position].data is not None else 0, name=f"t{index}")
            for position, index in enumerate(used)
        ]
        self.inputs = [index for index in used if index in operator.inputs and not tensors[number[index]].buffer]
        self.output = operator.outputs[0]
        one = rec.SubGraph(tensors=tensors, name="layer")
        one.inputs = tuple(number[index] for index in self.inputs)
        one.outputs = (number[self.output],)
        moved = {name: tuple(number[i] for i in getattr(operator, name)) for name in ("inputs", "outputs")}
        one.operators = [replace(operator, opcode_index=0, **moved)]
        codes = [model.operator_codes[operator.opcode_index]]
        path = folder / f"layer{place}.tflite"
        write(rec.Model(version=3, operator_codes=codes, subgraphs=[one], buffers=[rec.Buffer(), *held]), path)
        self.fast, self.plain = LiteRTRunner(path), LiteRTRunner(path, reference_kernels=True)
        source = open_model(path, ConvertOptions().opening)
        normalise(source, ConvertOptions())
        self.emulation = GraphRunner(emulated(source.graph), optimize=False)

    def run(self, arrays: dict[int, Array]) -> dict[str, Array]:
        """The result by executor."""
        fed = {f"t{index}": arrays[index] for index in self.inputs}
        name = f"t{self.output}"
        return {"XNNPACK": self.fast.run(fed)[name], "reference": self.plain.run(fed)[name],
                "Q/DQ": self.emulation.run(fed)[name]}  # fmt: skip


def measure(path: Path, samples: list[Array]) -> dict[str, Tally]:
    """Tallies by operator."""
    exact, model, tallies = TFLiteReference(path), read(path), dict[str, Tally]()
    with tempfile.TemporaryDirectory() as folder:
        files: dict[int, OneLayer] = {}
        for sample in samples:
            arrays: dict[int, Any] = dict(exact.constants) | dict.fromkeys(exact.inputs.values(), sample)
            for place, layer in enumerate(exact.layers):
                results = exact.compute(layer, arrays)
                arrays.update(zip(layer.outputs, results, strict=True))
                if layer.code in MOVES:
                    continue
                tally = tallies.setdefault(layer.code, Tally())
                if place not in files:
                    files[place] = OneLayer(model, place, Path(folder))
                    tally.layers += 1
                tally.add(files[place].run(arrays) | {"exact": results[0]})
    return tallies


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("inputs", type=Path)
    parser.add_argument("--samples", type=int, default=4)
    asked = parser.parse_args()
    data = np.load(asked.inputs)
    tallies = measure(asked.model, [data[place : place + 1] for place in range(asked.samples)])
    print(" | ".join(["", "layer", *PAIRS, ""]).strip())
    print("| --- " * (len(PAIRS) + 1) + "|")
    for name, tally in tallies.items():
        print(tally.line(name))


if __name__ == "__main__":
    main()
