"""Run an artifact beside its original and reach a verdict."""

from __future__ import annotations

import statistics
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bessemer.ir.cut import Taps
from bessemer.ir.errors import BessemerError, Declined, UsageError
from bessemer.ir.types import Array
from bessemer.runners.base import Runner
from bessemer.targets.base import Border
from bessemer.verify.closeness import Closeness
from bessemer.verify.compare import Tally, from_artifact, to_artifact
from bessemer.verify.evidence import Accuracy, OutputCloseness
from bessemer.verify.inputs import InputSet
from bessemer.verify.parts import Parts


class OriginalRefuses(UsageError):
    """The original runs on none of the inputs."""


@dataclass
class Reference:
    """What the original answered: one dict of outputs per set; sets that it refused are named, not counted.

    notes: sentences that the report owes the reader about the inputs.
    """

    runtime: str
    sets: list[InputSet] = field(default_factory=list)
    answers: list[dict[str, Array]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    milliseconds: float = 0.0
    """Median of a run; 0 where the original does not do the same work (it is the whole of which this is a part)."""


def run_original(runner: Runner, sets: Sequence[InputSet], taps: Taps | None = None) -> Reference:
    """Execute the original on every set.

    taps: of a cut model, whose `runner` is a `runners.cut.CutRunner`: the sets and answers of the reference are then
    those of the part, and the time that the whole took is not counted.
    Raises OriginalRefuses when it refuses all of them: only the user knows what it accepts.
    """
    found = Reference("")
    parts = None if taps is None else Parts(taps)
    times: list[float] = []
    reasons: list[str] = []
    for item in sets:
        start = time.perf_counter()
        try:
            answer = runner.run(item.original)
        except Declined:
            raise
        except BessemerError as error:
            found.refused.append(item.title)
            reasons.append(str(error))
            continue
        times.append(1e3 * (time.perf_counter() - start))
        found.sets.append(item if parts is None else parts.of(item, answer))
        found.answers.append(answer if parts is None else parts.answer(answer))
    if not found.sets:
        raise OriginalRefuses(
            "The original model refuses every input set",
            why=reasons[0] if reasons else "the model has no input set",
            fix="Give inputs that it accepts with --data",
        )
    found.runtime = runner.runtime  # after the runs: a runner may have moved to another runtime
    found.milliseconds = statistics.median(times) if taps is None else 0.0
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
    steps: Mapping[str, float] | None = None,
    drawn: Collection[str] = (),
) -> Judgement:
    """Execute the artifact on every set the original ran and compare all outputs.

    drawn: outputs that random operators make, for which the same distribution is enough (see `verify.drawn`).
    """
    tallies = {name: Tally(bound, (steps or {}).get(name), name in drawn) for name in outputs}
    times: list[float] = []
    failing: InputSet | None = None
    guesses: list[Array] = []
    for item, expected in zip(reference.sets, reference.answers, strict=True):
        fed = to_artifact(item.arrays, inputs)
        start = time.perf_counter()
        answer = runner.run(fed)
        times.append(1e3 * (time.perf_counter() - start))
        got = {name: from_artifact(answer[border.name], border) for name, border in outputs.items()}
        holding = [tally.add(expected[name], got[name]) for name, tally in tallies.items()]
        if failing is None and not all(holding):
            failing = item
        if item.labels is not None:
            guesses.append(next(iter(got.values())))
    records = [tally.record(name) for name, tally in tallies.items()]
    failing = None if all(line.within for line in records) else failing
    return Judgement(records, _accuracy(reference, guesses), statistics.median(times), failing)


def _accuracy(reference: Reference, guesses: Sequence[Array]) -> Accuracy | None:
    """Shares of right answers, the arg-max of the first output's rows counting as the answer."""
    told = [(item.labels, answer) for item, answer in zip(reference.sets, reference.answers, strict=True)]
    rights: list[Array] = []
    for (labels, answer), guess in zip(((a, b) for a, b in told if a is not None), guesses, strict=True):
        mine, theirs = _classes(next(iter(answer.values())), labels), _classes(guess, labels)
        rights.append(np.stack([mine == labels, theirs == labels]))
    if not rights:
        return None
    right = np.concatenate(rights, axis=1)
    original, artifact = right.mean(axis=1)
    return Accuracy(samples=right.shape[1], original=float(original), artifact=float(artifact))


def _classes(scores: Array, labels: Array) -> Array:
    """Arg-max of each row; raises UsageError where rows and labels cannot belong together."""
    rows = scores.reshape(labels.size, -1) if labels.size and scores.size % labels.size == 0 else None
    if rows is None or (scores.ndim > 1 and scores.shape[0] != labels.size):
        raise UsageError(
            f"The first output has shape {list(scores.shape)}, no row of class scores for each of {labels.size} label(s)"
        )
    if int(labels.max()) >= rows.shape[1] or int(labels.min()) < 0:
        raise UsageError(
            f"The labels reach from {int(labels.min())} to {int(labels.max())}, the model knows {rows.shape[1]} classes",
            fix="Count the classes from 0; --label-offset adds a number to each",
        )
    return np.asarray(np.argmax(rows, axis=1))
