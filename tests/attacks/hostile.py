"""What every hostile file must meet: a Bessemer error with exit code 5 or 3 (or a real success), quickly, in bounds."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from bessemer.ir.errors import BessemerError
from bessemer.opening import normalise, open_model
from bessemer.request import ConvertOptions

SECONDS = 5.0
BYTES = 1_000_000_000


def road(path: Path) -> BessemerError | None:
    """Open and normalise `path`; any exception but a Bessemer error fails the test by escaping."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    start = time.perf_counter()
    error: BessemerError | None = None
    try:
        normalise(open_model(path, ConvertOptions().opening), ConvertOptions())
    except BessemerError as caught:
        error = caught
    assert time.perf_counter() - start < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before < BYTES
    if error is not None:
        assert error.exit_code in (3, 5), f"exit code {error.exit_code}: {error}"
        assert str(path.name) in str(error) or error.exit_code == 3, str(error)
    return error


def cuts(data: bytes) -> Iterator[bytes]:
    """`data` truncated at every 1/64 of its length."""
    for part in range(64):
        yield data[: len(data) * part // 64]


def flips(data: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """`count` copies with one to four bytes changed."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        copy = bytearray(data)
        for place in rng.integers(0, len(data), rng.integers(1, 5)):
            copy[place] = int(rng.integers(0, 256))
        yield bytes(copy)


def small_onnx() -> onnx.ModelProto:
    """A convolution, a reshape and a matrix product, with real weights."""
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.standard_normal((4, 3, 3, 3)).astype(np.float32),
        "shape": np.int64([0, -1]),
        "m": rng.standard_normal((4 * 6 * 6, 5)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv", kernel_shape=[3, 3]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("Reshape", ["r", "shape"], ["f"], name="flat"),
        helper.make_node("MatMul", ["f", "m"], ["y"], name="head"),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5])],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
