"""Axis orders travel through reshapes, gathers and flattens: no TRANSPOSE is left inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from tests.unit.targets.tflite.conversion import agree, random, save, tensor, weight

pytest.importorskip("ai_edge_litert")
X = tensor("x", 1, 4, 6, 5)


def ints(name: str, *values: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def conv(source: str, result: str, kernel: str) -> onnx.NodeProto:
    return helper.make_node("Conv", [source, kernel], [result], kernel_shape=[1, 1])


def left(prepared: Any) -> int:
    """TRANSPOSEs but for the one of the image that comes in."""
    return int(prepared.operators.get("TRANSPOSE", 0)) - 1


@pytest.mark.parametrize("place", [0, 1])
def test_channel_shuffle(tmp_path: Path, place: int) -> None:
    nodes = [
        conv("x", "a", "k1"),
        helper.make_node("Reshape", ["a", "split"], ["b"]),
        helper.make_node("Transpose", ["b"], ["c"], perm=[1, 0, 2]),
        helper.make_node("Reshape", ["c", "join"], ["d"]),
        helper.make_node("Gather", ["d", "which"], ["e"], axis=0),
        conv("e", "f", "k2"),
        helper.make_node("ReduceMean", ["f", "space"], ["y"]),
    ]
    constants = [
        weight("k1", 8, 4, 1, 1), weight("k2", 3, 4, 1, 1), ints("split", 4, 2, 30), ints("join", 2, -1, 4, 6, 5),
        numpy_helper.from_array(np.array(place, np.int64), "which"), ints("space", 2, 3),
    ]  # fmt: skip
    path = save(tmp_path / "m.onnx", nodes, [X], [tensor("y", 1, 3, 1, 1)], constants)
    assert left(agree(path, tmp_path, {"x": random(1, 4, 6, 5)})) == 0


@pytest.mark.parametrize("axis", range(4))
@pytest.mark.parametrize("indices", [(), (2,), (2, 3)])
def test_gather_in_any_order(tmp_path: Path, axis: int, indices: tuple[int, ...]) -> None:
    size = (1, 8, 6, 5)[axis]
    places = numpy_helper.from_array(np.random.default_rng(0).integers(-size, size, indices), "places")
    nodes = [conv("x", "a", "k"), helper.make_node("Gather", ["a", "places"], ["y"], axis=axis)]
    shape = [1, 8, 6, 5]
    shape[axis : axis + 1] = list(indices)
    path = save(tmp_path / "m.onnx", nodes, [X], [tensor("y", *shape)], [weight("k", 8, 4, 1, 1), places])
    agree(path, tmp_path, {"x": random(1, 4, 6, 5)})


@pytest.mark.parametrize("dense", ["Gemm", "Gemm turned", "MatMul"])
@pytest.mark.parametrize("batch", [1, 3, "n"])
def test_flatten_before_a_dense_layer(tmp_path: Path, dense: str, batch: int | str) -> None:
    turned = dense == "Gemm turned"
    last = helper.make_node(dense.split()[0], ["b", "w"], ["y"], **({"transB": 1} if turned else {}))
    nodes = [conv("x", "a", "k"), helper.make_node("Flatten", ["a"], ["b"]), last]
    constants = [weight("k", 8, 4, 1, 1), weight("w", *((7, 240) if turned else (240, 7)))]
    path = save(tmp_path / "m.onnx", nodes, [tensor("x", batch, 4, 6, 5)], [tensor("y", batch, 7)], constants)
    rows = batch if isinstance(batch, int) else 2
    prepared = agree(path, tmp_path, {"x": random(rows, 4, 6, 5)})
    assert left(prepared) == 0
    assert prepared.operators["FULLY_CONNECTED"] == 1


def test_a_flatten_that_others_see_too_is_still_in_order(tmp_path: Path) -> None:
    nodes = [
        conv("x", "a", "k"),
        helper.make_node("Flatten", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w"], ["y"]),
    ]
    outs = [tensor("y", 1, 7), tensor("b", 1, 240)]
    path = save(tmp_path / "m.onnx", nodes, [X], outs, [weight("k", 8, 4, 1, 1), weight("w", 240, 7)])
    agree(path, tmp_path, {"x": random(1, 4, 6, 5)})


def test_weights_shared_with_another_layer_keep_their_rows(tmp_path: Path) -> None:
    nodes = [
        conv("x", "a", "k"),
        helper.make_node("Flatten", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w"], ["y"]),
        helper.make_node("MatMul", ["z", "w"], ["v"]),
    ]
    outs = [tensor("y", 1, 7), tensor("v", 1, 7)]
    path = save(
        tmp_path / "m.onnx", nodes, [X, tensor("z", 1, 240)], outs, [weight("k", 8, 4, 1, 1), weight("w", 240, 7)]
    )
    assert left(agree(path, tmp_path, {"x": random(1, 4, 6, 5), "z": random(1, 240)})) == 0


def test_heads_of_a_detector(tmp_path: Path) -> None:
    """Flat places before channels, joined, turned: all of it lies as the convolutions left it."""
    nodes: list[Any] = []
    for name, stride in (("p", 1), ("q", 2)):
        nodes += [
            helper.make_node("Conv", ["x", f"k{name}"], [f"{name}1"], kernel_shape=[1, 1], strides=[stride] * 2),
            helper.make_node("Reshape", [f"{name}1", "flat"], [f"{name}2"]),
        ]
    nodes += [
        helper.make_node("Concat", ["p2", "q2"], ["c"], axis=2),
        helper.make_node("Transpose", ["c"], ["y"], perm=[0, 2, 1]),
    ]
    constants = [weight("kp", 8, 4, 1, 1), weight("kq", 8, 4, 1, 1), ints("flat", 1, 8, -1)]
    path = save(tmp_path / "m.onnx", nodes, [X], [tensor("y", 1, 39, 8)], constants)
    assert left(agree(path, tmp_path, {"x": random(1, 4, 6, 5)})) == 0
