"""The whole road of a model on one screen: open, normalise, rewrite, prepare, write, verify, report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bessemer.ir.errors import BessemerError, Declined, UsageError
from bessemer.ir.model import Model
from bessemer.opening import graph_of, normalise, open_checkpoint, open_model, original_of, passes_until
from bessemer.request import ConvertOptions, Progress, Silent, Stage, TargetRequest
from bessemer.workspace import Workspace, artifact_stem, check_companions

if TYPE_CHECKING:
    from bessemer.ir.types import Array
    from bessemer.quantize.algorithms.mixed_precision import Asked
    from bessemer.runners.isolated import IsolatedRunner
    from bessemer.sources.bsm.records import QuantizedRecord
    from bessemer.sources.join.records import Plan
    from bessemer.targets.base import CheckpointTarget, Prepared, Target
    from bessemer.verify.evidence import Analysis, Evidence, ModelRecord, Search, Suggestion, TargetEvidence
    from bessemer.verify.judge import Reference


def save_after(
    stage: Stage, path: Path, out: Path, options: ConvertOptions, targets: Sequence[TargetRequest] = ()
) -> Path:
    """Go as far as `stage` and save the model as `out/NAME.STAGE.bsm`, from which `convert` goes on.

    targets: for the stage `quantize` alone; all ask for one precision and the same exceptions, which become the archive's.
    Raises UnreadableInput, UsageError, and Declined for operators with no meaning in the hub.
    """
    from bessemer.archive.bsm import save
    from bessemer.passes.base import run_passes
    from bessemer.passes.stats import operator_counts

    model = open_model(path, options.opening)
    if model.past is not None:
        raise UsageError(f"{path} is saved after {model.past.stage} already", fix="Convert it, or start from the original")
    before = operator_counts(model.graph)
    records = [] if stage == "open" else run_passes(model.graph, passes_until(model, options, stage))
    quantized = None
    if stage == "quantize":
        model, quantized = _quantized(model, targets, options)
    with Workspace(out) as work:
        stem = artifact_stem(path, quantized.precision if quantized else "", options.task)
        file = work.path / f"{stem}.{stage}.bsm"
        place = out / file.name
        said = {"signature": options.signature, "operators": before, "passes": records, "quantized": quantized,
                "shapes": options.shapes, "task": options.task}  # fmt: skip
        save(model, stage, file, original=path, home=out, **said)  # type: ignore[arg-type]
        work.publish([file], work.path)
    return place


def _quantized(
    model: Model, targets: Sequence[TargetRequest], options: ConvertOptions
) -> tuple[Model, QuantizedRecord]:
    """The model with its encodings, and what the archive says of them. Raises UsageError where the targets differ."""
    from bessemer.integers import Integers
    from bessemer.quantize.scheme import SCHEMES
    from bessemer.sources.bsm.records import QuantizedRecord

    asked = [_resolve(request, options)[1] for request in targets]
    wants = {(validated.precision, tuple(validated.keep)) for validated in asked if validated.precision in SCHEMES}
    if len(wants) != 1 or len(wants) != len({(item.precision, tuple(item.keep)) for item in asked}):
        raise UsageError(
            "--stop-after quantize saves one set of integers",
            why=f"the targets ask for {len(wants) or 'no'} static precision(s)",
            fix=f"Say which with --to TARGET:PRECISION, one of {', '.join(SCHEMES)}; the archive serves every target",
        )
    integers = Integers(model, options, Silent())
    integers.check(asked)
    source = integers.of(asked[0])
    record = "" if source.record is None else source.record.model_dump_json()
    return source.model, QuantizedRecord(precision=asked[0].precision, record=record, notes=source.notes)


def convert(
    path: Path,
    targets: Sequence[TargetRequest],
    out: Path,
    options: ConvertOptions,
    progress: Progress | None = None,
) -> Evidence:
    """Convert `path` for every target, execute each artifact beside the original, and return the evidence.

    Verified artifacts are moved into `out` at the end of their row. Raises UnreadableInput, UsageError,
    MissingExtra; what a target declines or fails is a row, not an exception.
    """
    from bessemer.runners.isolated import IsolatedRunner
    from bessemer.sources.sniff import warm_modules
    from bessemer.targets.registry import find

    if not targets:
        raise UsageError("No target is named", fix="Say --to onnx, for instance")
    watch = progress or Silent()
    weights = [request for request in targets if find(request.name).pillar == "checkpoint"]
    if weights:
        return _convert_both(path, targets, weights, out, options, watch)
    start = time.perf_counter()
    watch.stage("open")
    for request in targets:
        find(request.name)
    with (  # both children import their runtime while this process imports what it needs itself
        IsolatedRunner(warm=warm_modules(path) if options.execute else ()) as original,  # the file itself is checked first
        spare_runner(targets[0].name) as spare,
        Workspace(out) as work,
    ):
        requests = [(request, *_resolve(request, options)) for request in targets]
        from bessemer.assemble import Meter, assemble, refused
        from bessemer.passes.stats import operator_counts

        meter = Meter(start)
        try:
            raw = open_model(path, options.opening)
        except Declined as refusal:
            suggested = [_suggested(path, target, validated, options) for _, target, validated in requests]
            return refused(path, requests, refusal, options, meter, suggested)
        check_companions(raw.companions, out)
        before = raw.past.operators if raw.past else operator_counts(raw.graph)
        requests = [(request, target, _as_saved(raw, validated)) for request, target, validated in requests]
        if options.execute:
            original.load(*original_of(path, options.opening, raw))
        watch.stage("optimise")
        optimized = normalise(raw, options)
        row = _Rows(path, optimized.model, original, work, options, watch, [item[2] for item in requests])
        rows = [row.make(*requests[0], spare)]
        for request, target, validated in requests[1:]:
            with spare_runner(request.name) as spare:
                rows.append(row.make(request, target, validated, spare))
        return assemble(path, optimized, rows, options, meter, before)


def _convert_both(
    path: Path, targets: Sequence[TargetRequest], weights: Sequence[TargetRequest], out: Path, options: ConvertOptions,
    watch: Progress,
) -> Evidence:  # fmt: skip
    """Targets of weights by the road of checkpoints, the others by the road of graphs; the rows stand as they were asked."""
    from bessemer import checkpoints

    asked = [(request, *_resolve_weights(request)) for request in weights]
    made = checkpoints.convert(path, asked, out, options, watch)
    graphs = [request for request in targets if request not in weights]
    if not graphs:
        return made
    other = convert(path, graphs, out, options, watch)
    rows = {id(request): row for part, evidence in ((weights, made), (graphs, other))
            for request, row in zip(part, evidence.targets, strict=True)}  # fmt: skip
    return other.model_copy(
        update={
            "targets": [rows[id(request)] for request in targets],
            "seconds": made.seconds + other.seconds,
            "peak_bytes": max(made.peak_bytes, other.peak_bytes),
        }
    )


def join(
    models: Sequence[str],
    out: Path,
    targets: Sequence[str],
    maps: Sequence[str],
    options: ConvertOptions,
    *,
    share: bool = False,
    progress: Progress | None = None,
) -> tuple[Plan, Evidence]:
    """Join `models` and convert the whole for every target; verified against the originals piped in their own runtimes.

    out: a file whose suffix says the target, or a directory; the plan lies beside the artifacts and is read again by
    whoever verifies or converts them later. Raises UsageError where models cannot be joined as asked.
    """
    from bessemer.joining import members_of, plan, written
    from bessemer.script.target_spec import parse

    folder, stem, chosen = _join_place(out, targets)
    requests = [TargetRequest(spec.name, spec.options) for spec in map(parse, chosen)]
    opening = replace(options.opening, shapes={})
    made = plan(members_of(models, opening), maps, share=share, home=folder, signature=options.signature)
    place = folder / f"{stem}.join"
    before = place.read_bytes() if place.is_file() else None
    done = False
    written(made, place)
    try:
        evidence = convert(place, requests, folder, replace(options, signature=None), progress)
        done = any(row.files for row in evidence.targets)
    finally:
        if not done:  # nothing is left behind but what was there
            place.unlink() if before is None else place.write_bytes(before)
    return made, evidence


def _join_place(out: Path, targets: Sequence[str]) -> tuple[Path, str, Sequence[str]]:
    """Folder, name of the whole, and targets. Raises UsageError where nobody says a target."""
    from bessemer.targets.registry import all_targets

    if not out.suffix or out.is_dir():
        if not targets:
            raise UsageError(f"--out {out} is a directory, and no target is named", fix="Say --to onnx, or --out NAME.onnx")
        return out, "joined", targets
    if targets:
        return out.parent, out.stem, targets
    known = {entry.suffix: entry.name for entry in reversed(all_targets())}
    if out.suffix not in known:
        raise UsageError(f"No target writes '{out.suffix}' files", fix=f"End --out in one of {', '.join(sorted(known))}")
    return out.parent, out.stem, [known[out.suffix]]


def spare_runner(target: str) -> IsolatedRunner:
    """A child that imports the target's runtime while the artifact is made."""
    from bessemer.runners.isolated import IsolatedRunner
    from bessemer.targets.registry import find

    return IsolatedRunner(warm=find(target).warm)


