"""Scan, Loop and If written out, against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.unit.targets.tflite.conversion import agree, random, save, tensor


def graph(name: str, nodes: list[Any], inputs: list[Any], outputs: list[Any]) -> Any:
    return helper.make_graph(nodes, name, inputs, outputs)


@pytest.mark.parametrize("backwards", [0, 1])
def test_scan(tmp_path: Path, backwards: int) -> None:
    nodes = [
        helper.make_node("Add", ["state", "part"], ["total"]),
        helper.make_node("Mul", ["total", "outer"], ["shown"]),
        helper.make_node("Identity", ["total"], ["next"]),
    ]
    body = graph(
        "body", nodes, [tensor("state", 3), tensor("part", 3)], [tensor("next", 3), tensor("shown", 3)]
    )
    node = helper.make_node(
        "Scan", ["s", "x"], ["last", "all"], body=body, num_scan_inputs=1, scan_input_directions=[backwards],
        scan_output_axes=[1],
    )  # fmt: skip
    inputs = [tensor("s", 3), tensor("x", 4, 3), tensor("outer", 3)]
    path = save(tmp_path / "m.onnx", [node], inputs, [tensor("last", 3), tensor("all", 3, 4)])
    agree(path, tmp_path, {"s": random(3), "x": random(4, 3), "outer": random(3)})


def test_loop(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Identity", ["go"], ["on"]),
        helper.make_node("Cast", ["step"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["state", "number"], ["total"]),
        helper.make_node("Identity", ["total"], ["shown"]),
    ]
    inputs = [tensor("step", kind=TensorProto.INT64), tensor("go", kind=TensorProto.BOOL), tensor("state", 2)]
    outputs = [tensor("on", kind=TensorProto.BOOL), tensor("total", 2), tensor("shown", 2)]
    node = helper.make_node(
        "Loop", ["trips", "", "x"], ["last", "all"], body=graph("body", nodes, inputs, outputs)
    )
    held = [numpy_helper.from_array(np.array(3, np.int64), "trips")]
    results = [tensor("last", 2), tensor("all", 3, 2)]
    agree(save(tmp_path / "m.onnx", [node], [tensor("x", 2)], results, held), tmp_path, {"x": random(2)})


@pytest.mark.parametrize("taken", [True, False])
def test_if(tmp_path: Path, taken: bool) -> None:
    yes = graph("yes", [helper.make_node("Exp", ["x"], ["a"])], [], [tensor("a", 3)])
    no = graph("no", [helper.make_node("Neg", ["x"], ["b"])], [], [tensor("b", 3)])
    node = helper.make_node("If", ["c"], ["y"], then_branch=yes, else_branch=no)
    inputs = [tensor("c", kind=TensorProto.BOOL), tensor("x", 3)]
    path = save(tmp_path / "m.onnx", [node], inputs, [tensor("y", 3)])
    agree(path, tmp_path, {"c": np.array(taken), "x": random(3)})
