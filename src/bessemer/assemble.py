"""Turn what happened on the road into Evidence records."""

from __future__ import annotations

import resource
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bessemer.archive.manifest import file_record, manifest
from bessemer.ir.errors import Declined
from bessemer.ir.model import Model
from bessemer.ir.signature import TensorSpec
from bessemer.targets.base import Border, Prepared
from bessemer.verify import evidence as ev

if TYPE_CHECKING:
    from bessemer.ir.checkpoint import Checkpoint
    from bessemer.request import ConvertOptions, Optimized, TargetRequest


T = TypeVar("T")


class Meter:
    """Wall time since `start` (of `time.perf_counter`), and peak resident memory of this process."""

    def __init__(self, start: float) -> None:
        self._start = start

    @property
    def seconds(self) -> float:
        """Elapsed."""
        return time.perf_counter() - self._start

    @property
    def peak_bytes(self) -> int:
        """Of this process."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Timed:
    """What takes how long: stage -> seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def timed(self, stage: str, action: Callable[[], T]) -> T:
        """Run `action` and keep its duration under `stage`."""
        start = time.perf_counter()
        try:
            return action()
        finally:
            self.seconds[stage] = time.perf_counter() - start


def border_records(prepared: Prepared) -> list[ev.Border]:
    """Inputs then outputs, each with one sentence where something changed."""
    both = [*prepared.inputs.items(), *prepared.outputs.items()]
    return [_border_record(original, border) for original, border in both]


def _border_record(original: str, border: Border) -> ev.Border:
    said: list[str] = []
    if border.name != original:
        said.append(f"renamed to '{border.name}'")
    if border.perm is not None:
        said.append(f"axes reordered by {list(border.perm)}")
    return ev.Border(
        original=original,
        artifact=border.name,
        dtype=border.dtype,
        perm=None if border.perm is None else list(border.perm),
        changed=", ".join(said),
    )


def shown_options(validated: Any) -> dict[str, str]:
    """Options as they would be typed, defaults included; empty where nothing is set."""
    return {key: _typed(value) for key, value in validated.model_dump().items()}


