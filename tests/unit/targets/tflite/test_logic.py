"""Comparisons and bits against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from tests.unit.targets.tflite.conversion import agree, save, tensor

RNG = np.random.default_rng(13)
KINDS = {
    np.int8: TensorProto.INT8, np.uint8: TensorProto.UINT8, np.int16: TensorProto.INT16,
    np.int32: TensorProto.INT32,
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(KINDS, key=str))
@pytest.mark.parametrize("op", ["BitwiseAnd", "BitwiseOr", "BitwiseXor"])
def test_bits_over_the_whole_range(tmp_path: Path, op: str, kind: Any) -> None:
    bounds, code = np.iinfo(kind), KINDS[kind]
    arrays = {name: RNG.integers(bounds.min, bounds.max, (64, 4), kind, endpoint=True) for name in "ab"}
    inputs = [tensor(name, 64, 4, kind=code) for name in "ab"]
    node = helper.make_node(op, ["a", "b"], ["y"])
    path = save(tmp_path / "m.onnx", [node], inputs, [tensor("y", 64, 4, kind=code)])
    agree(path, tmp_path, arrays, tolerance=0)


@pytest.mark.parametrize("op", ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"])
def test_comparisons_broadcast(tmp_path: Path, op: str) -> None:
    arrays = {"a": RNG.integers(0, 3, (4, 3), np.int32), "b": RNG.integers(0, 3, (3,), np.int32)}
    inputs = [tensor("a", 4, 3, kind=TensorProto.INT32), tensor("b", 3, kind=TensorProto.INT32)]
    node = helper.make_node(op, ["a", "b"], ["y"])
    path = save(tmp_path / "m.onnx", [node], inputs, [tensor("y", 4, 3, kind=TensorProto.BOOL)])
    agree(path, tmp_path, arrays)


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
def test_shifts(tmp_path: Path, direction: str) -> None:
    arrays = {"a": RNG.integers(0, 2**32, (40,), np.uint32), "b": np.arange(40, dtype=np.uint32) % 32}
    inputs = [tensor(name, 40, kind=TensorProto.UINT32) for name in "ab"]
    node = helper.make_node("BitShift", ["a", "b"], ["y"], direction=direction)
    path = save(tmp_path / "m.onnx", [node], inputs, [tensor("y", 40, kind=TensorProto.UINT32)])
    agree(path, tmp_path, arrays, tolerance=0)