def check(path: Path, targets: Sequence[TargetRequest], options: ConvertOptions) -> list[TargetEvidence]:
    """What each target would say: lowered with real shapes and types, nothing written or run."""
    from bessemer.targets.registry import find

    weights = [request for request in targets if find(request.name).pillar == "checkpoint"]
    graphs = [request for request in targets if request not in weights]
    rows = {id(request): row for request, row in zip(graphs, _check_graphs(path, graphs, options), strict=True)}
    if weights:
        from bessemer import checkpoints

        asked = [(request, *_resolve_weights(request)) for request in weights]
        rows |= {id(item[0]): row for item, row in zip(asked, checkpoints.check(path, asked, options), strict=True)}
    return [rows[id(request)] for request in targets]


def _check_graphs(path: Path, targets: Sequence[TargetRequest], options: ConvertOptions) -> list[TargetEvidence]:
    from bessemer.assemble import declined_row, prepared_row
    from bessemer.integers import Integers

    if not targets:
        return []
    requests = [(request, *_resolve(request, options)) for request in targets]
    try:
        raw = open_model(path, options.opening)
    except Declined as refusal:
        return [
            declined_row(request, validated, refusal, _suggested(path, target, validated, options))
            for request, target, validated in requests
        ]
    requests = [(request, target, _as_saved(raw, validated)) for request, target, validated in requests]
    optimized = normalise(raw, options)
    integers = Integers(optimized.model, options, Silent())
    rows: list[TargetEvidence] = []
    for request, target, validated in requests:
        model = integers.of(validated).model if integers.needs_no_data(validated) else optimized.model
        try:
            rows.append(prepared_row(request, validated, _prepare(model, target, validated)))
        except Declined as refusal:
            rows.append(declined_row(request, validated, refusal, _suggested(path, target, validated, options)))
    return rows


