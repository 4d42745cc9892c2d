"""The road of a checkpoint: open, prepare, stream, prove, publish. Its rows stand in the same report as those of graphs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

from bessemer.archive.manifest import file_record, manifest
from bessemer.assemble import Meter, Timed, checkpoint_record, declined_row, shown_options
from bessemer.ir.errors import BessemerError, Declined, UsageError
from bessemer.opening import open_checkpoint
from bessemer.request import ConvertOptions, Progress, TargetRequest
from bessemer.sources.base import OpenOptions
from bessemer.targets.base import Artifact, CheckpointTarget, Installs, PreparedWeights
from bessemer.verify import evidence as ev
from bessemer.workspace import Workspace, artifact_stem

if TYPE_CHECKING:
    from bessemer.ir.checkpoint import Checkpoint
    from bessemer.verify.language.artifact import Outcome
    from bessemer.verify.language.subjects import Subject
    from bessemer.verify.language.texts import Text
    from bessemer.weights.stream import Done

T = TypeVar("T")

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
        verified=False, summary=summary, notes=notes, tensors=prepared.types,
    )  # fmt: skip


def comparable(a: Path, b: Path) -> bool:
    """Whether two paths hold checkpoints, at least one of them nothing else. Raises UsageError, UnreadableInput."""
    from bessemer.sources.sniff import identify
    from bessemer.targets.registry import target_of

    if target_of(a) is not None or target_of(b) is not None:
        return False
    kinds = identify(a), identify(b)
    return all(kind.checkpoint for kind in kinds) and any(kind.weights for kind in kinds)


def compared(a: Path, b: Path, options: ConvertOptions) -> ev.TargetEvidence:
    """Two files of weights as language models: `b` is held against `a`. Raises UnreadableInput, UsageError, Declined."""
    from bessemer.sources.sniff import identify

    source = open_checkpoint(a, options.opening)
    row = _Row(TargetRequest(identify(b).name), None, b.parent)
    row.artifact = Artifact(identify(b).name, b, (b,))
    original = _original(a, source, options)
    try:
        row.timed("verify", lambda: row.prove(original, source, _text(options.data)))
    finally:
        if original is not None:
            original.close()
    plain = ev.TargetEvidence(
        target=row.request.name, precision="", options={}, status="failed", verified=False, summary=row.crash,
        seconds=row.seconds, files=[file_record(b, str(b))],
    )  # fmt: skip
    return plain.model_copy(update=row.judged())


def _original(path: Path, checkpoint: Checkpoint, options: ConvertOptions) -> Subject | None:
    """What runs the original; None where nothing does, or where there is nothing to run. Raises MissingExtra."""
    from bessemer.verify.language.choose import original, reference

    stored = checkpoint.tensors if checkpoint.records is None else checkpoint.records.tensors
    if not stored and checkpoint.origin.format != "gguf":  # llama.cpp runs a tokenizer by itself
        return None
    if checkpoint.adapter is not None:
        whole = _whole(checkpoint, checkpoint)
        return None if whole is None else reference(whole)
    wanted = "reference" if options.adapters else options.original
    try:
        return original(path, checkpoint, wanted)
    except UsageError:
        if wanted != "auto":
            raise
        return None


def _whole(source: Checkpoint, adapter: Checkpoint) -> Checkpoint | None:
    """The model that `source` is an adapter for with `adapter` in it; None where nobody named one."""
    if source.adapter is None or source.adapter.base is None:
        return None
    from bessemer.architectures.lora import merged

    return merged(source.adapter.base, adapter)


def _base_file(source: Checkpoint, folder: Path) -> Path:
    """GGUF of the model that an adapter is for: its own file, or one that is written for the proof."""
    from bessemer.targets.gguf.options import GgufOptions
    from bessemer.targets.gguf.target import GgufTarget

    base = source.adapter.base if source.adapter else None
    if base is None:
        raise UsageError("An adapter is run with a model", fix="Name it with --base")
    if base.origin.format == "gguf":
        return base.origin.path
    target = GgufTarget()
    return target.write(target.prepare(base, GgufOptions()), folder, "base").path


class _Road:
    """Makes one row per target; what runs the original is opened once, when the first artifact needs it."""

    def __init__(
        self, path: Path, checkpoint: Checkpoint, work: Workspace, options: ConvertOptions, watch: Progress,
        hashing: ThreadPoolExecutor,
    ) -> None:  # fmt: skip
        self.path, self.checkpoint, self.work, self.options, self.watch = path, checkpoint, work, options, watch
        self.hashing = hashing
        self._text = _text(options.data) if options.execute else None

    @cached_property
    def original(self) -> Subject | None:
        """See `_original`."""
        return _original(self.path, self.checkpoint, self.options)

    def close(self) -> None:
        """End what runs the original."""
        subject = self.__dict__.get("original")
        if subject is not None:
            subject.close()

    def row(self, request: TargetRequest, target: CheckpointTarget, validated: Any) -> ev.TargetEvidence:
        """Prepare, stream, prove, publish. Raises UsageError for an artifact to be installed that nobody proves."""
        if not self.options.execute and getattr(validated, "store", None) is not None:
            raise UsageError("Only a verified model is placed in a store", fix="Leave out --no-verify, or the option store")
        row = _Row(request, validated, self.work.folder(f"{len(list(self.work.path.iterdir()))}-{request.name}"))
        try:
            self.watch.stage("prepare", request.name)
            prepared = row.timed("prepare", lambda: target.prepare(self.checkpoint, validated))
            self.watch.stage("write", request.name)
            stem = artifact_stem(self.path, validated.precision if validated.precision != "keep" else "")
            row.artifact = row.timed("write", lambda: target.write(prepared, row.folder, stem, self._counted(prepared)))
        except Declined as refusal:
            return declined_row(request, validated, refusal)
        known = row.artifact.hashes
        hashes = [
            self.hashing.submit(file_record, file, str(file.relative_to(row.folder)), known.get(file))
            for file in row.artifact.files
        ]
        if self.options.execute:
            self.watch.stage("verify", request.name)
            row.timed("verify", lambda: row.prove(self.original, self.checkpoint, self._text))
        if row.good and isinstance(target, Installs):
            prepared.notes += target.install(prepared, row.artifact.path)
        return row.published(self.work, prepared, hashes, self.options, self.checkpoint.notes)

    def _counted(self, prepared: PreparedWeights) -> Done:
        written = 0

        def done(count: int) -> None:
            nonlocal written
            written += count
            self.watch.at(written / max(prepared.elements, 1))

        return done


class _Row(Timed):
    """One artifact on its way."""

    def __init__(self, request: TargetRequest, validated: Any, folder: Path) -> None:
        super().__init__()
        self.request, self.validated, self.folder = request, validated, folder
        self.artifact: Artifact | None = None
        self.outcome: Outcome | None = None
        self.crash = ""

    @property
    def good(self) -> bool:
        """Whether a proof was made, and holds."""
        return self.outcome is not None and self.outcome.language.within

    def prove(self, original: Subject | None, source: Checkpoint, text: Text | None) -> None:
        """Run both, where that is possible. Raises MissingExtra; whatever else goes wrong is the row's crash."""
        from bessemer.verify.language.artifact import Written, prove_artifact

        if self.artifact is None:
            raise UsageError("There is no artifact to verify")
        used = bool(getattr(self.validated, "importance", None))
        try:
            path = _openable(self.artifact)
            again = open_checkpoint(path, OpenOptions())
            written = Written(self.request.name, path, self.artifact.files, again, used)
            whole = _whole(source, source) if self.request.name == "gguf" else None
            if whole is None:
                self.outcome = prove_artifact(original, source, written, text)
                return
            with TemporaryDirectory(prefix="bessemer-base-") as folder:
                base = _base_file(source, Path(folder))
                adapted = replace(written, checkpoint=_whole(source, again) or again, base=base)
                self.outcome = prove_artifact(original, whole, adapted, text)
        except BessemerError as error:
            if error.exit_code == 6:
                raise
            self.crash = str(error)

    def published(
        self, work: Workspace, prepared: PreparedWeights, hashes: Sequence[Future[ev.FileRecord]], options: ConvertOptions,
        notes: Sequence[str],
    ) -> ev.TargetEvidence:  # fmt: skip
        """Move what may stay into place, and the row."""
        files = [item.result() for item in hashes]
        row = ev.TargetEvidence(
            target=self.request.name, precision=prepared.precision, options=shown_options(self.validated),
            status="compiled-only", verified=False, summary=_UNPROVEN, notes=[*notes, *prepared.notes], files=files,
            tensors=prepared.types, seconds=self.seconds,
        )  # fmt: skip
        judged = self.judged() if options.execute else {}
        failed = judged.get("status") == "failed"
        if not failed and self.artifact is not None:
            work.publish(list(self.artifact.files), self.folder)
        elif options.keep_failed and self.artifact is not None:
            files = _renamed(files)
            work.publish([path.rename(f"{path}.failed") for path in self.artifact.files], self.folder)
        return row.model_copy(update={**judged, "files": [] if failed and not options.keep_failed else files})

    def judged(self) -> dict[str, Any]:
        """What the proof says of the row."""
        if self.outcome is None:
            return {"status": "failed", "summary": f"The artifact did not run: {self.crash}"}
        outcome = self.outcome
        held = {
            "language": outcome.language, "runtime": outcome.runtime, "reference": outcome.reference,
            "bound": outcome.language.bound,
        }  # fmt: skip
        if not outcome.language.within:
            return {**held, "status": "failed", "summary": "It is not the same model: see the proof."}
        executed = outcome.status == "executed"
        return {**held, "status": outcome.status, "verified": executed, "summary": _proven(outcome)}


