"""Turn what happened on the road into Evidence records."""

from __future__ import annotations

import platform
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bessemer.ir.errors import BessemerError, Declined, UsageError
from bessemer.ir.model import Model, layer_of
from bessemer.ir.signature import Signature, TensorSpec
from bessemer.runners.isolated import IsolatedRunner
from bessemer.targets.base import Artifact, Border, Prepared
from bessemer.verify import evidence as ev
from bessemer.verify.closeness import Closeness
from bessemer.verify.data import Preprocess, load
from bessemer.verify.divergence import Landmark, first_divergence
from bessemer.verify.inputs import UNBOUND, generate, ranges, vocabulary_bounds
from bessemer.verify.judge import Judgement, Reference, judge, run_original
from bessemer.workspace import Workspace, sha256_of

if TYPE_CHECKING:
    from bessemer.ir.types import Array
    from bessemer.pipeline import ConvertOptions, Optimized, TargetRequest
    from bessemer.runners.base import Runner

T = TypeVar("T")

TOOLS = (
    "numpy",
    "onnx",
    "onnx-ir",
    "onnxscript",
    "onnxruntime",
    "ai-edge-litert",
    "ml-dtypes",
    "flatbuffers",
    "protobuf",
)


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


def reference_of(
    original: Runner, model: Model, options: ConvertOptions
) -> tuple[Reference, Array | None]:
    """What the original answers to the user's inputs (with their labels), or to generated ones that it accepts.

    Bound dims of the canonical graph win over the runtime's. Raises UsageError when it accepts none.
    """
    bound = _bound_signature(original.signature, model.signature)
    if options.data is not None:
        how = options.preprocess or Preprocess()
        data = load(options.data, bound, how, options.labels, options.samples)
        if not data.sets:
            raise UsageError(f"--data {options.data} holds no complete batch for the model")
        return run_original(original, data.sets), data.labels
    bounds, limits = vocabulary_bounds(model.graph.graph), ranges(options.shapes)
    answered: list[Reference] = []
    refusals: list[UsageError] = []
    for sizes in UNBOUND if bound.dynamic else UNBOUND[:1]:
        sets = generate(bound, seed=options.seed, bounds=bounds, limits=limits, unbound=sizes)
        try:
            answered.append(run_original(original, sets))
        except UsageError as refusal:
            refusals.append(refusal)
            continue
        if len(answered[-1].refused) <= 1:
            break
    if not answered:
        raise refusals[0]
    return max(answered, key=lambda found: len(found.sets)), None


def _bound_signature(runtime: Signature, canonical: Signature) -> Signature:
    shapes = {spec.name: spec.shape for spec in canonical.inputs}
    inputs = tuple(
        TensorSpec(spec.name, spec.dtype, shapes.get(spec.name, spec.shape) or spec.shape)
        for spec in runtime.inputs
    )
    return Signature(inputs, runtime.outputs)


