"""IF and WHILE against LiteRT."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.unit.sources.tflite.single import Builder, same

from bessemer.ir.errors import Declined
from bessemer.sources.base import OpenOptions
from bessemer.sources.tflite import SOURCE

pytest.importorskip("ai_edge_litert")


def function(build: Builder, steps: list[tuple[str, str, float]], results: str) -> int:
    """A subgraph (x, n) -> named results; steps: (result, operator, constant) over x or n."""
    main = build.graph
    number = build.subgraph()
    held = {"x": build.tensor((2, 2)), "n": build.tensor((1,), "float32")}
    build.graph.inputs = (held["x"], held["n"])
    for name, kind, constant in steps:
        source = held["n"] if name in ("n", "c") else held["x"]
        shape, dtype = build.graph.tensors[source].shape, "bool" if name == "c" else "float32"
        out = build.tensor(shape, dtype)
        table = {"ADD": "AddOptions", "MUL": "MulOptions", "LESS": "LessOptions"}[kind]
        build.op(kind, [source, build.const([constant])], [out], table=table)
        held[name] = out
    build.graph.outputs = tuple(held[name] for name in results)
    build.graph = main
    return number


@pytest.mark.parametrize("condition", [True, False])
def test_if(tmp_path: Path, condition: bool) -> None:
    build = Builder()
    chosen = build.input([condition], "bool")
    x, n = build.input(np.arange(4.0).reshape(2, 2)), build.input([3.0])
    yes = function(build, [("x", "MUL", 3.0)], "x")
    no = function(build, [("x", "ADD", -1.0)], "x")
    out = build.tensor((2, 2))
    build.op("IF", [chosen, x, n], [out], table="IfOptions", then_subgraph_index=yes, else_subgraph_index=no)
    same(build.save([out], tmp_path / "m.tflite"), build.feeds)


@pytest.mark.parametrize("start", [0.0, 3.0, 9.0])
def test_while(tmp_path: Path, start: float) -> None:
    build = Builder()
    x, n = build.input(np.ones((2, 2))), build.input([start])
    test = function(build, [("c", "LESS", 5.0)], "c")
    body = function(build, [("x", "MUL", 2.0), ("n", "ADD", 1.0)], "xn")
    out = [build.tensor((2, 2)), build.tensor((1,))]
    build.op("WHILE", [x, n], out, table="WhileOptions", cond_subgraph_index=test, body_subgraph_index=body)
    same(build.save(out, tmp_path / "m.tflite"), build.feeds)


def test_endless_recursion_is_declined(tmp_path: Path) -> None:
    build = Builder()
    chosen = build.input([True], "bool")
    out = build.tensor((1,), "bool")
    build.op("IF", [chosen, chosen], [out], table="IfOptions", then_subgraph_index=0, else_subgraph_index=0)
    build.graph.inputs = (chosen,)
    path = build.save([out], tmp_path / "m.tflite")
    with pytest.raises(Declined):
        SOURCE.open(path, OpenOptions())
