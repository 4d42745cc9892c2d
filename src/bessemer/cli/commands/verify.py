"""`bessemer verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bessemer.cli import options as o
from bessemer.cli.finish import compare_and_leave

Artifact = Annotated[Path, typer.Argument(metavar="ARTIFACT", help="The converted file.")]
Against = Annotated[Path, typer.Option("--against", metavar="MODEL", help="The original it was made from.")]


@o.asks(*o.VERDICT)
def command(asked: o.Asked, artifact: Artifact, against: Against, json: o.Json = False) -> None:
    """Run an artifact beside its original and compare the outputs.

    Exit code: 0 when every output is within the bound (default close(1e-4, 1e-4)), 4 when one is not.
    """
    compare_and_leave(asked, against, artifact, "verify", json)