def _openable(artifact: Artifact) -> Path:
    """The artifact as it is opened again: its folder where settings say what it is, else the file of weights."""
    settings = ("config.json", "adapter_config.json")
    known = artifact.path.is_file() or any((artifact.path / name).is_file() for name in settings)
    return artifact.path if known else artifact.files[0]


_UNPROVEN = "Written, not executed: the conversion was told to stop there. `bessemer verify` runs it."


def _proven(outcome: Outcome) -> str:
    beside = f" beside the original in {outcome.reference}" if outcome.reference else ""
    if outcome.status == "executed":
        ran = bool(outcome.language.runs or outcome.language.embeddings)
        predicts, did = ("predictions within ", "Executed in") if ran else ("", "Read by")
        other = outcome.language.artifact not in ("", outcome.runtime)
        by = f" (predictions by {outcome.language.artifact})" if other else ""
        return f"{did} {outcome.runtime}{by}{beside}: {predicts}{outcome.language.bound}."
    return f"Emulated: {outcome.runtime}{beside}; its own runtime did not run it. {outcome.advice}".strip()


def _renamed(files: Sequence[ev.FileRecord]) -> list[ev.FileRecord]:
    return [item.model_copy(update={"path": f"{item.path}.failed"}) for item in files]


def _text(data: Path | None) -> Text | None:
    """The user's text, for predictions. Raises UnreadableInput."""
    from bessemer.verify.language.texts import read

    return None if data is None else read(data)
