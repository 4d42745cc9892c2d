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
KeepFailed = Annotated[
    bool, typer.Option("--keep-failed", help="Keep artifacts that failed verification, as NAME.failed.")
]


def command(
    model: o.ModelPath,
    to: o.To,
    out: Out = Path("out"),
    report: Report = None,
    shape: o.Shapes = None,
    signature: o.SignatureName = None,
    data: o.Data = None,
    labels: o.Labels = None,
    preprocess: o.PreprocessText = None,
    samples: o.Samples = 0,
    seed: o.Seed = 0,
    bound: o.Bound = None,
    level: o.Level = 2,
    keep_failed: KeepFailed = False,
    json: o.Json = False,
) -> None:
    """Convert a model to every target named, run each artifact beside the original, and report.

    Exit code: 0 when all are verified, 4 when one failed, 3 when one was declined.
    """
    from bessemer.cli.output import Stages, report_kind, show, show_record, write_reports

    asked = o.Asked(
        shape, signature, data, labels, preprocess, samples, seed, bound, level, keep_failed, tuple(to)
    )  # fmt: skip
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