def _typed(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ":".join(map(str, value))
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def declined_row(
    request: TargetRequest, validated: Any, refusal: Declined, suggested: Sequence[ev.Suggestion] = ()
) -> ev.TargetEvidence:
    """A row that names every blocker, and where the model can be cut."""
    count = len(refusal.blockers)
    return ev.TargetEvidence(
        target=request.name,
        precision=str(getattr(validated, "precision", "")),
        options=shown_options(validated),
        status="declined",
        verified=False,
        summary=f"Declined: {count} blocker{'s' * (count != 1)}; nothing was written.",
        blockers=[ev.BlockerRecord(**blocker.as_dict()) for blocker in refusal.blockers],
        suggestions=list(suggested),
    )


def prepared_row(request: TargetRequest, validated: Any, prepared: Prepared) -> ev.TargetEvidence:
    """What `check` says of a target that can take the model: lowered, not run."""
    return ev.TargetEvidence(
        target=request.name,
        precision=prepared.precision,
        options=shown_options(validated),
        status="compiled-only",
        verified=False,
        summary="Every operator lowers; `bessemer convert` will write, execute and verify it.",
        borders=border_records(prepared),
        notes=list(prepared.notes),
        operators=dict(sorted(prepared.operators.items())),
    )


def model_record(path: Path, model: Model) -> ev.ModelRecord:
    """Everything `inspect` says."""
    from bessemer.passes.stats import model_stats

    stats = model_stats(model.graph)
    signature = model.signature
    held = file_record(path, str(path))
    return ev.ModelRecord(
        path=str(path),
        format=model.origin.format,
        bytes=held.bytes,
        sha256=held.sha256,
        inputs=[tensor_record(spec) for spec in signature.inputs],
        outputs=[tensor_record(spec) for spec in signature.outputs],
        operators=stats.operators,
        nodes=sum(stats.operators.values()),
        parameters=stats.parameters,
        macs=stats.macs,
        weights=stats.weights,
        activations=stats.activations,
        details={key: str(value) for key, value in model.origin.details.items()},
        cut=cut_record(model),
    )


def checkpoint_record(path: Path, checkpoint: Checkpoint | None, held: ev.FileRecord) -> ev.ModelRecord:
    """What `inspect` says of weights without a graph; None: of a file that was declined whole."""
    from bessemer.sources.sniff import identify

    weights: Counter[str] = Counter()
    tensors = () if checkpoint is None else checkpoint.tensors.values()
    for tensor in tensors:
        weights[tensor.type] += tensor.nbytes
    return ev.ModelRecord(
        path=str(path), format=identify(path).name, bytes=held.bytes, sha256=held.sha256, inputs=[], outputs=[],
        operators={},
        nodes=0, parameters=0 if checkpoint is None else checkpoint.parameters, macs=None, weights=dict(weights),
        activations=None, details=_facts(checkpoint),
    )  # fmt: skip


def _facts(checkpoint: Checkpoint | None) -> dict[str, str]:
    if checkpoint is None:
        return {}
    tokenizer = checkpoint.tokenizer
    said = {
        "architecture": checkpoint.config.get("model_type"),
        "tensors": len(checkpoint.tensors),
        "tokenizer": tokenizer and f"{tokenizer.kind} {tokenizer.pre}, {len(tokenizer.tokens)} tokens".replace(" ,", ","),
        "adapter": checkpoint.adapter and "LoRA",
    }
    return {key: str(value) for key, value in (*said.items(), *checkpoint.origin.details.items()) if value}


def cut_record(model: Model) -> ev.CutRecord | None:
    """What part of the original a model is, by the names that cut it out again."""
    if model.cut is None:
        return None
    taps = model.cut.taps
    given = {spec.name for spec in model.cut.whole.signature.inputs}
    return ev.CutRecord(
        inputs=[tap.name if tap.name in given else tap.tensor for tap in taps.inputs],
        outputs=[tap.tensor for tap in taps.outputs],
        inside=[tap.tensor for tap in taps.inputs if tap.name not in given],
        nodes=taps.nodes,
        of=taps.of,
    )


def tensor_record(spec: TensorSpec) -> ev.TensorRecord:
    """A border tensor as data."""
    return ev.TensorRecord(name=spec.name, dtype=spec.dtype, shape=list(spec.shape))


def assemble(
    path: Path,
    optimized: Optimized,
    rows: list[ev.TargetEvidence],
    options: ConvertOptions,
    meter: Meter,
    before: Mapping[str, int],
) -> ev.Evidence:
    """The whole report. `before`: operator counts of the model as it was read."""
    source = model_record(path, optimized.model)
    after = source.operators
    return ev.Evidence(
        source=source.model_copy(update={"operators": dict(before), "nodes": sum(before.values())}),
        passes=[
            ev.PassLine(
                name=record.name,
                options=record.options,
                changed=record.changed,
                seconds=record.seconds,
                declined=list(record.declined),
            )
            for record in optimized.records
        ],
        optimized=after,
        targets=rows,
        seconds=meter.seconds,
        peak_bytes=meter.peak_bytes,
        manifest=manifest(path, options),
    )


def refused(
    path: Path,
    requests: Sequence[tuple[TargetRequest, Any, Any]],
    refusal: Declined,
    options: ConvertOptions,
    meter: Meter,
    suggested: Sequence[Sequence[ev.Suggestion]],
) -> ev.Evidence:
    """The report of a file whose operators have no meaning in the hub: every target declines for the same reasons."""
    from bessemer.sources.sniff import identify

    held = file_record(path, str(path))
    source = ev.ModelRecord(
        path=str(path), format=identify(path).name, bytes=held.bytes, sha256=held.sha256,
        inputs=[], outputs=[], operators={}, nodes=0, parameters=0, macs=None, weights={}, activations=None,
    )  # fmt: skip
    rows = [
        declined_row(request, validated, refusal, cuts)
        for (request, _, validated), cuts in zip(requests, suggested, strict=True)
    ]
    return ev.Evidence(
        source=source, passes=[], optimized={}, targets=rows, seconds=meter.seconds, peak_bytes=meter.peak_bytes,
        manifest=manifest(path, options),
    )  # fmt: skip