class Row:
    """One target on its way: prepared, written, executed, judged."""

    def __init__(self, request: TargetRequest, validated: Any, folder: Path) -> None:
        self.request, self.validated, self.folder = request, validated, folder
        self.seconds: dict[str, float] = {}
        self.artifact: Artifact | None = None
        self.verdict: Judgement | None = None
        self.divergence: ev.Divergence | None = None
        self.crash = ""
        self.runtime = ""
        self.bound = ""

    def timed(self, stage: str, action: Callable[[], T]) -> T:
        """Run `action` and keep its duration under `stage`."""
        start = time.perf_counter()
        try:
            return action()
        finally:
            self.seconds[stage] = time.perf_counter() - start

    def verify(
        self,
        model: Model,
        original: IsolatedRunner,
        runner: IsolatedRunner,
        reference: Reference,
        labels: Array | None,
        prepared: Prepared,
        options: ConvertOptions,
    ) -> None:
        """Execute the artifact beside the original; on failure look for the first value that departs."""
        if self.artifact is None:
            raise UsageError("There is no artifact to verify")
        bound = Closeness.parse(options.bound or prepared.closeness)
        self.bound = str(bound)
        runner.load("bessemer.executors:of_target", self.request.name, str(self.artifact.path))
        self.runtime = runner.runtime
        self.verdict = judge(
            reference,
            runner,
            prepared.inputs,
            prepared.outputs,
            bound,
            labels=labels,
            steps=quantization_steps(model),
        )
        failing = self.verdict.failing_set
        if failing is not None:
            marks = landmarks(model, prepared)
            self.divergence = first_divergence(original, runner, prepared.inputs, failing, marks, bound)

    def publish(
        self, work: Workspace, prepared: Prepared, reference: Reference, keep_failed: bool
    ) -> ev.TargetEvidence:
        """Move a verified artifact into place and write the row."""
        good = not self.crash and self.verdict is not None and self.verdict.within
        files: list[ev.FileRecord] = []
        if self.artifact is not None and (good or keep_failed):
            base = self.folder
            listed = [(path, path.relative_to(base)) for path in self.artifact.files]
            files = [file_record(path, str(name) + ("" if good else ".failed")) for path, name in listed]
            sources = (
                list(self.artifact.files) if good else [p.rename(f"{p}.failed") for p in self.artifact.files]
            )
            work.publish(sources, base)
        return self._evidence(prepared, reference, files, good)

    def _evidence(
        self, prepared: Prepared, reference: Reference, files: list[ev.FileRecord], good: bool
    ) -> ev.TargetEvidence:
        verdict = self.verdict
        latency = {"original": reference.milliseconds, "artifact": verdict.milliseconds} if verdict else {}
        return ev.TargetEvidence(
            target=self.request.name,
            precision=prepared.precision,
            options=shown_options(self.validated),
            status="executed" if good else "failed",
            verified=good,
            summary=self._summary(good),
            runtime=self.runtime,
            reference=reference.runtime,
            bound=self.bound,
            input_sets=[item.title for item in reference.sets],
            outputs=verdict.outputs if verdict else [],
            accuracy=verdict.accuracy if verdict else None,
            divergence=self.divergence,
            borders=border_records(prepared),
            notes=[
                *prepared.notes,
                *(f"The original refuses this input set: {title}" for title in reference.refused),
            ],
            files=files,
            operators=dict(sorted(prepared.operators.items())),
            seconds=self.seconds,
            latency=latency,
        )

    def _summary(self, good: bool) -> str:
        if self.crash:
            return f"The artifact did not run: {self.crash}"
        if good:
            return f"Executed in {self.runtime} beside the original: every output within {self.bound}."
        bad = [line.name for line in (self.verdict.outputs if self.verdict else []) if not line.within]
        place = f" The first value that departs is '{self.divergence.value}'" if self.divergence else ""
        layer = f" of layer '{self.divergence.layer}' ({self.divergence.op})." if self.divergence else ""
        return f"Out of bounds ({self.bound}): {', '.join(bad)}.{place}{layer}"


def quantization_steps(model: Model) -> dict[str, float]:
    """Size of one step of each quantized output."""
    from bessemer.ir.encoding import encoding_of

    steps: dict[str, float] = {}
    for value in model.graph.graph.outputs:
        encoding = encoding_of(value)
        if encoding is not None and encoding.per_tensor and value.name:
            steps[value.name] = float(encoding.scale)
    return steps


def landmarks(model: Model, prepared: Prepared) -> list[Landmark]:
    """Values of the canonical graph that stand, under known names, on both sides; in execution order."""
    found: list[Landmark] = []
    for node in model.graph.graph:
        for value in node.outputs:
            place = prepared.values.get(value.name or "")
            if place is None or not value.name:
                continue
            name, perm = value.meta.get("bessemer.tensor", (value.name, None))
            found.append(Landmark(Border(name, "", perm), place, layer_of(node), node.op_type))
    return found


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
    """Options as text, defaults included."""
    return {key: str(value) for key, value in validated.model_dump().items()}


