"""`bessemer join`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bessemer.cli import options as o

Models = Annotated[
    list[str],
    typer.Argument(metavar="MODEL...", help="Models of any formats, in the order in which they run; LABEL=FILE names one."),
]
Out = Annotated[
    Path,
    typer.Option(
        "--out", "-o", metavar="PATH",
        help="A file (joined.onnx: its suffix says the target), or a directory with --to. The plan lies beside it as "
        "NAME.join.",
    ),
]  # fmt: skip
To = Annotated[list[str] | None, typer.Option("--to", metavar="TARGET", help="Targets, as for convert (default: by --out).")]
Map = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="B:INPUT=A:OUTPUT",
        help="What feeds an input, repeatable: an output of an earlier model, or an input that both share. Followed by "
        ",order=nchw|nhwc|same|0:3:1:2 where axes move, by ,cast where types differ, or by ,real for what integers stand "
        "for. Labels are file names or A, B, C.",
    ),
]
Share = Annotated[bool, typer.Option("--share", help="Side by side: inputs of one name become one input.")]
Report = Annotated[
    list[Path] | None, typer.Option("--report", metavar="FILE", help="Write the report: .html or .json, repeatable.")
]


@o.asks(*o.VERDICT, "level", "keep_failed")
def command(
    asked: o.Asked,
    models: Models,
    out: Out,
    to: To = None,
    map_: Map = None,
    share: Share = False,
    report: Report = None,
    json: o.Json = False,
) -> None:
    """Join models into one: each fed by the one before it, by hand-written mapping, or side by side; verified against the
    originals, each in its own runtime.

    Without --map and --share names decide, else the only assignment that types and shapes allow.
    """
    from bessemer.cli.output import Stages, report_kind, show, show_record, write_reports

    for path in report or ():
        report_kind(path)
    options = asked.options()

    from bessemer import pipeline
    from bessemer.joining import described

    with Stages() as stages:
        stages.stage("join")
        made, evidence = pipeline.join(models, out, to or (), map_ or (), options, share=share, progress=stages)
    write_reports(evidence, report or ())
    if json:
        show_record(evidence)
    else:
        from bessemer.report import terminal

        lines = [f"wire: {line}" for line in described(made)]
        show(*lines, "", terminal.evidence(evidence), *(f"report: {path}" for path in report or ()))
    raise typer.Exit(evidence.exit_code)
