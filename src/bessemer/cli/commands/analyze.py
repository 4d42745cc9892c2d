"""`bessemer analyze`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bessemer.cli import options as o

Precision = Annotated[
    str, typer.Option("--precision", metavar="PRECISION", help="Static integer precision: int8 or int16x8.")
]
Keep = Annotated[
    list[str] | None,
    typer.Option("--keep", metavar="GLOB", help="Nodes, layers or operators that stay float, repeatable."),
]
RecipeOut = Annotated[
    Path | None,
    typer.Option(
        "--recipe-out",
        metavar="FILE",
        help="Write what gained as a recipe for convert --recipe, after quantizing once more with it.",
    ),
]
Rows = Annotated[int, typer.Option("--rows", min=1, metavar="N", help="Layers to show, the worst first.")]


@o.asks(*o.MODEL, "preprocess", "seed", "level", *o.QUANTIZATION)
def command(
    asked: o.Asked,
    model: o.ModelPath,
    precision: Precision = "int8",
    keep: Keep = None,
    rows: Rows = 20,
    recipe_out: RecipeOut = None,
    json: o.Json = False,
) -> None:
    """Quantize a model on calibration data and show what each layer costs, what was tried at the worst ones, and what
    it gained.
    """
    from bessemer.cli.output import Stages, show, show_record

    options = asked.options()

    from bessemer import pipeline

    with Stages() as stages:
        record = pipeline.analyze(model, options, precision, tuple(keep or ()), stages, prove=recipe_out is not None)
    if recipe_out is not None:
        recipe_out.write_text(record.recipe, encoding="utf-8")
    if json:
        show_record(record)
        return
    from bessemer.report import terminal

    show(terminal.analysis(record, rows))
