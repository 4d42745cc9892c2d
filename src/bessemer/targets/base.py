"""What a target is, and its declaration (listed without importing the implementation)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from bessemer.ir.canonical import COMPUTED_KEY
from bessemer.ir.encoding import Encoding
from bessemer.ir.model import Model
from bessemer.runners.base import Runner

if TYPE_CHECKING:
    import onnx_ir
    from pydantic import BaseModel

    from bessemer.ir.checkpoint import Checkpoint
    from bessemer.weights.stream import Done


@dataclass
class Prepared:
    """What a target will get: decomposed, materialised, laid out.

    payload: the target's own form (an onnx_ir.Model, TFLite records, ...).
    closeness: default named closeness of this precision, e.g. 'close(1e-4, 1e-4)'.
    inputs / outputs: how each border tensor of the artifact relates to the original's.
    operators: operator counts of the artifact.
    """

    payload: Any
    precision: str
    closeness: str
    inputs: dict[str, Border] = field(default_factory=dict)
    outputs: dict[str, Border] = field(default_factory=dict)
    operators: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    values: dict[str, Border] = field(default_factory=dict)
    """canonical intermediate value -> where it stands in the artifact (for first-divergence taps)."""
    encodings: dict[str, Encoding] = field(default_factory=dict)
    """of those `values` that the artifact holds as integers: what the integers mean there."""


INTEGERS = "snr(10) or top1(0.9)"
"""What quantization to eight bits may lose. A second baseline says more: the artifact may add next to nothing to what
its own encodings lose in float arithmetic (`verify.baselines`)."""

HALVES = {"FLOAT16": "snr(30) or close(1e-2, 1e-3)", "BFLOAT16": "snr(20) or close(5e-2, 1e-2)"}
"""Narrow floats and how near two right computations in them come."""


def source_bound(graph: onnx_ir.Model, own: str) -> str:
    """The bound `own`, or the source's where it computes in half precision: then its last digits are no truth."""
    kinds = {
        value.dtype.name
        for node in graph.graph.all_nodes()
        for value in node.outputs
        if value.dtype is not None and value.dtype.name in HALVES
    }
    computed = graph.graph.meta.get(COMPUTED_KEY)
    kinds |= {computed} if computed else set()
    return " or ".join([own, *(HALVES[kind] for kind in sorted(kinds))])


@dataclass(frozen=True)
class Border:
    """A tensor of the artifact: its name there, the axis order (None: as in the original) and its dtype.

    artifact_tensor = transpose(original_tensor, perm).astype(dtype), or where the artifact takes integers for real
    numbers, their integers in `encoding` (one scale).
    """

    name: str
    dtype: str
    perm: tuple[int, ...] | None = None
    encoding: Encoding | None = None


@dataclass(frozen=True)
class Artifact:
    """Files that a target wrote; `path` is the one to load; hashes: SHA-256 of those that were hashed on the way."""

    target: str
    path: Path
    files: tuple[Path, ...]
    hashes: Mapping[Path, str] = field(default_factory=dict)


class Target(Protocol):
    """A place where models run: the implementation behind a `TargetEntry`."""

    options: type[BaseModel]
    """Validated options of this target; unknown keys are usage errors."""

    def prepare(self, model: Model, options: Any) -> Prepared:
        """Lower `model` (which may be consumed). Raises Declined with ALL blockers."""
        ...

    def write(self, prepared: Prepared, out: Path, stem: str) -> Artifact:
        """Write into the existing directory `out`."""
        ...

    def runner(self, artifact: Path) -> Runner:
        """Run an artifact in the target's own runtime. Raises MissingExtra."""
        ...


class NativeTarget(Target, Protocol):
    """A target whose runtime executes files of the source format `TargetEntry.runs` as they are."""

    def original(self, path: Path) -> Runner:
        """Run an original file in the target's own runtime. Raises MissingExtra, RuntimeRefused."""
        ...


@dataclass
class PreparedWeights:
    """What a target that stores weights will write.

    payload: the target's own plan; precision: as the report names it ('Q4_K_M'); types: stored type -> how many tensors;
    nbytes: of all files; elements: weights that will be written (for progress).
    """

    payload: Any
    precision: str
    types: dict[str, int]
    nbytes: int
    elements: int
    notes: list[str] = field(default_factory=list)


class CheckpointTarget(Protocol):
    """A file format of weights: the implementation behind a `TargetEntry` of the pillar 'checkpoint'."""

    options: type[BaseModel]
    """Validated options of this target; unknown keys are usage errors. `precision` is among them."""

    def prepare(self, checkpoint: Checkpoint, options: Any) -> PreparedWeights:
        """Decide names, types and places; no weight is read. Raises Declined with ALL blockers, UsageError."""
        ...

    def write(self, prepared: PreparedWeights, out: Path, stem: str, done: Done | None = None) -> Artifact:
        """Stream everything into files in the existing directory `out`; `done` hears how many weights were written."""
        ...


@runtime_checkable
class Installs(Protocol):
    """A target that can place a verified artifact where its runtime looks for models."""

    def install(self, prepared: Any, artifact: Path) -> list[str]:
        """Do so if the options ask for it; returns sentences for the report. Raises UsageError."""
        ...


@dataclass(frozen=True)
class TargetEntry:
    """Declaration of a target: lists, docs and the command line read this."""

    name: str
    title: str
    module: str
    summary: str
    precisions: tuple[str, ...]
    suffix: str
    runtime: str
    extra: str = ""
    limits: tuple[str, ...] = ()
    warm: tuple[str, ...] = ()
    """Modules that running an artifact needs: imported in a child while the artifact is made."""
    sniff: Callable[[bytes], bool] | None = None
    """Whether these first bytes are of an artifact that only this target can run (no source reads it)."""

    runs: str = ""
    """Source format that the runtime executes as it is (see `NativeTarget`): where it departs on the original too, the
    target declines."""
    pillar: Literal["graph", "checkpoint"] = "graph"
    """What it is made from: a computation graph, or named weights with an architecture's settings."""
    run: str = ""
    """Module whose `runner(path)` runs an artifact; '' where only the implementation can."""

    def load(self) -> Target:
        """The implementation."""
        from importlib import import_module

        target: Target = import_module(self.module).TARGET
        return target

    def load_checkpoint(self) -> CheckpointTarget:
        """The implementation of a target of the pillar 'checkpoint'."""
        from importlib import import_module

        target: CheckpointTarget = import_module(self.module).TARGET
        return target

    def runner(self, artifact: Path) -> Runner:
        """An artifact in the target's own runtime, without importing what makes artifacts. Raises MissingExtra."""
        from importlib import import_module

        runner: Runner = import_module(self.run).runner(artifact) if self.run else self.load().runner(artifact)
        return runner
