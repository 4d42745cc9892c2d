"""Passes are driven to a fixed point, and shapes are inferred only where something changed since."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import onnx_ir as ir
import pytest

from bessemer.passes.base import ROUNDS, PassResult, Repeat, run_passes


@dataclass(frozen=True)
class Changes:
    """Says that it changes as much as it is told, then nothing."""

    name: ClassVar[str] = "changes"
    counts: Iterator[int]

    def run(self, graph: ir.Model) -> PassResult:
        return PassResult(next(self.counts, 0))


@dataclass(frozen=True)
class Infers:
    """Counts how often shapes are inferred."""

    name: ClassVar[str] = "infer-shapes"
    seen: list[int] = field(default_factory=list)

    def run(self, graph: ir.Model) -> PassResult:
        self.seen.append(1)
        return PassResult(0)


@pytest.fixture
def graph() -> ir.Model:
    return ir.Model(ir.Graph([], [], nodes=[], opset_imports={"": 21}), ir_version=10)


@pytest.mark.parametrize(("counts", "expected"), [([0, 0], 1), ([0, 2], 2), ([3, 0], 1), ([1, 1], 2)])
def test_inference_is_left_out_where_nothing_changed_since(
    graph: ir.Model, counts: list[int], expected: int
) -> None:
    infers, changes = Infers(), Changes(iter(counts))
    run_passes(graph, [changes, infers, changes, infers])
    assert len(infers.seen) == expected


def test_rounds_know_what_was_inferred_before_them(graph: ir.Model) -> None:
    infers = Infers()
    run_passes(graph, [infers, Repeat((Changes(iter([])), infers))])
    assert len(infers.seen) == 1


def test_rounds_on_their_own_infer_once_even_if_nothing_changes(graph: ir.Model) -> None:
    infers = Infers()
    Repeat((Changes(iter([])), infers)).run(graph)
    assert len(infers.seen) == 1


def test_rounds_end_when_nothing_changes_and_at_the_latest_after_the_last(graph: ir.Model) -> None:
    infers = Infers()
    assert Repeat((Changes(iter([2, 1])), infers)).run(graph).changed == 3
    assert len(infers.seen) == 2
    assert Repeat((Changes(iter([1] * 99)),)).run(graph).changed == ROUNDS
