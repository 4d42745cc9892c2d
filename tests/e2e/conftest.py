"""Small models, and the program as a user starts it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def bessemer(tmp_path: Path) -> Run:
    """Start the program in an empty directory."""

    def run(*arguments: object, cwd: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "bessemer.cli", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120, check=False)

    return run


def save(path: Path, nodes: str, weights: dict[str, np.ndarray] | None = None) -> Path:
    """An ONNX model from the text form of its graph (ONNX's own parser)."""
    import onnx
    from onnx import numpy_helper, parser

    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]>\n{nodes}')
    for name, array in (weights or {}).items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


@pytest.fixture
def convnet(tmp_path: Path) -> Path:
    """Two convolutions and a classifier with a dynamic batch."""
    rng = np.random.default_rng(1)
    text = """net (float[N, 3, 16, 16] image) => (float[N, 5] scores) {
        a = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (image, w1, b1)
        b = Relu (a)
        c = Conv <pads = [1, 1, 1, 1]> (b, w2)
        d = Add (b, c)
        e = GlobalAveragePool (d)
        f = Flatten (e)
        scores = Gemm <transB = 1> (f, w3, b3)
    }"""
    shapes = {"w1": (8, 3, 3, 3), "b1": (8,), "w2": (8, 8, 3, 3), "w3": (5, 8), "b3": (5,)}
    return save(
        tmp_path / "convnet.onnx",
        text,
        {name: rng.standard_normal(shape, np.float32) * np.float32(0.3) for name, shape in shapes.items()},
    )


@pytest.fixture
def unrunnable(tmp_path: Path) -> Path:
    """An operator that LiteRT cannot have: text in, text out."""
    text = 'words (string[2] x) => (string[2] y) { y = StringNormalizer <case_change_action = "LOWER"> (x) }'
    return save(tmp_path / "words.onnx", text)
