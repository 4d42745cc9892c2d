"""Evidence on a terminal: a table with one row per target, then what a reader must know of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from bessemer.report import language, units, words

if TYPE_CHECKING:
    from bessemer.verify.evidence import (
        Analysis,
        BlockerRecord,
        Evidence,
        LayerNoise,
        ModelRecord,
        Quantization,
        Search,
        TargetEvidence,
        TensorRecord,
    )

COLOURS = {"good": "green", "bad": "bold red", "warn": "yellow"}
MARKS = {"good": "✓", "bad": "✗", "warn": "–"}
BLOCKERS_SHOWN = 40


def evidence(record: Evidence) -> RenderableType:
    """The whole report."""
    return Group(_heading(record), Text(), *targets(record.targets), Text(), _footing(record))


def targets(rows: Sequence[TargetEvidence]) -> Iterator[RenderableType]:
    """The table of rows, then the details of each."""
    yield _Rows(rows)
    for row, title in zip(rows, words.titles(rows), strict=True):
        lines = list(_details(row))
        if lines:
            yield Text()
            yield Text.assemble((title, "bold"), f"  {row.summary}")
            yield _pairs([("  " + label, text) for label, text in lines])


def model(record: ModelRecord) -> RenderableType:
    """What `bessemer inspect` shows."""
    facts = [
        ("format", record.format),
        ("size", units.size(record.bytes)),
        ("parameters", f"{units.count(record.parameters)}  ({record.parameters:,})"),
        ("MACs", units.count(record.macs)),
        ("activations", units.size(record.activations)),
        ("weights", ", ".join(f"{kind} {units.size(n)}" for kind, n in record.weights.items()) or "none"),
        ("sha256", record.sha256),
        *record.details.items(),
        *([("cut", words.cut(record.cut))] if record.cut else []),
    ]
    if not record.nodes:  # weights without a graph
        return Group(Text(record.path, style="bold"), _pairs([fact for fact in facts if fact[1] != "–"]))
    return Group(
        Text(record.path, style="bold"),
        _pairs(facts),
        Text(),
        _tensors("inputs", record.inputs),
        _tensors("outputs", record.outputs),
        Text(f"operators  {record.nodes} nodes", style="bold"),
        _operators(record.operators),
    )


def _heading(record: Evidence) -> RenderableType:
    source = record.source
    graph = [f"{units.count(source.macs)} MACs", f"{source.nodes} nodes, {sum(record.optimized.values())} after passes"]
    facts = [
        source.format,
        units.size(source.bytes),
        f"{units.count(source.parameters)} parameters",
        *(graph if source.nodes else [f"{source.details.get('tensors', 0)} tensors"]),
        *([f"cut {words.cut(source.cut)}"] if source.cut else []),
    ]
    return Group(Text(source.path, style="bold"), Text(" · ".join(facts), style="dim"))


def _footing(record: Evidence) -> RenderableType:
    return Text(f"{units.seconds(record.seconds)}, peak memory {units.size(record.peak_bytes)}", style="dim")


class _Rows:
    """The table of rows; on a wide terminal it has more columns."""

    def __init__(self, rows: Sequence[TargetEvidence]) -> None:
        self.rows = rows

    def __rich_console__(self, console: Console, options: object) -> Iterator[RenderableType]:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        columns = [column for column in COLUMNS if console.width >= column.least]
        columns = [column for column in columns if any(column.of(row) not in ("", "–") for row in self.rows)]
        table.add_column("target", overflow="fold")
        table.add_column("status", no_wrap=True)
        for column in columns:
            table.add_column(
                column.title, justify="left" if column.least else "right", no_wrap=not column.least, overflow="fold"
            )
        for row, title in zip(self.rows, words.titles(self.rows), strict=True):
            tone = words.tone(row)
            status = Text(f"{MARKS[tone]} {words.status(row)}", style=COLOURS[tone])
            table.add_row(Text(title, style="bold"), status, *(Text(column.of(row)) for column in columns))
        yield table


@dataclass(frozen=True)
class _Column:
    """A column that is shown where a row has something to say in it, on terminals of at least so many columns."""

    title: str
    of: Callable[[TargetEvidence], str]
    least: int = 0


COLUMNS = (
    _Column("worst diff", words.worst),
    _Column("KL div.", language.divergence),
    _Column("accuracy", lambda row: units.percent(row.accuracy.artifact) if row.accuracy else "–"),
    _Column("bound", lambda row: row.bound, 132),
    _Column("size", words.artifact_size),
    _Column("time", words.elapsed),
    _Column("executed in", lambda row: row.runtime, 96),
)


def _details(row: TargetEvidence) -> Iterator[tuple[str, Text]]:
    """Label and text of each thing that a reader must know."""
    if row.accuracy:
        said = f"{units.percent(row.accuracy.artifact)} (original {units.percent(row.accuracy.original)}"
        yield "accuracy", Text(f"{said}, {row.accuracy.samples} samples)")
    if row.quantization:
        yield from _quantization(row.quantization)
    if row.language:
        for label, said, holds in language.lines(row.language):
            yield label, Text(said, style="" if holds else "red")
    for output in row.outputs:
        if not output.within:
            said = f"max diff {units.number(output.max_abs)}, SNR {units.decibel(output.snr)}"
            yield "output", Text(f"{output.name}: {said}, bound {row.bound}", style="red")
    if row.divergence:
        first = row.divergence
        layer = "" if first.layer == first.value else f", layer '{words.first_name(first.layer)}'"
        place = f"'{words.first_name(first.value)}' ({first.op}{layer})"
        yield "departs at", Text(f"{place}: max diff {units.number(first.max_abs)}")
    yield from (("blocker", _blocker(item)) for item in row.blockers[:BLOCKERS_SHOWN])
    if len(row.blockers) > BLOCKERS_SHOWN:
        rest = len(row.blockers) - BLOCKERS_SHOWN
        yield "...", Text(f"{rest} more blockers: all are in --json and --report")
    yield from (("cut", Text(words.suggestion(item))) for item in row.suggestions)
    yield from (("border", Text(f"{item.original}: {item.changed}")) for item in row.borders if item.changed)
    yield from (("note", Text(note)) for note in row.notes)
    if row.operators:
        yield "operators", Text(words.operators_line(row.operators))
    if row.tensors and row.language is None:
        yield "tensors", Text(words.operators_line(row.tensors))
    yield from (("file", Text(f"{file.path}  {units.size(file.bytes)}")) for file in row.files)


def _quantization(done: Quantization) -> Iterator[tuple[str, Text]]:
    values = f", {done.values} activations" if done.values else ""
    yield "integers", Text(f"{words.chosen(done)}; {done.weights} weights{values}")
    if done.artifact is not None:
        yield "loss", Text(words.losses(done))
    if done.floats:
        yield "in float", Text(words.floats(done))


def _blocker(item: BlockerRecord) -> Text:
    name = f" '{item.node}'" if item.node else ""
    layer = f" of layer '{item.layer}'" if item.layer and item.layer != item.node else ""
    hint = f" Nearest legal form: {item.rewrite.rstrip('.')}." if item.rewrite else ""
    text = f"{name}{layer}: {item.reason.rstrip('.')} [{item.rule}].{hint}"
    return Text.assemble((item.op, "yellow"), text)


def _pairs(facts: Sequence[tuple[str, str | Text]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in facts:
        table.add_row(Text(key), Text(value) if isinstance(value, str) else value)
    return table


def _tensors(title: str, tensors: Sequence[TensorRecord]) -> RenderableType:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for tensor in tensors:
        table.add_row(Text("  " + tensor.name), Text(tensor.dtype), Text(units.shape(tensor.shape)))
    return Group(Text(title, style="bold"), table, Text())


def _operators(counts: dict[str, int]) -> Table:
    most = max(counts.values(), default=1)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(overflow="fold")
    table.add_column(justify="right")
    table.add_column(style="cyan", no_wrap=True)
    for name, number in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        table.add_row(Text("  " + name), str(number), "━" * max(1, round(24 * number / most)))
    return table


def analysis(record: Analysis, rows: int) -> RenderableType:
    """What integers cost, the worst layers first, and the remedies that helped."""
    said = f"{record.precision}, ranges by {record.method}, level {record.level}, {record.samples} calibration samples"
    heading = Text.assemble((record.path, "bold"), f"\n{said}: outputs at {units.decibel(record.snr)}")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("layer", overflow="fold")
    table.add_column("op", no_wrap=True)
    for title in ("alone", "so far", "weight", "clipped"):
        table.add_column(title, justify="right", no_wrap=True)
    worst = sorted(record.layers, key=lambda item: item.alone)
    for item in worst[:rows]:
        numbers = [units.decibel(number) for number in (item.alone, item.cumulative, item.weight)]
        table.add_row(Text(words.first_name(item.layer)), item.op, *numbers, units.percent(item.saturated))
    parts: list[RenderableType] = [heading, Text(), table]
    if len(worst) > rows:
        parts.append(Text(f"and {len(worst) - rows} more layers (--rows)", style="dim"))
    return Group(*parts, Text(), _distributions(worst[:WORST]), Text(), *_remedies(record))


WORST = 5
"""Layers whose distributions are drawn."""


def _distributions(layers: Sequence[LayerNoise]) -> Table:
    """From the lowest to the highest value, heights by the logarithm of the counts."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("layer", overflow="fold")
    table.add_column("weights", no_wrap=True)
    table.add_column("outputs", no_wrap=True)
    for item in layers:
        both = [
            "" if held is None else f"{held.low:.2g} {units.bars(held.shares)} {held.high:.2g}"
            for held in (item.weights, item.outputs)
        ]
        table.add_row(Text(words.first_name(item.layer)), *both)
    return table