def inspect(path: Path, options: ConvertOptions) -> ModelRecord:
    """Inputs, outputs, operators, parameters, MACs, weights by type, activation memory."""
    from bessemer.assemble import checkpoint_record, model_record
    from bessemer.sources.sniff import identify

    if identify(path).weights:
        from bessemer.archive.manifest import file_record

        return checkpoint_record(path, open_checkpoint(path, options.opening), file_record(path, str(path)))
    model = open_model(path, options.opening)
    normalise(model, ConvertOptions(shapes=options.shapes, level=0))
    return model_record(path, model)


def analyze(
    path: Path,
    options: ConvertOptions,
    precision: str,
    keep: tuple[str, ...],
    progress: Progress | None = None,
    *,
    prove: bool = False,
) -> Analysis:
    """What each layer of a float model costs in integers, and what would mend the worst ones; prove: the remedies that
    gained are applied together once more.

    Raises UsageError for data that cannot serve, UnreadableInput, Declined.
    """
    from bessemer.integers import Integers

    watch = progress or Silent()
    watch.stage("open")
    model = open_model(path, options.opening)
    watch.stage("optimise")
    return Integers(normalise(model, options).model, options, watch).analysis(precision, keep, prove=prove)


def search(
    path: Path,
    options: ConvertOptions,
    precision: str,
    keep: tuple[str, ...],
    asked: Asked,
    progress: Progress | None = None,
) -> Search:
    """Which layers of a float model get which precision under a budget. Raises as `analyze` does."""
    from bessemer.integers import Integers

    watch = progress or Silent()
    watch.stage("open")
    model = open_model(path, options.opening)
    watch.stage("optimise")
    return Integers(normalise(model, options).model, options, watch).search(precision, keep, asked)


