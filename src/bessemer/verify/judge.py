"""Run an artifact beside its original and reach a verdict."""

from __future__ import annotations

import statistics
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bessemer.ir.errors import BessemerError, UsageError
from bessemer.ir.types import Array
from bessemer.runners.base import Runner
from bessemer.targets.base import Border
from bessemer.verify.closeness import Closeness
from bessemer.verify.compare import Tally, from_artifact, to_artifact
from bessemer.verify.evidence import Accuracy, OutputCloseness
from bessemer.verify.inputs import InputSet


@dataclass
class Reference:
    """What the original answered: one dict of outputs per set; sets that it refused are named, not counted."""

    runtime: str
    sets: list[InputSet] = field(default_factory=list)
    answers: list[dict[str, Array]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    milliseconds: float = 0.0


def run_original(runner: Runner, sets: Sequence[InputSet]) -> Reference:
    """Execute the original on every set.

    Raises UsageError when it refuses all generated inputs: only the user knows what it accepts.
    """
    found = Reference("")
    times: list[float] = []
    reasons: list[str] = []
    for item in sets:
        start = time.perf_counter()
        try:
            answer = runner.run(item.arrays)
        except BessemerError as error:
            found.refused.append(item.title)
            reasons.append(str(error))
            continue
        times.append(1e3 * (time.perf_counter() - start))
        found.sets.append(item)
        found.answers.append(answer)
    if not found.sets:
        raise UsageError(
            "The original model refuses every generated input",
            why=reasons[0] if reasons else "the model has no input set",
            fix="Give inputs that it accepts with --data",
        )
    found.runtime = runner.runtime  # after the runs: a runner may have moved to another runtime
    found.milliseconds = statistics.median(times)
    return found


@dataclass
class Judgement:
    """The verdict on one artifact."""

    outputs: list[OutputCloseness]
    accuracy: Accuracy | None
    milliseconds: float
    failing_set: InputSet | None
    """First set with an output out of bounds."""

    @property
    def within(self) -> bool:
        """Whether every output of every set holds its bound."""
        return all(line.within for line in self.outputs)


def judge(
    reference: Reference,
    runner: Runner,
    inputs: Mapping[str, Border],
    outputs: Mapping[str, Border],
    bound: Closeness,
    *,
    labels: Array | None = None,
    steps: Mapping[str, float] | None = None,
    drawn: Collection[str] = (),
) -> Judgement:
    """Execute the artifact on every set the original ran and compare all outputs.

    drawn: outputs that random operators make, for which the same distribution is enough (see `verify.drawn`).
    """
    tallies = {name: Tally(step=(steps or {}).get(name), drawn=name in drawn) for name in outputs}
    times: list[float] = []
    failing: InputSet | None = None
    guesses: list[Array] = []
    for item, expected in zip(reference.sets, reference.answers, strict=True):
        fed = to_artifact(item.arrays, inputs)
        start = time.perf_counter()
        answer = runner.run(fed)
        times.append(1e3 * (time.perf_counter() - start))
        got = {name: from_artifact(answer[border.name], border) for name, border in outputs.items()}
        for name, tally in tallies.items():
            tally.add(expected[name], got[name], bound)
        if failing is None and not all(tally.within for tally in tallies.values()):
            failing = item
        if labels is not None:
            guesses.append(next(iter(got.values())))
    records = [tally.record(name) for name, tally in tallies.items()]
    return Judgement(records, _accuracy(reference, guesses, labels), statistics.median(times), failing)


def _accuracy(reference: Reference, guesses: Sequence[Array], labels: Array | None) -> Accuracy | None:
    if labels is None or not guesses:
        return None
    original = np.concatenate([_classes(next(iter(answer.values()))) for answer in reference.answers])
    artifact = np.concatenate([_classes(scores) for scores in guesses])
    count = min(labels.size, original.size)
    return Accuracy(
        samples=count,
        original=float(np.mean(original[:count] == labels[:count])),
        artifact=float(np.mean(artifact[:count] == labels[:count])),
    )


def _classes(scores: Array) -> Array:
    flat = scores.reshape(scores.shape[0], -1) if scores.ndim > 1 else scores.reshape(1, -1)
    return np.asarray(np.argmax(flat, axis=1))
