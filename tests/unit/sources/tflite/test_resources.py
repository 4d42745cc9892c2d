"""Variables set up by a run-once subgraph, against LiteRT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.sources.tflite.single import Builder, same

from bessemer.ir.errors import Declined
from bessemer.sources.base import OpenOptions
from bessemer.sources.tflite import SOURCE

pytest.importorskip("ai_edge_litert")


def handle(build: Builder, name: str = "v") -> int:
    resource = build.tensor((), "resource")
    build.op("VAR_HANDLE", [], [resource], table="VarHandleOptions", shared_name=name)
    return resource


def set_up(build: Builder, data: Any, computed: bool = False) -> None:
    """A subgraph that assigns, and its call in the main graph."""
    main = build.graph
    number = build.subgraph()
    value = build.const(data)
    if computed:
        source, value = value, build.tensor(np.shape(data))
        build.op("MUL", [source, source], [value], table="MulOptions")
    build.op("ASSIGN_VARIABLE", [handle(build), value], [], table="AssignVariableOptions")
    build.graph = main
    build.op("CALL_ONCE", [], [], table="CallOnceOptions", init_subgraph_index=number)


def reading(build: Builder) -> int:
    x, read, out = build.input([[1.0, 2.0]]), build.tensor((1, 2)), build.tensor((1, 2))
    build.op("READ_VARIABLE", [handle(build)], [read], table="ReadVariableOptions")
    build.op("ADD", [x, read], [out], table="AddOptions")
    return out


@pytest.mark.parametrize("computed", [False, True])
def test_variable_set_once(tmp_path: Path, computed: bool) -> None:
    build = Builder()
    set_up(build, [[10.0, 20.0]], computed)
    out = reading(build)
    same(build.save([out], tmp_path / "m.tflite"), build.feeds)


def declined(build: Builder, out: int, path: Path) -> str:
    with pytest.raises(Declined) as caught:
        SOURCE.open(build.save([out], path / "m.tflite"), OpenOptions())
    return str(caught.value)


def test_variable_that_the_model_assigns_is_declined(tmp_path: Path) -> None:
    build = Builder()
    set_up(build, [[10.0, 20.0]])
    out = reading(build)
    build.op("ASSIGN_VARIABLE", [handle(build), out], [], table="AssignVariableOptions")
    assert "keeps no state between calls" in declined(build, out, tmp_path)


def test_variable_that_another_subgraph_assigns_is_declined(tmp_path: Path) -> None:
    build = Builder()
    set_up(build, [[10.0, 20.0]])
    out, main = reading(build), build.graph
    build.subgraph()
    build.op("ASSIGN_VARIABLE", [handle(build), build.const([[0.0, 0.0]])], [], table="AssignVariableOptions")
    build.graph = main
    assert "assigned again in subgraph 2" in declined(build, out, tmp_path)


def test_variable_that_nothing_sets_is_declined(tmp_path: Path) -> None:
    build = Builder()
    assert "nothing sets the variable 'v'" in declined(build, reading(build), tmp_path)


def test_set_up_by_the_model_itself_is_declined(tmp_path: Path) -> None:
    build = Builder()
    build.op("CALL_ONCE", [], [], table="CallOnceOptions", init_subgraph_index=0)
    assert "0 operands for 1 inputs" in declined(build, build.input([1.0]), tmp_path)


def test_tables_are_declined(tmp_path: Path) -> None:
    build = Builder()
    found = build.tensor((1,), "int64")
    build.op("HASHTABLE", [], [build.tensor((1,), "resource")], table="HashtableOptions", table_id=7)
    operands = [1, build.input(["a"], "string"), build.const([0], "int64")]
    build.op("HASHTABLE_FIND", operands, [found], table="HashtableFindOptions")
    assert "look-up tables have no kernel" in declined(build, found, tmp_path)


def test_an_output_that_nothing_makes_is_declined(tmp_path: Path) -> None:
    build = Builder()
    assert "before anything makes it" in declined(build, build.tensor((2,)), tmp_path)
