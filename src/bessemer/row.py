"""One target on its way: prepared, written, executed, judged, published."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bessemer.archive.manifest import file_record
from bessemer.assemble import Timed, border_records, prepared_row, shown_options
from bessemer.integers import Source
from bessemer.ir.errors import BessemerError, Blocker, Declined, UsageError
from bessemer.ir.model import Model
from bessemer.report.words import first_name
from bessemer.runners.isolated import IsolatedRunner
from bessemer.sources.sniff import all_sources
from bessemer.targets.base import Artifact, Prepared
from bessemer.verify import evidence as ev
from bessemer.verify.baselines import Baselines, measure_baselines
from bessemer.verify.closeness import Closeness
from bessemer.verify.divergence import first_divergence
from bessemer.verify.drawn import drawn_outputs
from bessemer.verify.judge import Judgement, Reference, judge, run_original
from bessemer.verify.landmarks import landmarks, quantization_steps
from bessemer.workspace import Workspace, bring

if TYPE_CHECKING:
    from bessemer.request import ConvertOptions, TargetRequest

T = TypeVar("T")

APPEAL_LIMIT = 60.0
"""Seconds that a reference evaluator may take, which is no fast one."""


class Row(Timed):
    """One target on its way: prepared, written, executed, judged."""

    def __init__(self, request: TargetRequest, validated: Any, folder: Path) -> None:
        super().__init__()
        self.request, self.validated, self.folder = request, validated, folder
        self.artifact: Artifact | None = None
        self.verdict: Judgement | None = None
        self.divergence: ev.Divergence | None = None
        self.crash = ""
        self.runtime = ""
        self.judge = ""
        self.bound = ""
        self.source: Source | None = None
        self.baselines: Baselines | None = None
        self.companions: list[Path] = []

    def bring(self, companions: Sequence[Path]) -> None:
        """Copy what goes along with the artifact (tokenizers, settings) beside it; they are placed together."""
        self.companions = bring(companions, self.folder, self.artifact.files if self.artifact is not None else ())

    def verify(
        self,
        model: Model,
        original: IsolatedRunner,
        runner: IsolatedRunner,
        reference: Reference,
        prepared: Prepared,
        options: ConvertOptions,
    ) -> None:
        """Execute the artifact beside the original; on failure look for the first value that departs."""
        if self.artifact is None:
            raise UsageError("There is no artifact to verify")
        bound = Closeness.parse(options.bound or prepared.closeness)
        self.bound = str(bound)
        drawn = drawn_outputs(model.graph.graph)
        prepared.notes.extend(
            f"Output '{name}' is drawn at random: its distribution was compared (Kolmogorov-Smirnov), not its values"
            for name in sorted(drawn)
        )
        runner.load("bessemer.executors:of_target", self.request.name, str(self.artifact.path))
        self.runtime = runner.runtime

        def judged(by: Reference) -> Judgement:
            steps = quantization_steps(model)
            return judge(by, runner, prepared.inputs, prepared.outputs, bound, steps=steps, drawn=drawn)

        self.verdict = judged(reference)
        if not self.verdict.within:
            self._appeal(model, reference, judged, prepared)
        self._measure(reference, runner, prepared)
        failing = self.verdict.failing_set
        if failing is not None:
            marks = landmarks(model, prepared)
            self.divergence = first_divergence(original, runner, prepared.inputs, failing, marks, bound)

    def _measure(self, reference: Reference, runner: IsolatedRunner, prepared: Prepared) -> None:
        """Both baselines of a quantized model."""
        if self.source is None or not self.source.emulates:
            return
        from bessemer.quantize.judge import emulated
        from bessemer.runners.graph import GraphRunner

        emulation = GraphRunner(emulated(self.source.model.graph, by_row=self.source.by_row), optimize=False)
        self.baselines = measure_baselines(reference, emulation, runner, prepared.inputs, prepared.outputs)

    @property
    def excess(self) -> str:
        """What the runtime loses beyond the encodings, as a sentence."""
        return "" if self.baselines is None else self.baselines.excess

    def _quantization(self) -> ev.Quantization | None:
        record = self.source.record if self.source is not None else None
        if record is None or self.baselines is None:
            return record
        found = {"emulation": self.baselines.emulation, "artifact": self.baselines.artifact}
        return record.model_copy(update={**found, "runtime": self.baselines.runtime})

    def _appeal(
        self, model: Model, reference: Reference, judged: Callable[[Reference], Judgement], prepared: Prepared
    ) -> None:
        """The format's reference evaluator has the last word: the original's runtime may be the one that departs."""
        arbiter = next((e.arbiter for e in all_sources() if e.name == model.origin.format), "")
        if not arbiter:
            return
        try:
            taps = None if model.cut is None else model.cut.taps
            call = ("bessemer.executors:of_arbiter", arbiter, str(model.origin.path), taps)
            with IsolatedRunner(*call, limit=APPEAL_LIMIT) as evaluator:
                second = run_original(evaluator, reference.sets, taps)
        except BessemerError:  # it cannot run the file, or not in time: the first verdict stands
            return
        if len(second.sets) != len(reference.sets):
            return
        verdict = judged(second)
        if verdict.within:
            self.verdict, self.judge = verdict, second.runtime
            prepared.notes.append(f"{reference.runtime} departs from the standard here; the artifact does not")

    def departure(self, model: Model, reference: Reference) -> Declined | None:
        """The refusal that a failure is, where the target's runtime fails on the original file as well."""
        from bessemer.targets.registry import find
        from bessemer.verify.departure import departure

        verdict, runs = self.verdict, find(self.request.name).runs
        if (verdict is not None and verdict.within and not self.crash) or runs != model.origin.format:
            return None
        failing = [line.name for line in verdict.outputs if not line.within] if verdict is not None else []
        call = ("bessemer.executors:of_original", self.request.name, str(model.origin.path))
        with IsolatedRunner(*call, None if model.cut is None else model.cut.taps) as own:
            said = departure(own, reference, failing, Closeness.parse(self.bound))
        if not said:
            return None
        place = find(self.request.name).runtime
        return Declined(self.request.name, [Blocker("", "", "runtime", f"{place} {said}")])

    def publish_unexecuted(self, work: Workspace, prepared: Prepared) -> ev.TargetEvidence:
        """Move an artifact into place that the user asked not to run: the row says so."""
        if self.artifact is None:
            raise UsageError("There is no artifact to place")
        placed = [*self.artifact.files, *self.companions]
        files = [file_record(path, str(path.relative_to(self.folder))) for path in placed]
        work.publish(placed, self.folder)
        summary = "Written, not executed: the conversion was told to stop there. `bessemer verify` runs it."
        row = prepared_row(self.request, self.validated, prepared)
        return row.model_copy(update={"summary": summary, "files": files, "seconds": self.seconds})

    def publish(
        self, work: Workspace, prepared: Prepared, reference: Reference, keep_failed: bool
    ) -> ev.TargetEvidence:
        """Move a verified artifact into place and write the row."""
        good = not self.crash and self.verdict is not None and self.verdict.within and not self.excess
        files: list[ev.FileRecord] = []
        if self.artifact is not None and (good or keep_failed):
            base = self.folder
            placed = [*self.artifact.files, *(self.companions if good else ())]
            listed = [(path, path.relative_to(base)) for path in placed]
            files = [file_record(path, str(name) + ("" if good else ".failed")) for path, name in listed]
            sources = placed if good else [path.rename(f"{path}.failed") for path in placed]
            work.publish(sources, base)
        return self._evidence(prepared, reference, files, good)

    def _evidence(
        self, prepared: Prepared, reference: Reference, files: list[ev.FileRecord], good: bool
    ) -> ev.TargetEvidence:
        verdict = self.verdict
        times = {"original": reference.milliseconds, "artifact": verdict.milliseconds} if verdict else {}
        latency = {name: time for name, time in times.items() if time}
        return ev.TargetEvidence(
            target=self.request.name,
            precision=prepared.precision,
            options=shown_options(self.validated),
            status="executed" if good else "failed",
            verified=good,
            summary=self._summary(good, self.judge or reference.runtime),
            runtime=self.runtime,
            reference=self.judge or reference.runtime,
            bound=self.bound,
            input_sets=[item.title for item in reference.sets],
            outputs=verdict.outputs if verdict else [],
            accuracy=verdict.accuracy if verdict else None,
            quantization=self._quantization(),
            divergence=self.divergence,
            borders=border_records(prepared),
            notes=[
                *prepared.notes,
                *(self.source.notes if self.source else ()),
                *reference.notes,
                *(f"The original refuses this input set: {title}" for title in reference.refused),
            ],
            files=files,
            operators=dict(sorted(prepared.operators.items())),
            seconds=self.seconds,
            latency=latency,
        )

    def _summary(self, good: bool, opponent: str) -> str:
        if self.crash:
            return f"The artifact did not run: {self.crash}"
        if good:
            return f"Executed in {self.runtime} beside the original in {opponent}: every output within {self.bound}."
        if self.excess and self.verdict is not None and self.verdict.within:
            return f"Executed in {self.runtime}, but {self.excess}."
        bad = [line.name for line in (self.verdict.outputs if self.verdict else []) if not line.within]
        if self.divergence is None:
            return f"Out of bounds ({self.bound}): {', '.join(bad)}."
        first = self.divergence
        layer = "" if first.layer == first.value else f" of layer '{first_name(first.layer)}'"
        place = f"The first value that departs is '{first_name(first.value)}'{layer} ({first.op})."
        return f"Out of bounds ({self.bound}): {', '.join(bad)}. {place}"
