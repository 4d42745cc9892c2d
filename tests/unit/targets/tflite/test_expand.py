"""Rewritten operators against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.unit.targets.tflite.conversion import agree, random, save, tensor

RNG = np.random.default_rng(5)
EQUATIONS = {
    "bij,bjk->bik": [(2, 3, 4), (2, 4, 5)],
    "bhqd,bhkd->bhqk": [(2, 3, 4, 5), (2, 3, 6, 5)],
    "...ij,jk->...ik": [(2, 3, 4, 5), (5, 6)],
    "ij->ji": [(3, 4)],
    "ij->i": [(3, 4)],
    "i,j->ij": [(3,), (4,)],
    "ij,jk,kl->il": [(2, 3), (3, 4), (4, 5)],
    "bij,bij->b": [(2, 3, 4), (2, 3, 4)],
    "ij,kj": [(2, 3), (4, 3)],
}


@pytest.mark.parametrize("equation", sorted(EQUATIONS))
def test_einsum(tmp_path: Path, equation: str) -> None:
    arrays = {f"x{place}": random(*shape) for place, shape in enumerate(EQUATIONS[equation])}
    result = np.einsum(equation, *arrays.values())
    node = helper.make_node("Einsum", list(arrays), ["y"], equation=equation)
    inputs = [tensor(name, *array.shape) for name, array in arrays.items()]
    agree(save(tmp_path / "m.onnx", [node], inputs, [tensor("y", *result.shape)]), tmp_path, arrays)


def integers(name: str, *shape: int, kind: Any = np.uint8) -> Any:
    bounds = np.iinfo(kind)
    return numpy_helper.from_array(RNG.integers(bounds.min, bounds.max, shape, kind, endpoint=True), name)


@pytest.mark.parametrize("inner", [20, 700])
def test_integer_products_are_exact(tmp_path: Path, inner: int) -> None:
    held = [integers("b", inner, 5), integers("bz", 1), integers("az", 1)]
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["a", "scale", "zero"]),
        helper.make_node("MatMulInteger", ["a", "b", "zero", "bz"], ["y"]),
    ]
    outputs = [tensor("y", 3, 5, kind=TensorProto.INT32)]
    path = save(tmp_path / "m.onnx", nodes, [tensor("x", 3, inner)], outputs, held)
    agree(path, tmp_path, {"x": random(3, inner)}, tolerance=0)


@pytest.mark.parametrize("channels", [3, 70])
def test_integer_convolution_is_exact(tmp_path: Path, channels: int) -> None:
    held = [integers("w", 4, channels, 3, 3), integers("wz"), integers("xz")]
    nodes = [helper.make_node("ConvInteger", ["x", "w", "xz", "wz"], ["y"], pads=[1, 1, 1, 1])]
    shape = (1, channels, 6, 6)
    inputs = [tensor("x", *shape, kind=TensorProto.UINT8)]
    path = save(tmp_path / "m.onnx", nodes, inputs, [tensor("y", 1, 4, 6, 6, kind=TensorProto.INT32)], held)
    agree(path, tmp_path, {"x": RNG.integers(0, 255, shape, np.uint8, endpoint=True)}, tolerance=0)


@pytest.mark.parametrize("align", [0, 1])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_grid_sample(tmp_path: Path, mode: str, padding: str, align: int) -> None:
    options = {"mode": mode, "padding_mode": padding, "align_corners": align}
    node = helper.make_node("GridSample", ["x", "g"], ["y"], **options)
    inputs, outputs = [tensor("x", 2, 3, 5, 7), tensor("g", 2, 4, 6, 2)], [tensor("y", 2, 3, 4, 6)]
    path = save(tmp_path / "m.onnx", [node], inputs, outputs)
    agree(path, tmp_path, {"x": random(2, 3, 5, 7), "g": random(2, 4, 6, 2)})