def declined_row(request: TargetRequest, validated: Any, refusal: Declined) -> ev.TargetEvidence:
    """A row that names every blocker."""
    count = len(refusal.blockers)
    return ev.TargetEvidence(
        target=request.name,
        precision=str(getattr(validated, "precision", "")),
        options=shown_options(validated),
        status="declined",
        verified=False,
        summary=f"Declined: {count} blocker{'s' * (count != 1)}; nothing was written.",
        blockers=[ev.BlockerRecord(**blocker.as_dict()) for blocker in refusal.blockers],
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


def file_record(path: Path, shown: str) -> ev.FileRecord:
    """Size and hash of a file."""
    return ev.FileRecord(path=shown, bytes=path.stat().st_size, sha256=sha256_of(path))


def model_record(path: Path, model: Model) -> ev.ModelRecord:
    """Everything `inspect` says."""
    from bessemer.passes.stats import model_stats

    stats = model_stats(model.graph)
    signature = model.signature
    return ev.ModelRecord(
        path=str(path),
        format=model.origin.format,
        bytes=path.stat().st_size,
        sha256=sha256_of(path),
        inputs=[tensor_record(spec) for spec in signature.inputs],
        outputs=[tensor_record(spec) for spec in signature.outputs],
        operators=stats.operators,
        nodes=sum(stats.operators.values()),
        parameters=stats.parameters,
        macs=stats.macs,
        weights=stats.weights,
        activations=stats.activations,
        details={key: str(value) for key, value in model.origin.details.items()},
    )


def tensor_record(spec: TensorSpec) -> ev.TensorRecord:
    """A border tensor as data."""
    return ev.TensorRecord(name=spec.name, dtype=spec.dtype, shape=list(spec.shape))


def versions() -> dict[str, str]:
    """Versions of everything that can change the artifacts' bytes."""
    found = {"python": platform.python_version()}
    for tool in TOOLS:
        try:
            found[tool] = version(tool)
        except PackageNotFoundError:
            continue
    return found


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
) -> ev.Evidence:
    """The report of a file whose operators have no meaning in the hub: every target declines for the same reasons."""
    from bessemer.sources.sniff import identify

    source = ev.ModelRecord(
        path=str(path), format=identify(path).name, bytes=path.stat().st_size, sha256=sha256_of(path),
        inputs=[], outputs=[], operators={}, nodes=0, parameters=0, macs=None, weights={}, activations=None,
    )  # fmt: skip
    rows = [declined_row(request, validated, refusal) for request, _, validated in requests]
    return ev.Evidence(
        source=source, passes=[], optimized={}, targets=rows, seconds=meter.seconds, peak_bytes=meter.peak_bytes,
        manifest=manifest(path, options),
    )  # fmt: skip


def manifest(path: Path, options: ConvertOptions) -> ev.Manifest:
    """Hashes of every input, options and versions."""
    from bessemer.pipeline import command_line

    inputs = [file_record(path, str(path))]
    if options.data is not None and options.data.is_file():
        inputs.append(file_record(options.data, str(options.data)))
    return ev.Manifest(
        bessemer=version("bessemer"),
        command=command_line(),
        inputs=inputs,
        options={key: str(value) for key, value in vars(options).items() if value not in (None, {}, "")},
        versions=versions(),
    )


def compared_row(a: Path, b: Path, options: ConvertOptions, bound: str) -> ev.TargetEvidence:
    """Two files on the same inputs, outputs paired by name where names agree, else by position."""
    from bessemer.pipeline import open_bound

    model = open_bound(a, options)
    call = "bessemer.executors:of_source"
    with (
        IsolatedRunner(call, str(a), options.opening) as left,
        IsolatedRunner(call, str(b), options.opening) as right,
    ):
        reference, labels = reference_of(left, model, options)
        inputs = paired(left.signature.inputs, right.signature.inputs, a, b)
        outputs = paired(left.signature.outputs, right.signature.outputs, a, b)
        crash, verdict = "", None
        try:
            verdict = judge(reference, right, inputs, outputs, Closeness.parse(bound), labels=labels)
        except BessemerError as error:
            crash = str(error)
        runtime = right.runtime
    good = verdict is not None and verdict.within
    said = f"Every output within {bound}." if good else crash or f"Outputs depart by more than {bound}."
    return ev.TargetEvidence(
        target=str(b),
        precision="",
        options={},
        status="executed" if good else "failed",
        verified=good,
        summary=said,
        runtime=runtime,
        reference=reference.runtime,
        bound=bound,
        input_sets=[item.title for item in reference.sets],
        outputs=verdict.outputs if verdict else [],
        accuracy=verdict.accuracy if verdict else None,
    )


def paired(mine: Sequence[TensorSpec], theirs: Sequence[TensorSpec], a: Path, b: Path) -> dict[str, Border]:
    """Borders from `mine` to `theirs`: by name, else by position; an axis order is found where only one fits."""
    if len(mine) != len(theirs):
        raise UsageError(f"{a} and {b} differ in their borders: {len(mine)} against {len(theirs)} tensors")
    names = {spec.name: spec for spec in theirs}
    by_name = all(spec.name in names for spec in mine)
    pairs = [(spec, names[spec.name] if by_name else theirs[index]) for index, spec in enumerate(mine)]
    return {left.name: Border(right.name, right.dtype, _axis_order(left, right)) for left, right in pairs}


def _axis_order(left: TensorSpec, right: TensorSpec) -> tuple[int, ...] | None:
    from bessemer.ir.layout import channels_first, channels_last

    rank = len(left.shape)
    if rank != len(right.shape) or rank < 3 or left.shape == right.shape:
        return None
    for perm in (channels_last(rank), channels_first(rank)):
        moved = tuple(left.shape[axis] for axis in perm)
        if all(
            x == y or not (isinstance(x, int) and isinstance(y, int))
            for x, y in zip(moved, right.shape, strict=True)
        ):
            return perm
    return None
