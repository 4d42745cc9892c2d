"""What a pass is: a frozen dataclass whose fields are its options, and that says what it changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
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


ROUNDS = 4
"""Rewrites are repeated until nothing changes, at most so often."""


@dataclass
class Driver:
    """Runs one pass after another; shapes are not inferred again where nothing has changed since."""

    stale: bool = True

    def run(self, step: Pass, graph: onnx_ir.Model) -> PassResult:
        """One pass."""
        if isinstance(step, Repeat):
            return step.rounds(graph, self)
        if step.name == INFERENCE and not self.stale:
            return PassResult()
        result = step.run(graph)
        self.stale = step.name != INFERENCE and (self.stale or bool(result.changed))
        return result


INFERENCE = "infer-shapes"


@dataclass(frozen=True)
class Repeat:
    """Run `steps` until a whole round changes nothing."""

    name: ClassVar[str] = "repeat"
    steps: Sequence[Pass] = field(default_factory=tuple)

    def run(self, graph: onnx_ir.Model) -> PassResult:
        """At most ROUNDS rounds."""
        return self.rounds(graph, Driver())

    def rounds(self, graph: onnx_ir.Model, driver: Driver) -> PassResult:
        """The same where `driver` knows what was inferred before."""
        changed = 0
        declined: tuple[str, ...] = ()
        for _ in range(ROUNDS):
            results = [(step.name, driver.run(step, graph)) for step in self.steps]
            declined = tuple(reason for _, result in results for reason in result.declined)
            changed += sum(result.changed for name, result in results if name != INFERENCE)
            if not any(result.changed for _, result in results):
                break
        return PassResult(changed, declined)


def run_passes(graph: onnx_ir.Model, steps: Sequence[Pass]) -> list[PassRecord]:
    """Run `steps` in order and return one record each."""
    import time

    records: list[PassRecord] = []
    driver = Driver()
    for step in steps:
        start = time.perf_counter()
        result = driver.run(step, graph)
        seconds = time.perf_counter() - start
        records.append(PassRecord(step.name, describe(step), result.changed, seconds, result.declined))
    return records
