"""Tensors without elements: LiteRT agrees with ONNX Runtime, or the operator is declined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.unit.targets.tflite.conversion import agree, prepare, random, save, tensor, weight

from bessemer.ir.errors import Declined

pytest.importorskip("ai_edge_litert")
Shape = tuple[int, ...]


def ints(name: str, *values: int) -> Any:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def run(tmp_path: Path, op: str, shapes: list[Shape], result: Shape, constants: list[Any], **attributes: Any) -> Any:
    names = [f"x{place}" for place in range(len(shapes))]
    node = helper.make_node(op, [*names, *(item.name for item in constants)], ["y"], **attributes)
    ins = [tensor(name, *shape) for name, shape in zip(names, shapes, strict=True)]
    path = save(tmp_path / "m.onnx", [node], ins, [tensor("y", *result)], constants)
    feeds = {name: random(*shape) for name, shape in zip(names, shapes, strict=True)}
    return path, feeds


NOTHING = [
    ("Add", [(0, 3), (1, 3)], (0, 3), [], {}),
    ("Relu", [(2, 0)], (2, 0), [], {}),
    ("Transpose", [(0, 3)], (3, 0), [], {"perm": [1, 0]}),
    ("Softmax", [(0, 3)], (0, 3), [], {}),
    ("MaxPool", [(0, 2, 4, 4)], (0, 2, 3, 3), [], {"kernel_shape": [2, 2]}),
    ("Conv", [(0, 2, 4, 4)], (0, 3, 4, 4), [weight("k", 3, 2, 1, 1)], {}),
    ("Gather", [(2, 3)], (0, 3), [ints("i")], {}),
    ("Slice", [(2, 3)], (0, 3), [ints("s", 1), ints("e", 1)], {}),
    ("Expand", [(1, 3)], (0, 3), [ints("s", 0, 3)], {}),
    ("Reshape", [(0, 3)], (3, 0), [ints("s", 3, 0)], {"allowzero": 1}),
]


@pytest.mark.parametrize("case", NOTHING, ids=lambda case: case[0])
def test_results_without_elements_are_not_computed(tmp_path: Path, case: Any) -> None:
    op, shapes, result, constants, attributes = case
    path, feeds = run(tmp_path, op, shapes, result, constants, **attributes)
    assert agree(path, tmp_path, feeds).operators == {}


SOMETHING = [
    ("Concat", [(0, 3), (2, 3)], (2, 3), [], {"axis": 0}),
    ("Pad", [(0, 3)], (2, 3), [ints("p", 1, 0, 1, 0)], {}),
    ("MatMul", [(2, 0), (0, 3)], (2, 3), [], {}),
    ("MatMul", [(4, 2, 0), (0, 3)], (4, 2, 3), [], {}),
    ("MatMul", [(2, 0)], (2, 3), [weight("w", 0, 3)], {}),
    ("ReduceSum", [(2, 0)], (2, 1), [ints("a", 1)], {}),
    ("ReduceMax", [(2, 0)], (2, 1), [ints("a", 1)], {}),
    ("ReduceProd", [(2, 0)], (2, 1), [ints("a", 1)], {}),
]


@pytest.mark.parametrize("case", SOMETHING, ids=lambda case: case[0])
def test_results_of_nothing(tmp_path: Path, case: Any) -> None:
    op, shapes, result, constants, attributes = case
    path, feeds = run(tmp_path, op, shapes, result, constants, **attributes)
    agree(path, tmp_path, feeds)


def test_others_are_declined(tmp_path: Path) -> None:
    """A pool over padding alone: no kernel is asked to look at no pixel."""
    node = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2], pads=[2, 0, 2, 0], count_include_pad=1)
    path = save(tmp_path / "m.onnx", [node], [tensor("x", 1, 2, 0, 4)], [tensor("y", 1, 2, 3, 3)])
    with pytest.raises(Declined, match="no elements"):
        prepare(path)


def test_an_empty_cut_inside(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Slice", ["x", "one", "one"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Concat", ["b", "x"], ["y"], axis=0),
        helper.make_node("ArgMax", ["b"], ["z"], axis=1),
    ]
    outs = [tensor("y", 2, 3), tensor("z", 0, 1, kind=TensorProto.INT64)]
    path = save(tmp_path / "m.onnx", nodes, [tensor("x", 2, 3)], outs, [ints("one", 1)])
    agree(path, tmp_path, {"x": random(2, 3)})