LEAST_GAIN = 0.2
"""Decibels below which a remedy is noise."""


def _remedies(record: Analysis) -> Iterator[RenderableType]:
    helped = [item for item in record.remedies if item.gain >= LEAST_GAIN]
    if not helped:
        yield Text("No remedy that was tried at the worst layers helps.")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("tried at", overflow="fold")
    table.add_column("remedy")
    table.add_column("gain", justify="right", no_wrap=True)
    for item in helped:
        table.add_row(Text(words.first_name(item.layer)), item.action, f"+{units.decibel(item.gain)}")
    yield table
    if record.mend is not None:
        proved = "" if record.mend.snr is None else f", all in all {units.decibel(record.mend.snr)}"
        asked = "\n".join(f"  --layer '{item}'" for item in record.mend.layers)
        gain = units.decibel(record.mend.gain)
        yield Text(f"\nTogether they gain {gain}{proved} (--recipe-out writes it):\n{asked}")


def search(record: Search, rows: int) -> RenderableType:
    """Budgets with what they bring, and the layers that are not in plain int8."""
    said = f"mixed precision by {record.metric}, {record.samples} calibration samples"
    heading = Text.assemble((record.path, "bold"), f"\n{said}: all in int8 {units.decibel(record.plain)}")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("budget", "cost", "predicted", "measured"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("layers")
    for line in record.table:
        counts = ", ".join(f"{count} {name}" for name, count in line.layers.items())
        numbers = [f"{line.budget:.2f}", f"{line.share:.2f}", units.decibel(line.predicted), units.decibel(line.measured)]
        table.add_row(*numbers, counts, style="bold" if line == record.best else "")
    taken = f"{units.decibel(record.best.measured)} for {record.best.share:.2f} of int8"
    best = Text(f"\nTaken: {taken} (--recipe-out writes it)")
    return Group(heading, Text(), table, best, Text(), _searched_layers(record, rows))


def _searched_layers(record: Search, rows: int) -> Table:
    """The outputs' ratio with only that layer in a precision."""
    names = list(dict.fromkeys(name for item in record.layers for name in item.alone))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("layer", overflow="fold")
    for title in (*names, "taken"):
        table.add_column(title, justify="right", no_wrap=True)
    for item in sorted(record.layers, key=lambda item: min(item.alone.values()))[:rows]:
        numbers = [units.decibel(item.alone[name]) if name in item.alone else units.DASH for name in names]
        table.add_row(Text(words.first_name(item.layer)), *numbers, item.chosen)
    return table


def comparison(row: TargetEvidence) -> RenderableType:
    """One row with every output: what `verify` and `compare` show."""
    tone = words.tone(row)
    verdict = Text.assemble((f"{MARKS[tone]} {words.status(row)}", COLOURS[tone]), f"  {row.summary}")
    if row.language:
        lines = [(label, Text(said, style="" if holds else "red")) for label, said, holds in language.lines(row.language)]
        return Group(verdict, Text(), _pairs(lines))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("output", overflow="fold")
    for title in ("max diff", "relative", "SNR", "top-1", "within"):
        table.add_column(title, justify="right", no_wrap=True)
    for item in row.outputs:
        numbers = [units.number(item.max_abs), units.number(item.max_rel), units.decibel(item.snr)]
        within = Text("yes", style="green") if item.within else Text("no", style="bold red")
        table.add_row(Text(item.name), *numbers, units.percent(item.top1), within)
    facts = [("original in", row.reference), ("compared in", row.runtime), ("bound", row.bound)]
    if row.accuracy:
        shares = f"{units.percent(row.accuracy.artifact)} (original {units.percent(row.accuracy.original)})"
        facts.append(("accuracy", f"{shares} on {row.accuracy.samples} samples"))
    sets = [("input set", line) for line in row.input_sets[:6]]
    return Group(verdict, Text(), table, Text(), _pairs([*(fact for fact in facts if fact[1]), *sets]))