def compare(a: Path, b: Path, options: ConvertOptions, bound: str = "close(1e-4, 1e-4)") -> TargetEvidence:
    """Run two models of any readable formats on the same inputs; outputs pair by name, else by position.

    Files of weights are compared as language models: predictions, tokens, weights.
    """
    from bessemer import checkpoints

    if checkpoints.comparable(a, b):
        return checkpoints.compared(a, b, options)
    from bessemer.comparison import compared_row

    return compared_row(a, b, options, options.bound or bound)


def verify(artifact: Path, against: Path, options: ConvertOptions) -> TargetEvidence:
    """Hold an artifact against its source; the bound is float32's unless `options.bound` says otherwise."""
    return compare(against, artifact, options)


def run(path: Path, options: ConvertOptions) -> list[dict[str, Array]]:
    """Execute a model in its own runtime on the user's data or on seeded inputs; one dict of outputs per set."""
    from bessemer.runners.isolated import IsolatedRunner
    from bessemer.verify.reference import reference_of

    model = graph_of(path, options)
    cut = model is not None and model.cut is not None
    call = original_of(path, options.opening, model) if cut else ("bessemer.executors:of_file", str(path), options.opening)
    with IsolatedRunner(*call) as runner:
        return reference_of(runner, model, options).answers


def _resolve(request: TargetRequest, options: ConvertOptions) -> tuple[Target, Any]:
    """The target and its options; a recipe's precision is for those that name none."""
    from bessemer.targets.registry import find, validate

    target = find(request.name).load()
    said = {} if options.recipe is None else options.recipe.quantize
    default = {"precision": said["precision"]} if "precision" in said else {}
    return target, validate(request.name, target, {**default, **request.options})


def _resolve_weights(request: TargetRequest) -> tuple[CheckpointTarget, Any]:
    """A target of the pillar 'checkpoint' and its validated options."""
    from bessemer.targets.registry import find, validate

    target = find(request.name).load_checkpoint()
    return target, validate(request.name, target, request.options)


def _as_saved(model: Model, validated: Any) -> Any:
    """A target's options with the precision that an archive was quantized to. Raises UsageError for another one."""
    held = model.past.quantized if model.past is not None else None
    if held is None:
        return validated
    if validated.precision not in ("float32", held.precision) or validated.keep:
        raise UsageError(
            f"{model.origin.path.name} was quantized to {held.precision}",
            fix="Leave precision and keep out, or start from the original",
        )
    return validated.model_copy(update={"precision": held.precision})


