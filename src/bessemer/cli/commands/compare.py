"""`bessemer compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bessemer.cli import options as o
from bessemer.cli.finish import finish

First = Annotated[Path, typer.Argument(metavar="A", help="The model whose outputs count as right.")]
Second = Annotated[Path, typer.Argument(metavar="B", help="The model that is compared with it.")]


def command(
    a: First,
    b: Second,
    shape: o.Shapes = None,
    signature: o.SignatureName = None,
    data: o.Data = None,
    labels: o.Labels = None,
    preprocess: o.PreprocessText = None,
    samples: o.Samples = 0,
    seed: o.Seed = 0,
    bound: o.Bound = None,
    json: o.Json = False,
) -> None:
    """Run two models of any readable formats on the same inputs and compare their outputs.

    Exit code: 0 when every output is within the bound (default close(1e-4, 1e-4)), 4 when one is not.
    """
    from bessemer.cli.output import Stages

    options = o.Asked(shape, signature, data, labels, preprocess, samples, seed, bound).options()

    from bessemer import pipeline

    with Stages() as stages:
        stages.stage("compare")
        row = pipeline.compare(a, b, options)
    finish(row, json)
