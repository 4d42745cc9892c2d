"""What a target is, and its declaration (listed without importing the implementation)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bessemer.ir.model import Model
from bessemer.runners.base import Runner

if TYPE_CHECKING:
    from pydantic import BaseModel


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


@dataclass(frozen=True)
class Border:
    """A tensor of the artifact: its name there, the axis order (None: as in the original) and its dtype.

    artifact_tensor = transpose(original_tensor, perm).astype(dtype)
    """

    name: str
    dtype: str
    perm: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Artifact:
    """Files that a target wrote; `path` is the one to load."""

    target: str
    path: Path
    files: tuple[Path, ...]


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
    run: str = ""
    """Module whose `runner(path)` runs an artifact; '' where only the implementation can."""

    def load(self) -> Target:
        """The implementation."""
        from importlib import import_module

        target: Target = import_module(self.module).TARGET
        return target

    def runner(self, artifact: Path) -> Runner:
        """An artifact in the target's own runtime, without importing what makes artifacts. Raises MissingExtra."""
        from importlib import import_module

        runner: Runner = import_module(self.run).runner(artifact) if self.run else self.load().runner(artifact)
        return runner
