"""`bessemer verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bessemer.cli import options as o
from bessemer.cli.finish import finish

Artifact = Annotated[Path, typer.Argument(metavar="ARTIFACT", help="The converted file.")]
Against = Annotated[Path, typer.Option("--against", metavar="MODEL", help="The original it was made from.")]


def command(
    artifact: Artifact,
    against: Against,
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
    """Run an artifact beside its original and compare the outputs.

    Exit code: 0 when every output is within the bound, 4 when one is not.
    """
    from bessemer.cli.output import Stages

    options = o.Asked(shape, signature, data, labels, preprocess, samples, seed, bound).options()

    from bessemer import pipeline

    with Stages() as stages:
        stages.stage("verify")
        row = pipeline.verify(artifact, against, options)
    finish(row, json)
