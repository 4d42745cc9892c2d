"""What `verify` and `compare` share: two files on the same inputs, one row, and the exit code that it deserves."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import typer

from bessemer.cli.options import Asked
from bessemer.ir.errors import VerificationFailed


def compare_and_leave(asked: Asked, right: Path, other: Path, stage: str, json: bool) -> NoReturn:
    """Run `other` beside `right`, whose outputs count as right; print the row and leave."""
    from bessemer.cli.output import Stages, show, show_record

    options = asked.options()

    from bessemer import pipeline

    with Stages() as stages:
        stages.stage(stage)
        row = pipeline.compare(right, other, options)
    if json:
        show_record(row)
    else:
        from bessemer.report import terminal

        show(terminal.comparison(row))
    raise typer.Exit(0 if row.verified else VerificationFailed.exit_code)
