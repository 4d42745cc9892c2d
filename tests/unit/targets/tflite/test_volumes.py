"""Convolutions over three axes, transposed convolutions and wide broadcasts, against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from tests.unit.targets.tflite.conversion import agree, prepare, random, save, tensor, weight

from bessemer.ir.errors import Declined

pytest.importorskip("ai_edge_litert")

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "strided": {"strides": [2, 2, 2]},
    "padded": {"strides": [2, 2, 2], "pads": [1] * 6, "output_padding": [1] * 3},
    "same": {"strides": [2, 2, 2], "auto_pad": "SAME_UPPER"},
    "dilated": {"strides": [2, 1, 2], "dilations": [2, 1, 2]},
    "grouped": {"strides": [2, 2, 2], "group": 2, "pads": [1, 0, 1, 0, 1, 1]},
    "unequal": {"strides": [1, 3, 2], "auto_pad": "SAME_LOWER"},
}


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("name", sorted(CASES))
def test_transposed_convolutions(tmp_path: Path, name: str, axes: int) -> None:
    given = {key: item[:axes] if isinstance(item, list) and key != "pads" else item for key, item in CASES[name].items()}
    if "pads" in given:
        given["pads"] = [*CASES[name]["pads"][:axes], *CASES[name]["pads"][3 : 3 + axes]]
    groups = given.get("group", 1)
    nodes = [helper.make_node("ConvTranspose", ["x", "w", "b"], ["c"], **given), helper.make_node("Relu", ["c"], ["y"])]
    shape = (2, 4, 3, 4, 5)[: 2 + axes]
    held = [weight("w", 4, 6 // groups, *(3,) * axes), weight("b", 6)]
    outputs = [tensor("y", 2, 6, *(f"d{axis}" for axis in range(axes)))]
    path = save(tmp_path / "m.onnx", nodes, [tensor("x", *shape)], outputs, held)
    agree(path, tmp_path, {"x": random(*shape)})


def test_pads_that_the_kernel_computes_are_left_to_it(tmp_path: Path) -> None:
    """What Keras calls `same`: one operator with its bias and its activation, as TensorFlow's converter writes it."""
    nodes = [
        helper.make_node("ConvTranspose", ["x", "w", "b"], ["c"], strides=[2, 2], auto_pad="SAME_UPPER"),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("ConvTranspose", ["d", "v"], ["y"], strides=[2, 2]),
    ]
    held = [weight("w", 4, 6, 3, 3), weight("b", 6), weight("v", 6, 3, 2, 2)]
    path = save(tmp_path / "m.onnx", nodes, [tensor("x", 1, 4, 5, 6)], [tensor("y", 1, 3, 20, 24)], held)
    prepared = agree(path, tmp_path, {"x": random(1, 4, 5, 6)})
    assert prepared.operators == {"TRANSPOSE": 2, "TRANSPOSE_CONV": 2}


