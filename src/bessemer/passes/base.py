"""What a pass is: a frozen dataclass whose fields are its options, and that says what it changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    import onnx_ir


@dataclass(frozen=True)
class PassResult:
    """changed: number of rewrites made; declined: why rules that matched did not apply."""

    changed: int = 0
    declined: tuple[str, ...] = ()


class Pass(Protocol):
    """A graph rewrite in place. Subclasses are frozen dataclasses: fields are options, CLI syntax and cache key."""

    name: ClassVar[str]

    def run(self, graph: onnx_ir.Model) -> PassResult:
        """Rewrite `graph` in place and say what changed."""
        ...


@dataclass(frozen=True)
class PassRecord:
    """One line of the report's pass table."""

    name: str
    options: str
    changed: int
    seconds: float
    declined: tuple[str, ...] = ()


def describe(step: Pass) -> str:
    """Options of a pass as `key=value`, in declaration order."""
    items = fields(step)  # type: ignore[arg-type]  # a Protocol cannot say "dataclass"
    return ",".join(f"{item.name}={getattr(step, item.name)}" for item in items)


def run_passes(graph: onnx_ir.Model, steps: Sequence[Pass]) -> list[PassRecord]:
    """Run `steps` in order and return one record each."""
    import time

    records: list[PassRecord] = []
    for step in steps:
        start = time.perf_counter()
        result = step.run(graph)
        seconds = time.perf_counter() - start
        records.append(PassRecord(step.name, describe(step), result.changed, seconds, result.declined))
    return records
