"""`bessemer check`."""

from __future__ import annotations

import typer

from bessemer.cli import options as o
from bessemer.ir.errors import Declined


@o.asks(*o.MODEL, "to", "level")
def command(asked: o.Asked, model: o.ModelPath, json: o.Json = False) -> None:
    """Ask targets whether they can run a model: it is really lowered, but nothing is written or run.

    Exit code: 0 when all can, 3 when one declines.
    """
    from bessemer.cli.output import Stages, show, show_json

    options, requests = asked.options(), asked.requests()

    from bessemer import pipeline

    with Stages() as stages:
        stages.stage("check")
        rows = pipeline.check(model, requests, options)
    if json:
        show_json({"targets": [row.model_dump(mode="json") for row in rows]})
    else:
        from bessemer.report import terminal

        show(*terminal.targets(rows))
    raise typer.Exit(Declined.exit_code if any(row.status == "declined" for row in rows) else 0)
