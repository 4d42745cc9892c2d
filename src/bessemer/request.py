"""What a caller asks of the road, and what its stages hand on: plain data that every stage may name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from bessemer.ir.model import Model
from bessemer.sources.base import OpenOptions

if TYPE_CHECKING:
    from bessemer.passes.base import PassRecord
    from bessemer.verify.preprocess import Preprocess

Stage = Literal["open", "normalise", "rewrite", "quantize"]
STAGES: tuple[Stage, ...] = ("open", "normalise", "rewrite", "quantize")
"""Portable stages, in order: models after them are saved as `.bsm`."""


@dataclass(frozen=True)
class TargetRequest:
    """One target as the user asked for it; `options` are validated by the target's own model."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Calibration:
    """What integer targets are calibrated on (path None: the user's data), and how.

    ranges, level: `method` and `level` of quantize.levels.Quantize, None where nothing was said; quantize: other fields
    of it. All of them win over the recipe's.
    """

    path: Path | None = None
    samples: int = 0
    ranges: str | None = None
    level: int | None = None
    quantize: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stated(self) -> dict[str, Any]:
        """Every field of `Quantize` that was given."""
        both = {"method": self.ranges, "level": self.level}
        return {key: value for key, value in both.items() if value is not None} | dict(self.quantize)


@dataclass(frozen=True)
class Recipe:
    """A recipe that was read (`script.recipe.load`). quantize: fields of `Quantize` that it states."""

    path: Path
    quantize: Mapping[str, Any]

    def __str__(self) -> str:
        """For the manifest, whose inputs hold its hash."""
        return str(self.path)


@dataclass(frozen=True)
class ConvertOptions:
    """What a caller may say about a whole conversion.

    shapes, signature, original, factory, task, graph, inputs, outputs, adapters, base, config: see OpenOptions;
    data, labels, label_offset, preprocess, samples: the user's inputs (see
    verify.data.Request); seed: of generated inputs;
    bound: a named closeness that replaces each target's own; level: optimisation level of the passes;
    keep_failed: place artifacts that failed verification too, as `NAME.failed`;
    execute: False stops after `write`, and the rows say compiled-only;
    calibration: for targets in integers; recipe: see script.recipe.
    """

    shapes: Mapping[str, tuple[int | str | tuple[int, int], ...]] = field(default_factory=dict)
    signature: str | None = None
    original: Literal["auto", "runtime", "reference"] = "auto"
    factory: str | None = None
    task: str | None = None
    graph: Literal["auto", "table", "torch"] = "auto"
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    adapters: tuple[tuple[Path, float], ...] = ()
    base: Path | None = None
    config: Path | None = None
    data: Path | None = None
    labels: Path | None = None
    label_offset: int = 0
    preprocess: Preprocess | None = None
    samples: int = 0
    seed: int = 0
    bound: str | None = None
    level: int = 2
    keep_failed: bool = False
    execute: bool = True
    calibration: Calibration = field(default_factory=Calibration)
    recipe: Recipe | None = None

    @property
    def opening(self) -> OpenOptions:
        """The part that concerns the source."""
        return OpenOptions(
            dict(self.shapes), self.signature, self.original, self.factory, self.task, self.inputs, self.outputs,
            self.graph, self.adapters, self.base, self.config,
        )  # fmt: skip


class Progress(Protocol):
    """Told what is being done; `target` is empty for the stages that serve all targets."""

    def stage(self, name: str, target: str = "") -> None:
        """A stage begins."""
        ...

    def at(self, share: float) -> None:
        """How much of the stage is done, 0 to 1."""
        ...


class Silent:
    """Progress that nobody watches."""

    def stage(self, name: str, target: str = "") -> None:
        """Say nothing."""

    def at(self, share: float) -> None:
        """Say nothing."""


@dataclass
class Optimized:
    """A model after the portable stages, with what the passes did."""

    model: Model
    records: list[PassRecord]
