"""`bessemer compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bessemer.cli import options as o
from bessemer.cli.finish import compare_and_leave

First = Annotated[Path, typer.Argument(metavar="A", help="The model whose outputs count as right.")]
Second = Annotated[Path, typer.Argument(metavar="B", help="The model that is compared with it.")]


@o.asks(*o.VERDICT)
def command(asked: o.Asked, a: First, b: Second, json: o.Json = False) -> None:
    """Run two models of any readable formats on the same inputs and compare their outputs.

    Exit code: 0 when every output is within the bound (default close(1e-4, 1e-4)), 4 when one is not.
    """
    compare_and_leave(asked, a, b, "compare", json)
