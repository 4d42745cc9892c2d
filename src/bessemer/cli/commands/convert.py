"""`bessemer convert`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from bessemer.cli import options as o
from bessemer.ir.errors import Declined

if TYPE_CHECKING:
    from bessemer.verify.evidence import TargetEvidence

Out = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where verified artifacts go.")]
Report = Annotated[
    list[Path] | None,
    typer.Option("--report", metavar="FILE", help="Write the report: .html or .json, repeatable."),
]
StopAfter = Annotated[
    Literal["open", "normalise", "rewrite", "quantize", "prepare", "write"] | None,
    typer.Option(
        "--stop-after",
        metavar="STAGE",
        help="Stop early: open, normalise, rewrite or quantize (--to TARGET:PRECISION) save the model as a .bsm archive, "
        "which convert takes up again; prepare asks the targets; write places artifacts that were not executed.",
    ),
]
NoVerify = Annotated[
    bool,
    typer.Option("--no-verify", help="Place artifacts without running them; the report says so (as --stop-after write)."),
]


@o.asks(*o.VERDICT, "to", "level", "keep_failed", *o.QUANTIZATION)
def command(
    asked: o.Asked,
    model: o.ModelPath,
    out: Out = Path("out"),
    report: Report = None,
    stop_after: StopAfter = None,
    no_verify: NoVerify = False,
    json: o.Json = False,
) -> None:
    """Convert a model to every target named, run each artifact beside the original, and report.

    Exit code: 0 when all are verified, 4 when one failed, 3 when one was declined.
    """
    from bessemer.cli.stopping import stop_before_targets, stop_before_writing

    if stop_after in ("open", "normalise", "rewrite", "quantize"):
        stop_before_targets(asked, model, out, report, stop_after, json)
    elif stop_after == "prepare":
        stop_before_writing(asked, model, report, json)
    else:
        _convert(asked, model, out, report or (), execute=not no_verify and stop_after != "write", json=json)


def _convert(
    asked: o.Asked, model: Path, out: Path, report: Sequence[Path], *, execute: bool, json: bool
) -> NoReturn:
    from bessemer.cli.output import Stages, report_kind, show, show_record, write_reports

    for path in report:
        report_kind(path)
    options, requests = replace(asked.options(), execute=execute), asked.requests()

    from bessemer.pipeline import convert

    with Stages() as stages:
        evidence = convert(model, requests, out, options, stages)
    write_reports(evidence, report)
    if json:
        show_record(evidence)
    else:
        from bessemer.report import terminal

        show(terminal.evidence(evidence), *(f"report: {path}" for path in report))
    raise typer.Exit(evidence.exit_code if execute else Declined.exit_code * any(map(_declined, evidence.targets)))


def _declined(row: TargetEvidence) -> bool:
    return row.status == "declined"
