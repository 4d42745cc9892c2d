"""`bessemer convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bessemer.cli import options as o

Out = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where verified artifacts go.")]
Report = Annotated[
    list[Path] | None,
    typer.Option("--report", metavar="FILE", help="Write the report: .html or .json, repeatable."),
]


@o.asks(*o.VERDICT, "to", "level", "keep_failed")
def command(
    asked: o.Asked, model: o.ModelPath, out: Out = Path("out"), report: Report = None, json: o.Json = False
) -> None:
    """Convert a model to every target named, run each artifact beside the original, and report.

    Exit code: 0 when all are verified, 4 when one failed, 3 when one was declined.
    """
    from bessemer.cli.output import Stages, report_kind, show, show_record, write_reports

    for path in report or ():
        report_kind(path)
    options, requests = asked.options(), asked.requests()

    from bessemer.pipeline import convert

    with Stages() as stages:
        evidence = convert(model, requests, out, options, stages)
    write_reports(evidence, report or ())
    if json:
        show_record(evidence)
    else:
        from bessemer.report import terminal

        show(terminal.evidence(evidence), *(f"report: {path}" for path in report or ()))
    raise typer.Exit(evidence.exit_code)
