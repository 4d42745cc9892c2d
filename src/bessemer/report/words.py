"""The words of a status: one place, so that every report says the same."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bessemer.report import units

if TYPE_CHECKING:
    from bessemer.verify.evidence import CutRecord, Quantization, Suggestion, TargetEvidence


def status(row: TargetEvidence) -> str:
    """'verified' only for a row that was executed and held its bound."""
    if row.status == "executed":
        return "verified" if row.verified else "executed, not verified"
    return row.status


def tone(row: TargetEvidence) -> str:
    """'good', 'bad' or 'warn': how the status is coloured."""
    if row.status == "executed" and row.verified:
        return "good"
    return "bad" if row.status in ("failed", "executed") else "warn"


def title(row: TargetEvidence) -> str:
    """'tflite float16'."""
    return f"{row.target} {row.precision}".strip()


def titles(rows: Sequence[TargetEvidence]) -> list[str]:
    """A title per row; rows that would share one also show the options in which they differ."""
    plain = [title(row) for row in rows]
    return [f"{name}{_difference(rows, plain, index)}" for index, name in enumerate(plain)]


def _difference(rows: Sequence[TargetEvidence], plain: Sequence[str], index: int) -> str:
    alike = [row.options for row, name in zip(rows, plain, strict=True) if name == plain[index]]
    mine = rows[index].options
    said = [f"{key}={value}" for key, value in mine.items() if any(o.get(key) != value for o in alike)]
    return f" {', '.join(said)}" if said else ""


def artifact_size(row: TargetEvidence) -> str:
    """Bytes of all files of the row."""
    return units.size(sum(file.bytes for file in row.files)) if row.files else units.DASH


def worst(row: TargetEvidence) -> str:
    """The largest absolute difference of any output."""
    return units.number(max(output.max_abs for output in row.outputs)) if row.outputs else units.DASH


def elapsed(row: TargetEvidence) -> str:
    """Sum of the row's stages."""
    return units.seconds(sum(row.seconds.values())) if row.seconds else units.DASH


def first_name(name: str) -> str:
    """Fused layers carry the names of all; the first one, and how many follow."""
    first, _, rest = name.partition(";")
    return f"{first};... ({rest.count(';') + 1} more)" if rest else first


def operators_line(counts: dict[str, int], most: int = 8) -> str:
    """'Conv×53, Relu×49, Add×16, 3 more kinds'; largest first, and no name is parted from its number by a line's end."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{name}×{number}" for name, number in ordered[:most]]
    rest = len(ordered) - most
    return ", ".join(shown + ([f"{rest} more kind{'s' * (rest != 1)}"] if rest > 0 else []))


def chosen(done: Quantization) -> str:
    """How the integers of a quantized artifact were chosen."""
    if done.level is None:
        data = f", from {units.count(done.samples)} calibration samples" if done.samples else ""
        return f"Weights rounded by {done.method}{data}"
    best = max(done.trials, key=lambda trial: trial.snr, default=None)
    steps = f", {best.steps}" if best is not None and best.steps else ""
    return f"Ranges by {done.method}{steps}, from {units.count(done.samples)} calibration samples"


def losses(done: Quantization) -> str:
    """Both baselines in one sentence."""
    lost = f"Of the original's outputs the encodings alone keep {units.decibel(done.emulation)}"
    if done.runtime is None or done.runtime >= EXACT:
        return f"{lost}, and the artifact computes exactly them"
    added = f"against its own encodings {units.decibel(done.runtime)}"
    return f"{lost}, the artifact {units.decibel(done.artifact)} ({added})"


EXACT = 120.0
"""Decibels from which on two float computations are the same."""

NAMED = 6
"""Operators that stay float and are named; the rest are counted."""


def floats(done: Quantization) -> str:
    """What stays float, and how much of the work that is."""
    names = [f"{first_name(item.node)} ({item.reason})" for item in done.floats[:NAMED]]
    rest = len(done.floats) - len(names)
    more = f" and {rest} more" if rest else ""
    share = f", {units.percent(done.float_macs)} of the multiply-accumulates" if done.float_macs is not None else ""
    count = f"{len(done.floats)} node{'s' * (len(done.floats) > 1)}"
    verb = "stay" if len(done.floats) > 1 else "stays"
    return f"{count} {verb} float{share}: {', '.join(names)}{more}"


def cut(record: CutRecord) -> str:
    """Where a model was cut, in a sentence."""
    inputs, outputs = (", ".join(names) for names in (record.inputs, record.outputs))
    return f"from {inputs or 'nothing'} to {outputs}: {record.nodes} of {record.of} nodes"


def suggestion(item: Suggestion) -> str:
    """The options that cut a model so, and what the part is."""
    share = "" if item.macs is None else f"{100 * item.macs:.0f} % of the multiply-accumulates, "
    return f"{options(item)}  ({item.why}: {share}{item.nodes} of {item.of} nodes)"


def options(item: Suggestion) -> str:
    """As typed after the model's path."""
    sides = (("--inputs", item.inputs), ("--outputs", item.outputs))
    return " ".join(f"{name} {shlex.quote(','.join(map(_escaped, held)))}" for name, held in sides if held)


def _escaped(name: str) -> str:
    return name.replace(",", "\\,")
