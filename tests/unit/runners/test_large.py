"""Weights beside the graph stay in their file while it runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from bessemer.sources.onnx import beside, load_proto
from bessemer.targets import graph_run

SIZE = 4096
PRIVATE = """
import sys, numpy as np
from pathlib import Path
from bessemer.runners.onnxruntime import OrtRunner

def private():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024

OrtRunner(Path(sys.argv[1]))  # the library's own needs are met
start = private()
runner = OrtRunner(Path(sys.argv[2]), large=sys.argv[3] == "large")
answer = runner.run({"x": np.ones((1, %d), np.float32)})["y"]
print(private() - start, float(answer.sum()))
""".replace("%d", str(SIZE))


def _save(path: Path, size: int) -> None:
    weight = np.random.default_rng(0).standard_normal((size, size), dtype=np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", 1, [1, size])],
        [helper.make_tensor_value_info("y", 1, [1, size])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, path, save_as_external_data=True, location=f"{path.name}.data")


def test_a_large_model_is_run_from_its_file(tmp_path: Path) -> None:
    small, big = tmp_path / "small.onnx", tmp_path / "big.onnx"
    _save(small, 64)
    _save(big, SIZE)
    weights = 4 * SIZE * SIZE
    assert beside(load_proto(big)) == graph_run.beside(big) == weights

    def measured(how: str) -> list[float]:
        command = [sys.executable, "-c", PRIVATE, str(small), str(big), how]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return [float(word) for word in done.stdout.split()]

    (copied, expected), (mapped, got) = measured("copied"), measured("large")
    assert abs(got - expected) < 1e-3 * SIZE
    assert copied > weights  # kernels get their own copy: what `large` is for
    assert mapped < weights / 4
