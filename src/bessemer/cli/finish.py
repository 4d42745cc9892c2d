"""The end of `verify` and `compare`: one row, and the exit code that it deserves."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import typer

from bessemer.ir.errors import VerificationFailed

if TYPE_CHECKING:
    from bessemer.verify.evidence import TargetEvidence


def finish(row: TargetEvidence, json: bool) -> NoReturn:
    """Print `row` and leave."""
    from bessemer.cli.output import show, show_record

    if json:
        show_record(row)
    else:
        from bessemer.report import terminal

        show(terminal.comparison(row))
    raise typer.Exit(0 if row.verified else VerificationFailed.exit_code)
