"""Operators whose sizes are known only when the model runs, against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.unit.targets.tflite.conversion import agree, execute, prepare, random, reference, save, tensor

from bessemer.ir.errors import Declined

pytest.importorskip("ai_edge_litert")

INT64 = TensorProto.INT64


def constant(name: str, value: Any) -> Any:
    return numpy_helper.from_array(np.asarray(value), name)


WHOLE = [
    ("linear", "half_pixel", "floor"),
    ("linear", "pytorch_half_pixel", "floor"),
    ("linear", "align_corners", "floor"),
    ("linear", "asymmetric", "floor"),
    ("nearest", "asymmetric", "floor"),
    ("nearest", "half_pixel", "round_prefer_floor"),
    ("nearest", "half_pixel", "round_prefer_ceil"),
]


@pytest.mark.parametrize("mode, where, rounding", WHOLE)
def test_images_of_any_size_grow_by_whole_numbers(tmp_path: Path, mode: str, where: str, rounding: str) -> None:
    node = helper.make_node(
        "Resize", ["x", "", "scales"], ["y"], mode=mode, coordinate_transformation_mode=where, nearest_mode=rounding
    )
    held, borders = [constant("scales", np.array([1, 1, 2, 3], np.float32))], [tensor("x", 1, 2, "H", "W")]
    path = save(tmp_path / "m.onnx", [node], borders, [tensor("y", 1, 2, "P", "Q")], held)
    prepared = prepare(path)
    for height, width in ((5, 4), (1, 7), (13, 2)):
        fed = {"x": random(1, 2, height, width)}
        got, want = execute(prepared, tmp_path, fed)["y"], reference(path, fed)["y"]
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize("mode, scale", [("nearest", 1.5), ("linear", 0.5), ("cubic", 2.0)])
def test_scales_whose_positions_depend_on_the_size_are_declined(tmp_path: Path, mode: str, scale: float) -> None:
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], mode=mode)
    held = [constant("scales", np.array([1, 1, scale, scale], np.float32))]
    path = save(tmp_path / "m.onnx", [node], [tensor("x", 1, 2, "H", "W")], [tensor("y", 1, 2, "P", "Q")], held)
    with pytest.raises(Declined, match="--shape"):
        prepare(path)


def test_an_image_takes_the_size_of_another(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Shape", ["z"], ["end"], start=2),
        helper.make_node("Concat", ["start", "end"], ["sizes"], axis=0),
        helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode="linear"),
    ]
    inputs = [tensor("x", 1, 3, 4, 4), tensor("z", 1, 8, "H", "W")]
    path = save(tmp_path / "m.onnx", nodes, inputs, [tensor("y", 1, 3, "H", "W")], [constant("start", np.array([1, 3]))])
    agree(path, tmp_path, {"x": random(1, 3, 4, 4), "z": random(1, 8, 7, 5)})


@pytest.mark.parametrize("operator", ["Gather", "GatherND", "GatherElements"])
def test_computed_indices_may_count_from_an_unknown_end(tmp_path: Path, operator: str) -> None:
    attributes = {} if operator == "GatherND" else {"axis": 1}
    node = helper.make_node(operator, ["x", "i"], ["y"], **attributes)
    dims: dict[str, tuple[Any, ...]] = {"Gather": (2, "K"), "GatherND": ("K", 2), "GatherElements": (3, "K")}
    rank = 3 if operator == "Gather" else 1 if operator == "GatherND" else 2
    inputs = [tensor("x", "N", "S"), tensor("i", *dims[operator], kind=INT64)]
    path = save(tmp_path / "m.onnx", [node], inputs, [tensor("y", *"abc"[:rank])])
    places = {"Gather": [[0, -1], [-6, 3]], "GatherND": [[0, -1], [-3, 2], [1, 1]]}
    held = places.get(operator, [[0, -1, 5, -6], [1, 2, -3, 0], [-2, -2, 4, 1]])
    agree(path, tmp_path, {"x": random(3, 6), "i": np.array(held)}, tolerance=0)


def test_a_depth_that_is_computed(tmp_path: Path) -> None:
    node = helper.make_node("OneHot", ["i", "depth", "values"], ["y"], axis=1)
    inputs = [tensor("i", 2, 3, kind=INT64), tensor("depth", kind=INT64)]
    held = [constant("values", np.array([-1, 2], np.float32))]
    path = save(tmp_path / "m.onnx", [node], inputs, [tensor("y", 2, "D", 3)], held)
    agree(path, tmp_path, {"i": np.array([[0, -1, 4], [2, 1, -5]]), "depth": np.array(5)}, tolerance=0)


EQUATIONS: dict[str, tuple[tuple[Any, ...], ...]] = {
    "bqhd,bkhd->bhqk": (("N", 4, 2, 5), ("N", 6, 2, 5)),
    "abc,cde->abde": (("N", "S", 6), (6, 2, 5)),
    "abcd,cde->abe": (("N", "S", 2, 5), (2, 5, 6)),
    "bsh,bth->bst": (("N", "S", 4), ("N", "T", 4)),
    "bij,bij->b": (("N", 3, "S"), ("N", 3, "S")),
    "...ij,...jk->...ik": ((1, 2, 4, 5), (3, 1, 5, 6)),
    "i,j->ij": (("N",), ("M",)),
}
SIZES = {"N": 3, "S": 7, "T": 2, "M": 4}


@pytest.mark.parametrize("equation", sorted(EQUATIONS))
def test_einsum_of_unknown_and_of_broadcast_letters(tmp_path: Path, equation: str) -> None:
    shapes = EQUATIONS[equation]
    fed = {f"x{place}": random(*(SIZES.get(dim, dim) for dim in shape)) for place, shape in enumerate(shapes)}
    rank = np.einsum(equation, *fed.values()).ndim
    node = helper.make_node("Einsum", list(fed), ["y"], equation=equation)
    inputs = [tensor(name, *shape) for name, shape in zip(fed, shapes, strict=True)]
    path = save(tmp_path / "m.onnx", [node], inputs, [tensor("y", *(f"d{axis}" for axis in range(rank)))])
    agree(path, tmp_path, fed)


def test_attention_scores_need_no_reshape(tmp_path: Path) -> None:
    node = helper.make_node("Einsum", ["a", "b"], ["y"], equation="bhqd,bhkd->bhqk")
    inputs = [tensor("a", "N", 2, 4, 5), tensor("b", "N", 2, 6, 5)]
    path = save(tmp_path / "m.onnx", [node], inputs, [tensor("y", "N", 2, 4, 6)])
    prepared = agree(path, tmp_path, {"a": random(3, 2, 4, 5), "b": random(3, 2, 6, 5)})
    assert prepared.operators == {"BATCH_MATMUL": 1}


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_groups_of_channels_in_images_of_any_size(tmp_path: Path, groups: int) -> None:
    """Between convolutions the data stays as it lies."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("GroupNormalization", ["a", "s", "b"], ["n"], num_groups=groups),
        helper.make_node("Conv", ["n", "v"], ["y"]),
    ]
    held = [constant("w", random(6, 3, 3, 3)), constant("v", random(2, 6, 1, 1))]
    held += [constant("s", random(6)), constant("b", random(6))]
    path = save(tmp_path / "m.onnx", nodes, [tensor("x", "N", 3, "H", "W")], [tensor("y", "N", 2, "H", "W")], held)
    prepared = agree(path, tmp_path, {"x": random(2, 3, 5, 7)})
    assert prepared.operators["TRANSPOSE"] == 2


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("offset", [-9, -1, 0, 2, 9])
def test_triangles_of_any_size(tmp_path: Path, upper: int, offset: int) -> None:
    node = helper.make_node("Trilu", ["x", "k"], ["y"], upper=upper)
    inputs = [tensor("x", "B", "N", "M"), tensor("k", kind=INT64)]
    path = save(tmp_path / "m.onnx", [node], inputs, [tensor("y", "B", "N", "M")])
    agree(path, tmp_path, {"x": random(2, 5, 3), "k": np.array(offset)}, tolerance=0)


def test_as_many_of_the_largest_as_an_input_says(tmp_path: Path) -> None:
    node = helper.make_node("TopK", ["x", "k"], ["y", "i"])
    inputs, outputs = [tensor("x", 3, 8), tensor("k", 1, kind=INT64)], [tensor("y", 3, "K"), tensor("i", 3, "K", kind=INT64)]
    path = save(tmp_path / "m.onnx", [node], inputs, outputs)
    agree(path, tmp_path, {"x": random(3, 8), "k": np.array([5])}, tolerance=0)
