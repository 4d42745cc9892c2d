"""The road of a checkpoint: open, prepare, stream, prove, publish. Its rows stand in the same report as those of graphs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bessemer.archive.manifest import file_record, manifest
from bessemer.assemble import Meter, checkpoint_record, declined_row, shown_options
from bessemer.ir.errors import Declined
from bessemer.opening import open_checkpoint
from bessemer.request import ConvertOptions, Progress, TargetRequest
from bessemer.targets.base import Artifact, CheckpointTarget, PreparedWeights
from bessemer.verify import evidence as ev
from bessemer.workspace import Workspace, artifact_stem

if TYPE_CHECKING:
    from bessemer.ir.checkpoint import Checkpoint

Asked = tuple[TargetRequest, CheckpointTarget, Any]
"""A request, its target and the validated options."""


def convert(path: Path, asked: Sequence[Asked], out: Path, options: ConvertOptions, watch: Progress) -> ev.Evidence:
    """Convert `path` for every target of the pillar 'checkpoint', and prove each artifact.

    Raises UnreadableInput, UsageError, MissingExtra; what a target declines or fails is a row.
    """
    meter = Meter(time.perf_counter())
    watch.stage("open")
    with ExitStack() as stack:
        hashing = stack.enter_context(ThreadPoolExecutor(2, "bessemer-hash"))
        held = hashing.submit(file_record, path, str(path))
        try:
            checkpoint = open_checkpoint(path, options.opening)
        except Declined as refusal:
            rows = [declined_row(request, validated, refusal) for request, _, validated in asked]
            source = checkpoint_record(path, None, held.result())
        else:
            work = stack.enter_context(Workspace(out))
            road = _Road(path, checkpoint, work, options, watch, hashing)
            stack.callback(road.close)
            rows = [road.row(*item) for item in asked]
            source = checkpoint_record(path, checkpoint, held.result())
        return ev.Evidence(
            source=source, passes=[], optimized={}, targets=rows, seconds=meter.seconds, peak_bytes=meter.peak_bytes,
            manifest=manifest(path, options, held.result()),
        )  # fmt: skip


def check(path: Path, asked: Sequence[Asked], options: ConvertOptions) -> list[ev.TargetEvidence]:
    """What each target would say: names, types and places of all tensors, nothing written or run."""
    try:
        checkpoint = open_checkpoint(path, options.opening)
    except Declined as refusal:
        return [declined_row(request, validated, refusal) for request, _, validated in asked]
    return [_checked(checkpoint, *item) for item in asked]


def _checked(checkpoint: Checkpoint, request: TargetRequest, target: CheckpointTarget, validated: Any) -> ev.TargetEvidence:
    try:
        prepared = target.prepare(checkpoint, validated)
    except Declined as refusal:
        return declined_row(request, validated, refusal)
    return _written(
        request, validated, prepared, "Every tensor has its place; `bessemer convert` will write and prove it.",
        [*checkpoint.notes, *prepared.notes],
    )  # fmt: skip


def _written(
    request: TargetRequest, validated: Any, prepared: PreparedWeights, summary: str, notes: list[str]
) -> ev.TargetEvidence:
    """A row of what was not executed."""
    return ev.TargetEvidence(
        target=request.name, precision=prepared.precision, options=shown_options(validated), status="compiled-only",
        verified=False, summary=summary, notes=notes, operators=prepared.types,
    )  # fmt: skip


class _Road:
    """Makes one row per target; the original is opened for proofs once."""

    def __init__(
        self, path: Path, checkpoint: Checkpoint, work: Workspace, options: ConvertOptions, watch: Progress,
        hashing: ThreadPoolExecutor,
    ) -> None:  # fmt: skip
        self.path, self.checkpoint, self.work, self.options, self.watch = path, checkpoint, work, options, watch
        self.hashing = hashing

    def close(self) -> None:
        """Stop what runs the original."""

    def row(self, request: TargetRequest, target: CheckpointTarget, validated: Any) -> ev.TargetEvidence:
        """Prepare, stream, prove, publish."""
        seconds: dict[str, float] = {}
        folder = self.work.folder(f"{len(list(self.work.path.iterdir()))}-{request.name}")
        self.watch.stage("prepare", request.name)
        start = time.perf_counter()
        try:
            prepared = target.prepare(self.checkpoint, validated)
        except Declined as refusal:
            return declined_row(request, validated, refusal)
        seconds["prepare"] = time.perf_counter() - start
        self.watch.stage("write", request.name)
        start = time.perf_counter()
        artifact = target.write(prepared, folder, artifact_stem(self.path, validated.precision), self._counted(prepared))
        seconds["write"] = time.perf_counter() - start
        hashes = [self.hashing.submit(file_record, file, str(file.relative_to(folder))) for file in artifact.files]
        return self._published(request, validated, prepared, artifact, hashes, seconds)

    def _counted(self, prepared: PreparedWeights) -> Any:
        written = 0

        def done(count: int) -> None:
            nonlocal written
            written += count
            self.watch.at(written / max(prepared.elements, 1))

        return done

    def _published(
        self, request: TargetRequest, validated: Any, prepared: PreparedWeights, artifact: Artifact,
        hashes: Sequence[Future[ev.FileRecord]], seconds: dict[str, float],
    ) -> ev.TargetEvidence:  # fmt: skip
        files = [item.result() for item in hashes]
        self.work.publish(list(artifact.files), artifact.path.parent)
        row = _written(
            request, validated, prepared, "Written, not executed: the conversion was told to stop there.",
            [*self.checkpoint.notes, *prepared.notes],
        )  # fmt: skip
        return row.model_copy(update={"files": files, "seconds": seconds})