def _suggested(path: Path, target: Target, validated: Any, options: ConvertOptions) -> list[Suggestion]:
    """Where a model that a target declined can be cut; the file is read again, as it was before the passes."""
    from bessemer.integers import Integers
    from bessemer.opening import describing, read_model
    from bessemer.passes.shapes import BindShapes, InferShapes
    from bessemer.suggest import suggestions

    def prepare(model: Model) -> None:
        optimized = normalise(model, options).model
        integers = Integers(optimized, options, Silent())
        _prepare(integers.of(validated).model if integers.needs_no_data(validated) else optimized, target, validated)

    try:
        model = read_model(path, options.opening)
    except BessemerError:  # what cannot even be read in part
        return []
    if model.past is not None and model.past.quantized is not None:
        return []
    if options.shapes and model.cut is None:
        BindShapes(dict(options.shapes)).run(model.graph)
        InferShapes().run(model.graph)
    return suggestions(model, prepare, describing(model, options.opening))


def _prepare(model: Model, target: Target, options: Any) -> Prepared:
    """Lower a copy: the graph is cloned, tensors are shared."""
    from bessemer.sources.validity import blaming

    with blaming(model.origin.path):
        return target.prepare(Model(model.graph.clone(), model.origin, list(model.notes)), options)


VERIFIED = 64
"""Calibration samples that are verified on where the user gave no other data."""


def _verified_on(options: ConvertOptions) -> ConvertOptions:
    """Generated inputs say little about integers: the calibration data takes their place."""
    path = options.calibration.path
    return options if options.data or path is None else replace(options, data=path, samples=VERIFIED)


class _Rows:
    """Makes one row of evidence per target; the original runs once for all of them."""

    def __init__(
        self,
        path: Path,
        model: Model,
        original: Any,
        work: Workspace,
        options: ConvertOptions,
        watch: Progress,
        every: Sequence[Any],
    ) -> None:
        self.path, self.model, self.original = path, model, original
        self.work, self.options, self.watch = work, options, watch
        self._reference: Reference | None = None
        from bessemer.integers import Integers

        self._integers = Integers(model, options, watch)
        self._integers.check(every)

    @property
    def reference(self) -> Reference:
        """What the original answers."""
        from bessemer.verify.reference import reference_of

        if self._reference is None:
            self._reference = reference_of(self.original, self.model, _verified_on(self.options))
        return self._reference

    def make(
        self, request: TargetRequest, target: Target, validated: Any, spare: IsolatedRunner
    ) -> TargetEvidence:
        """Prepare, write, verify in the waiting child `spare`, publish."""
        from bessemer.assemble import declined_row
        from bessemer.row import Row

        row = Row(
            request, validated, self.work.folder(f"{len(list(self.work.path.iterdir()))}-{request.name}")
        )
        try:
            if self._integers.wants(validated):
                row.timed("quantize", lambda: self._integers.of(validated))
            row.source = source = self._integers.of(validated)
            self.watch.stage("prepare", request.name)
            prepared = row.timed("prepare", lambda: _prepare(source.model, target, validated))
            self.watch.stage("write", request.name)
            stem = artifact_stem(self.path, prepared.precision, self.options.task)
            row.artifact = row.timed("write", lambda: target.write(prepared, row.folder, stem))
            row.bring(self.model.companions)
        except Declined as refusal:
            return declined_row(request, validated, refusal, _suggested(self.path, target, validated, self.options))
        if not self.options.execute:
            return row.publish_unexecuted(self.work, prepared)
        self.watch.stage("verify", request.name)
        try:
            reference = self.reference
        except Declined as refusal:  # a cut whose values the original's runtime does not show
            return declined_row(request, validated, refusal)
        try:
            row.timed(
                "verify",
                lambda: row.verify(source.model, self.original, spare, reference, prepared, self.options),
            )
        except BessemerError as error:
            if error.exit_code == 6:
                raise
            row.crash = str(error)
        runtime_at_fault = row.departure(self.model, reference)
        if runtime_at_fault is not None:
            return declined_row(request, validated, runtime_at_fault)
        return row.publish(self.work, prepared, reference, self.options.keep_failed)