@pytest.mark.parametrize("groups", [2, 4])
@pytest.mark.parametrize("bias", [False, True])
def test_convolutions_over_three_axes_in_groups(tmp_path: Path, groups: int, bias: bool) -> None:
    inputs = ["x", "w", "b"] if bias else ["x", "w"]
    node = helper.make_node("Conv", inputs, ["y"], group=groups, pads=[1] * 6, strides=[1, 2, 1])
    held = [weight("w", 8, 4 // groups, 3, 3, 3), weight("b", 8)][: len(inputs) - 1]
    path = save(tmp_path / "m.onnx", [node], [tensor("x", 1, 4, 4, 5, 6)], [tensor("y", 1, 8, 4, 3, 6)], held)
    agree(path, tmp_path, {"x": random(1, 4, 4, 5, 6)})


WIDE = {"Where": TensorProto.FLOAT, "Equal": TensorProto.BOOL, "Pow": TensorProto.FLOAT, "Add": TensorProto.FLOAT}


@pytest.mark.parametrize("operator", sorted(WIDE))
def test_kernels_that_broadcast_few_axes(tmp_path: Path, operator: str) -> None:
    """Seven axes, none of which both operands have."""
    first, second = (2, 1, 3, 1, 2, 1, 2), (1, 3, 1, 2, 1, 3, 1)
    arrays = {"x": np.abs(np.round(random(*first))), "z": np.round(random(*second))}
    inputs, borders = ["x", "z"], [tensor("x", *first), tensor("z", *second)]
    if operator == "Where":
        inputs, arrays = ["c", *inputs], {**arrays, "c": random(3, 1, 2, 1, 1) > 0}
        borders.append(tensor("c", 3, 1, 2, 1, 1, kind=TensorProto.BOOL))
    node = helper.make_node(operator, inputs, ["y"])
    outputs = [tensor("y", 2, 3, 3, 2, 2, 3, 2, kind=WIDE[operator])]
    agree(save(tmp_path / "m.onnx", [node], borders, outputs), tmp_path, arrays)


@pytest.mark.parametrize("batch", [1, 2])
def test_slices_taken_batch_by_batch(tmp_path: Path, batch: int) -> None:
    node = helper.make_node("GatherND", ["x", "i"], ["y"], batch_dims=batch)
    shape = (*(2, 3)[:batch], 4, 1)
    inputs = [tensor("x", 2, 3, 5, 6), tensor("i", *shape, kind=TensorProto.INT64)]
    rest = (5, 6) if batch == 1 else (6,)
    path = save(tmp_path / "m.onnx", [node], inputs, [tensor("y", *shape[:-1], *rest)])
    places = np.random.default_rng(3).integers(-3, 3, shape)
    agree(path, tmp_path, {"x": random(2, 3, 5, 6), "i": places}, tolerance=0)


UNKNOWN: dict[str, dict[str, Any]] = {
    "same": {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
    "keras": {"strides": [2, 2], "pads": [0, 0, 1, 1]},
    "valid": {"strides": [2, 3]},
    "dilated": {"strides": [2, 1], "dilations": [2, 1]},
}


@pytest.mark.parametrize("name", sorted(UNKNOWN))
def test_transposed_convolutions_of_images_of_any_size(tmp_path: Path, name: str) -> None:
    node = helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], **UNKNOWN[name])
    held, outputs = [weight("w", 2, 4, 3, 3), weight("b", 4)], [tensor("y", "N", 4, "P", "Q")]
    path = save(tmp_path / "m.onnx", [node], [tensor("x", "N", 2, "H", "W")], outputs, held)
    for shape in ((1, 2, 5, 4), (3, 2, 1, 9)):
        agree(path, tmp_path, {"x": random(*shape)})


def test_pads_that_depend_on_a_cut_are_declined_for_unknown_sizes(tmp_path: Path) -> None:
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1])
    held, outputs = [weight("w", 2, 4, 3, 3)], [tensor("y", 1, 4, "P", "Q")]
    path = save(tmp_path / "m.onnx", [node], [tensor("x", 1, 2, "H", "W")], outputs, held)
    with pytest.raises(Declined, match="must be cut"):
        prepare(path)


def test_sizes_are_read_where_the_data_lies(tmp_path: Path) -> None:
    """Nothing is moved for a Shape behind a convolution."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Shape", ["c"], ["s"]),
        helper.make_node("Shape", ["c"], ["t"], start=1, end=3),
    ]
    outputs = [tensor("s", 4, kind=TensorProto.INT64), tensor("t", 2, kind=TensorProto.INT64)]
    path = save(tmp_path / "m.onnx", nodes, [tensor("x", "N", 3, "H", "W")], outputs, [weight("w", 5, 3, 2, 2)])
    prepared = agree(path, tmp_path, {"x": random(2, 3, 7, 4)})
    assert prepared.operators["TRANSPOSE"] == 1
