"""`bessemer analyze`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bessemer.cli import options as o

if TYPE_CHECKING:
    from bessemer.quantize.algorithms.mixed_precision import Asked

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


Search = Annotated[
    str | None,
    typer.Option(
        "--search",
        metavar="METRIC",
        help="Choose each layer's precision under a budget of bops (multiply-accumulates by bits by bits), macs "
        "(multiply-accumulates above 4-bit weights) or weights (bytes), instead of trying remedies.",
    ),
]
Budget = Annotated[
    float | None,
    typer.Option("--budget", metavar="SHARE", help="What --search may spend, relative to all in int8 (default 1)."),
]
Optimizer = Annotated[
    str | None,
    typer.Option("--optimizer", metavar="NAME", help="linear (default): this budget; pareto: budgets of 0.5 to 1.2."),
]
Candidates = Annotated[
    str | None,
    typer.Option("--candidates", metavar="LIST", help="Precisions to choose from (default a8_w4,a8_w8,a16_w8)."),
]


@o.asks(*o.MODEL, "preprocess", "seed", "level", *o.QUANTIZATION)
def command(
    asked: o.Asked,
    model: o.ModelPath,
    precision: Precision = "int8",
    keep: Keep = None,
    rows: Rows = 20,
    recipe_out: RecipeOut = None,
    search: Search = None,
    budget: Budget = None,
    optimizer: Optimizer = None,
    candidates: Candidates = None,
    json: o.Json = False,
) -> None:
    """Quantize a model on calibration data and show what each layer costs, what was tried at the worst ones, and what
    it gained.
    """
    from bessemer.cli.output import Stages, show, show_record

    wanted = _search(search, {"budget": budget, "optimizer": optimizer, "candidates": candidates})
    options = asked.options()

    from bessemer import pipeline
    from bessemer.report import terminal

    kept = tuple(keep or ())
    with Stages() as stages:
        if wanted is None:
            analysed = pipeline.analyze(model, options, precision, kept, stages, prove=recipe_out is not None)
            recipe, shown = analysed.recipe, terminal.analysis(analysed, rows)
        else:
            searched = pipeline.search(model, options, precision, kept, wanted, stages)
            recipe, shown = searched.recipe, terminal.search(searched, rows)
    if recipe_out is not None:
        recipe_out.write_text(recipe, encoding="utf-8")
    if json:
        show_record(analysed if wanted is None else searched)
    else:
        show(shown)


def _search(metric: str | None, given: Mapping[str, Any]) -> Asked | None:
    """What is searched; None where nothing is."""
    from bessemer.ir.errors import UsageError

    stated = {key: value for key, value in given.items() if value is not None}
    if metric is None:
        if stated:
            raise UsageError(f"--{next(iter(stated))} speaks of --search, which was not given")
        return None
    from bessemer.quantize.algorithms.mixed_precision import Asked

    if "candidates" in stated:
        stated["candidates"] = tuple(stated["candidates"].split(","))
    return Asked(metric, **stated)
